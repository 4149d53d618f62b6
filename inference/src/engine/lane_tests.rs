//! A lane with networks that do as they are told.

use std::sync::mpsc;

use super::*;

/// Answers each item with its own first number. Fails batches that hold `poison`, blocks on `gate` where there is one.
struct Fake {
    poison: Option<f32>,
    gate: Option<mpsc::Receiver<()>>,
    entered: mpsc::Sender<usize>,
}

impl Engine for Fake {
    fn run(&mut self, batch: &Tensor, stop: &Stop) -> Result<Vec<Array>, EngineError> {
        let _ = self.entered.send(batch.shape[0]);
        let (send, stopped) = mpsc::channel();
        let armed = stop.arm(move || {
            let _ = send.send(());
        });
        if !armed {
            return Err(EngineError::Stopped);
        }
        if let Some(gate) = &self.gate {
            while gate.try_recv().is_err() {
                if stopped.recv_timeout(Duration::from_millis(1)).is_ok() {
                    return Err(EngineError::Stopped);
                }
            }
        }
        let size = batch.data.len() / batch.shape[0];
        let firsts: Vec<f32> = batch.data.iter().copied().step_by(size).collect();
        if firsts.iter().any(|first| Some(*first) == self.poison) {
            return Err(EngineError::Run { network: "fake", cause: "poison".into() });
        }
        Ok(vec![Array::Float { shape: vec![batch.shape[0], 1], data: firsts }])
    }
}

fn settings() -> LaneSettings {
    LaneSettings {
        name: "fake",
        limits: BatchLimits { items: 1, elements: 1, powers_of_two: false },
        capacity: 5,
        residency: Residency::Always,
    }
}

/// Opens as this network, once.
fn once(engine: impl Engine + 'static) -> Open {
    let engine = Mutex::new(Some(engine));
    Box::new(move || Ok(Box::new(lock(&engine).take().unwrap())))
}

struct Bench {
    lane: Lane,
    gate: mpsc::Sender<()>,
    entered: mpsc::Receiver<usize>,
}

fn bench(poison: Option<f32>, gated: bool, capacity: usize) -> Bench {
    let (gate, gate_receiver) = mpsc::channel();
    let (entered_sender, entered) = mpsc::channel();
    let fake = Fake { poison, gate: gated.then_some(gate_receiver), entered: entered_sender };
    let settings =
        LaneSettings { limits: BatchLimits { items: 4, elements: 1000, powers_of_two: false }, capacity, ..settings() };
    Bench { lane: Lane::start(settings, vec![once(fake)], Arc::new(|_| {})).unwrap(), gate, entered }
}

fn item(first: f32, width: usize) -> Tensor {
    Tensor { shape: [1, 1, 1, width], data: vec![first; width] }
}

fn first(outputs: &Result<Vec<Array>, EngineError>) -> f32 {
    outputs.as_ref().unwrap()[0].floats().unwrap()[0]
}

#[tokio::test]
async fn every_caller_gets_its_own_answer() {
    let bench = bench(None, true, 100);
    let tickets: Vec<Ticket> = (0..20_u8)
        .map(|i| bench.lane.submit(item(f32::from(i), 2 + usize::from(i % 3)), Purpose::Serve).unwrap())
        .collect();
    for _ in 0..20 {
        bench.gate.send(()).unwrap();
    }
    for (i, ticket) in (0_u8..).zip(tickets) {
        assert_eq!(first(&ticket.outputs().await), f32::from(i));
    }
    assert!(bench.entered.try_iter().any(|items| items > 1), "equal widths share a batch");
}

#[tokio::test]
async fn a_batch_that_fails_costs_only_the_culprit() {
    let bench = bench(Some(2.0), true, 100);
    let blocker = bench.lane.submit(item(9.0, 7), Purpose::Serve).unwrap();
    assert_eq!(bench.entered.recv().unwrap(), 1);
    let tickets: Vec<Ticket> =
        [1.0, 2.0, 3.0].into_iter().map(|i| bench.lane.submit(item(i, 2), Purpose::Serve).unwrap()).collect();
    for _ in 0..5 {
        bench.gate.send(()).unwrap();
    }
    assert_eq!(first(&blocker.outputs().await), 9.0);
    let mut results = Vec::new();
    for ticket in tickets {
        results.push(ticket.outputs().await);
    }
    assert_eq!((first(&results[0]), first(&results[2])), (1.0, 3.0));
    assert!(matches!(results[1], Err(EngineError::Run { .. })));
}

