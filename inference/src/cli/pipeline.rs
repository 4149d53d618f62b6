//! Settings to a reader: what `ocr read` and `ocr serve` share.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
    time::Instant,
};

use ocr_api::status::{self, EngineStatus, ModelStatus, SandboxStatus};
use tokio::runtime::Handle;

use crate::{
    decode::PoolSettings,
    hardware::{self, Driver, Gpu, LatestGpus, Machine},
    meter::Meter,
    read::{self, GoldenSettings, GpuSettings, Limits, LoadFailure, NetworkSettings, Networks, Reader, ReaderSettings},
    serve::{Backend, LoadError, Loader, Progress, ReaderBackend},
    settings::{Assets, AssetsError, INSTALLED, PipelineSettings, ServeSettings},
    strategy::Strategy,
};

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
    let engine = &settings.engine;
    let machine = hardware::look(&engine.strategy.nvml, usize::from(engine.threads));
    let document = settings.document;
    let set = |number: u16| (number > 0).then(|| usize::from(number));
    Ok(ReaderSettings {
        model: settings.model.model.clone(),
        bundles,
        languages: settings.model.languages.clone(),
        networks: NetworkSettings {
            onnxruntime,
            threads: machine.cpu.threads,
            batch_size: if engine.batching { set(engine.batch_size) } else { Some(1) },
            shapes: engine.input_shapes,
            line_orientation: settings.model.line_orientation,
            idle_unload: (engine.idle_unload_seconds > 0).then(|| Duration::from_secs(engine.idle_unload_seconds)),
            gpu: GpuSettings {
                search: engine.gpu.cudnn_search,
                memory_limit: (engine.gpu.gpu_memory_limit > 0).then_some(engine.gpu.gpu_memory_limit),
                arena_growth: engine.gpu.gpu_arena_growth,
                tensorrt_caches: machine
                    .gpus
                    .devices
                    .iter()
                    .map(|gpu| tensorrt_cache(&engine.gpu.tensorrt_cache, gpu, machine.gpus.driver.as_ref()))
                    .collect(),
            },
        },
        machine,
        wishes: engine.strategy.wishes(),
        int8: engine.int8,
        golden: GoldenSettings {
            folder: settings.golden.golden.clone(),
            max_error_percent: settings.golden.golden_max_error_percent,
        },
        limits: Limits { dpi: document.dpi, max_pixels: document.max_pixels, max_pages: document.max_pages },
        decode_processes: set(settings.decode.decode_processes),
        decode: PoolSettings {
            pdfium: Some(pdfium),
            fonts: Some(fonts),
            // A page of our own is read beside the clients' when a strategy is tried out.
            open: documents + 1,
            // Every request that is let in finds its place: the server bounds them.
            waiting: documents,
            documents_per_process: settings.decode.decode_documents,
            max_body_bytes,
            max_pixels: document.max_pixels,
            ..PoolSettings::default()
        },
    })
}

/// The folder of a GPU below the one that was set: what is compiled for one GPU, driver and version of ours, which has one
/// version of ONNX Runtime, runs with no other. Below it each bundle has one of its own, by its digest.
fn tensorrt_cache(folder: &Path, gpu: &Gpu, driver: Option<&Driver>) -> PathBuf {
    let plain = |text: &str| -> String {
        text.chars()
            .map(|character| if character.is_ascii_alphanumeric() || character == '.' { character } else { '-' })
            .collect()
    };
    let ((major, minor), driver) = (gpu.compute_capability, driver.map_or("none", |driver| driver.version.as_str()));
    folder.join(format!("{}_{major}.{minor}_{}_{}", plain(&gpu.name), plain(driver), env!("CARGO_PKG_VERSION")))
}

/// Loads the pipeline for the server.
pub struct PipelineLoader {
    pipeline: PipelineSettings,
    max_body_bytes: u64,
    documents: usize,
    gpus: LatestGpus,
}

impl PipelineLoader {
    /// A loader for these settings; it reads nothing before it is asked to load.
    #[must_use]
    pub fn new(settings: &ServeSettings) -> Self {
        let threads = settings.pipeline.engine.thread_count();
        let nvml = settings.pipeline.engine.strategy.nvml.clone();
        Self {
            pipeline: settings.pipeline.clone(),
            max_body_bytes: settings.limits.max_body,
            documents: settings.limits.concurrency(threads),
            gpus: LatestGpus::new(move || hardware::gpus(&nvml)),
        }
    }
}

