//! The networks, opened in one way of computing.

use std::{path::PathBuf, sync::Arc, time::Duration};

use ocr_api::manifest::{Detector, Precision, Recogniser};

use crate::{
    engine::{
        ArenaGrowth, BatchRun, ConvSearch, Cuda, Engine, EngineError, Lane, LaneSettings, OnnxRuntime, OnnxSettings,
        Open, Placement, Provider, Residency, TensorRt,
    },
    meter::Meter,
    models::{Bundle, BundleError},
    plan::InputShapes,
    strategy::{Candidate, Layout, Strategy, layout},
};

/// Lines that wait in front of a network: every place for a page may have some chunks of lines there.
const LANE_CAPACITY: usize = 4096;

/// What the networks are opened with, whatever the strategy.
#[derive(Clone, Debug)]
pub struct NetworkSettings {
    /// ONNX Runtime's library.
    pub onnxruntime: PathBuf,
    /// Threads to compute with; at least 1.
    pub threads: usize,
    /// Most lines recognised together; `None` leaves it to the strategy and the bundle.
    pub batch_size: Option<usize>,
    /// Which shapes of input the networks are given; `None` leaves it to the strategy.
    pub shapes: Option<InputShapes>,
    /// Ask the bundle's classifier about every line's direction. Lowers accuracy on upright pages.
    pub line_orientation: bool,
    /// Networks that had nothing to do for so long are dropped until the next page; `None` keeps them.
    pub idle_unload: Option<Duration>,
    pub gpu: GpuSettings,
}

/// What GPUs are used with.
#[derive(Clone, Debug, Default)]
pub struct GpuSettings {
    pub search: ConvSearch,
    /// Most bytes of the GPU's memory that one network's arena takes.
    pub memory_limit: Option<u64>,
    pub arena_growth: ArenaGrowth,
    /// For each GPU, by number, the folder of the networks that TensorRT has compiled for it, with one for each bundle.
    pub tensorrt_caches: Vec<PathBuf>,
}

/// A way of opening the networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub candidate: Candidate,
    pub precision: Precision,
}

/// The networks, each behind its queue, and what they run on.
pub struct Networks {
    pub(super) detect: Lane,
    pub(super) recognise: Lane,
    pub(super) orientation: Option<Lane>,
    pub(super) line_orientation: Option<Lane>,
    pub(super) attempt: Attempt,
    pub(super) layout: Layout,
    pub(super) provider: &'static str,
    pub(super) runtime: String,
    pub(super) placement: Option<Placement>,
}

/// Opens the networks in a way of computing. Blocks.
pub(super) type OpenNetworks = Box<dyn Fn(Attempt) -> Result<Networks, OpenError> + Send + Sync>;

/// Why the networks could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(
        "the bundle has no {network} in {}: take a model that has one, or languages that its recogniser reads",
        .precision.name()
    )]
    NoSuchPrecision { network: &'static str, precision: Precision },
}

