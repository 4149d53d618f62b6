//! Untrusted bytes to pixels, in processes of their own.

mod bitmap;

pub use bitmap::{Bitmap, Channels};

use std::time::Instant;

use bytes::Bytes;
use ocr_api::ErrorDetail;
use tokio_util::sync::CancellationToken;

/// What a document is decoded with.
#[derive(Clone, Debug)]
pub struct DecodeOptions {
    /// Password of an encrypted PDF.
    pub password: Option<Password>,
    /// Resolution that PDF pages are rendered at; lowered where a page would have more than `max_pixels`.
    pub dpi: u32,
    /// Most pixels of a page.
    pub max_pixels: u64,
    /// Most pages of a document.
    pub max_pages: u32,
    /// When the request ends; work past it is given up.
    pub deadline: Instant,
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
}

/// Keeps decode processes ready.
#[derive(Clone, Debug)]
pub struct DecodePool;

/// A document held open by one decode process. Dropping it ends the work.
#[derive(Debug)]
pub struct OpenDocument {
    pub page_count: u32,
}

impl DecodePool {
    /// Sends the bytes to a decode process and returns the document that it opened.
    ///
    /// # Errors
    /// With the code and message for the client.
    pub async fn open(
        &self,
        bytes: Bytes,
        options: DecodeOptions,
        cancel: CancellationToken,
    ) -> Result<OpenDocument, ErrorDetail> {
        let _ = (bytes, options, cancel);
        unimplemented!()
    }
}

impl OpenDocument {
    /// Decodes one page, counted from 0.
    ///
    /// # Errors
    /// With the code and message for the client. Other pages may still succeed unless the process died.
    pub async fn page(&mut self, index: u32) -> Result<DecodedPage, ErrorDetail> {
        let _ = index;
        unimplemented!()
    }
}
