//! Keeps decode processes ready and lends them to documents.
//!
//! A process has one document at a time. It goes back when its document is dropped between two pages, and is ended
//! when the document is dropped in the middle of one: work for nobody stops at once. The [`keeper`] replaces those that
//! are gone.

mod document;
mod keeper;
mod process;
mod settings;
mod spawner;
#[cfg(test)]
mod stand_in;
mod stats;

use document::Incoming;
pub use document::OpenDocument;
pub use settings::{DecodeError, PoolSettings};
pub use stats::{Cause, PoolStats};

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use ocr_api::{ErrorCode, ErrorDetail};
use tokio::{
    runtime::Handle,
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use self::{process::Process, spawner::Spawner};
use super::{DecodeOptions, Hello, Kind, PageMemory, protocol::MAX_PASSWORD_BYTES};

/// How long a document waits for a process that cannot be started; busy processes are waited for until the deadline.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// How long processes may take to end when the pool shuts down.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Keeps decode processes ready. Cheap to clone; the processes end with the last clone.
#[derive(Clone)]
pub struct DecodePool {
    shared: Arc<Shared>,
    hello: Arc<Hello>,
    _keeper: Arc<DropGuard>,
}

/// What the pool, its documents and its tasks share.
struct Shared {
    settings: PoolSettings,
    stats: PoolStats,
    runtime: Handle,
    spawner: Spawner,
    /// Ready processes; the last one in is the first one out, so that those not needed grow old.
    idle: Mutex<Vec<Process>>,
    /// Processes that forget their document and will be idle in a moment.
    returning: AtomicUsize,
    /// A place for each document that may be open.
    places: Arc<Semaphore>,
    /// For the keeper: something about the processes has changed.
    changed: Notify,
    /// For documents: a process has become ready.
    ready: Notify,
    /// Why the latest start failed, where no other has worked since.
    start_error: Mutex<Option<Arc<DecodeError>>>,
    /// One task for each process that lives.
    reapers: TaskTracker,
    shutdown: CancellationToken,
    /// Decodes in this process: the tests of what comes after have no program to start.
    #[cfg(test)]
    stand_in: Option<stand_in::Decode>,
}

impl DecodePool {
    /// Starts a pool, and returns when its first process is ready.
    ///
    /// # Errors
    /// Where the first process does not become ready: a program, library or folder that is not there, a kernel without
    /// seccomp. Later ones are tried again without end, see [`DecodePool::start_error`].
    pub async fn start(settings: PoolSettings) -> Result<Self, DecodeError> {
        let settings = PoolSettings { ready: settings.ready.max(1), open: settings.open.max(1), ..settings };
        let shared = Arc::new(Shared::new(settings)?);
        let (process, hello) = Process::start(&shared).await?;
        shared.put_back(process);
        let guard = shared.shutdown.clone().drop_guard();
        tokio::spawn(keeper::keep(shared.clone()));
        Ok(Self { shared, hello: Arc::new(hello), _keeper: Arc::new(guard) })
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> &PoolStats {
        &self.shared.stats
    }

    /// Memory that all pages in work share.
    #[must_use]
    pub fn memory(&self) -> &PageMemory {
        &self.shared.settings.memory
    }

    /// How the processes are shut in on this machine.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Why no process can be started at the moment; `None` where one can.
    #[must_use]
    pub fn start_error(&self) -> Option<Arc<DecodeError>> {
        lock(&self.shared.start_error).clone()
    }

    /// Sends the bytes to a decode process and returns the document that it opened.
    ///
    /// Cancelling the token, or dropping what this returns, ends the work at once.
    ///
    /// # Errors
    /// With the code and message for the client.
    pub async fn open(
        &self,
        bytes: Bytes,
        options: DecodeOptions,
        cancel: CancellationToken,
    ) -> Result<OpenDocument, ErrorDetail> {
        let kind = self.admit(&bytes, &options)?;
        #[cfg(test)]
        if let Some(decode) = self.shared.stand_in {
            return OpenDocument::stand_in(&self.shared, decode, Incoming { kind, bytes, options, cancel });
        }
        let place =
            if options.is_proof { None } else { Some(self.shared.wait_for_place(options.deadline, &cancel).await?) };
        OpenDocument::open(&self.shared, place, Incoming { kind, bytes, options, cancel }).await
    }

    /// What can be refused without a process.
    fn admit(&self, bytes: &Bytes, options: &DecodeOptions) -> Result<Kind, ErrorDetail> {
        if bytes.is_empty() {
            return Err(ErrorDetail::new(
                ErrorCode::EmptyBody,
                "the document has 0 bytes; send the bytes of an image or a PDF",
            ));
        }
        let most = self.shared.settings.max_body_bytes;
        if bytes.len() as u64 > most {
            return Err(ErrorDetail::new(
                ErrorCode::TooLarge,
                format!(
                    "the document has {} bytes and at most {most} are read; send a smaller one or raise the limit on the body",
                    bytes.len()
                ),
            ));
        }
        if options.password.as_ref().is_some_and(|password| password.0.len() > MAX_PASSWORD_BYTES) {
            return Err(ErrorDetail::new(
                ErrorCode::PasswordWrong,
                format!(
                    "the password has more than {MAX_PASSWORD_BYTES} bytes and no PDF can have such a one; send the right one"
                ),
            ));
        }
        Kind::of(bytes).ok_or_else(|| {
            ErrorDetail::new(
                ErrorCode::UnsupportedMedia,
                "the document does not begin like any kind that is read here; send a JPEG, PNG, WebP, BMP, GIF, TIFF or PDF",
            )
        })
    }

    /// Ends all processes and waits for their ends, a few seconds at most. Documents that are still open fail.
    pub async fn shutdown(&self) {
        self.shared.shutdown.cancel();
        self.shared.reapers.close();
        if timeout(SHUTDOWN_TIMEOUT, self.shared.reapers.wait()).await.is_err() {
            tracing::warn!(alive = self.stats().alive(), "decode processes are still there after shutdown");
        }
    }
}

impl std::fmt::Debug for DecodePool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DecodePool").field("stats", self.stats()).finish_non_exhaustive()
    }
}

