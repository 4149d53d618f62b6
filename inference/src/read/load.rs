//! Opens everything that a reader needs, and proves it by reading.

use std::{path::PathBuf, sync::Arc};

use ocr_api::{
    LoadStage, ModelRef,
    manifest::{Memory, Recogniser},
};
use tokio::{runtime::Handle, sync::Semaphore};

use super::{Inner, Lanes, Limits, Reader, Strategy, self_test};
use crate::{
    decode::{DecodePool, PoolSettings},
    engine::{BatchLimits, BatchRun, Engine, EngineError, Lane, LaneSettings, OnnxRuntime, OnnxSettings},
    meter::Meter,
    models::{Bundle, BundleError, UnsupportedLanguage, open_model},
};

/// Lines of a batch together are at most this many numbers: one line of 1,024 pixels, 48 high, in three colours, or three
/// of 320. On a CPU longer batches take no less time a line, and memory in proportion: a PDF of 12 pages took 468 MB at
/// 1.9 s a page with six times this, and 314 MB at 1.6 s with this.
const BATCH_ELEMENTS: usize = 3 * 48 * 1024;
/// Lines that wait in front of a network: every place for a page may have some chunks of lines there.
const LANE_CAPACITY: usize = 4096;

/// What networks are run on, as manifests name it.
const STRATEGY: &str = "cpu";

/// What a reader is made of.
#[derive(Clone, Debug)]
pub struct ReaderSettings {
    /// Name of the model bundle, or the path of its folder.
    pub model: String,
    /// Folder of the bundles that are known by name.
    pub bundles: PathBuf,
    /// Languages that must be readable, as BCP 47 tags.
    pub languages: Vec<String>,
    /// ONNX Runtime's library.
    pub onnxruntime: PathBuf,
    /// Threads to compute with; at least 1.
    pub threads: usize,
    /// Most lines recognised together; the bundle's own number where that is lower.
    pub batch_size: usize,
    /// Ask the bundle's classifier about every line's direction. Lowers accuracy on upright pages.
    pub line_orientation: bool,
    /// Pages that may be in work at the same time.
    pub places: usize,
    /// Memory in bytes that the process may take; `None` where there is no limit.
    pub memory_limit: Option<u64>,
    pub limits: Limits,
    pub decode: PoolSettings,
}

/// Why a reader could not be loaded. None of these is remembered: the next attempt starts afresh.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Language(#[from] UnsupportedLanguage),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(
        "the model needs {need_mib} MiB and the memory limit is {limit_mib} MiB; raise the limit or take a smaller model"
    )]
    Memory { need_mib: u64, limit_mib: u64 },
    #[error("cannot start the decode processes: {0}")]
    Decode(String),
    #[error("the self-test failed: {0}")]
    SelfTest(String),
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
    stage: &dyn Fn(LoadStage),
) -> Result<Reader, LoadError> {
    stage(LoadStage::Verify);
    let bundle = open_model(&settings.model, &settings.bundles)?;
    let chosen = bundle.recogniser_for(&settings.languages)?;
    let (recogniser, dictionary) = (chosen.parameters.clone(), chosen.dictionary.clone());

    let memory = bundle.manifest().memory.get(STRATEGY).copied();
    fits(memory, settings.memory_limit)?;

    stage(LoadStage::Start);
    let decode = runtime
        .block_on(DecodePool::start(settings.decode.clone()))
        .map_err(|error| LoadError::Decode(error.to_string()))?;

    stage(LoadStage::Open);
    let lanes = lanes(settings, &bundle, &recogniser, meter)?;
    let manifest = bundle.manifest();
    let places = settings.places.max(1);
    let reader = Reader {
        inner: Arc::new(Inner {
            model: ModelRef {
                name: manifest.name.clone(),
                version: manifest.version.clone(),
                digest: format!("sha256:{}", bundle.digest()),
            },
            bundle_bytes: bundle.bytes(),
            memory,
            page_size: manifest.page_size,
            detector: manifest.detector.clone(),
            recogniser,
            dictionary,
            orientation: manifest.orientation.clone(),
            line_orientation: manifest.line_orientation.clone().filter(|_| settings.line_orientation),
            cost: manifest.cost,
            strategy: Strategy {
                name: STRATEGY,
                execution_provider: "CPUExecutionProvider",
                precision: "fp32",
                runtime: OnnxRuntime::build(),
                detect_threads: settings.threads,
                recognise_threads: lanes.recognise.threads(),
            },
            lanes,
            decode,
            places: Arc::new(Semaphore::new(places)),
            place_count: places,
            limits: settings.limits,
            meter: Arc::clone(meter),
        }),
    };

    stage(LoadStage::WarmUp);
    runtime.block_on(self_test::run(&reader)).map_err(LoadError::SelfTest)?;
    stage(LoadStage::Ready);
    Ok(reader)
}

