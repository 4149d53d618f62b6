//! A reader whose networks do as a test tells them, for the tests of how it goes from one strategy to the next. What is
//! before the networks and what comes after them is real, but for the decode processes.
//!
//! A page is white with dark bars. The detector finds each bar, and the recogniser reads each as `a`.

use std::{
    io::Cursor,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use image::{ImageFormat, Rgb, RgbImage};
use ocr_api::Page;
use prometheus::Registry;
use tokio_util::sync::CancellationToken;

use super::{
    GoldenSettings, Limits, LoadError, NetworkSettings, Networks, ReadOptions, Reader, ReaderSettings,
    load::{Parts, start},
    networks::Attempt,
};
use crate::{
    decode::{Bitmap, Channels, DecodePool, Kind, PoolSettings},
    engine::{Array, BatchLimits, Engine, EngineError, Lane, LaneSettings, Open, Residency, Stop, Tensor},
    hardware::{Cpu, Machine, Memory},
    meter::{Meter, Purpose},
    models::{Bundle, testing::Fixture},
    strategy::{Candidate, Choice, PassedOver, Profile, Strategy, Wishes, layout},
};

/// Threads that the strategies are laid out for: each has another number of places.
const THREADS: usize = 4;
/// Most lines of a batch.
pub const BATCH: usize = 4;

/// Lines that wait in front of a network, at most.
const CAPACITY: usize = 64;

/// What the networks are told.
#[derive(Clone, Default)]
pub struct Script(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    failures: Vec<Failure>,
    misreads: Vec<&'static str>,
    opened: Vec<String>,
    batches: Vec<usize>,
}

struct Failure {
    network: &'static str,
    way: &'static str,
    times: usize,
    error: EngineError,
}

impl Script {
    /// A network of this way of computing, such as `cpu/full fp32`, fails so often.
    pub fn fails(&self, way: &'static str, network: &'static str, times: usize, error: EngineError) {
        self.0.lock().unwrap().failures.push(Failure { network, way, times, error });
    }

    /// This way of computing reads everything wrongly.
    pub fn misreads(&self, way: &'static str) {
        self.0.lock().unwrap().misreads.push(way);
    }

    /// The ways whose recogniser was opened, in order.
    pub fn opened(&self) -> Vec<String> {
        self.0.lock().unwrap().opened.clone()
    }

    /// Lines of the recogniser's runs since the last call.
    pub fn batches(&self) -> Vec<usize> {
        std::mem::take(&mut self.0.lock().unwrap().batches)
    }

    fn failure(&self, way: &str, network: &str) -> Result<(), EngineError> {
        let mut told = self.0.lock().unwrap();
        let found = told.failures.iter_mut().find(|one| (one.network, one.way) == (network, way) && one.times > 0);
        found.map_or(Ok(()), |failure| {
            failure.times -= 1;
            Err(failure.error.clone())
        })
    }
}

/// As the engine says it where a run found no memory.
pub fn out_of_memory() -> EngineError {
    EngineError::OutOfMemory { network: "recognise", cause: "as told".into() }
}

/// As the engine says it where the GPU has vanished.
pub fn device_lost() -> EngineError {
    EngineError::DeviceLost { network: "recognise", cause: "as told".into() }
}

struct Fake {
    network: &'static str,
    way: String,
    script: Script,
}

impl Engine for Fake {
    fn run(&mut self, batch: &Tensor, _: &Stop) -> Result<Vec<Array>, EngineError> {
        let [items, channels, height, width] = batch.shape;
        self.script.failure(&self.way, self.network)?;
        if self.network == "detect" {
            let dark = |value: &f32| if *value < 0.0 { 1.0 } else { 0.0 };
            let data = batch.data.chunks(channels * height * width).flat_map(|page| &page[..height * width]);
            return Ok(vec![Array::Float { shape: vec![items, 1, height, width], data: data.map(dark).collect() }]);
        }
        let mut told = self.script.0.lock().unwrap();
        told.batches.push(items);
        let class = if told.misreads.iter().any(|way| *way == self.way) { 2 } else { 1 };
        let shape = vec![items, 3];
        Ok(vec![
            Array::Int { shape: shape.clone(), data: [0, class, 0].repeat(items) },
            Array::Float { shape: shape.clone(), data: vec![0.9; 3 * items] },
            Array::Float { shape, data: vec![0.0; 3 * items] },
        ])
    }
}

fn lane(script: &Script, attempt: Attempt, network: &'static str) -> Result<Lane, EngineError> {
    let way = way(attempt);
    let script = script.clone();
    let open: Open = Box::new(move || {
        if network == "recognise" {
            script.0.lock().unwrap().opened.push(way.clone());
        }
        Ok(Box::new(Fake { network, way: way.clone(), script: script.clone() }))
    });
    let limits = BatchLimits { items: BATCH, elements: usize::MAX, powers_of_two: false };
    let settings = LaneSettings { name: network, limits, capacity: CAPACITY, residency: Residency::Always };
    Lane::start(settings, vec![open], Arc::new(|_| {}))
}

fn way(attempt: Attempt) -> String {
    format!("{} {}", attempt.candidate.strategy, attempt.precision.name())
}

/// A reader to be, of all profiles of the CPU.
pub struct Plan {
    pub script: Script,
    pub choice: Choice,
    pub wanted: Option<Strategy>,
    /// Try networks of bytes too.
    pub int8: bool,
    pub golden: Option<PathBuf>,
}

impl Plan {
    pub fn new() -> Self {
        let cpu = [Profile::Full, Profile::Optimized, Profile::Offload];
        let candidates = cpu.map(|profile| Candidate { strategy: Strategy::Cpu(profile), gpu: None }).to_vec();
        let choice = Choice { candidates, passed_over: Vec::new() };
        Self { script: Script::default(), choice, wanted: None, int8: false, golden: None }
    }

    /// The same with a GPU, which is tried first.
    pub fn with_gpu() -> Self {
        let mut plan = Self::new();
        plan.choice.candidates.insert(0, Candidate { strategy: Strategy::GpuFp16, gpu: Some(0) });
        plan
    }

    /// The same with golden pages from a folder.
    pub fn golden(self, folder: &Path) -> Self {
        Self { golden: Some(folder.to_owned()), ..self }
    }

    /// Loads it.
    pub async fn start(self) -> Result<Stand, LoadError> {
        let Self { script, choice, wanted, int8, golden } = self;
        let fixture = Fixture::new();
        let bundle = Arc::new(Bundle::open(fixture.path()).unwrap());
        let chosen = &bundle.recognisers()[0];
        let told = script.clone();
        let open = move |attempt: Attempt| {
            let candidate = attempt.candidate;
            Ok(Networks {
                detect: lane(&told, attempt, "detect")?,
                recognise: lane(&told, attempt, "recognise")?,
                orientation: None,
                line_orientation: None,
                attempt,
                layout: layout(candidate.strategy, THREADS),
                provider: "FakeExecutionProvider",
                runtime: "fake".to_owned(),
                placement: None,
            })
        };
        let parts = Parts {
            recogniser: chosen.parameters.clone(),
            dictionary: chosen.dictionary.clone(),
            bundle: Arc::clone(&bundle),
            choice,
            decode: DecodePool::stand_in(decode),
            open: Box::new(open),
        };
        let meter = Arc::new(Meter::new().unwrap());
        let settings = settings(fixture.path(), wanted, int8, golden);
        let reader = start(&settings, parts, &meter, &|_| {}).await?;
        Ok(Stand { reader, meter, script, _bundle: fixture })
    }
}

fn settings(bundle: &Path, wanted: Option<Strategy>, int8: bool, golden: Option<PathBuf>) -> ReaderSettings {
    ReaderSettings {
        model: bundle.to_string_lossy().into_owned(),
        bundles: PathBuf::new(),
        languages: Vec::new(),
        networks: NetworkSettings {
            onnxruntime: PathBuf::new(),
            threads: THREADS,
            batch_size: None,
            shapes: None,
            line_orientation: false,
            idle_unload: None,
            gpu: super::GpuSettings::default(),
        },
        machine: Machine {
            cpu: Cpu { threads: THREADS, instructions: vec!["avx512_vnni"], ..Cpu::default() },
            memory: Memory { total: 4 << 30, limit: None, available: 2 << 30, peak: None },
            ..Machine::default()
        },
        wishes: Wishes { strategy: wanted, ..Wishes::default() },
        int8,
        golden: GoldenSettings { folder: golden, max_error_percent: 3.0 },
        limits: Limits { dpi: 150, max_pixels: 1_000_000, max_pages: 10 },
        decode: PoolSettings::default(),
        decode_processes: None,
    }
}

/// A reader that was loaded.
pub struct Stand {
    pub reader: Reader,
    pub meter: Arc<Meter>,
    pub script: Script,
    _bundle: Fixture,
}

impl Stand {
    /// Reads a page with so many lines.
    pub async fn read(&self, lines: u32) -> Page {
        let options = ReadOptions::whole(Instant::now() + Duration::from_mins(1), Purpose::Serve);
        let mut document = self.reader.open(page(lines).into(), options, CancellationToken::new()).await.unwrap();
        document.next_page().await.unwrap()
    }

    /// The way that is in use, such as `cpu/full fp32`.
    pub fn way(&self) -> String {
        way(self.reader.networks().unwrap().attempt())
    }

    /// Why those above are not.
    pub fn passed_over(&self) -> Vec<String> {
        let one = |one: PassedOver| format!("{} {}: {}", one.strategy, one.reason.as_str(), one.message);
        self.reader.passed_over().into_iter().map(one).collect()
    }

    /// Strategies counted as passed over, by reason.
    pub fn counted(&self) -> Vec<(String, f64)> {
        let registry = Registry::new();
        self.meter.register(&registry).unwrap();
        let families = registry.gather();
        let found = families.iter().find(|family| family.name() == "ocr_strategies_passed_over_total");
        let series = found.into_iter().flat_map(prometheus::proto::MetricFamily::get_metric);
        series.map(|one| (one.get_label()[0].value().to_owned(), one.get_counter().get_value())).collect()
    }
}

/// A page with so many lines.
pub fn page(lines: u32) -> Vec<u8> {
    let mut page = RgbImage::from_pixel(320, 40 + 60 * lines, Rgb([255; 3]));
    for line in 0..lines {
        for (x, y) in (0..24).flat_map(|y| (40..280).map(move |x| (x, 40 + 60 * line + y))) {
            page.put_pixel(x, y, Rgb([0; 3]));
        }
    }
    let mut png = Cursor::new(Vec::new());
    page.write_to(&mut png, ImageFormat::Png).unwrap();
    png.into_inner()
}

/// Images as they are; the PDF of the self-test, which has no line that the test's bundle can write, as a blank page.
fn decode(kind: Kind, bytes: &[u8]) -> Option<Bitmap> {
    let page = match kind {
        Kind::Pdf => RgbImage::from_pixel(64, 64, Rgb([255; 3])),
        _ => image::load_from_memory(bytes).ok()?.into_rgb8(),
    };
    Bitmap::new(page.width(), page.height(), Channels::Rgb, page.into_raw())
}

/// A folder with a golden page of two lines, and its text.
pub fn golden() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("line.png"), page(2)).unwrap();
    std::fs::write(folder.path().join("line.txt"), "aa").unwrap();
    folder
}