impl Shared {
    fn new(settings: PoolSettings) -> Result<Self, DecodeError> {
        let runtime = Handle::current();
        Ok(Self {
            places: Arc::new(Semaphore::new(settings.open)),
            spawner: Spawner::start(runtime.clone())?,
            settings,
            stats: PoolStats::default(),
            runtime,
            idle: Mutex::default(),
            returning: AtomicUsize::new(0),
            changed: Notify::new(),
            ready: Notify::new(),
            start_error: Mutex::default(),
            reapers: TaskTracker::new(),
            shutdown: CancellationToken::new(),
            #[cfg(test)]
            stand_in: None,
        })
    }

    /// Waits for the right to have a document open.
    async fn wait_for_place(
        &self,
        deadline: Instant,
        cancel: &CancellationToken,
    ) -> Result<OwnedSemaphorePermit, ErrorDetail> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Ok(place);
        }
        let waiting = Waiting::enter(&self.stats.waiting);
        if waiting.number > self.settings.waiting {
            return Err(ErrorDetail::new(
                ErrorCode::Overloaded,
                format!(
                    "{} documents are being decoded and {} wait, which is the most; send this one again later",
                    self.settings.open, self.settings.waiting
                ),
            ));
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(cancelled()),
            () = self.shutdown.cancelled() => Err(draining()),
            place = self.places.clone().acquire_owned() => place.map_err(|_| draining()),
            () = tokio::time::sleep_until(deadline.into()) => Err(timed_out()),
        }
    }

    /// Takes a ready process, waiting for one where there is none.
    async fn take(&self, deadline: Instant, cancel: &CancellationToken) -> Result<Process, ErrorDetail> {
        let patience = Instant::now().checked_add(START_PATIENCE).map_or(deadline, |until| until.min(deadline));
        loop {
            let mut ready = std::pin::pin!(self.ready.notified());
            // Before the look, so that a process that comes in between is not missed.
            ready.as_mut().enable();
            if let Some(process) = self.take_idle() {
                return Ok(process);
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(cancelled()),
                () = self.shutdown.cancelled() => return Err(draining()),
                () = ready => {}
                () = tokio::time::sleep_until(patience.into()) => {
                    return Err(if patience < deadline { no_process() } else { timed_out() });
                }
            }
        }
    }

    fn take_idle(&self) -> Option<Process> {
        let mut idle = lock(&self.idle);
        let mut taken = idle.pop();
        while taken.as_ref().is_some_and(|process| !process.is_alive()) {
            taken = idle.pop();
        }
        self.stats.idle.store(idle.len(), Ordering::Relaxed);
        drop(idle);
        self.changed.notify_one();
        taken
    }

    fn put_back(&self, mut process: Process) {
        process.idle_since = Instant::now();
        let mut idle = lock(&self.idle);
        idle.push(process);
        self.stats.idle.store(idle.len(), Ordering::Relaxed);
        drop(idle);
        self.ready.notify_one();
        self.changed.notify_one();
    }
}

/// Counts one who waits, until it is dropped.
struct Waiting<'a> {
    count: &'a AtomicUsize,
    number: usize,
}

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        Self { count, number }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A list of processes or an error is whole at every moment, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn cancelled() -> ErrorDetail {
    ErrorDetail::new(ErrorCode::Cancelled, "the request was given up before the document was decoded; send it again")
}

fn draining() -> ErrorDetail {
    ErrorDetail::new(ErrorCode::Draining, "the server is shutting down; send the document to another one")
}

fn timed_out() -> ErrorDetail {
    ErrorDetail::new(
        ErrorCode::Timeout,
        "the time for the request ran out while its document was decoded; send fewer pages or allow more time",
    )
}

fn no_process() -> ErrorDetail {
    ErrorDetail::new(
        ErrorCode::NotReady,
        "no decode process can be started at the moment; the server's log says why, send the document again later",
    )
}
