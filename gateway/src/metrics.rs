//! What `/metrics` shows. Labels have few values, and none comes from a client.

use std::{collections::BTreeSet, sync::Mutex, time::Duration};

use ocr_serving::process;
use prometheus::{
    Counter, Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

/// Seconds, from the smallest page to the longest request that may be allowed.
const SECONDS: [f64; 15] = [0.005, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 180.0, 300.0, 900.0];

/// Revisions with a label of their own; a pool has two or three at a time.
const MOST_REVISIONS: usize = 16;

/// Label of revisions beyond, and of pods that do not say theirs.
const NO_REVISION: &str = "none";

/// The gateway's figures.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    seconds: HistogramVec,
    upstream: HistogramVec,
    queue: Histogram,
    retries: IntCounterVec,
    cold_starts: IntCounter,
    held: IntGauge,
    held_bytes: IntGauge,
    in_flight: IntGauge,
    pods: IntGaugeVec,
    resident: IntGauge,
    cpu: Counter,
    revisions: Mutex<BTreeSet<String>>,
}

/// What is looked at when the figures are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    pub held: usize,
    pub held_bytes: u64,
    pub in_flight: usize,
    pub pods_ready: usize,
    pub pods_not_ready: usize,
}

impl Metrics {
    /// Figures at zero.
    ///
    /// # Errors
    /// Where a metric's definition is not valid; the definitions are constants, so a test would have met it.
    pub fn new(version: &str) -> Result<Self, prometheus::Error> {
        let histogram = |name: &str, help: &str| HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        let metrics = Self {
            registry: Registry::new(),
            requests: IntCounterVec::new(
                Opts::new("ocr_gateway_requests_total", "Requests answered, by code and by the revision that answered"),
                &["code", "revision"],
            )?,
            seconds: HistogramVec::new(
                histogram(
                    "ocr_gateway_request_seconds",
                    "Time of requests, from their head to the end of their answer",
                ),
                &["revision"],
            )?,
            upstream: HistogramVec::new(
                histogram("ocr_gateway_upstream_seconds", "Time that pods take until the head of their answer"),
                &["revision"],
            )?,
            queue: Histogram::with_opts(histogram("ocr_gateway_queue_seconds", "Time that requests waited for a pod"))?,
            retries: IntCounterVec::new(
                Opts::new(
                    "ocr_gateway_retries_total",
                    "Requests that were sent to a second pod, by what the first did",
                ),
                &["reason"],
            )?,
            cold_starts: IntCounter::new("ocr_gateway_cold_starts_total", "Requests that waited for a first pod")?,
            held: IntGauge::new("ocr_gateway_held", "Requests that wait for a pod")?,
            held_bytes: IntGauge::new("ocr_gateway_held_bytes", "Bytes of the requests that wait for a pod")?,
            in_flight: IntGauge::new("ocr_gateway_in_flight", "Requests that pods were given")?,
            pods: IntGaugeVec::new(
                Opts::new("ocr_gateway_pods", "Pods that are known, by whether they take requests"),
                &["ready"],
            )?,
            resident: IntGauge::new("process_resident_memory_bytes", "Resident memory")?,
            cpu: Counter::new("process_cpu_seconds_total", "Time on a core")?,
            revisions: Mutex::default(),
        };
        for reason in RETRY_REASONS {
            metrics.retries.with_label_values(&[reason]);
        }
        let build = IntGaugeVec::new(Opts::new("ocr_gateway_build_info", "The program that runs"), &["version"])?;
        build.with_label_values(&[version]).set(1);
        let registry = &metrics.registry;
        registry.register(Box::new(build))?;
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.seconds.clone()))?;
        registry.register(Box::new(metrics.upstream.clone()))?;
        registry.register(Box::new(metrics.queue.clone()))?;
        registry.register(Box::new(metrics.retries.clone()))?;
        registry.register(Box::new(metrics.cold_starts.clone()))?;
        registry.register(Box::new(metrics.pods.clone()))?;
        registry.register(Box::new(metrics.cpu.clone()))?;
        for gauge in [&metrics.held, &metrics.held_bytes, &metrics.in_flight, &metrics.resident] {
            registry.register(Box::new(gauge.clone()))?;
        }
        Ok(metrics)
    }

    /// Counts a request that was answered, or whose client left.
    pub fn answered(&self, code: &str, revision: Option<&str>, took: Duration) {
        let revision = self.label(revision);
        self.requests.with_label_values(&[code, &revision]).inc();
        self.seconds.with_label_values(&[&revision]).observe(took.as_secs_f64());
    }

    /// Notes how long a pod took.
    pub fn upstream(&self, revision: Option<&str>, took: Duration) {
        self.upstream.with_label_values(&[&self.label(revision)]).observe(took.as_secs_f64());
    }

    /// Notes how long a request waited for a pod, and whether there was none at first.
    pub fn waited(&self, took: Duration, cold: bool) {
        self.queue.observe(took.as_secs_f64());
        if cold {
            self.cold_starts.inc();
        }
    }

    /// Counts a request that was sent to a second pod.
    pub fn retried(&self, reason: &str) {
        self.retries.with_label_values(&[reason]).inc();
    }

    /// All figures in Prometheus' text format.
    ///
    /// # Errors
    /// Where the figures cannot be written, which does not happen with valid definitions.
    pub fn encode(&self, look: Look) -> Result<String, prometheus::Error> {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let large = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.held.set(count(look.held));
        self.held_bytes.set(large(look.held_bytes));
        self.in_flight.set(count(look.in_flight));
        self.pods.with_label_values(&["true"]).set(count(look.pods_ready));
        self.pods.with_label_values(&["false"]).set(count(look.pods_not_ready));
        self.resident.set(large(process::memory().resident_bytes));
        self.cpu.inc_by((process::cpu_time().as_secs_f64() - self.cpu.get()).max(0.0));
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }

    /// A revision as a label: pods say what they are, and must not fill the memory by it.
    fn label(&self, revision: Option<&str>) -> String {
        let Some(revision) = revision else { return NO_REVISION.to_owned() };
        let mut known = self.revisions.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !known.contains(revision) {
            if known.len() >= MOST_REVISIONS {
                return NO_REVISION.to_owned();
            }
            known.insert(revision.to_owned());
        }
        revision.to_owned()
    }
}

/// Why a request is sent to a second pod.
pub const RETRY_REASONS: [&str; 4] = ["unreachable", "broken", "silent", "refused"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_are_bounded_and_everything_starts_at_zero() {
        let metrics = Metrics::new("1.2.3").unwrap();
        let text = metrics.encode(Look::default()).unwrap();
        assert!(text.contains("ocr_gateway_retries_total{reason=\"refused\"} 0"), "{text}");
        assert!(text.contains("ocr_gateway_held 0") && text.contains("ocr_gateway_build_info{version=\"1.2.3\"} 1"));
        for number in 0..100 {
            metrics.answered("ok", Some(&format!("r{number}")), Duration::ZERO);
        }
        metrics.answered("ok", None, Duration::ZERO);
        let text = metrics.encode(Look { held: 3, ..Look::default() }).unwrap();
        assert!(text.contains("ocr_gateway_requests_total{code=\"ok\",revision=\"r15\"} 1"));
        assert!(text.contains("ocr_gateway_requests_total{code=\"ok\",revision=\"none\"} 85"));
        assert!(text.contains("ocr_gateway_held 3"));
    }
}
