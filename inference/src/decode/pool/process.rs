//! One decode process, seen from the server.

use std::{
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{oneshot, watch},
    time::timeout,
};

use super::{Cause, DecodeError, Shared};
use crate::decode::{
    protocol::{self, Hello, MAX_HEADER_BYTES, ProtocolError, Reply, Request, Usage, VERSION},
    worker::WorkerOptions,
};

/// How long a process may take until it says hello. On a busy machine it loads 8 MB of library from a cold disk.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a process whose stdin has ended may take to end.
const RETIRE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long to wait for the exit status of a process whose pipe broke.
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes that a pipe holds: the more, the fewer switches between the two sides for a page of megabytes.
const PIPE_BYTES: usize = 1 << 20;

/// Settings of the C library's allocator in a decode process. One arena; up to 24 MiB that are freed are kept, so that
/// the next page of the usual size need not fault its memory in again (5 of 16 ms for a receipt of 2.5 megapixels, on
/// a virtual machine); what is larger than 16 MiB goes back at once.
const ALLOCATOR: &str =
    "glibc.malloc.arena_max=1:glibc.malloc.mmap_threshold=16777216:glibc.malloc.trim_threshold=25165824";

/// A process that is ready or has a document. Dropping it ends it at once.
#[derive(Debug)]
pub(super) struct Process {
    stdin: ChildStdin,
    stdout: ChildStdout,
    /// Dropped without an order, the process is ended as abandoned.
    orders: Option<oneshot::Sender<Order>>,
    ended: watch::Receiver<Option<Cause>>,
    /// Documents that it has had.
    pub documents: u32,
    /// Since when it has had none.
    pub idle_since: Instant,
    /// Bytes resident when it was new.
    pub resident_bytes_at_start: u64,
}

#[derive(Debug)]
enum Order {
    /// Ends it.
    Kill(Cause),
    /// Its stdin has ended: let it go, and end it if it stays.
    Retire,
}

impl Process {
    /// Starts a process and waits until it is ready.
    pub(super) async fn start(shared: &Arc<Shared>) -> Result<(Self, Hello), DecodeError> {
        let mut child = shared.spawner.spawn(command(shared)).await?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(DecodeError::Pipes);
        };
        // Best effort: an unprivileged user may have only so many bytes in pipes.
        let _ = rustix::pipe::fcntl_setpipe_size(&stdin, PIPE_BYTES);
        let _ = rustix::pipe::fcntl_setpipe_size(&stdout, PIPE_BYTES);
        let (order_sender, orders) = oneshot::channel();
        let (end_sender, ended) = watch::channel(None);
        shared.stats.spawned.fetch_add(1, Ordering::Relaxed);
        shared.stats.alive.fetch_add(1, Ordering::Relaxed);
        shared.reapers.spawn_on(reap(child, orders, end_sender, shared.clone()), &shared.runtime);
        let mut process = Self {
            stdin,
            stdout,
            orders: Some(order_sender),
            ended,
            documents: 0,
            idle_since: Instant::now(),
            resident_bytes_at_start: 0,
        };
        match timeout(START_TIMEOUT, process.receive::<Reply>()).await {
            Err(_) => {
                process.kill(Cause::Timeout);
                Err(DecodeError::StartTimeout(START_TIMEOUT))
            }
            Ok(Ok(Reply::Hello(hello))) if hello.version == VERSION => {
                process.resident_bytes_at_start = hello.usage.resident_bytes;
                Ok((process, hello))
            }
            Ok(Ok(Reply::Hello(hello))) => {
                process.kill(Cause::Protocol);
                Err(DecodeError::Version { ours: VERSION, theirs: hello.version })
            }
            Ok(Ok(Reply::NotStarted { reason })) => Err(DecodeError::NotStarted(reason)),
            Ok(Ok(_)) => {
                process.kill(Cause::Protocol);
                Err(DecodeError::Greeting(ProtocolError::Unexpected))
            }
            Ok(Err(error)) => match process.cause_of_end(Cause::Protocol).await {
                Cause::Protocol => Err(DecodeError::Greeting(error)),
                cause => Err(DecodeError::EndedAtStart(cause)),
            },
        }
    }

    /// Asks, with what follows the question, and waits for the answer.
    pub(super) async fn ask(&mut self, request: &Request, payload: &[u8]) -> Result<Reply, ProtocolError> {
        self.stdin.write_all(&protocol::encode(request)?).await?;
        self.stdin.write_all(payload).await?;
        self.receive().await
    }

    /// Reads what follows an answer.
    pub(super) async fn payload(&mut self, length: usize) -> Result<Vec<u8>, ProtocolError> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).map_err(|_| std::io::Error::from(std::io::ErrorKind::OutOfMemory))?;
        let limit = u64::try_from(length).map_err(|_| ProtocolError::Unexpected)?;
        (&mut self.stdout).take(limit).read_to_end(&mut bytes).await?;
        if bytes.len() == length { Ok(bytes) } else { Err(ProtocolError::Ended) }
    }

    async fn receive<T: DeserializeOwned>(&mut self) -> Result<T, ProtocolError> {
        let mut prefix = [0; 4];
        self.stdout.read_exact(&mut prefix).await?;
        let length = protocol::header_length(prefix)?;
        debug_assert!(length <= MAX_HEADER_BYTES, "header_length checks it");
        let mut header = vec![0; length];
        self.stdout.read_exact(&mut header).await?;
        Ok(serde_json::from_slice(&header)?)
    }

    /// Asks the process to forget its document.
    pub(super) async fn close(&mut self) -> Result<Usage, ProtocolError> {
        match self.ask(&Request::Close, &[]).await? {
            Reply::Closed(usage) => Ok(usage),
            _ => Err(ProtocolError::Unexpected),
        }
    }

    /// True until the process has ended.
    pub(super) fn is_alive(&self) -> bool {
        self.ended.borrow().is_none()
    }

    /// Ends the process.
    pub(super) fn kill(mut self, cause: Cause) {
        self.order(Order::Kill(cause));
    }

    /// Lets the process end by itself.
    pub(super) fn retire(mut self) {
        // With `self` its stdin ends, which is what it waits for.
        self.order(Order::Retire);
    }

    /// Why a process that is not understood any more has ended; if it has not, it is ended with `otherwise`.
    pub(super) async fn cause_of_end(mut self, otherwise: Cause) -> Cause {
        let cause = match timeout(EXIT_TIMEOUT, self.ended.wait_for(Option::is_some)).await {
            Ok(Ok(cause)) => *cause,
            _ => None,
        };
        cause.unwrap_or_else(|| {
            self.kill(otherwise);
            otherwise
        })
    }

    fn order(&mut self, order: Order) {
        if let Some(orders) = self.orders.take() {
            // Nobody listens where the process has ended.
            let _ = orders.send(order);
        }
    }
}

