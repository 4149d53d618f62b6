//! Attacks on the sandbox, made by a decode process on itself, to prove on the machine at hand what is denied.

use std::{
    net::{Ipv4Addr, TcpStream},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::Command,
};

use crate::decode::protocol::Reply;

/// Something that a hostile document might make its decoder do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Attack {
    /// Read a file of the system.
    OpenFile,
    /// Make a file.
    CreateFile,
    /// Connect to a TCP port of this machine.
    Connect,
    /// Become another program.
    Exec,
    /// Start another process.
    Fork,
    /// Trace the server.
    Ptrace,
    /// Signal the server.
    Signal,
    /// Take 1 GiB of memory.
    Memory,
    /// Never end.
    Loop,
}

impl Attack {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 9] = [
        Self::OpenFile,
        Self::CreateFile,
        Self::Connect,
        Self::Exec,
        Self::Fork,
        Self::Ptrace,
        Self::Signal,
        Self::Memory,
        Self::Loop,
    ];

    /// As it is written on the command line and in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenFile => "open-file",
            Self::CreateFile => "create-file",
            Self::Connect => "connect",
            Self::Exec => "exec",
            Self::Fork => "fork",
            Self::Ptrace => "ptrace",
            Self::Signal => "signal",
            Self::Memory => "memory",
            Self::Loop => "loop",
        }
    }
}

/// What an attack aims at, so that it would succeed if it were let through.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// A path that can be written to.
    pub file: PathBuf,
    /// A port of this machine that somebody listens at.
    pub port: u16,
    /// The process that started this one.
    pub parent: u32,
}

const GIBIBYTE: usize = 1 << 30;

/// Makes the attack. Returns only where the attack came back.
pub(crate) fn attempt(attack: Attack, target: &Target) -> Reply {
    let result = match attack {
        Attack::OpenFile => std::fs::File::open("/etc/passwd").map(drop),
        Attack::CreateFile => std::fs::File::create(&target.file).map(drop),
        Attack::Connect => {
            // Without a time limit, for which more calls would be made: one of those might be what is denied.
            TcpStream::connect((Ipv4Addr::LOCALHOST, target.port)).map(drop)
        }
        Attack::Exec => Err(Command::new("/proc/self/exe").arg("--version").exec()),
        Attack::Fork => Command::new("/proc/self/exe").arg("--version").status().map(drop),
        Attack::Ptrace => seize(target.parent),
        Attack::Signal => signal(target.parent),
        Attack::Memory => {
            let mut memory = Vec::<u8>::new();
            memory.try_reserve_exact(GIBIBYTE).map_err(|_| std::io::ErrorKind::OutOfMemory.into())
        }
        Attack::Loop => loop {
            std::hint::spin_loop();
        },
    };
    match result {
        Ok(()) => Reply::Probed { denied: false, how: "it worked".into() },
        Err(error) => Reply::Probed { denied: true, how: error.to_string() },
    }
}

/// Asks for the null signal, which only checks the right to signal.
fn signal(process: u32) -> std::io::Result<()> {
    let pid = i32::try_from(process).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or(std::io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::test_kill_process(pid)?)
}

/// Starts to trace a process without stopping it.
#[allow(unsafe_code, reason = "no crate that we use wraps ptrace, and the proof needs the real call")]
fn seize(process: u32) -> std::io::Result<()> {
    let pid = libc::pid_t::try_from(process).map_err(|_| std::io::ErrorKind::InvalidInput)?;
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: PTRACE_SEIZE reads no memory of ours: its address and data are null.
    let result = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, none, none) };
    if result == -1 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}