/// Refuses a model that would be killed for its memory at the first page. `limit` is in bytes.
fn fits(memory: Option<Memory>, limit: Option<u64>) -> Result<(), LoadError> {
    let (Some(memory), Some(limit)) = (memory, limit) else { return Ok(()) };
    let (need_mib, limit_mib) = (u64::from(memory.peak_mib), limit >> 20);
    if limit_mib < need_mib { Err(LoadError::Memory { need_mib, limit_mib }) } else { Ok(()) }
}

/// Opens every network on its own threads.
///
/// The detector shares each run between all threads, since a page has one; lines are many, so every thread reads some of
/// its own. The two stages of one page take turns, and those of several pages fill each other's gaps.
fn lanes(
    settings: &ReaderSettings,
    bundle: &Bundle,
    recogniser: &Recogniser,
    meter: &Arc<Meter>,
) -> Result<Lanes, LoadError> {
    let runtime = OnnxRuntime::load(&settings.onnxruntime)?;
    let manifest = bundle.manifest();
    let threads = settings.threads.max(1);
    let start =
        |network: &'static str, path: PathBuf, lane_threads: usize, run_threads: usize, items: usize, shrink: bool| {
            let open = (0..lane_threads).map(|_| {
                let (runtime, path) = (runtime.clone(), path.clone());
                move || {
                    let settings = OnnxSettings { network, path, threads: run_threads, shrink };
                    runtime.open(settings).map(|engine| Box::new(engine) as Box<dyn Engine>)
                }
            });
            let meter = Arc::clone(meter);
            let on_batch = move |batch: BatchRun| {
                meter.engine_progress();
                meter.busy(batch.serving());
                if network == "recognise" && batch.for_clients > 0 {
                    meter.batch(batch.items);
                }
            };
            let limits = BatchLimits { items: items.max(1), elements: BATCH_ELEMENTS };
            let lane = LaneSettings { name: network, limits, capacity: LANE_CAPACITY };
            Lane::start(lane, open.collect(), Arc::new(on_batch))
        };
    let items = settings.batch_size.min(recogniser.batch as usize);
    Ok(Lanes {
        detect: start("detect", bundle.path(&manifest.detector.file), 1, threads, 1, true)?,
        recognise: start("recognise", bundle.path(&recogniser.file), threads, 1, items, false)?,
        orientation: manifest
            .orientation
            .as_ref()
            .map(|model| start("orientation", bundle.path(&model.file), 1, 1, 1, false))
            .transpose()?,
        line_orientation: manifest
            .line_orientation
            .as_ref()
            .filter(|_| settings.line_orientation)
            .map(|model| start("line-orientation", bundle.path(&model.file), 1, 1, items, false))
            .transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_larger_than_the_limit_is_refused_with_both_numbers() {
        let memory = Some(Memory { idle_mib: 100, peak_mib: 300, per_page_mib: 20 });
        let error = fits(memory, Some((300 << 20) - 1)).unwrap_err().to_string();
        assert!(error.contains("300 MiB") && error.contains("299 MiB"), "{error}");
        assert!(fits(memory, Some(300 << 20)).is_ok());
        assert!(fits(memory, None).is_ok() && fits(None, Some(1)).is_ok());
    }
}
