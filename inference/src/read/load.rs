//! Opens everything that a reader needs, and proves it by reading.

use std::{path::PathBuf, sync::Arc};

use ocr_api::{LoadStage, Manifest, ModelRef, manifest::Recogniser};
use tokio::{runtime::Handle, sync::Mutex as AsyncMutex};
use tokio_util::sync::CancellationToken;

use super::{
    Inner, Limits, Reader,
    golden::{self, GoldenError, GoldenSettings},
    ladder::{Ladder, Unfit},
    networks::{NetworkSettings, Networks, OpenError, OpenNetworks},
    places::Places,
    trial::TrialError,
};
use crate::{
    decode::{DecodePool, PageMemory, PoolSettings},
    hardware::Machine,
    meter::Meter,
    models::{Bundle, BundleError, Dictionary, UnsupportedLanguage, open_model},
    strategy::{
        Choice, Libraries, Needs, PassedOver, Reason, Refusal, Strategy, Wishes, choose, layout, of_strategy,
        page_memory,
    },
};

/// Bytes that our own pages take at least, whatever is left.
const PROOF_PAGES: u64 = 16 << 20;

/// What a reader is made of.
#[derive(Clone, Debug)]
pub struct ReaderSettings {
    /// Name of the model bundle, or the path of its folder.
    pub model: String,
    /// Folder of the bundles that are known by name.
    pub bundles: PathBuf,
    /// Languages that must be readable, as BCP 47 tags.
    pub languages: Vec<String>,
    pub networks: NetworkSettings,
    /// What there is to compute with.
    pub machine: Machine,
    /// Which way of computing is asked for.
    pub wishes: Wishes,
    /// Compute with 8-bit integers where the CPU does that fast and the golden pages are read as well.
    pub int8: bool,
    pub golden: GoldenSettings,
    pub limits: Limits,
    pub decode: PoolSettings,
    /// Decode processes kept ready; `None` leaves it to the strategy.
    pub decode_processes: Option<usize>,
}

/// Why a reader could not be loaded. None of these is remembered: the next attempt starts afresh.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Language(#[from] UnsupportedLanguage),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Memory(#[from] Refusal),
    #[error("cannot start the decode processes: {0}; raise the limit on processes, or lower --decode-processes")]
    Decode(String),
    #[error("the self-test failed: {0}; use an image or assets whose parts are of one version")]
    SelfTest(TrialError),
    #[error(transparent)]
    Golden(GoldenError),
    #[error("{0}")]
    Strategy(String),
    #[error("no way of computing is left: `ocr hardware` says why each was passed over")]
    NoStrategy,
}

impl From<Unfit> for LoadError {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Open(error) => Self::Open(error),
            Unfit::SelfTest(error) => Self::SelfTest(error),
            Unfit::Golden(error) => Self::Golden(error),
            unfit @ Unfit::Elsewhere { .. } => Self::Strategy(unfit.to_string()),
        }
    }
}

/// What a reader is put together from.
pub(super) struct Parts {
    pub bundle: Arc<Bundle>,
    pub recogniser: Recogniser,
    pub dictionary: Dictionary,
    pub choice: Choice,
    pub decode: DecodePool,
    pub open: OpenNetworks,
}

/// Loads a reader and reads its warm-up pages. Blocks: call it from a thread of its own, with a handle to the runtime
/// that the decode processes live on.
///
/// # Errors
/// With what was needed, what was found and what to do.
pub fn load(
    settings: &ReaderSettings,
    meter: &Arc<Meter>,
    runtime: &Handle,
    stage: &(dyn Fn(LoadStage) + Sync),
) -> Result<Reader, LoadError> {
    stage(LoadStage::Verify);
    let bundle = Arc::new(open_model(&settings.model, &settings.bundles)?);
    let chosen = bundle.recogniser_for(&settings.languages)?;
    let (recogniser, dictionary) = (chosen.parameters.clone(), chosen.dictionary.clone());
    let libraries = Libraries::of(&settings.networks.onnxruntime);
    let choice = choose(&settings.machine, &settings.wishes, libraries, &Needs::of(&bundle.manifest().memory))?;

    stage(LoadStage::Start);
    let best = choice.candidates.first().map(|one| layout(one.strategy, settings.networks.threads));
    let ready = settings.decode_processes.or(best.map(|layout| layout.decode_processes)).unwrap_or(1);
    let memory = PageMemory::new(memory_for_pages(settings, bundle.manifest(), &choice));
    let decode = runtime
        .block_on(DecodePool::start(PoolSettings { ready, memory, ..settings.decode.clone() }))
        .map_err(|error| LoadError::Decode(error.to_string()))?;
    let open: OpenNetworks = {
        let (networks, bundle) = (settings.networks.clone(), Arc::clone(&bundle));
        let (recogniser, meter) = (recogniser.clone(), Arc::clone(meter));
        Box::new(move |attempt| Networks::open(&networks, &bundle, &recogniser, attempt, &meter))
    };
    let parts = Parts { bundle, recogniser, dictionary, choice, decode, open };
    runtime.block_on(start(settings, parts, meter, stage))
}

