//! A bounded queue in front of the threads that run one network.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{Array, BatchLimits, Engine, EngineError, Stop, Tensor, Waiting, pick};
use crate::meter::Purpose;

/// Threads of the engine run at this niceness, so that probes and other requests are answered while every core computes.
const NICENESS: i32 = 5;

/// How a lane is set up.
#[derive(Clone, Debug)]
pub struct LaneSettings {
    /// Name of the threads, and of the network in errors.
    pub name: &'static str,
    pub limits: BatchLimits,
    /// Most items that wait.
    pub capacity: usize,
}

/// What a lane has done since it started.
#[derive(Debug, Default)]
pub struct LaneStats {
    /// Runs of the network that ended, well or not.
    pub runs: AtomicU64,
    /// Items of those runs.
    pub items: AtomicU64,
    /// Time that the threads spent in the network, summed over them.
    pub busy_nanos: AtomicU64,
    /// Items that wait now.
    pub queued: AtomicUsize,
    /// Threads in the network now.
    pub running: AtomicUsize,
}

/// A run of a network that ended.
#[derive(Clone, Copy, Debug)]
pub struct BatchRun {
    pub items: usize,
    /// Of these, those that serve a client.
    pub for_clients: usize,
    pub elapsed: Duration,
}

impl BatchRun {
    /// The clients' share of the time.
    #[must_use]
    pub fn serving(&self) -> Duration {
        let share = |items: usize| u32::try_from(items).unwrap_or(u32::MAX);
        self.elapsed * share(self.for_clients) / share(self.items).max(1)
    }
}

/// Is told of each run.
pub type OnBatch = Arc<dyn Fn(BatchRun) + Send + Sync>;

/// Threads that run one network, and the queue in front of them. Dropping it ends the threads after their present run.
pub struct Lane {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    settings: LaneSettings,
    queue: Mutex<Queue>,
    arrived: Condvar,
    stats: LaneStats,
    on_batch: OnBatch,
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    closed: bool,
}

struct Item {
    tensor: Tensor,
    purpose: Purpose,
    wanted: Arc<Wanted>,
    reply: oneshot::Sender<Result<Vec<Array>, EngineError>>,
}

/// Whether somebody still waits for an item, and the run that it is part of.
#[derive(Default)]
struct Wanted {
    abandoned: AtomicBool,
    run: Mutex<Option<Arc<Run>>>,
}

/// A run that goes on while one of its items is wanted.
#[derive(Default)]
struct Run {
    wanted: AtomicUsize,
    stop: Stop,
}

/// An item on its way; resolves to the network's outputs with a batch of 1. Dropping it abandons the item.
pub struct Ticket {
    reply: oneshot::Receiver<Result<Vec<Array>, EngineError>>,
    wanted: Arc<Wanted>,
}

impl Ticket {
    /// Waits for the outputs.
    ///
    /// # Errors
    /// What the network failed with, or [`EngineError::Closed`] where its threads are gone.
    pub async fn outputs(mut self) -> Result<Vec<Array>, EngineError> {
        (&mut self.reply).await.unwrap_or(Err(EngineError::Closed))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.wanted.abandoned.store(true, Ordering::SeqCst);
        if let Some(run) = lock(&self.wanted.run).take() {
            run.leave();
        }
    }
}

impl Run {
    fn leave(&self) {
        if self.wanted.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.stop.stop();
        }
    }
}

impl Wanted {
    /// Joins the item to a run; false where it was abandoned before.
    fn join(&self, run: &Arc<Run>) -> bool {
        run.wanted.fetch_add(1, Ordering::SeqCst);
        *lock(&self.run) = Some(Arc::clone(run));
        if self.abandoned.load(Ordering::SeqCst) {
            if lock(&self.run).take().is_some() {
                run.leave();
            }
            return false;
        }
        true
    }
}