impl Networks {
    /// Opens every network on its own threads.
    ///
    /// The detector shares each run between its threads, since a page has one; lines are many, so every copy of the
    /// recogniser reads some of its own. The two stages of one page take turns, and those of several pages fill each
    /// other's gaps.
    ///
    /// # Errors
    /// If one cannot be opened.
    pub fn open(
        settings: &NetworkSettings,
        bundle: &Bundle,
        recogniser: &Recogniser,
        attempt: Attempt,
        meter: &Arc<Meter>,
    ) -> Result<Self, OpenError> {
        let runtime = OnnxRuntime::load(&settings.onnxruntime)?;
        let layout = layout(attempt.candidate.strategy, settings.threads);
        let layout = Layout { shapes: settings.shapes.unwrap_or(layout.shapes), ..layout };
        let provider = provider(settings, attempt.candidate, &layout, bundle.digest());
        let manifest = bundle.manifest();
        let detector_precision = attempt.precision.of_detector();
        let missing = |network, precision| move || OpenError::NoSuchPrecision { network, precision };
        let detector = bundle.detector_file(detector_precision)?.ok_or_else(missing("detector", detector_precision))?;
        let recogniser_file = bundle
            .recogniser_file(recogniser, attempt.precision)?
            .ok_or_else(missing("recogniser", attempt.precision))?;

        let lines = settings.batch_size.or(layout.batch_lines).unwrap_or(usize::MAX);
        let lines = if attempt.candidate.gpu.is_some() { lines } else { lines.min(recogniser.batch as usize) };
        let opener = Opener { runtime, provider: &provider, layout: &layout, settings, meter };
        let gpu = attempt.candidate.gpu.is_some();
        let detect = opener.open(&Network {
            name: "detect",
            path: detector,
            sessions: layout.detect_sessions,
            threads: layout.detect_threads,
            items: 1,
            warm_up: if gpu { detect_shapes(&layout, &manifest.detector) } else { Vec::new() },
        })?;
        let recognise = opener.open(&Network {
            name: "recognise",
            path: recogniser_file,
            sessions: layout.recognise_sessions,
            threads: layout.recognise_threads,
            items: lines,
            warm_up: if gpu { line_shapes(&layout, recogniser, lines) } else { Vec::new() },
        })?;
        let small = |name, path, items| Network { name, path, sessions: 1, threads: 1, items, warm_up: Vec::new() };
        let orientation = manifest.orientation.as_ref();
        let orientation = orientation
            .map(|model| {
                let side = model.crop as usize;
                let warm_up = if gpu { vec![[1, 3, side, side]] } else { Vec::new() };
                opener.open(&Network { warm_up, ..small("orientation", bundle.path(&model.file), 1) })
            })
            .transpose()?;
        let line_orientation = manifest.line_orientation.as_ref().filter(|_| settings.line_orientation);
        let line_orientation = line_orientation
            .map(|model| opener.open(&small("line-orientation", bundle.path(&model.file), lines)))
            .transpose()?;
        let placement = [&detect, &recognise].into_iter().filter_map(Lane::placement).fold(None, |sum, one| {
            let mut sum: Placement = sum.unwrap_or_default();
            sum.add(one);
            Some(sum)
        });
        Ok(Self {
            detect,
            recognise,
            orientation,
            line_orientation,
            attempt,
            layout,
            provider: provider.name(),
            runtime: OnnxRuntime::build(),
            placement,
        })
    }

    /// How they were opened.
    #[must_use]
    pub const fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// How they are laid out.
    #[must_use]
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// ONNX Runtime's execution provider.
    #[must_use]
    pub const fn provider(&self) -> &'static str {
        self.provider
    }

    /// Which build of ONNX Runtime, in its own words.
    #[must_use]
    pub fn runtime(&self) -> &str {
        &self.runtime
    }

    /// The share of the nodes, and of the time in them, that ran on the provider when the networks were opened. All of a
    /// CPU's: there is nowhere else.
    #[must_use]
    pub fn share(&self) -> (f64, f64) {
        match &self.placement {
            Some(placement) => placement.share_of(self.provider),
            None => (1.0, 1.0),
        }
    }

    /// Every network.
    pub fn lanes(&self) -> impl Iterator<Item = &Lane> {
        [Some(&self.detect), Some(&self.recognise), self.orientation.as_ref(), self.line_orientation.as_ref()]
            .into_iter()
            .flatten()
    }

    /// Gives their memory back, after the present runs. Whoever waits for a result is told that there will be none.
    pub fn close(&self) {
        self.lanes().for_each(Lane::close);
    }
}

fn provider(settings: &NetworkSettings, candidate: Candidate, layout: &Layout, bundle: &str) -> Provider {
    let gpu = &settings.gpu;
    let cuda = |number| Cuda {
        gpu: number,
        memory_limit: gpu.memory_limit,
        arena_growth: gpu.arena_growth,
        search: gpu.search,
    };
    match (candidate.strategy, candidate.gpu) {
        (Strategy::GpuFp16, Some(number)) => Provider::Cuda(cuda(number)),
        (Strategy::GpuInt8, Some(number)) => {
            let cache = usize::try_from(number).ok().and_then(|number| gpu.tensorrt_caches.get(number));
            let cache = cache.cloned().unwrap_or_default().join(bundle);
            Provider::TensorRt(TensorRt { cuda: cuda(number), cache })
        }
        _ => Provider::Cpu { arena: layout.arena },
    }
}