impl Loader for PipelineLoader {
    fn load(&self, progress: &Progress, meter: &Arc<Meter>) -> Result<Arc<dyn Backend>, LoadError> {
        let settings = reader_settings(&self.pipeline, self.max_body_bytes, self.documents)
            .map_err(|error| LoadError::Failed { failure: LoadFailure::NoModel, message: error.to_string() })?;
        self.gpus.note(settings.machine.gpus.clone(), Instant::now());
        let reader =
            read::load(&settings, meter, &Handle::current(), &|stage| progress.stage(stage)).map_err(|error| {
                match error {
                    read::LoadError::Memory(refusal) => {
                        LoadError::OutOfMemory { need_mib: refusal.need >> 20, have_mib: refusal.have >> 20 }
                    }
                    error => LoadError::Failed { failure: error.failure(), message: error.to_string() },
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
        // What the networks have taken of the GPU's memory is to be seen.
        self.gpus.renew();
        let looked_at = reader.clone();
        Ok(Arc::new(ReaderBackend::new(reader, model, Box::new(move || look(&looked_at)))))
    }

    fn machine(&self) -> Machine {
        let (cpu, memory) = hardware::cpu_and_memory(usize::from(self.pipeline.engine.threads));
        let (gpus, gpus_age) = self.gpus.get(Instant::now());
        Machine { gpus, gpus_age, cpu, memory }
    }
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
    let (hello, stats) = (reader.decode_pool().hello(), reader.decode_pool().stats());
    let sandbox = SandboxStatus {
        landlock_abi: hello.landlock_abi.unwrap_or(0),
        seccomp: hello.seccomp,
        processes: count(stats.alive()),
        deaths: stats.deaths(),
        deaths_by_cause: stats.deaths_by_cause().map(|(cause, deaths)| (cause.as_str().to_owned(), deaths)).collect(),
    };
    (reader.networks().map(|networks| attest(reader, &networks)).unwrap_or_default(), sandbox)
}

/// What the networks really run on.
fn attest(reader: &Reader, networks: &Networks) -> EngineStatus {
    let attempt = networks.attempt();
    let strategy = attempt.candidate.strategy;
    let (nodes, time) = networks.share();
    let layout = networks.layout();
    EngineStatus {
        strategy: strategy.family().to_owned(),
        profile: strategy.profile().map(|profile| profile.as_str().to_owned()),
        strategy_wanted: reader.wanted().map_or("auto", Strategy::as_str).to_owned(),
        device: attempt.candidate.device().to_string(),
        execution_provider: networks.provider().to_owned(),
        provider_nodes: nodes,
        provider_time: time,
        precision: attempt.precision.name().to_owned(),
        passed_over: reader.passed_over().iter().map(status::PassedOver::from).collect(),
        golden: reader.golden(),
        places: count(reader.places()),
        runtime: networks.runtime().to_owned(),
        detect_threads: count(layout.detect_sessions * layout.detect_threads),
        recognise_threads: count(layout.recognise_sessions * layout.recognise_threads),
        queued: u64::try_from(reader.engine().queued).unwrap_or(u64::MAX),
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tensorrt_compiled_for_another_gpu_or_driver_is_not_found() {
        let driver = |version: &str| Driver { version: version.to_owned(), ..Driver::default() };
        let gpu = |name: &str, minor| Gpu { name: name.to_owned(), compute_capability: (8, minor), ..Gpu::default() };
        let cache = |gpu: &Gpu, driver: &Driver| tensorrt_cache(Path::new("/cache"), gpu, Some(driver));
        let own = cache(&gpu("NVIDIA L4", 9), &driver("580.65.06"));
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(own, Path::new(&format!("/cache/NVIDIA-L4_8.9_580.65.06_{version}")));
        for other in [
            cache(&gpu("NVIDIA A10G", 9), &driver("580.65.06")),
            cache(&gpu("NVIDIA L4", 6), &driver("580.65.06")),
            cache(&gpu("NVIDIA L4", 9), &driver("590.1")),
            tensorrt_cache(Path::new("/cache"), &gpu("NVIDIA L4", 9), None),
        ] {
            assert_ne!(other, own);
        }
        // A driver's words are not to be trusted with paths.
        assert_eq!(cache(&gpu("../../etc", 9), &driver("/")).parent(), Some(Path::new("/cache")));
    }
}