/// Puts a reader together and proves it by reading.
///
/// # Errors
/// As [`load`].
pub(super) async fn start(
    settings: &ReaderSettings,
    parts: Parts,
    meter: &Arc<Meter>,
    stage: &(dyn Fn(LoadStage) + Sync),
) -> Result<Reader, LoadError> {
    stage(LoadStage::Open);
    let Parts { bundle, recogniser, dictionary, choice, decode, open } = parts;
    note_passed_over(&choice, settings.wishes.strategy, meter);
    let int8 = settings.int8 && settings.machine.cpu.has_vnni() && recogniser.int8.is_some();
    let mut ladder = Ladder::new(&choice, int8);
    let manifest = bundle.manifest().clone();
    let reader = Reader {
        inner: Arc::new(Inner {
            model: ModelRef {
                name: manifest.name,
                version: manifest.version,
                digest: format!("sha256:{}", bundle.digest()),
            },
            bundle,
            page_size: manifest.page_size,
            detector: manifest.detector,
            recogniser,
            dictionary,
            orientation: manifest.orientation,
            line_orientation: manifest.line_orientation.filter(|_| settings.networks.line_orientation),
            cost: manifest.cost,
            wanted: settings.wishes.strategy,
            available: settings.machine.memory.available,
            bounded: settings.machine.memory.limit.is_some(),
            ended: CancellationToken::new(),
            open,
            golden: settings.golden.clone(),
            golden_read: std::sync::Mutex::default(),
            passed_over: std::sync::Mutex::new(choice.passed_over),
            running: std::sync::RwLock::default(),
            pressure: std::sync::Mutex::default(),
            lost: std::sync::atomic::AtomicBool::new(false),
            ladder: AsyncMutex::default(),
            decode,
            places: Places::new(1),
            limits: settings.limits,
            meter: Arc::clone(meter),
        }),
    };
    golden::check(&reader.inner).await.map_err(LoadError::Golden)?;
    let networks = reader.climb_down(&mut ladder, &|| stage(LoadStage::WarmUp)).await?;
    reader.inner.set_running(networks);
    *reader.inner.ladder.lock().await = ladder;
    reader.make_room_for_pages();
    stage(LoadStage::Ready);
    Ok(reader)
}

/// Logs and counts the strategies that are not worth a try here. One that nobody asked for is no news.
fn note_passed_over(choice: &Choice, wanted: Option<Strategy>, meter: &Meter) {
    for PassedOver { strategy, reason, message } in &choice.passed_over {
        let why = reason.as_str();
        if *reason != Reason::NotAskedFor {
            meter.passed_over(why);
        }
        if Some(*strategy) == wanted {
            tracing::warn!(%strategy, reason = why, message, "the strategy that is wanted is passed over");
        } else if *reason != Reason::NotAskedFor {
            tracing::info!(%strategy, reason = why, message, "strategy passed over");
        }
    }
}

/// Memory for decoded pages, in bytes; no bound where the process has none.
fn memory_for_pages(settings: &ReaderSettings, manifest: &Manifest, choice: &Choice) -> Option<u64> {
    let memory = &settings.machine.memory;
    memory.limit?;
    // The last strategy takes least: a page that fits beside it is worth a step down.
    let least = choice.candidates.last()?;
    Some(page_memory(of_strategy(&manifest.memory, least.strategy), memory.available).max(PROOF_PAGES))
}