impl Lane {
    /// Starts one thread for each of `open`, which opens the thread's engine on that thread.
    ///
    /// # Errors
    /// The first engine that could not be opened, or a thread that could not be started.
    pub fn start<O>(settings: LaneSettings, open: Vec<O>, on_batch: OnBatch) -> Result<Self, EngineError>
    where
        O: FnOnce() -> Result<Box<dyn Engine>, EngineError> + Send + 'static,
    {
        let shared = Arc::new(Shared {
            settings,
            queue: Mutex::default(),
            arrived: Condvar::new(),
            stats: LaneStats::default(),
            on_batch,
        });
        let mut lane = Self { shared: Arc::clone(&shared), threads: Vec::new() };
        let mut opened = Vec::new();
        for open in open {
            let (report, opening) = std::sync::mpsc::sync_channel(1);
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name(shared.settings.name.into()).spawn(move || {
                // Best effort: without it the engine only competes harder.
                let _ = rustix::process::setpriority_process(None, NICENESS);
                match open() {
                    Ok(mut engine) => {
                        let _ = report.send(Ok(()));
                        shared.serve(engine.as_mut());
                    }
                    Err(error) => {
                        let _ = report.send(Err(error));
                    }
                }
            });
            lane.threads.push(thread.map_err(|_| EngineError::Closed)?);
            opened.push(opening);
        }
        for opening in opened {
            opening.recv().unwrap_or(Err(EngineError::Closed))?;
        }
        Ok(lane)
    }

    /// Puts an item into the queue.
    ///
    /// # Errors
    /// [`EngineError::Full`], or [`EngineError::Closed`] where the threads are gone.
    pub fn submit(&self, tensor: Tensor, purpose: Purpose) -> Result<Ticket, EngineError> {
        let (reply, receiver) = oneshot::channel();
        let wanted = Arc::new(Wanted::default());
        let mut queue = lock(&self.shared.queue);
        if queue.closed {
            return Err(EngineError::Closed);
        }
        let capacity = self.shared.settings.capacity;
        if queue.items.len() >= capacity {
            return Err(EngineError::Full { capacity });
        }
        queue.items.push_back(Item { tensor, purpose, wanted: Arc::clone(&wanted), reply });
        self.shared.stats.queued.store(queue.items.len(), Ordering::Relaxed);
        drop(queue);
        self.shared.arrived.notify_one();
        Ok(Ticket { reply: receiver, wanted })
    }

    /// What the lane has done.
    #[must_use]
    pub fn stats(&self) -> &LaneStats {
        &self.shared.stats
    }

    /// Number of threads.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads.len()
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut queue = lock(&self.shared.queue);
        queue.closed = true;
        queue.items.clear();
        drop(queue);
        self.shared.arrived.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Runs batches until the lane is closed.
    fn serve(&self, engine: &mut dyn Engine) {
        // A network that panics must not leave callers waiting: whoever submits afterwards is told.
        let _close = CloseOnPanic(self);
        while let Some(batch) = self.next_batch() {
            self.run(engine, batch);
        }
    }

