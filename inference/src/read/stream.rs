//! The pages of one document, in order, as they are done.

use std::sync::Arc;

use ocr_api::{ErrorCode, ErrorDetail, Page};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{ReadOptions, Reader, page, places::Place};
use crate::{decode::OpenDocument, meter::Stage};

/// Pages of one document that are begun beside the one that is waited for, so that a slow reader holds back the work. One
/// is as fast as two (1.71 s a page on two cores), and a page in work takes 5 MB.
const AHEAD: usize = 1;

/// A document being read. Dropping it ends the work.
pub struct DocumentReader {
    page_count: u32,
    pages: mpsc::Receiver<Pending>,
    cancel: CancellationToken,
    _end: DropGuard,
}

/// What is to be read, and how.
pub(super) struct Job {
    pub document: OpenDocument,
    /// Pages to read, counted from 0.
    pub wanted: Vec<u32>,
    pub way: Way,
}

/// How pages are read.
#[derive(Clone)]
pub(super) struct Way {
    pub reader: Reader,
    pub options: ReadOptions,
    pub cancel: CancellationToken,
}

/// A page on its way.
struct Pending {
    page_number: u32,
    page: JoinHandle<Page>,
}

impl DocumentReader {
    /// Starts the work; it ends when the job is cancelled, or when the reader is dropped.
    pub(super) fn start(mut job: Job) -> Self {
        let (sender, pages) = mpsc::channel(AHEAD);
        let cancel = job.way.cancel.child_token();
        job.way.cancel = cancel.clone();
        let page_count = job.document.page_count;
        tokio::spawn(decode_pages(job, sender));
        Self { page_count, pages, cancel: cancel.clone(), _end: cancel.drop_guard() }
    }

    /// Pages in the document, whether they were asked for or not.
    #[must_use]
    pub fn page_count(&self) -> u32 {
        self.page_count
    }

    /// The next page asked for, in order; `None` after the last. A page that fails is a `Page` with its error. After the
    /// work was cancelled no page comes any more.
    pub async fn next_page(&mut self) -> Option<Page> {
        let pending = self.cancel.run_until_cancelled(self.pages.recv()).await??;
        match self.cancel.run_until_cancelled(pending.page).await? {
            Ok(page) => Some(page),
            Err(error) => {
                tracing::error!(%error, "a page's task panicked");
                let detail =
                    ErrorDetail::new(ErrorCode::Internal, "the page met a fault of ours; send it again, and report it");
                Some(page::failed(pending.page_number, detail, 0))
            }
        }
    }
}

/// Decodes page after page and starts a task for each, as places come free.
async fn decode_pages(job: Job, sender: mpsc::Sender<Pending>) {
    let Job { mut document, wanted, way } = job;
    let (inner, purpose) = (Arc::clone(&way.reader.inner), way.options.purpose);
    for index in wanted {
        let pending = async {
            let slot = sender.reserve().await.ok()?;
            let decoding = std::time::Instant::now();
            // First its memory, then its place: whoever has a place waits for nothing that others hold.
            let decoded = document.page(index).await;
            inner.meter.stage(purpose, Stage::Decode, decoding.elapsed());
            let waiting = std::time::Instant::now();
            let place = inner.places.take().await?;
            inner.meter.stage(purpose, Stage::Queue, waiting.elapsed());
            Some((slot, place, decoded))
        };
        let Some(Some((slot, place, decoded))) = way.cancel.run_until_cancelled(pending).await else { return };
        let page_number = index + 1;
        let way = way.clone();
        let work = async move {
            let _place: Place = place;
            match decoded {
                Ok(decoded) => page::read(&way, decoded, page_number).await,
                Err(error) => page::failed(page_number, error, 0),
            }
        };
        slot.send(Pending { page_number, page: tokio::spawn(work) });
    }
}
