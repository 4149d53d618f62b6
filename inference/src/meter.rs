//! What the pipeline counts: stage times, batches, units of work, the engine's progress.
//!
//! The stages write to a [`Meter`]; the server shows it on `/metrics` and `/status` and watches its progress. It decides
//! nothing and knows no document: only numbers come in.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus::{Counter, Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

/// A stage of a page's way whose time is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for a turn, after the body has arrived.
    Queue,
    Decode,
    Plan,
    Detect,
    Recognise,
    Assemble,
    Render,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 7] =
        [Self::Queue, Self::Decode, Self::Plan, Self::Detect, Self::Recognise, Self::Assemble, Self::Render];

    /// The metric's label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Decode => "decode",
            Self::Plan => "plan",
            Self::Detect => "detect",
            Self::Recognise => "recognise",
            Self::Assemble => "assemble",
            Self::Render => "render",
        }
    }
}

/// What work is done for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A client's document.
    Serve,
    /// To see that the server reads: the pages of its start and the operator's. They count nowhere, so that nobody scales or
    /// judges by them.
    Prove,
}

/// Units of work of one request. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct UnitTally(Arc<AtomicU64>);

impl UnitTally {
    /// Thousandths of a unit: a line is hundreds of them.
    const PARTS: f64 = 1000.0;

    /// Adds units. What is no amount of work is none.
    pub fn add(&self, units: f64) {
        // Saturates, and NaN is 0.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let parts = (units * Self::PARTS).round() as u64;
        self.0.fetch_add(parts, Ordering::Relaxed);
    }

    /// The units so far.
    #[must_use]
    pub fn units(&self) -> f64 {
        // Below the 2^53 that an f64 holds exactly.
        #[expect(clippy::cast_precision_loss)]
        let parts = self.0.load(Ordering::Relaxed) as f64;
        parts / Self::PARTS
    }
}

/// Seconds: from a small receipt's fastest stage to a large document's.
const STAGE_BUCKETS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// Lines of a batch.
const BATCH_BUCKETS: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// Counts what the pipeline does for clients, and the engine's progress with whatever it does.
pub struct Meter {
    stages: HistogramVec,
    stage: [Histogram; Stage::ALL.len()],
    batch_size: Histogram,
    units: Counter,
    busy: Counter,
    step_downs: IntCounterVec,
    engine_work: AtomicU64,
    engine_progress: AtomicU64,
}

impl Meter {
    /// A meter at zero.
    ///
    /// # Errors
    /// Where a metric's definition is not valid; the definitions are constants, so a test would have met it.
    pub fn new() -> Result<Self, prometheus::Error> {
        let stages = HistogramVec::new(
            HistogramOpts::new("ocr_stage_seconds", "Time of a page in each stage").buckets(STAGE_BUCKETS.to_vec()),
            &["stage"],
        )?;
        Ok(Self {
            stage: Stage::ALL.map(|stage| stages.with_label_values(&[stage.as_str()])),
            stages,
            batch_size: Histogram::with_opts(
                HistogramOpts::new("ocr_batch_size", "Lines recognised together").buckets(BATCH_BUCKETS.to_vec()),
            )?,
            units: Counter::new("ocr_units_total", "Units of work done, which no hardware changes")?,
            busy: Counter::new("ocr_busy_seconds_total", "Seconds of engine threads at work, summed over the threads")?,
            step_downs: IntCounterVec::new(
                Opts::new(
                    "ocr_strategies_passed_over_total",
                    "Strategies that were asked for or tried and are not used, by the reason",
                ),
                &["reason"],
            )?,
            engine_work: AtomicU64::new(0),
            engine_progress: AtomicU64::new(0),
        })
    }

    /// Notes a strategy that is not used.
    pub fn passed_over(&self, reason: &str) {
        self.step_downs.with_label_values(&[reason]).inc();
    }

    /// Notes the time of a page in a stage.
    pub fn stage(&self, purpose: Purpose, stage: Stage, took: Duration) {
        if let Some(histogram) = self.stage.get(stage as usize).filter(|_| purpose == Purpose::Serve) {
            histogram.observe(took.as_secs_f64());
        }
    }

    /// Notes a batch of lines that was recognised for clients.
    pub fn batch(&self, lines: usize) {
        self.batch_size.observe(u32::try_from(lines).map_or(f64::INFINITY, f64::from));
    }

