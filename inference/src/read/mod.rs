//! Documents to pages of text: joins the stages.
//!
//! A document's pages come out in order, while the next is decoded and others are read. What is alive at any time is
//! bounded by the places for pages in work, whatever the number of pages or requests.

mod failure;
#[cfg(test)]
pub(crate) mod fakes;
mod golden;
mod ladder;
mod load;
mod networks;
mod page;
mod pages;
mod places;
mod relieve;
mod self_test;
mod stream;
mod trial;

pub use failure::LoadFailure;
pub use golden::{GoldenError, GoldenSettings};
pub use load::{LoadError, ReaderSettings, load};
pub use networks::{GpuSettings, NetworkSettings, Networks, OpenError};
pub use pages::{PageRanges, PageRangesError};
pub use stream::DocumentReader;
pub use trial::TrialError;

use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use ocr_api::{
    ErrorCode, ErrorDetail, ModelRef,
    manifest::{Cost, Detector, LineOrientation, Memory, Orientation as OrientationModel, PageSize, Recogniser},
    status::GoldenStatus,
};
use tokio::sync::Mutex as AsyncMutex;
use tokio_util::sync::CancellationToken;

use ladder::Ladder;
use networks::OpenNetworks;
use places::Places;

use crate::{
    decode::{DecodeOptions, DecodePool, Password},
    hardware::Pressure,
    meter::{Meter, Purpose, UnitTally},
    models::{Bundle, Dictionary},
    plan::Orientation,
    strategy::{self, PassedOver, Strategy},
};

impl Drop for Inner {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

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
    /// Counts the work that is done for it.
    pub tally: UnitTally,
}

impl ReadOptions {
    /// All of a document, as it is.
    #[must_use]
    pub fn whole(deadline: Instant, purpose: Purpose) -> Self {
        Self {
            pages: None,
            orientation: Orientation::Auto,
            dpi: None,
            password: None,
            min_confidence: 0.0,
            deadline,
            purpose,
            tally: UnitTally::default(),
        }
    }
}

/// Reads documents. Cheap to clone; all clones share the networks and the decode processes.
#[derive(Clone)]
pub struct Reader {
    inner: Arc<Inner>,
}

struct Inner {
    model: ModelRef,
    bundle: Arc<Bundle>,
    page_size: Option<PageSize>,
    detector: Detector,
    recogniser: Recogniser,
    dictionary: Dictionary,
    orientation: Option<OrientationModel>,
    line_orientation: Option<LineOrientation>,
    cost: Cost,
    /// The strategy that was asked for; any where `None`.
    wanted: Option<Strategy>,
    /// Bytes of memory that the process could take when it was loaded, and whether that is a limit.
    available: u64,
    bounded: bool,
    /// Cancelled with the reader.
    ended: CancellationToken,
    open: OpenNetworks,
    golden: GoldenSettings,
    golden_read: Mutex<GoldenStatus>,
    /// Why the ways of computing above the present one are not used.
    passed_over: Mutex<Vec<PassedOver>>,
    /// The networks that read; `None` until some do.
    running: RwLock<Option<Arc<Networks>>>,
    /// How near memory is to its limit. Held while what it asks for is done.
    pressure: Mutex<Pressure>,
    /// Whether no way of computing is left.
    lost: AtomicBool,
    /// The ways of computing that are left. Held while one is tried.
    ladder: AsyncMutex<Ladder>,
    decode: DecodePool,
    /// Places for pages between decoding and answer: what bounds memory.
    places: Arc<Places>,
    limits: Limits,
    meter: Arc<Meter>,
}

/// Bounds of one document.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub dpi: u32,
    pub max_pixels: u64,
    pub max_pages: u32,
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
        self.inner.bundle.bytes()
    }

    /// Most memory in bytes that a process should take with this reader, all places for pages in use; 0 where the bundle
    /// does not say.
    #[must_use]
    pub fn declared_memory(&self) -> u64 {
        let Some(networks) = self.inner.running() else { return 0 };
        let Some(memory) = self.inner.measured(&networks) else { return 0 };
        let further = u64::try_from(self.places() - 1).unwrap_or(u64::MAX);
        u64::from(memory.per_page_mib)
            .saturating_mul(further)
            .saturating_add(memory.peak_mib.into())
            .saturating_mul(1 << 20)
    }

    /// Pages in work at once, at most; at least 1.
    #[must_use]
    pub fn places(&self) -> usize {
        self.inner.places.wanted()
    }

    /// The networks that read now.
    #[must_use]
    pub fn networks(&self) -> Option<Arc<Networks>> {
        self.inner.running()
    }

    /// Whether no way of computing is left: only a new load can help.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.inner.lost.load(Ordering::SeqCst)
    }

    /// The strategy that was asked for; any where `None`.
    #[must_use]
    pub fn wanted(&self) -> Option<Strategy> {
        self.inner.wanted
    }

    /// Why the ways of computing above the present one are not used, best first.
    #[must_use]
    pub fn passed_over(&self) -> Vec<PassedOver> {
        let running = self.inner.running().map(|networks| networks.attempt().candidate.strategy);
        let all = self.inner.passed_over.lock().unwrap_or_else(PoisonError::into_inner);
        let mut above: Vec<PassedOver> =
            all.iter().filter(|one| running.is_none_or(|running| one.strategy <= running)).cloned().collect();
        above.sort_by_key(|one| one.strategy);
        above
    }

    /// How well the golden pages were read.
    #[must_use]
    pub fn golden(&self) -> GoldenStatus {
        self.inner.golden_read.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The decode processes.
    #[must_use]
    pub fn decode_pool(&self) -> &DecodePool {
        &self.inner.decode
    }

    /// What the engine has done so far.
    #[must_use]
    pub fn engine(&self) -> EngineSnapshot {
        let Some(networks) = self.inner.running() else { return EngineSnapshot::default() };
        networks.lanes().fold(EngineSnapshot::default(), |sum, lane| {
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
            is_proof: false,
        };
        let document = self.inner.decode.open(bytes, decode, cancel.clone()).await?;
        let page_count = document.page_count;
        let wanted = match &options.pages {
            None => (0..page_count).collect(),
            Some(ranges) => ranges.select(page_count).map_err(|page| out_of_range(page, page_count))?,
        };
        let way = stream::Way { reader: self.clone(), options, cancel };
        Ok(DocumentReader::start(stream::Job { document, wanted, way }))
    }
}

impl Inner {
    /// What was measured of the strategy that these networks run on.
    fn measured(&self, networks: &Networks) -> Option<&Memory> {
        strategy::of_strategy(&self.bundle.manifest().memory, networks.attempt().candidate.strategy)
    }

    /// Pages in work at once that memory allows with these networks.
    fn places_for(&self, networks: &Networks) -> usize {
        strategy::places(self.measured(networks), self.available, networks.layout().places)
    }

    /// Bytes for decoded pages beside these networks; without a bound where the process has none.
    fn memory_for_pages(&self, networks: &Networks) -> u64 {
        if self.bounded { strategy::page_memory(self.measured(networks), self.available) } else { u64::MAX }
    }

    fn note_golden(&self, read: GoldenStatus) {
        *self.golden_read.lock().unwrap_or_else(PoisonError::into_inner) = read;
    }
}

fn out_of_range(page: u32, page_count: u32) -> ErrorDetail {
    let pages = if page_count == 1 { "1 page".to_owned() } else { format!("{page_count} pages") };
    ErrorDetail::new(
        ErrorCode::PageOutOfRange,
        format!("page {page} was asked for and the document has {pages}; ask for pages from 1 to {page_count}"),
    )
}
