//! Proves on the machine at hand that a decode process cannot do what it should not: starts one for each attack, has
//! it make the attack, and sees what comes of it.

use std::{
    net::{Ipv4Addr, TcpListener},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use super::probe::Attack;
use crate::decode::{
    PoolSettings,
    protocol::{self, Hello, ProtocolError, Reply},
    worker::WorkerOptions,
};

/// Seconds of CPU time that an attacker gets.
const CPU_SECONDS: u64 = 2;

/// How long an attacker may take before it is ended from outside.
const PATIENCE: Duration = Duration::from_secs(15);

/// What came of an attack.
#[derive(Clone, Debug)]
pub struct Proof {
    pub attack: Attack,
    /// True where the attack was denied or ended.
    pub denied: bool,
    /// By what.
    pub how: String,
}

/// Why nothing could be proven.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    #[error("failed to run a decode process")]
    Run(#[from] std::io::Error),
    #[error("a decode process cannot do its work: {0}")]
    NotStarted(String),
    #[error("a decode process did not greet")]
    Greeting,
    #[error("failed to talk to a decode process")]
    Protocol(#[from] ProtocolError),
}

/// Starts a decode process and returns how it is shut in.
///
/// # Errors
/// Where it does not start.
pub fn greeting(settings: &PoolSettings) -> Result<Hello, ProveError> {
    let mut child = start(settings, None)?;
    let reply = child.stdout.as_mut().map(protocol::read::<Reply>).transpose()?.flatten();
    // Its stdin ends, and so does the process.
    drop(child.stdin.take());
    wait(&mut child)?;
    match reply {
        Some(Reply::Hello(hello)) => Ok(hello),
        Some(Reply::NotStarted { reason }) => Err(ProveError::NotStarted(reason)),
        _ => Err(ProveError::Greeting),
    }
}

/// Makes one attack.
///
/// # Errors
/// Where no process can be started; a denied attack is no error.
pub fn prove(settings: &PoolSettings, attack: Attack) -> Result<Proof, ProveError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let file = std::env::temp_dir().join(format!("ocr-sandbox-{}-{}", std::process::id(), attack.as_str()));
    let mut child = start(settings, Some((attack, file.clone(), port)))?;
    let status = wait(&mut child)?;
    let reply = child.stdout.as_mut().map(protocol::read::<Reply>).transpose()?.flatten();
    let made = file.exists();
    if made {
        std::fs::remove_file(&file)?;
    }
    let (denied, how) = match (reply, status) {
        (Some(Reply::NotStarted { reason }), _) => return Err(ProveError::NotStarted(reason)),
        (Some(Reply::Probed { denied, how }), _) => (denied && !made, how),
        (_, None) => (true, format!("ended from outside after {} s", PATIENCE.as_secs())),
        (_, Some(status)) => ended(status),
    };
    Ok(Proof { attack, denied, how })
}

/// What it means that an attacker ended without an answer.
fn ended(status: ExitStatus) -> (bool, String) {
    match status.signal() {
        Some(libc::SIGSYS) => (true, "ended by seccomp".into()),
        Some(libc::SIGXCPU) => (true, format!("ended after {CPU_SECONDS} s of CPU time")),
        Some(signal) => (true, format!("ended by signal {signal}")),
        None => (false, format!("the process went on and ended with {status}")),
    }
}

fn start(settings: &PoolSettings, probe: Option<(Attack, PathBuf, u16)>) -> Result<Child, ProveError> {
    let options = WorkerOptions {
        pdfium: settings.pdfium.clone(),
        fonts: settings.fonts.clone(),
        max_pixels: settings.max_pixels,
        max_body_bytes: settings.max_body_bytes,
        cpu_seconds: CPU_SECONDS,
        parent: std::process::id(),
        probe,
    };
    let child = Command::new(&settings.program)
        .args(options.arguments())
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    Ok(child)
}

/// Waits for the end; `None` where it had to be brought about.
fn wait(child: &mut Child) -> Result<Option<ExitStatus>, ProveError> {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attacker_that_just_goes_on_was_not_denied() {
        assert!(!ended(ExitStatus::from_raw(0)).0);
        assert!(ended(ExitStatus::from_raw(libc::SIGSYS)).0);
        assert!(ended(ExitStatus::from_raw(libc::SIGXCPU)).0);
    }
}
