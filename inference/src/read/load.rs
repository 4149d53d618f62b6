//! Opens everything that a reader needs, and proves it by reading.

use std::{path::PathBuf, sync::Arc};

use ocr_api::{LoadStage, Manifest, ModelRef};
use tokio::{runtime::Handle, sync::Mutex as AsyncMutex};
use tokio_util::sync::CancellationToken;

use super::{
    Inner, Limits, Reader,
    golden::{self, GoldenError, GoldenSettings},
    ladder::{Ladder, Unfit},
    networks::{NetworkSettings, OpenError},
    places::Places,
};
use crate::{
    decode::{DecodePool, PageMemory, PoolSettings},
    hardware::Machine,
    meter::Meter,
    models::{BundleError, UnsupportedLanguage, open_model},
    strategy::{Choice, Libraries, Needs, Refusal, Wishes, choose, layout, of_strategy, page_memory},
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
    Open(OpenError),
    #[error(transparent)]
    Memory(#[from] Refusal),
    #[error("cannot start the decode processes: {0}")]
    Decode(String),
    #[error("the self-test failed: {0}")]
    SelfTest(String),
    #[error(transparent)]
    Golden(GoldenError),
    #[error("{0}")]
    Strategy(String),
    #[error("no strategy is left")]
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
    let bundle = open_model(&settings.model, &settings.bundles)?;
    let chosen = bundle.recogniser_for(&settings.languages)?;
    let (recogniser, dictionary) = (chosen.parameters.clone(), chosen.dictionary.clone());
    let manifest = bundle.manifest().clone();
    if let Some(folder) = &settings.golden.folder {
        // No way of computing is to blame for pages that cannot be used.
        golden::pages_of(folder).map_err(LoadError::Golden)?;
    }
    let libraries = Libraries::of(&settings.networks.onnxruntime);
    let choice = choose(&settings.machine, &settings.wishes, libraries, &Needs::of(&manifest.memory))?;
    for passed in choice.passed_over.iter().filter(|passed| Some(passed.strategy) == settings.wishes.strategy) {
        let (strategy, reason) = (passed.strategy, passed.reason.as_str());
        tracing::warn!(%strategy, reason, message = passed.message, "the strategy that is wanted is passed over");
    }
    let int8 = settings.int8 && settings.machine.cpu.has_vnni() && recogniser.int8.is_some();
    let mut ladder = Ladder::new(&choice, int8);

    stage(LoadStage::Start);
    let best = choice.candidates.first().map(|one| layout(one.strategy, settings.networks.threads));
    let ready = settings.decode_processes.or(best.map(|layout| layout.decode_processes)).unwrap_or(1);
    let memory = PageMemory::new(memory_for_pages(settings, &manifest, &choice));
    let decode = runtime
        .block_on(DecodePool::start(PoolSettings { ready, memory, ..settings.decode.clone() }))
        .map_err(|error| LoadError::Decode(error.to_string()))?;

    stage(LoadStage::Open);
    let reader = Reader {
        inner: Arc::new(Inner {
            model: ModelRef {
                name: manifest.name.clone(),
                version: manifest.version.clone(),
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
            networks: settings.networks.clone(),
            golden: settings.golden.clone(),
            golden_read: std::sync::Mutex::default(),
            passed_over: std::sync::Mutex::new(choice.passed_over),
            running: std::sync::RwLock::default(),
            lost: std::sync::atomic::AtomicBool::new(false),
            ladder: AsyncMutex::default(),
            decode,
            places: Places::new(1),
            limits: settings.limits,
            meter: Arc::clone(meter),
        }),
    };
    let networks = runtime.block_on(reader.climb_down(&mut ladder, &|| stage(LoadStage::WarmUp)))?;
    reader.inner.set_running(networks);
    *runtime.block_on(reader.inner.ladder.lock()) = ladder;
    let _entered = runtime.enter();
    reader.make_room_for_pages();
    stage(LoadStage::Ready);
    Ok(reader)
}

/// Memory for decoded pages, in bytes; no bound where the process has none.
fn memory_for_pages(settings: &ReaderSettings, manifest: &Manifest, choice: &Choice) -> Option<u64> {
    let memory = &settings.machine.memory;
    memory.limit?;
    // The last strategy takes least: a page that fits beside it is worth a step down.
    let least = choice.candidates.last()?;
    Some(page_memory(of_strategy(&manifest.memory, least.strategy), memory.available).max(PROOF_PAGES))
}
