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

use super::{Array, BatchLimits, Engine, EngineError, Placement, Stop, Tensor, Waiting, pick, slot::Slot};
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
    pub residency: Residency,
}

/// How long a network stays in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residency {
    Always,
    /// Until nothing was to be done for so long; it is opened again when it is needed.
    Idle(Duration),
}

/// Opens a network, on the thread that runs it.
pub type Open = Box<dyn Fn() -> Result<Box<dyn Engine>, EngineError> + Send>;

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
    /// Threads that have the network in memory.
    pub resident: AtomicUsize,
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
    placement: Option<Placement>,
}

struct Shared {
    settings: LaneSettings,
    /// Most items of a batch: what was set, or less since memory ran out.
    items: AtomicUsize,
    /// Most items of a batch, from outside. A bound of its own: whoever lifts it knows nothing of memory that ran out.
    bound: AtomicUsize,
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
    pub fn start(settings: LaneSettings, open: Vec<Open>, on_batch: OnBatch) -> Result<Self, EngineError> {
        let shared = Arc::new(Shared {
            items: AtomicUsize::new(settings.limits.items),
            bound: AtomicUsize::new(usize::MAX),
            settings,
            queue: Mutex::default(),
            arrived: Condvar::new(),
            stats: LaneStats::default(),
            on_batch,
        });
        let mut lane = Self { shared: Arc::clone(&shared), threads: Vec::new(), placement: None };
        let mut opened = Vec::new();
        for open in open {
            let (report, opening) = std::sync::mpsc::sync_channel(1);
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name(shared.settings.name.into()).spawn(move || {
                // Best effort: without it the engine only competes harder.
                let _ = rustix::process::setpriority_process(None, NICENESS);
                let mut slot = Slot::new(open, &shared.stats.resident);
                // One that cannot be opened now is not tried again when a page comes.
                let opened = slot.engine().map(|engine| engine.placement().cloned());
                let failed = opened.is_err();
                let _ = report.send(opened);
                if !failed {
                    shared.serve(&mut slot);
                }
            });
            lane.threads.push(thread.map_err(|_| EngineError::Closed)?);
            opened.push(opening);
        }
        for opening in opened {
            let placement = opening.recv().unwrap_or(Err(EngineError::Closed))?;
            // Each thread has the same network.
            lane.placement = placement.or(lane.placement.take());
        }
        Ok(lane)
    }

    /// Where the network's nodes ran when it was opened, where that was recorded.
    #[must_use]
    pub fn placement(&self) -> Option<&Placement> {
        self.placement.as_ref()
    }

    /// Gives the network's memory back, after the present runs, and lets whoever waits for it know.
    pub fn close(&self) {
        let mut queue = lock(&self.shared.queue);
        queue.closed = true;
        queue.items.clear();
        drop(queue);
        self.shared.arrived.notify_all();
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

    /// Bounds a batch by so many items, until it is told otherwise; `None` lifts the bound, and leaves that of memory that
    /// ran out.
    pub fn limit_batch(&self, items: Option<usize>) {
        self.shared.bound.store(items.unwrap_or(usize::MAX).max(1), Ordering::Relaxed);
    }

    /// Most items of a batch, now.
    #[cfg(test)]
    pub(crate) fn batch_limit(&self) -> usize {
        self.shared.batch_limit()
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
        self.close();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn batch_limit(&self) -> usize {
        self.items.load(Ordering::Relaxed).min(self.bound.load(Ordering::Relaxed))
    }

    /// Runs batches until the lane is closed.
    fn serve(&self, slot: &mut Slot<'_>) {
        // A network that panics must not leave callers waiting: whoever submits afterwards is told.
        let _close = CloseOnPanic(self);
        loop {
            match self.next(slot.is_taken()) {
                Next::Run(batch) => self.run(slot, batch),
                Next::Free => slot.free(),
                Next::End => return,
            }
        }
    }

    /// Waits for work; not for ever where the network is in memory and should not stay there.
    fn next(&self, resident: bool) -> Next {
        let free_at = match self.settings.residency {
            Residency::Idle(after) if resident => Some(Instant::now() + after),
            Residency::Idle(_) | Residency::Always => None,
        };
        let mut queue = lock(&self.queue);
        loop {
            if queue.closed {
                return Next::End;
            }
            // As it is now: it may have changed while there was no work.
            let limits = BatchLimits { items: self.batch_limit(), ..self.settings.limits };
            let waiting = queue.items.iter().map(|item| Waiting {
                shape: [item.tensor.shape[1], item.tensor.shape[2], item.tensor.shape[3]],
                abandoned: item.wanted.abandoned.load(Ordering::Relaxed),
            });
            let picked = pick(waiting, limits);
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
                return Next::Run(batch);
            }
            queue = match free_at.map(|at| at.saturating_duration_since(Instant::now())) {
                None => self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return Next::Free,
                Some(left) => self.arrived.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    /// Runs a batch; one that fails is tried again item by item, so that only the culprit fails. Where memory ran out it is
    /// freed first, and batches stay smaller from then on. Where the device is lost, nothing is tried again.
    fn run(&self, slot: &mut Slot<'_>, batch: Vec<Item>) {
        let results = self.run_once(slot, &batch);
        let out_of_memory = matches!(results, Err(EngineError::OutOfMemory { .. }));
        if out_of_memory {
            slot.free();
            self.items.fetch_min((batch.len() / 2).max(1), Ordering::Relaxed);
        }
        match results {
            Err(ref error) if out_of_memory || (batch.len() > 1 && may_be_of_one_item(error)) => {
                tracing::warn!(network = self.settings.name, items = batch.len(), %error, "a batch failed, its items are run alone");
                for item in batch {
                    let result = self
                        .run_once(slot, std::slice::from_ref(&item))
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

    fn run_once(&self, slot: &mut Slot<'_>, batch: &[Item]) -> Result<Vec<Vec<Array>>, EngineError> {
        let engine = slot.engine()?;
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

/// Whether the items of a batch that failed for this might do better alone.
const fn may_be_of_one_item(error: &EngineError) -> bool {
    !matches!(error, EngineError::Stopped | EngineError::DeviceLost { .. })
}

/// What a thread of a lane does next.
enum Next {
    Run(Vec<Item>),
    /// Give the network's memory back.
    Free,
    End,
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
#[path = "lane_tests.rs"]
mod tests;
