//! How a pool is set up, and why it may not start.

use std::{path::PathBuf, time::Duration};

use super::Cause;
use crate::decode::{PageMemory, protocol::ProtocolError};

/// Settings of a pool.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// The program to start; it must have the sub-command `decode-worker`.
    pub program: PathBuf,
    /// The PDF library; PDFs are refused without it.
    pub pdfium: Option<PathBuf>,
    /// Folder of fonts for PDFs that embed none.
    pub fonts: Option<PathBuf>,
    /// Processes kept ready ahead; at least 1.
    pub ready: usize,
    /// Most documents open at a time; at least 1. There are never more than `ready` + `open` processes.
    pub open: usize,
    /// Most documents that wait for a process; one more is refused.
    pub waiting: usize,
    /// Documents after which a process is replaced, so that whatever one left behind ends.
    pub documents_per_process: u32,
    /// Bytes by which a process may have grown after a document; above, it is replaced. Its allocator keeps up to 24 MiB.
    pub growth_bytes: u64,
    /// How long a process beyond `ready` is kept without a document.
    pub idle_timeout: Duration,
    /// Most bytes of a document.
    pub max_body_bytes: u64,
    /// Most pixels of a page.
    pub max_pixels: u64,
    /// Memory that all pages in work share.
    pub memory: PageMemory,
    /// How long opening a document or decoding a page may take.
    pub page_timeout: Duration,
    /// CPU seconds of a process's whole life. A process that has used half of them is replaced after its document, so
    /// each document has at least half. It is the second lock: `page_timeout` is the first.
    pub cpu_seconds: u64,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            program: "/proc/self/exe".into(),
            pdfium: None,
            fonts: None,
            ready: 1,
            open: 8,
            waiting: 64,
            documents_per_process: 200,
            growth_bytes: 48 << 20,
            idle_timeout: Duration::from_mins(1),
            max_body_bytes: 10 << 20,
            max_pixels: 50_000_000,
            memory: PageMemory::unbounded(),
            page_timeout: Duration::from_mins(1),
            cpu_seconds: 1200,
        }
    }
}

/// Why no decode process can be started.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("failed to start a thread")]
    Thread(#[source] std::io::Error),
    #[error("failed to start a decode process")]
    Spawn(#[source] std::io::Error),
    #[error("a decode process was started without pipes")]
    Pipes,
    #[error("a decode process was not ready within {0:?}")]
    StartTimeout(Duration),
    /// The process says why, before it has seen a document.
    #[error("a decode process cannot do its work: {0}")]
    NotStarted(String),
    #[error("a decode process ended before it was ready ({})", .0.as_str())]
    EndedAtStart(Cause),
    #[error(
        "a decode process is of another version, need {ours}, have {theirs}; restart after a change of the program"
    )]
    Version { ours: u32, theirs: u32 },
    #[error("a decode process did not greet")]
    Greeting(#[source] ProtocolError),
    #[error("the pool is shutting down")]
    ShuttingDown,
}