fn command(shared: &Shared) -> Command {
    let settings = &shared.settings;
    let options = WorkerOptions {
        pdfium: settings.pdfium.clone(),
        fonts: settings.fonts.clone(),
        max_pixels: settings.max_pixels,
        max_body_bytes: settings.max_body_bytes,
        cpu_seconds: settings.cpu_seconds,
        parent: std::process::id(),
        probe: None,
    };
    let mut command = Command::new(&settings.program);
    command
        .args(options.arguments())
        .env_clear()
        .env("GLIBC_TUNABLES", ALLOCATOR)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Waits for the end of a process, or brings it about.
async fn reap(
    mut child: Child,
    orders: oneshot::Receiver<Order>,
    ended: watch::Sender<Option<Cause>>,
    shared: Arc<Shared>,
) {
    let ordered = tokio::select! {
        biased;
        status = child.wait() => status.ok().map(cause_of),
        order = orders => match order {
            Ok(Order::Retire) => match timeout(RETIRE_TIMEOUT, child.wait()).await {
                Ok(_) => Some(Cause::Retired),
                Err(_) => end(&mut child, Cause::Timeout).await,
            },
            Ok(Order::Kill(cause)) => end(&mut child, cause).await,
            Err(_) => end(&mut child, Cause::Cancelled).await,
        },
    };
    let cause = ordered.unwrap_or(Cause::Killed);
    shared.stats.count_end(cause);
    ended.send_replace(Some(cause));
    shared.changed.notify_one();
}

async fn end(child: &mut Child, cause: Cause) -> Option<Cause> {
    // It fails only where the process has ended already.
    let _ = child.kill().await;
    Some(cause)
}

fn cause_of(status: ExitStatus) -> Cause {
    match status.signal() {
        Some(libc::SIGKILL) => Cause::Killed,
        Some(libc::SIGXCPU) => Cause::CpuTime,
        Some(libc::SIGABRT) => Cause::Aborted,
        Some(libc::SIGSYS) => Cause::Forbidden,
        Some(_) => Cause::Crashed,
        None if status.success() => Cause::Retired,
        None => Cause::Exited,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_told_by_how_the_process_ended() {
        let cases = [
            (libc::SIGKILL, Cause::Killed),
            (libc::SIGXCPU, Cause::CpuTime),
            (libc::SIGABRT, Cause::Aborted),
            (libc::SIGSYS, Cause::Forbidden),
            (libc::SIGSEGV, Cause::Crashed),
            (libc::SIGILL, Cause::Crashed),
            (0, Cause::Retired),
            (1 << 8, Cause::Exited),
        ];
        for (status, expected) in cases {
            assert_eq!(cause_of(ExitStatus::from_raw(status)), expected, "{status:#x}");
        }
    }
}
