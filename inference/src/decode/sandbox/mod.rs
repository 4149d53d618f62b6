//! Shuts a decode process in: what it may touch, and how much.
//!
//! The process enters after its libraries are loaded and before it reads a byte of a document, and cannot leave:
//!
//! 1. not dumpable, no core, first to be killed when memory is short;
//! 2. limits: address space, CPU time, open files, file size 0, no new processes;
//! 3. Landlock: the fonts' folder can be read, everything else of the file system, TCP, abstract sockets and
//!    signals to others are denied;
//! 4. seccomp: a short list of system calls, see [`seccomp`].
//!
//! None of it needs a privilege, so it works in a container that has none. Where the kernel has no Landlock, seccomp
//! denies every opening of a file instead, and the greeting to the server says so.

mod landlock;
pub mod probe;
pub mod prove;
mod seccomp;

use std::path::Path;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// What a decode process is limited to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits<'a> {
    /// Folder that stays readable.
    pub fonts: Option<&'a Path>,
    /// Bytes of address space, what is mapped already included.
    pub address_space_bytes: u64,
    /// Seconds of CPU time, from the start of the process.
    pub cpu_seconds: u64,
}

/// What is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InForce {
    pub landlock_abi: Option<u32>,
}

/// Why the process could not be shut in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    #[error("failed to set a limit of the process")]
    Limit(#[from] rustix::io::Errno),
    #[error("failed to enter Landlock")]
    Landlock(#[from] landlock::LandlockError),
    #[error("failed to install the seccomp filter")]
    Seccomp(#[from] seccomp::SeccompError),
}

/// Files that the process may have open: stdio, both pipes, the memory figures, a font and a folder, and some to spare.
const OPEN_FILES: u64 = 16;

pub(crate) use landlock::is_available as landlock_is_available;

/// Shuts the process in, for good.
///
/// # Errors
/// Where a step fails; the process must end then.
pub(crate) fn enter(limits: Limits<'_>) -> Result<InForce, SandboxError> {
    prefer_as_victim();
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let landlock_abi = landlock::restrict(limits.fonts)?;
    set_limits(limits)?;
    seccomp::install(landlock_abi.is_some() && limits.fonts.is_some())?;
    Ok(InForce { landlock_abi })
}

/// When memory is short, the kernel shall end a decode process and not the server. Some containers mount `/proc`
/// read-only; the limits hold without it.
fn prefer_as_victim() {
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
}

fn set_limits(limits: Limits<'_>) -> Result<(), rustix::io::Errno> {
    let same = |value| Rlimit { current: Some(value), maximum: Some(value) };
    setrlimit(Resource::As, same(limits.address_space_bytes))?;
    // The soft limit's signal tells this cause from others; the hard one cannot be caught.
    let cpu = Rlimit { current: Some(limits.cpu_seconds), maximum: Some(limits.cpu_seconds.saturating_add(1)) };
    setrlimit(Resource::Cpu, cpu)?;
    setrlimit(Resource::Nofile, same(OPEN_FILES))?;
    setrlimit(Resource::Fsize, same(0))?;
    setrlimit(Resource::Core, same(0))?;
    setrlimit(Resource::Nproc, same(0))
}