#[tokio::test]
async fn a_run_that_nobody_wants_is_stopped() {
    let bench = bench(None, true, 100);
    let ticket = bench.lane.submit(item(1.0, 2), Purpose::Serve).unwrap();
    assert_eq!(bench.entered.recv().unwrap(), 1);
    drop(ticket);
    // The gate was never opened: only the stop lets the thread take the next item.
    let next = bench.lane.submit(item(2.0, 2), Purpose::Serve).unwrap();
    assert_eq!(bench.entered.recv().unwrap(), 1);
    bench.gate.send(()).unwrap();
    assert_eq!(first(&next.outputs().await), 2.0);
}

#[tokio::test]
async fn a_run_goes_on_while_one_item_is_wanted() {
    let bench = bench(None, true, 100);
    let blocker = bench.lane.submit(item(0.0, 7), Purpose::Serve).unwrap();
    assert_eq!(bench.entered.recv().unwrap(), 1);
    let (leaves, stays) = (
        bench.lane.submit(item(1.0, 2), Purpose::Serve).unwrap(),
        bench.lane.submit(item(2.0, 2), Purpose::Serve).unwrap(),
    );
    bench.gate.send(()).unwrap();
    assert_eq!(first(&blocker.outputs().await), 0.0);
    assert_eq!(bench.entered.recv().unwrap(), 2);
    drop(leaves);
    bench.gate.send(()).unwrap();
    assert_eq!(first(&stays.outputs().await), 2.0);
}

#[test]
fn a_batch_is_the_clients_as_far_as_its_items_are() {
    let serving = |for_clients| BatchRun { items: 4, for_clients, elapsed: Duration::from_secs(8) }.serving();
    assert_eq!([0, 1, 4].map(serving), [0, 2, 8].map(Duration::from_secs));
}

#[test]
fn a_full_queue_refuses() {
    let bench = bench(None, true, 1);
    let _running = bench.lane.submit(item(1.0, 2), Purpose::Serve).unwrap();
    assert_eq!(bench.entered.recv().unwrap(), 1);
    let _waiting = bench.lane.submit(item(2.0, 2), Purpose::Serve).unwrap();
    assert!(matches!(bench.lane.submit(item(3.0, 2), Purpose::Serve), Err(EngineError::Full { capacity: 1 })));
    let _ = bench.gate.send(());
}

#[test]
fn an_engine_that_does_not_open_fails_the_start() {
    let open: Open = Box::new(|| Err(EngineError::Open { path: "det.onnx".into(), cause: "no".into() }));
    assert!(matches!(Lane::start(settings(), vec![open], Arc::new(|_| {})), Err(EngineError::Open { .. })));
}

struct Panics;

impl Engine for Panics {
    fn run(&mut self, _: &Tensor, _: &Stop) -> Result<Vec<Array>, EngineError> {
        panic!("the network fell over")
    }
}

#[tokio::test]
async fn a_thread_that_panics_leaves_nobody_waiting() {
    let lane = Lane::start(settings(), vec![once(Panics)], Arc::new(|_| {})).unwrap();
    let ticket = lane.submit(item(1.0, 1), Purpose::Serve).unwrap();
    assert!(matches!(ticket.outputs().await, Err(EngineError::Closed)));
}

/// Its device is gone.
struct Gone(mpsc::Sender<usize>);

impl Engine for Gone {
    fn run(&mut self, batch: &Tensor, _: &Stop) -> Result<Vec<Array>, EngineError> {
        let _ = self.0.send(batch.shape[0]);
        Err(EngineError::DeviceLost { network: "fake", cause: "CUDA failure 719".to_owned() })
    }
}

#[tokio::test]
async fn where_the_device_is_lost_everybody_is_told_at_once() {
    let (sender, sizes) = mpsc::channel();
    let limits = BatchLimits { items: 4, elements: 1000, powers_of_two: false };
    let settings = LaneSettings { limits, capacity: 100, ..settings() };
    let open: Open = Box::new(move || Ok(Box::new(Gone(sender.clone()))));
    let lane = Lane::start(settings, vec![open], Arc::new(|_| {})).unwrap();
    for result in read_together(&lane, 4).await {
        let error = result.unwrap_err();
        assert!(matches!(error, EngineError::DeviceLost { .. }) && error.is_of_the_strategy(), "{error}");
    }
    assert_eq!(sizes.try_iter().collect::<Vec<_>>(), [4], "nothing was tried again");
}

/// Has memory for so many items at a time, and each time that it is opened for so many runs.
struct Tight {
    items: usize,
    runs: usize,
    sizes: mpsc::Sender<usize>,
}