/// Sizes of pages that are run before the first on a GPU: all, or some where they are not few.
fn detect_shapes(layout: &Layout, detector: &Detector) -> Vec<[usize; 4]> {
    match layout.shapes {
        InputShapes::Fixed => layout.shapes.of_detector(detector),
        InputShapes::Free => [(960, 960), (960, 704), (704, 960)].map(|(height, width)| [1, 3, height, width]).to_vec(),
    }
}

/// Batches of lines that are run before the first on a GPU: all, or some where they are not few.
fn line_shapes(layout: &Layout, recogniser: &Recogniser, lines: usize) -> Vec<[usize; 4]> {
    let height = recogniser.height as usize;
    match layout.shapes {
        InputShapes::Fixed => layout.shapes.of_recogniser(recogniser, layout.batch_limits(lines)),
        InputShapes::Free => [320, 640, 1280].map(|width| [1, 3, height, width]).to_vec(),
    }
}

struct Opener<'a> {
    runtime: OnnxRuntime,
    provider: &'a Provider,
    layout: &'a Layout,
    settings: &'a NetworkSettings,
    meter: &'a Arc<Meter>,
}

/// A network to be opened.
struct Network {
    name: &'static str,
    path: PathBuf,
    /// Copies of it.
    sessions: usize,
    /// Threads that share a run of a copy.
    threads: usize,
    /// Most items of a batch.
    items: usize,
    /// Shapes that are run when it is opened.
    warm_up: Vec<[usize; 4]>,
}

impl Opener<'_> {
    fn open(&self, network: &Network) -> Result<Lane, EngineError> {
        let (name, items) = (network.name, network.items);
        let open = (0..network.sessions).map(|_| {
            let settings = OnnxSettings {
                network: name,
                path: network.path.clone(),
                threads: network.threads,
                // Pages differ in size, lines hardly. A GPU would wait for each block that it gives back.
                shrink: matches!(self.provider, Provider::Cpu { arena: true })
                    && (self.layout.give_back || name == "detect"),
                provider: self.provider.clone(),
                warm_up: network.warm_up.clone(),
            };
            let runtime = self.runtime.clone();
            Box::new(move || runtime.open(settings.clone()).map(|engine| Box::new(engine) as Box<dyn Engine>)) as Open
        });
        let meter = Arc::clone(self.meter);
        let on_batch = move |batch: BatchRun| {
            meter.engine_progress();
            meter.busy(batch.serving());
            if name == "recognise" && batch.for_clients > 0 {
                meter.batch(batch.items);
            }
        };
        let limits = self.layout.batch_limits(items);
        let residency = self.layout.drop_after.or(self.settings.idle_unload).map_or(Residency::Always, Residency::Idle);
        let lane = LaneSettings { name, limits, capacity: LANE_CAPACITY, residency };
        Lane::start(lane, open.collect(), Arc::new(on_batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tensorrt_compiled_of_one_bundle_is_not_found_for_another() {
        let settings = NetworkSettings {
            onnxruntime: PathBuf::new(),
            threads: 1,
            batch_size: None,
            shapes: None,
            line_orientation: false,
            idle_unload: None,
            gpu: GpuSettings {
                memory_limit: Some(7),
                arena_growth: ArenaGrowth::PowerOfTwo,
                tensorrt_caches: ["/cache/first", "/cache/second"].map(PathBuf::from).to_vec(),
                ..GpuSettings::default()
            },
        };
        let candidate = Candidate { strategy: Strategy::GpuInt8, gpu: Some(1) };
        let of_bundle = |digest| provider(&settings, candidate, &layout(candidate.strategy, 1), digest);
        let search = ConvSearch::default();
        let cuda = Cuda { gpu: 1, memory_limit: Some(7), arena_growth: ArenaGrowth::PowerOfTwo, search };
        let expected = |cache: &str| Provider::TensorRt(TensorRt { cuda, cache: cache.into() });
        assert_eq!(of_bundle("0a1b"), expected("/cache/second/0a1b"));
        assert_eq!(of_bundle("2c3d"), expected("/cache/second/2c3d"));
    }
}
