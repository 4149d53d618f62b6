//! Documents to pages of text: joins the stages.

mod document;
mod pages;

pub use document::document_from_pages;
pub use pages::{PageRanges, PageRangesError};

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use ocr_api::{ErrorDetail, ModelRef, Page};
use tokio_util::sync::CancellationToken;

use crate::decode::Password;

/// How a document is to be read.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// The pages wanted; all where `None`.
    pub pages: Option<PageRanges>,
    pub orientation: Orientation,
    /// Resolution that PDF pages are rendered at; the pool's default where `None`.
    pub dpi: Option<u32>,
    pub password: Option<Password>,
    /// Lines below this confidence are left out.
    pub min_confidence: f32,
    /// When the request ends; work past it is given up.
    pub deadline: Instant,
}

/// How far a page is turned clockwise before it is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Orientation {
    /// As the orientation model says, where it is sure.
    #[default]
    Auto,
    Fixed(Turn),
}

/// A quarter turn, clockwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Turn {
    #[default]
    None,
    Quarter,
    Half,
    ThreeQuarters,
}

/// Reads documents. Cheap to clone; all clones share the networks and the decode processes.
#[derive(Clone)]
pub struct Reader {
    inner: Arc<Inner>,
}

struct Inner {
    model: ModelRef,
}

impl Reader {
    /// The model that reads.
    #[must_use]
    pub fn model(&self) -> &ModelRef {
        &self.inner.model
    }

    /// Opens a document. Cancelling the token ends all work for it within a second.
    ///
    /// # Errors
    /// With the code and message for the client: the document as a whole cannot be read.
    pub async fn open(
        &self,
        bytes: Bytes,
        options: ReadOptions,
        cancel: CancellationToken,
    ) -> Result<DocumentReader, ErrorDetail> {
        let _ = (bytes, options, cancel);
        unimplemented!()
    }
}

/// A document being read. Dropping it ends the work.
pub struct DocumentReader {
    page_count: u32,
}

impl DocumentReader {
    /// Pages in the document, whether they were asked for or not.
    #[must_use]
    pub fn page_count(&self) -> u32 {
        self.page_count
    }

    /// The next page asked for, in order; `None` after the last. A page that fails is a `Page` with its error.
    pub async fn next_page(&mut self) -> Option<Page> {
        None
    }
}
