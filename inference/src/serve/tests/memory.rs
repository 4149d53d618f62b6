//! What is done where memory comes near its limit: the server's looks at it, and a reader whose networks are stand-ins.

use ocr_api::status::{EngineStatus, SandboxStatus};

use super::{figures::Log, *};
use crate::{
    hardware::Machine,
    meter::Meter,
    read::fakes::{self, BATCH, Plan, Stand},
    serve::{Backend, LoadError, Loader, Progress, ReaderBackend, pressure::Relief},
};

/// Looks that pass before a second step down: five seconds of them.
const LOOKS: usize = 20;

/// Loads what was loaded before.
struct Given(Arc<dyn Backend>);

impl Loader for Given {
    fn load(&self, _: &Progress, _: &Arc<Meter>) -> Result<Arc<dyn Backend>, LoadError> {
        Ok(Arc::clone(&self.0))
    }

    fn machine(&self) -> Machine {
        Machine::default()
    }
}

struct Pressed {
    bench: Bench,
    stand: Stand,
    relief: Relief,
    /// Every test here takes the log: tracing asks the thread that comes first whether an event is of interest, for all.
    log: Log,
    /// Golden pages, which every step down reads.
    _folder: tempfile::TempDir,
    _guard: tracing::subscriber::DefaultGuard,
}

/// What is seen of a reader: its way of computing, most lines of a batch, pages at once, the metric.
type Seen = (String, Vec<usize>, usize, f64);

impl Pressed {
    async fn new() -> Self {
        let (log, guard) = Log::take();
        let folder = fakes::golden();
        let stand = Plan::new().golden(folder.path()).start().await.unwrap();
        let look = || (EngineStatus::default(), SandboxStatus::default());
        let backend = ReaderBackend::new(stand.reader.clone(), fake::model(0), Box::new(look));
        let app = App::new(settings(&[]), Arc::new(Given(Arc::new(backend)))).unwrap();
        load::load(Arc::clone(&app)).await.unwrap();
        stand.script.batches();
        let (api, admin) = (router::api(Arc::clone(&app)), router::admin(Arc::clone(&app)));
        Self {
            bench: Bench { app, fake: Arc::default(), api, admin },
            stand,
            relief: Relief::default(),
            log,
            _folder: folder,
            _guard: guard,
        }
    }

    async fn look(&mut self, percent: u64) -> Seen {
        self.relief.look(&self.bench.app, Some((percent << 20, 100 << 20))).await;
        let networks = self.stand.reader.networks().unwrap();
        let batches = networks.lanes().map(crate::engine::Lane::batch_limit).collect();
        (self.stand.way(), batches, self.stand.reader.places(), self.bench.metric("ocr_memory_pressure").await)
    }
}

fn seen(way: &str, batch: usize, places: usize, metric: f64) -> Seen {
    (format!("cpu/{way} fp32"), vec![batch; 2], places, metric)
}

#[tokio::test]
async fn memory_near_its_limit_bounds_batches_then_pages_then_steps_down_and_is_undone_when_it_falls() {
    let mut pressed = Pressed::new().await;
    let rows = [
        (79, seen("full", BATCH, 4, 0.0)),
        (81, seen("full", BATCH, 4, 1.0)),
        (86, seen("full", 1, 4, 2.0)),
        (91, seen("full", 1, 1, 3.0)),
        // What the new networks may do is what the pressure allows, not what they were opened with.
        (96, seen("optimized", 1, 1, 4.0)),
        (96, seen("optimized", 1, 1, 4.0)),
    ];
    for (percent, expected) in rows {
        assert_eq!(pressed.look(percent).await, expected, "{percent} %");
    }
    assert_eq!(pressed.stand.script.batches(), [1, 1], "the new networks were tried out with less, too");
    let warnings = pressed.log.events("memory is near its limit");
    let told: Vec<_> = warnings.iter().map(|event| event["pressure"].as_str().unwrap()).collect();
    assert_eq!(told, ["high", "higher", "highest", "critical"]);
    assert_eq!((warnings[0]["used_mb"].as_u64(), warnings[0]["limit_mb"].as_u64()), (Some(81), Some(100)));

    for _ in 0..LOOKS {
        pressed.look(96).await;
    }
    assert_eq!(pressed.look(96).await, seen("offload", 1, 1, 4.0), "the first step was not enough");
    for _ in 0..3 * LOOKS {
        pressed.look(96).await;
    }
    assert_eq!(pressed.look(96).await, seen("offload", 1, 1, 4.0), "there is no other");
    assert!(!pressed.stand.reader.is_lost());
    assert_eq!(pressed.stand.read(3).await.text, "a\na\na", "it reads on");
    pressed.stand.script.batches();

    assert_eq!(pressed.look(84).await, seen("offload", 1, 1, 3.0));
    assert_eq!(pressed.look(79).await, seen("offload", 1, 1, 2.0));
    assert_eq!(pressed.look(70).await, seen("offload", BATCH, 1, 1.0));
    assert_eq!(pressed.look(69).await, seen("offload", BATCH, 1, 0.0));
    assert_eq!(pressed.log.events("memory has fallen").len(), 4);
    assert_eq!(pressed.stand.counted(), [("OutOfMemory".to_owned(), 2.0)]);
    let why = ["full", "optimized"].map(|way| format!("cpu/{way} OutOfMemory: fp32: memory came near its limit"));
    assert_eq!(pressed.stand.passed_over(), why);
}

#[tokio::test]
async fn after_a_step_down_more_pages_are_read_at_once_again_when_memory_has_fallen() {
    let mut pressed = Pressed::new().await;
    assert_eq!(pressed.look(96).await, seen("optimized", 1, 1, 4.0));
    assert_eq!(pressed.look(40).await, seen("optimized", BATCH, 2, 0.0));
}

#[tokio::test]
async fn without_a_limit_nothing_is_done() {
    let mut pressed = Pressed::new().await;
    pressed.relief.look(&pressed.bench.app, None).await;
    assert_eq!(pressed.look(10).await, seen("full", BATCH, 4, 0.0));
}
