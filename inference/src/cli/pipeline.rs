//! Settings to a reader: what `ocr read` and `ocr serve` share.

use std::{path::Path, sync::Arc};

use ocr_api::status::{EngineStatus, ModelStatus, SandboxStatus};
use tokio::runtime::Handle;

use crate::{
    decode::PoolSettings,
    hardware,
    meter::Meter,
    read::{self, Limits, Reader, ReaderSettings},
    serve::{Backend, LoadError, Loader, Machine, Progress, ReaderBackend},
    settings::{Assets, AssetsError, INSTALLED, PipelineSettings, ServeSettings},
};

/// Fewest pages in work: while one is in the networks, the next is decoded.
const MIN_PLACES: usize = 2;

/// What a reader is made of, from what was set.
///
/// # Errors
/// Where the folders with models and libraries were not found.
pub fn reader_settings(
    settings: &PipelineSettings,
    max_body_bytes: u64,
    documents: usize,
) -> Result<ReaderSettings, AssetsError> {
    let Assets { bundles, onnxruntime, pdfium, fonts } = settings.assets.resolve()?;
    let threads = settings.engine.thread_count();
    let document = settings.document;
    let ready = match settings.decode.decode_processes {
        0 => threads,
        set => usize::from(set),
    };
    Ok(ReaderSettings {
        model: settings.model.model.clone(),
        bundles,
        languages: settings.model.languages.clone(),
        onnxruntime,
        threads,
        batch_size: if settings.engine.batching { usize::from(settings.engine.batch_size) } else { 1 },
        line_orientation: settings.model.line_orientation,
        places: threads.max(MIN_PLACES),
        memory_limit: memory_limit(),
        limits: Limits { dpi: document.dpi, max_pixels: document.max_pixels, max_pages: document.max_pages },
        decode: PoolSettings {
            pdfium: Some(pdfium),
            fonts: Some(fonts),
            ready,
            open: documents,
            // Every request that is let in finds its place: the server bounds them.
            waiting: documents,
            documents_per_process: settings.decode.decode_documents,
            max_body_bytes,
            max_pixels: document.max_pixels,
            ..PoolSettings::default()
        },
    })
}

/// Loads the pipeline for the server.
pub struct PipelineLoader {
    pipeline: PipelineSettings,
    max_body_bytes: u64,
    documents: usize,
}

impl PipelineLoader {
    /// A loader for these settings; it reads nothing before it is asked to load.
    #[must_use]
    pub fn new(settings: &ServeSettings) -> Self {
        let threads = settings.pipeline.engine.thread_count();
        Self {
            pipeline: settings.pipeline.clone(),
            max_body_bytes: settings.limits.max_body,
            documents: settings.limits.concurrency(threads),
        }
    }
}

impl Loader for PipelineLoader {
    fn load(&self, progress: &Progress, meter: &Arc<Meter>) -> Result<Arc<dyn Backend>, LoadError> {
        let failed = |error: &dyn std::error::Error| LoadError::Failed(error.to_string());
        let settings =
            reader_settings(&self.pipeline, self.max_body_bytes, self.documents).map_err(|error| failed(&error))?;
        let reader =
            read::load(&settings, meter, &Handle::current(), &|stage| progress.stage(stage)).map_err(|error| {
                match error {
                    read::LoadError::Memory { need_mib, limit_mib } => LoadError::OutOfMemory { need_mib, limit_mib },
                    error => failed(&error),
                }
            })?;
        let model = ModelStatus {
            model: reader.model().clone(),
            source: source(&settings.model, &settings.bundles).to_owned(),
            bytes: reader.bundle_bytes(),
            memory_bytes: reader.declared_memory(),
            recogniser: reader.recogniser().to_owned(),
            languages: settings.languages,
        };
        let looked_at = reader.clone();
        Ok(Arc::new(ReaderBackend::new(reader, model, Box::new(move || look(&looked_at)))))
    }

    fn machine(&self) -> Machine {
        Machine {
            hardware: hardware::detect(usize::from(self.pipeline.engine.threads)),
            memory_limit_bytes: memory_limit(),
        }
    }
}

fn memory_limit() -> Option<u64> {
    hardware::cgroup_limits(Path::new("/proc"), Path::new("/sys/fs/cgroup")).memory_bytes
}

/// Where a bundle came from: named by its path, baked into the image, or from a folder of assets.
fn source(model: &str, bundles: &Path) -> &'static str {
    match (model.contains('/'), bundles.starts_with(INSTALLED)) {
        (true, _) => "path",
        (false, true) => "image",
        (false, false) => "assets",
    }
}

fn look(reader: &Reader) -> (EngineStatus, SandboxStatus) {
    let strategy = reader.strategy();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let engine = EngineStatus {
        strategy: strategy.name.to_owned(),
        execution_provider: strategy.execution_provider.to_owned(),
        precision: strategy.precision.to_owned(),
        runtime: strategy.runtime.clone(),
        detect_threads: count(strategy.detect_threads),
        recognise_threads: count(strategy.recognise_threads),
        queued: reader.engine().queued as u64,
    };
    let (hello, stats) = (reader.decode_pool().hello(), reader.decode_pool().stats());
    let sandbox = SandboxStatus {
        landlock_abi: hello.landlock_abi.unwrap_or(0),
        seccomp: hello.seccomp,
        processes: count(stats.alive()),
        deaths: stats.deaths(),
        deaths_by_cause: stats.deaths_by_cause().map(|(cause, deaths)| (cause.as_str().to_owned(), deaths)).collect(),
    };
    (engine, sandbox)
}
