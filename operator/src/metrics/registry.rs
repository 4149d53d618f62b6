//! What is counted. Labels have few values; only `ocr_operator_pool_ready` names objects, and those go with the pool.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ocrpool_core::api::{OcrPoolStatus, conditions::reason};
use prometheus::{
    Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder, core::Collector,
};

use super::{
    pools::{PoolName, Pools},
    process::Process,
    requests::{CountRequests, NO_ANSWER},
};

/// Seconds, from a look that changes nothing to calls that all run into their limit.
const RECONCILE_BUCKETS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// Reasons for which a reconcile fails.
const FAILURES: [&str; 4] = [reason::API_ERROR, reason::FORBIDDEN, reason::NAME_TAKEN, reason::FIELD_CONFLICT];

/// How a reconcile ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything was done that was planned, which may be nothing.
    AsPlanned,
    /// It was put off, or cut short because this replica does not lead any more.
    Waiting,
    /// Something could not be done, for these reasons.
    Failed(Vec<&'static str>),
}

/// The operator's figures.
pub struct Metrics {
    registry: Registry,
    process: Process,
    reconciles: IntCounterVec,
    reconcile_errors: IntCounterVec,
    reconcile_duration: Histogram,
    api_requests: IntCounterVec,
    proofs: IntCounterVec,
    queue_length: IntGauge,
    leader: IntGauge,
    pools: Pools,
    /// Pools that something happened to and that were not looked at since.
    waiting: Mutex<HashSet<PoolName>>,
}