    /// Notes units of work.
    pub fn worked(&self, purpose: Purpose, units: f64) {
        // A counter must never fall, whatever a manifest says a line costs.
        if purpose == Purpose::Serve && units.is_finite() && units >= 0.0 {
            self.units.inc_by(units);
        }
    }

    /// Notes time that an engine thread was at work for clients.
    pub fn busy(&self, busy: Duration) {
        self.busy.inc_by(busy.as_secs_f64());
    }

    /// Says that the engine has a job, queued or running, until the guard is dropped.
    #[must_use]
    pub fn engine_work(self: &Arc<Self>) -> EngineWork {
        self.engine_work.fetch_add(1, Ordering::AcqRel);
        EngineWork(Arc::clone(self))
    }

    /// Says that the engine finished a run, well or not.
    pub fn engine_progress(&self) {
        self.engine_progress.fetch_add(1, Ordering::AcqRel);
    }

    /// What the watchdog looks at: jobs that the engine has, and runs that it has finished.
    #[must_use]
    pub fn engine(&self) -> EnginePulse {
        EnginePulse {
            jobs: self.engine_work.load(Ordering::Acquire),
            finished: self.engine_progress.load(Ordering::Acquire),
        }
    }

    /// Units done for clients.
    #[must_use]
    pub fn units(&self) -> f64 {
        self.units.get()
    }

    /// Seconds of engine threads at work for clients.
    #[must_use]
    pub fn busy_seconds(&self) -> f64 {
        self.busy.get()
    }

    /// Shows the figures in a registry.
    ///
    /// # Errors
    /// Where a metric of the same name is registered already.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.stages.clone()))?;
        registry.register(Box::new(self.batch_size.clone()))?;
        registry.register(Box::new(self.units.clone()))?;
        registry.register(Box::new(self.step_downs.clone()))?;
        registry.register(Box::new(self.busy.clone()))
    }
}

/// What the watchdog looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EnginePulse {
    /// Jobs queued or running.
    pub jobs: u64,
    /// Runs finished since the start.
    pub finished: u64,
}

/// A job of the engine, queued or running.
pub struct EngineWork(Arc<Meter>);

impl Drop for EngineWork {
    fn drop(&mut self) {
        self.0.engine_work.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "sums of whole numbers are exact")]
mod tests {
    use super::*;

    #[test]
    fn what_only_proves_does_not_count() {
        let meter = Meter::new().unwrap();
        let seen = || (meter.units(), meter.stage[Stage::Detect as usize].get_sample_count());
        for (purpose, after) in [(Purpose::Prove, (0.0, 0)), (Purpose::Serve, (3.0, 1))] {
            meter.worked(purpose, 3.0);
            meter.stage(purpose, Stage::Detect, Duration::from_secs(1));
            assert_eq!(seen(), after, "{purpose:?}");
        }
    }

    #[test]
    fn a_tally_is_what_all_its_clones_added_and_takes_no_nonsense() {
        let tally = UnitTally::default();
        for units in [0.5, 0.25, f64::NAN, -3.0] {
            tally.clone().add(units);
        }
        assert_eq!(tally.units(), 0.75);
    }

    #[test]
    fn a_counter_takes_no_nonsense() {
        let meter = Meter::new().unwrap();
        meter.worked(Purpose::Serve, f64::NAN);
        meter.worked(Purpose::Serve, -1.0);
        assert_eq!(meter.units(), 0.0);
    }

    #[test]
    fn labels_stand_at_their_place() {
        let meter = Meter::new().unwrap();
        for stage in Stage::ALL {
            meter.stage(Purpose::Serve, stage, Duration::from_millis(1));
            assert_eq!(meter.stages.with_label_values(&[stage.as_str()]).get_sample_count(), 1, "{stage:?}");
        }
    }

    #[test]
    fn a_job_is_counted_while_its_guard_lives() {
        let meter = Arc::new(Meter::new().unwrap());
        let work = meter.engine_work();
        meter.engine_progress();
        assert_eq!(meter.engine(), EnginePulse { jobs: 1, finished: 1 });
        drop(work);
        assert_eq!(meter.engine(), EnginePulse { jobs: 0, finished: 1 });
    }
}
