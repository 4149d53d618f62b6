//! The pages of one document, in order, as they are done.

use std::sync::Arc;

use ocr_api::{ErrorCode, ErrorDetail, Page};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    task::JoinHandle,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Inner, ReadOptions, page};
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

/// What is to be read.
pub(super) struct Job {
    pub inner: Arc<Inner>,
    pub document: OpenDocument,
    /// Pages to read, counted from 0.
    pub wanted: Vec<u32>,
    pub options: ReadOptions,
}

/// A page on its way.
struct Pending {
    page_number: u32,
    page: JoinHandle<Page>,
}

impl DocumentReader {
    /// Starts the work; it ends when `cancel` does, or when the reader is dropped.
    pub(super) fn start(job: Job, cancel: &CancellationToken) -> Self {
        let (sender, pages) = mpsc::channel(AHEAD);
        let cancel = cancel.child_token();
        let page_count = job.document.page_count;
        tokio::spawn(decode_pages(job, cancel.clone(), sender));
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
async fn decode_pages(job: Job, cancel: CancellationToken, sender: mpsc::Sender<Pending>) {
    let Job { inner, mut document, wanted, options } = job;
    for index in wanted {
        let pending = async {
            let slot = sender.reserve().await.ok()?;
            let waiting = std::time::Instant::now();
            let place = Arc::clone(&inner.places).acquire_owned().await.ok()?;
            inner.meter.stage(options.purpose, Stage::Queue, waiting.elapsed());
            let decoding = std::time::Instant::now();
            let decoded = document.page(index).await;
            inner.meter.stage(options.purpose, Stage::Decode, decoding.elapsed());
            Some((slot, place, decoded))
        };
        let Some(Some((slot, place, decoded))) = cancel.run_until_cancelled(pending).await else { return };
        let page_number = index + 1;
        let (inner, cancel, options) = (Arc::clone(&inner), cancel.clone(), options.clone());
        let work = async move {
            let _place: OwnedSemaphorePermit = place;
            match decoded {
                Ok(decoded) => page::read(&inner, decoded, page_number, &options, &cancel).await,
                Err(error) => page::failed(page_number, error, 0),
            }
        };
        slot.send(Pending { page_number, page: tokio::spawn(work) });
    }
}