impl Metrics {
    /// Figures at zero: each counter is there from the start, so that the first event is an increase.
    ///
    /// # Errors
    /// Where a metric's definition is not valid; the definitions are constants, so a test would have met it.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let metrics = Self {
            process: Process::register(&registry)?,
            reconciles: IntCounterVec::new(
                Opts::new(
                    "ocr_operator_reconciles_total",
                    "Looks at a pool: ok did all that was planned, error could not (see \
                     ocr_operator_reconcile_errors_total), waiting was put off until an own write is seen",
                ),
                &["outcome"],
            )?,
            reconcile_errors: IntCounterVec::new(
                Opts::new(
                    "ocr_operator_reconcile_errors_total",
                    "Looks at a pool in which something could not be done, by reason; the pool's condition Degraded \
                     has it in words",
                ),
                &["reason"],
            )?,
            reconcile_duration: Histogram::with_opts(
                HistogramOpts::new(
                    "ocr_operator_reconcile_duration_seconds",
                    "Time of a look at a pool with all its writes, in seconds; waiting ones are left out",
                )
                .buckets(RECONCILE_BUCKETS.to_vec()),
            )?,
            api_requests: IntCounterVec::new(
                Opts::new(
                    "ocr_operator_api_requests_total",
                    "Requests to the API server, by verb and status code; code error is one without an answer",
                ),
                &["verb", "code"],
            )?,
            proofs: IntCounterVec::new(
                Opts::new(
                    "ocr_operator_proofs_total",
                    "Pages sent through pools' addresses to prove that they read: passed, or failed",
                ),
                &["outcome"],
            )?,
            queue_length: IntGauge::new(
                "ocr_operator_queue_length",
                "Pools that something happened to and that were not looked at since; growing: the operator is too slow",
            )?,
            leader: IntGauge::new(
                "ocr_operator_leader",
                "1 on the replica that works, 0 on those that wait; the sum over all replicas should be 1",
            )?,
            pools: Pools::register(&registry)?,
            waiting: Mutex::default(),
            registry,
        };
        metrics.start_at_zero();
        metrics.register()?;
        Ok(metrics)
    }

    fn start_at_zero(&self) {
        for outcome in ["ok", "error", "waiting"] {
            self.reconciles.with_label_values(&[outcome]);
        }
        for reason in FAILURES {
            self.reconcile_errors.with_label_values(&[reason]);
        }
        for verb in ["get", "list", "watch", "create", "update", "patch", "delete"] {
            self.api_requests.with_label_values(&[verb, NO_ANSWER]);
        }
        for outcome in ["passed", "failed"] {
            self.proofs.with_label_values(&[outcome]);
        }
    }

    fn register(&self) -> Result<(), prometheus::Error> {
        let build = IntGaugeVec::new(Opts::new("ocr_operator_build_info", "The operator that runs"), &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let all: [Box<dyn Collector>; 8] = [
            Box::new(build),
            Box::new(self.reconciles.clone()),
            Box::new(self.reconcile_errors.clone()),
            Box::new(self.reconcile_duration.clone()),
            Box::new(self.api_requests.clone()),
            Box::new(self.proofs.clone()),
            Box::new(self.queue_length.clone()),
            Box::new(self.leader.clone()),
        ];
        all.into_iter().try_for_each(|metric| self.registry.register(metric))
    }

    /// Counts the requests of a client.
    pub fn count_requests(&self) -> CountRequests {
        CountRequests::new(self.api_requests.clone())
    }

    /// Notes that something happened to a pool.
    pub fn triggered(&self, pool: PoolName) {
        self.waiting().insert(pool);
    }

    /// Notes that a pool is looked at.
    pub fn taken(&self, pool: &PoolName) {
        self.waiting().remove(pool);
    }

    /// Counts a look at a pool.
    pub fn reconciled(&self, ended: &Ended, took: Duration) {
        let outcome = match ended {
            Ended::AsPlanned => "ok",
            Ended::Waiting => "waiting",
            Ended::Failed(reasons) => {
                for reason in reasons.iter().collect::<HashSet<_>>() {
                    self.reconcile_errors.with_label_values(&[reason]).inc();
                }
                "error"
            }
        };
        self.reconciles.with_label_values(&[outcome]).inc();
        if *ended != Ended::Waiting {
            self.reconcile_duration.observe(took.as_secs_f64());
        }
    }

    /// Notes how a pool is.
    pub fn pool(&self, pool: PoolName, status: &OcrPoolStatus) {
        self.pools.note(pool, status);
    }

    /// Notes that a pool cannot be read.
    pub fn unreadable_pool(&self, pool: PoolName) {
        self.pools.note_unreadable(pool);
    }

    /// Forgets the pools that are no more.
    pub fn keep_only(&self, stays: impl Fn(&PoolName) -> bool) {
        self.waiting().retain(&stays);
        self.pools.keep_only(stays);
    }

    /// Counts a page that was sent through a pool's address.
    pub fn proven(&self, passed: bool) {
        self.proofs.with_label_values(&[if passed { "passed" } else { "failed" }]).inc();
    }

    /// Notes whether this replica leads. One that does not knows of no pools.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
        if !leads {
            self.keep_only(|_| false);
        }
    }

    /// All figures in Prometheus' text format.
    ///
    /// # Errors
    /// Where the figures cannot be written, which does not happen with valid definitions.
    pub fn encode(&self) -> Result<String, prometheus::Error> {
        self.process.look();
        self.queue_length.set(i64::try_from(self.waiting().len()).unwrap_or(i64::MAX));
        self.pools.count();
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    fn waiting(&self) -> MutexGuard<'_, HashSet<PoolName>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use prometheus::proto::LabelPair;

    use super::*;

    fn name(namespace: &str, name: &str) -> PoolName {
        PoolName { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// Whether the text has this line.
    fn has(metrics: &Metrics, line: &str) -> bool {
        metrics.encode().unwrap().lines().any(|one| one == line)
    }

    #[test]
    fn every_series_is_there_at_zero() {
        let metrics = Metrics::new().unwrap();
        for line in [
            "ocr_operator_reconciles_total{outcome=\"ok\"} 0",
            "ocr_operator_reconcile_errors_total{reason=\"NameTaken\"} 0",
            "ocr_operator_reconcile_duration_seconds_count 0",
            "ocr_operator_proofs_total{outcome=\"failed\"} 0",
            "ocr_operator_api_requests_total{code=\"error\",verb=\"patch\"} 0",
            "ocr_operator_queue_length 0",
            "ocr_operator_leader 0",
            "ocr_operator_pools{state=\"not_ready\"} 0",
            "ocr_operator_troubled_pods{reason=\"OOMKilled\"} 0",
            concat!("ocr_operator_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(has(&metrics, line), "{line}");
        }
    }

    #[test]
    fn a_reconcile_counts_once_and_each_of_its_reasons_once() {
        let metrics = Metrics::new().unwrap();
        let took = Duration::from_millis(3);
        metrics.reconciled(&Ended::AsPlanned, took);
        metrics.reconciled(&Ended::Waiting, took);
        metrics.reconciled(&Ended::Failed(vec![reason::FORBIDDEN, reason::FORBIDDEN, reason::API_ERROR]), took);
        for line in [
            "ocr_operator_reconciles_total{outcome=\"ok\"} 1",
            "ocr_operator_reconciles_total{outcome=\"error\"} 1",
            "ocr_operator_reconciles_total{outcome=\"waiting\"} 1",
            "ocr_operator_reconcile_errors_total{reason=\"Forbidden\"} 1",
            "ocr_operator_reconcile_errors_total{reason=\"ApiError\"} 1",
            "ocr_operator_reconcile_duration_seconds_count 2",
        ] {
            assert!(has(&metrics, line), "{line}");
        }
    }

    #[test]
    fn a_pool_waits_once_however_much_happens_to_it() {
        let metrics = Metrics::new().unwrap();
        metrics.triggered(name("shop", "receipts"));
        metrics.triggered(name("shop", "receipts"));
        metrics.triggered(name("shop", "letters"));
        assert!(has(&metrics, "ocr_operator_queue_length 2"));
        metrics.taken(&name("shop", "receipts"));
        assert!(has(&metrics, "ocr_operator_queue_length 1"));
    }

    #[test]
    fn a_replica_that_does_not_lead_any_more_shows_no_pools() {
        let metrics = Metrics::new().unwrap();
        metrics.leads(true);
        metrics.triggered(name("shop", "letters"));
        metrics.pool(name("shop", "receipts"), &OcrPoolStatus::default());
        assert!(has(&metrics, "ocr_operator_leader 1"));
        metrics.leads(false);
        for line in
            ["ocr_operator_leader 0", "ocr_operator_queue_length 0", "ocr_operator_pools{state=\"not_ready\"} 0"]
        {
            assert!(has(&metrics, line), "{line}");
        }
        assert!(!metrics.encode().unwrap().contains("receipts"));
    }

    /// Name, labels and help of each metric stand in one row of the table, so that neither can change alone.
    #[test]
    fn the_documentation_has_every_metric() {
        let documented = include_str!("../../../docs/metrics-operator.md");
        let metrics = Metrics::new().unwrap();
        metrics.pool(name("shop", "receipts"), &OcrPoolStatus::default());
        metrics.encode().unwrap();
        for family in metrics.registry.gather() {
            let labels: Vec<&str> = family.get_metric()[0].get_label().iter().map(LabelPair::name).collect();
            let row = format!("| `{}` | {} | {} |", family.name(), labels.join(", "), family.help());
            assert!(documented.lines().any(|line| line == row), "docs/metrics-operator.md lacks\n{row}");
        }
    }
}