    fn next_batch(&self) -> Option<Vec<Item>> {
        let mut queue = lock(&self.queue);
        loop {
            if queue.closed {
                return None;
            }
            let waiting = queue.items.iter().map(|item| Waiting {
                shape: [item.tensor.shape[1], item.tensor.shape[2], item.tensor.shape[3]],
                abandoned: item.wanted.abandoned.load(Ordering::Relaxed),
            });
            let picked = pick(waiting, self.settings.limits);
            let mut batch = Vec::with_capacity(picked.run.len());
            let mut places: Vec<(usize, bool)> = picked.run.iter().map(|&place| (place, true)).collect();
            places.extend(picked.drop.iter().map(|&place| (place, false)));
            places.sort_unstable();
            for (place, runs) in places.into_iter().rev() {
                if let Some(item) = queue.items.remove(place).filter(|_| runs) {
                    batch.push(item);
                }
            }
            batch.reverse();
            self.stats.queued.store(queue.items.len(), Ordering::Relaxed);
            if !batch.is_empty() {
                self.stats.running.fetch_add(1, Ordering::Relaxed);
                return Some(batch);
            }
            queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Runs a batch; one that fails is tried again item by item, so that only the culprit fails.
    fn run(&self, engine: &mut dyn Engine, batch: Vec<Item>) {
        let results = self.run_once(engine, &batch);
        match results {
            Err(ref error) if batch.len() > 1 && !matches!(error, EngineError::Stopped) => {
                tracing::warn!(network = self.settings.name, items = batch.len(), %error, "a batch failed, its items are run alone");
                for item in batch {
                    let result = self
                        .run_once(engine, std::slice::from_ref(&item))
                        .and_then(|mut results| results.pop().ok_or(EngineError::Closed));
                    let _ = item.reply.send(result);
                }
            }
            Err(error) => {
                for item in batch {
                    let _ = item.reply.send(Err(error.clone()));
                }
            }
            Ok(results) => {
                for (item, result) in batch.into_iter().zip(results) {
                    let _ = item.reply.send(Ok(result));
                }
            }
        }
        self.stats.running.fetch_sub(1, Ordering::Relaxed);
    }

    fn run_once(&self, engine: &mut dyn Engine, batch: &[Item]) -> Result<Vec<Vec<Array>>, EngineError> {
        let run = Arc::new(Run::default());
        // A place of our own, so that the run is not stopped while its items are still being joined.
        run.wanted.fetch_add(1, Ordering::SeqCst);
        let joined: Vec<&Item> = batch.iter().filter(|item| item.wanted.join(&run)).collect();
        run.leave();
        if joined.is_empty() {
            return Err(EngineError::Stopped);
        }
        let started = Instant::now();
        let outputs = match batch {
            [item] => engine.run(&item.tensor, &run.stop),
            _ => engine.run(&Tensor::stacked(&batch.iter().map(|item| &item.tensor).collect::<Vec<_>>()), &run.stop),
        };
        let elapsed = started.elapsed();
        for item in joined {
            lock(&item.wanted.run).take();
        }
        self.stats.busy_nanos.fetch_add(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.stats.runs.fetch_add(1, Ordering::Relaxed);
        self.stats.items.fetch_add(batch.len() as u64, Ordering::Relaxed);
        let for_clients = batch.iter().filter(|item| item.purpose == Purpose::Serve).count();
        (self.on_batch)(BatchRun { items: batch.len(), for_clients, elapsed });
        let outputs = outputs?;
        (0..batch.len())
            .map(|index| outputs.iter().map(|output| output.item(index)).collect::<Option<Vec<_>>>())
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| EngineError::Output {
                network: self.settings.name,
                expected: format!("a batch of {}", batch.len()),
                found: format!("{:?}", outputs.iter().map(Array::shape).collect::<Vec<_>>()),
            })
    }
}

struct CloseOnPanic<'a>(&'a Shared);

impl Drop for CloseOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut queue = lock(&self.0.queue);
            queue.closed = true;
            queue.items.clear();
            drop(queue);
            self.0.arrived.notify_all();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
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

    struct Bench {
        lane: Lane,
        gate: mpsc::Sender<()>,
        entered: mpsc::Receiver<usize>,
    }

    fn bench(poison: Option<f32>, gated: bool, capacity: usize) -> Bench {
        let (gate, gate_receiver) = mpsc::channel();
        let (entered_sender, entered) = mpsc::channel();
        let fake = Fake { poison, gate: gated.then_some(gate_receiver), entered: entered_sender };
        let settings = LaneSettings { name: "fake", limits: BatchLimits { items: 4, elements: 1000 }, capacity };
        let open = vec![move || Ok(Box::new(fake) as Box<dyn Engine>)];
        Bench { lane: Lane::start(settings, open, Arc::new(|_| {})).unwrap(), gate, entered }
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
        let settings = LaneSettings { name: "fake", limits: BatchLimits { items: 1, elements: 1 }, capacity: 1 };
        let open = vec![|| Err(EngineError::Open { path: "det.onnx".into(), cause: "no".into() })];
        assert!(matches!(Lane::start(settings, open, Arc::new(|_| {})), Err(EngineError::Open { .. })));
    }

    struct Panics;

    impl Engine for Panics {
        fn run(&mut self, _: &Tensor, _: &Stop) -> Result<Vec<Array>, EngineError> {
            panic!("the network fell over")
        }
    }

    #[tokio::test]
    async fn a_thread_that_panics_leaves_nobody_waiting() {
        let settings = LaneSettings { name: "fake", limits: BatchLimits { items: 1, elements: 1 }, capacity: 5 };
        let lane = Lane::start(settings, vec![|| Ok(Box::new(Panics) as Box<dyn Engine>)], Arc::new(|_| {})).unwrap();
        let ticket = lane.submit(item(1.0, 1), Purpose::Serve).unwrap();
        assert!(matches!(ticket.outputs().await, Err(EngineError::Closed)));
    }
}
