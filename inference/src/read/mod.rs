//! Documents to pages of text: joins the stages.
//!
//! A document's pages come out in order, while the next is decoded and others are read. What is alive at any time is
//! bounded by the places for pages in work, whatever the number of pages or requests.

mod document;
mod load;
mod page;
mod pages;
mod self_test;
mod stream;
#[cfg(test)]
pub(crate) mod testing;

pub use document::document_from_pages;
pub use load::{LoadError, ReaderSettings, load};
pub use pages::{PageRanges, PageRangesError};
pub use stream::DocumentReader;

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use ocr_api::{
    ErrorCode, ErrorDetail, ModelRef,
    manifest::{Cost, Detector, LineOrientation, Memory, Orientation as OrientationModel, PageSize, Recogniser},
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    decode::{DecodeOptions, DecodePool, Password},
    engine::Lane,
    meter::{Meter, Purpose},
    models::Dictionary,
    plan::Orientation,
};

/// How a document is to be read.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// The pages wanted; all where `None`.
    pub pages: Option<PageRanges>,
    pub orientation: Orientation,
    /// Resolution that PDF pages are rendered at; the reader's own default where `None`.
    pub dpi: Option<u32>,
    pub password: Option<Password>,
    /// Lines below this confidence are left out.
    pub min_confidence: f32,
    /// When the request ends; work past it is given up.
    pub deadline: Instant,
    pub purpose: Purpose,
}

/// Reads documents. Cheap to clone; all clones share the networks and the decode processes.
#[derive(Clone)]
pub struct Reader {
    inner: Arc<Inner>,
}

struct Inner {
    model: ModelRef,
    bundle_bytes: u64,
    memory: Option<Memory>,
    page_size: Option<PageSize>,
    detector: Detector,
    recogniser: Recogniser,
    dictionary: Dictionary,
    orientation: Option<OrientationModel>,
    line_orientation: Option<LineOrientation>,
    cost: Cost,
    lanes: Lanes,
    decode: DecodePool,
    /// Places for pages between decoding and answer: what bounds memory.
    places: Arc<Semaphore>,
    /// At least 1.
    place_count: usize,
    limits: Limits,
    meter: Arc<Meter>,
    strategy: Strategy,
}

/// The networks, each behind its queue.
struct Lanes {
    detect: Lane,
    recognise: Lane,
    orientation: Option<Lane>,
    line_orientation: Option<Lane>,
}

/// Bounds of one document.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub dpi: u32,
    pub max_pixels: u64,
    pub max_pages: u32,
}

/// What the networks run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strategy {
    pub name: &'static str,
    pub execution_provider: &'static str,
    pub precision: &'static str,
    /// Which build of ONNX Runtime, in its own words.
    pub runtime: String,
    pub detect_threads: usize,
    pub recognise_threads: usize,
}

/// What the engine has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EngineSnapshot {
    /// Runs of any network that ended. While there is work, this grows; where it does not, something is stuck.
    pub runs: u64,
    /// Items that wait in front of a network.
    pub queued: usize,
    /// Threads in a network now.
    pub running: usize,
    /// Time spent in networks, summed over threads.
    pub busy: Duration,
}

impl Reader {
    /// The model that reads.
    #[must_use]
    pub fn model(&self) -> &ModelRef {
        &self.inner.model
    }

    /// The recogniser in use, by its name in the bundle.
    #[must_use]
    pub fn recogniser(&self) -> &str {
        &self.inner.recogniser.name
    }

    /// Bytes of the bundle's files.
    #[must_use]
    pub fn bundle_bytes(&self) -> u64 {
        self.inner.bundle_bytes
    }

    /// Most memory in bytes that a process should take with this reader, all places for pages in use; 0 where the bundle
    /// does not say.
    #[must_use]
    pub fn declared_memory(&self) -> u64 {
        let Some(Memory { peak_mib, per_page_mib, .. }) = self.inner.memory else { return 0 };
        let further = u64::try_from(self.inner.place_count - 1).unwrap_or(u64::MAX);
        u64::from(per_page_mib).saturating_mul(further).saturating_add(peak_mib.into()).saturating_mul(1 << 20)
    }

    /// What the networks run on.
    #[must_use]
    pub fn strategy(&self) -> &Strategy {
        &self.inner.strategy
    }

    /// The decode processes.
    #[must_use]
    pub fn decode_pool(&self) -> &DecodePool {
        &self.inner.decode
    }

    /// What the engine has done so far.
    #[must_use]
    pub fn engine(&self) -> EngineSnapshot {
        let lanes = &self.inner.lanes;
        let all =
            [Some(&lanes.detect), Some(&lanes.recognise), lanes.orientation.as_ref(), lanes.line_orientation.as_ref()];
        all.into_iter().flatten().fold(EngineSnapshot::default(), |sum, lane| {
            let stats = lane.stats();
            EngineSnapshot {
                runs: sum.runs + stats.runs.load(Ordering::Relaxed),
                queued: sum.queued + stats.queued.load(Ordering::Relaxed),
                running: sum.running + stats.running.load(Ordering::Relaxed),
                busy: sum.busy + Duration::from_nanos(stats.busy_nanos.load(Ordering::Relaxed)),
            }
        })
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
        let limits = self.inner.limits;
        let decode = DecodeOptions {
            password: options.password.clone(),
            dpi: options.dpi.unwrap_or(limits.dpi),
            max_pixels: limits.max_pixels,
            max_pages: limits.max_pages,
            deadline: options.deadline,
        };
        let document = self.inner.decode.open(bytes, decode, cancel.clone()).await?;
        let page_count = document.page_count;
        let wanted = match &options.pages {
            None => (0..page_count).collect(),
            Some(ranges) => ranges.select(page_count).map_err(|page| out_of_range(page, page_count))?,
        };
        let job = stream::Job { inner: Arc::clone(&self.inner), document, wanted, options };
        Ok(DocumentReader::start(job, &cancel))
    }
}

fn out_of_range(page: u32, page_count: u32) -> ErrorDetail {
    let pages = if page_count == 1 { "1 page".to_owned() } else { format!("{page_count} pages") };
    ErrorDetail::new(
        ErrorCode::PageOutOfRange,
        format!("page {page} was asked for and the document has {pages}; ask for pages from 1 to {page_count}"),
    )
}
