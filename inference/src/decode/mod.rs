//! Untrusted bytes to pixels, in processes of their own.
//!
//! A [`DecodePool`] keeps decode processes ready. [`DecodePool::open`] lends one to a document; the process gets the
//! bytes on its stdin and answers with the pixels of one page after another on its stdout. It is shut in (see
//! [`sandbox`]) and limited, so that a hostile document costs its own request: the process dies or is ended, the
//! request gets an error, and the pool starts another.
//!
//! Nothing in this module but `worker` decodes anything, and `worker` runs in the decode process only.

mod bitmap;
mod failure;
mod kind;
mod limits;
mod memory;
mod pool;
mod protocol;
pub mod sandbox;
pub mod worker;

pub use bitmap::{Bitmap, Channels};
pub use failure::Failure;
pub use kind::Kind;
pub use limits::memory_budget;
pub use memory::{PageMemory, Ticket};
pub use pool::{Cause, DecodeError, DecodePool, OpenDocument, PoolSettings, PoolStats};
pub use protocol::Hello;

use std::time::Instant;

/// What a document is decoded with.
#[derive(Clone, Debug)]
pub struct DecodeOptions {
    /// Password of an encrypted PDF.
    pub password: Option<Password>,
    /// Resolution that PDF pages are rendered at; lowered where a page would have more than `max_pixels`.
    pub dpi: u32,
    /// Most pixels of a page; the pool's own limit where that is lower.
    pub max_pixels: u64,
    /// Most pages of a document.
    pub max_pages: u32,
    /// When the request ends; work past it is given up.
    pub deadline: Instant,
    /// A page of our own, by which a way of computing is tried. It waits neither for a place nor for memory: those who hold
    /// them may be waiting for what it proves.
    pub is_proof: bool,
}

/// A password; never printed.
#[derive(Clone)]
pub struct Password(pub String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// A decoded page.
#[derive(Debug)]
pub struct DecodedPage {
    /// The pixels, upright by EXIF or PDF rotation, over white.
    pub bitmap: Bitmap,
    /// Resolution that a PDF page was rendered at.
    pub dpi: Option<u32>,
    /// True where `dpi` is below the one asked for.
    pub dpi_lowered: bool,
    /// Milliseconds that the decode process took.
    pub elapsed_ms: u64,
    /// Memory that the page holds.
    pub memory: Ticket,
}