impl Engine for Tight {
    fn run(&mut self, batch: &Tensor, _: &Stop) -> Result<Vec<Array>, EngineError> {
        let _ = self.sizes.send(batch.shape[0]);
        if batch.shape[0] > self.items || self.runs == 0 {
            return Err(EngineError::OutOfMemory { network: "fake", cause: "it is full".to_owned() });
        }
        self.runs -= 1;
        Ok(vec![Array::Float { shape: vec![batch.shape[0], 1], data: vec![0.0; batch.shape[0]] }])
    }
}

struct TightBench {
    lane: Lane,
    sizes: mpsc::Receiver<usize>,
    opened: Arc<AtomicUsize>,
}

impl TightBench {
    fn new(items: usize, runs: usize, residency: Residency) -> Self {
        let (sender, sizes) = mpsc::channel();
        let opened = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&opened);
        let open: Open = Box::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(Box::new(Tight { items, runs, sizes: sender.clone() }))
        });
        let limits = BatchLimits { items: 4, elements: 1000, powers_of_two: false };
        let settings = LaneSettings { limits, capacity: 100, residency, ..settings() };
        Self { lane: Lane::start(settings, vec![open], Arc::new(|_| {})).unwrap(), sizes, opened }
    }

    async fn read(&self, items: usize) -> Vec<Result<Vec<Array>, EngineError>> {
        read_together(&self.lane, items).await
    }
}

/// Puts so many items in before the thread can take the first.
async fn read_together(lane: &Lane, items: usize) -> Vec<Result<Vec<Array>, EngineError>> {
    let tickets: Vec<Ticket> = {
        let mut queue = lock(&lane.shared.queue);
        (0..items)
            .map(|_| {
                let (reply, receiver) = oneshot::channel();
                let wanted = Arc::new(Wanted::default());
                let tensor = item(0.0, 2);
                queue.items.push_back(Item { tensor, purpose: Purpose::Serve, wanted: Arc::clone(&wanted), reply });
                Ticket { reply: receiver, wanted }
            })
            .collect()
    };
    lane.shared.arrived.notify_one();
    let mut results = Vec::new();
    for ticket in tickets {
        results.push(ticket.outputs().await);
    }
    results
}

#[tokio::test]
async fn where_memory_runs_out_it_is_freed_and_batches_stay_smaller() {
    let bench = TightBench::new(2, usize::MAX, Residency::Always);
    assert!(bench.read(8).await.iter().all(Result::is_ok), "everybody is answered");
    assert_eq!(bench.sizes.try_iter().collect::<Vec<_>>(), [4, 1, 1, 1, 1, 2, 2]);
    assert_eq!(bench.opened.load(Ordering::SeqCst), 2, "opened again after it was freed");
}

#[tokio::test]
async fn an_item_alone_that_fits_a_fresh_network_is_answered() {
    let bench = TightBench::new(1, 1, Residency::Always);
    assert!(bench.read(1).await[0].is_ok());
    assert!(bench.read(1).await[0].is_ok(), "the second run of the first network fails");
    assert_eq!(bench.opened.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_bound_from_outside_that_is_lifted_leaves_the_one_of_memory_that_ran_out() {
    let bench = TightBench::new(2, usize::MAX, Residency::Always);
    bench.lane.limit_batch(Some(1));
    assert_eq!(bench.lane.batch_limit(), 1);
    bench.lane.limit_batch(None);
    assert_eq!(bench.lane.batch_limit(), 4);
    assert!(read_together(&bench.lane, 4).await.iter().all(Result::is_ok));
    assert_eq!(bench.lane.batch_limit(), 2, "half of what found no memory");
    for bound in [Some(3), Some(1), None] {
        bench.lane.limit_batch(bound);
        assert_eq!(bench.lane.batch_limit(), bound.unwrap_or(usize::MAX).min(2), "{bound:?}");
    }
}

#[tokio::test]
async fn an_item_that_never_fits_is_told_that_memory_ran_out() {
    let bench = TightBench::new(0, 0, Residency::Always);
    assert!(matches!(bench.read(1).await[0], Err(EngineError::OutOfMemory { .. })));
    assert_eq!(bench.sizes.try_iter().collect::<Vec<_>>(), [1, 1], "tried again once");
}

#[tokio::test]
async fn a_network_that_has_nothing_to_do_is_freed_and_opened_again() {
    let bench = TightBench::new(4, usize::MAX, Residency::Idle(Duration::from_millis(20)));
    assert!(bench.read(1).await[0].is_ok());
    let resident = || bench.lane.stats().resident.load(Ordering::Relaxed);
    let deadline = Instant::now() + Duration::from_secs(10);
    while resident() > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(resident(), 0, "freed");
    assert!(bench.read(1).await[0].is_ok());
    assert_eq!(bench.opened.load(Ordering::SeqCst), 2);
}
