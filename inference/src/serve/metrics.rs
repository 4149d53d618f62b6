//! What `/metrics` shows. Every label has few values, and none comes from a document or a client.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ocr_api::ErrorCode;
use ocr_serving::process;
use prometheus::{
    Counter, Encoder, Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use super::app::App;
use crate::{decode::Cause, hardware::Pressure, meter::Meter};

/// Routes that read documents, as labels.
pub(super) const ROUTES: [&str; 3] = ["/v1/ocr", "/v1/ocr/receipt", "/v1/parse"];

/// Label of every other request that is counted: paths that do not exist.
pub(super) const OTHER_ROUTE: &str = "other";

/// Label of a request that succeeded.
const OK: &str = "ok";

/// What computes; the first one until it is known.
pub(super) const STRATEGIES: [&str; 3] = ["cpu", "gpu-fp16", "gpu-int8"];

/// Seconds, from the fastest receipt to the longest request that may be allowed.
const PROCESSING_BUCKETS: [f64; 15] =
    [0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 2.0, 5.0, 15.0, 60.0, 180.0, 300.0, 900.0];

/// Why a request was sent away without being looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejection {
    /// Every place is taken.
    Queue,
    /// No memory is left for another body.
    Bodies,
    /// More connections are open than may be.
    Connections,
    NotReady,
    Draining,
}

impl Rejection {
    const ALL: [Self; 5] = [Self::Queue, Self::Bodies, Self::Connections, Self::NotReady, Self::Draining];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Bodies => "bodies",
            Self::Connections => "connections",
            Self::NotReady => "not_ready",
            Self::Draining => "draining",
        }
    }
}

/// The server's figures.
pub(super) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    processing: HistogramVec,
    pages: IntCounterVec,
    lines: IntCounter,
    rejected: IntCounterVec,
    requests_all: IntCounter,
    errors_all: IntCounter,
    queue_depth: IntGauge,
    queue_capacity: IntGauge,
    in_flight: IntGauge,
    concurrency: IntGauge,
    decode_processes: IntGauge,
    decode_deaths: IntCounterVec,
    load_stage: IntGauge,
    load_failures: IntCounter,
    ready: IntGauge,
    stuck: IntGauge,
    model_info: IntGaugeVec,
    resident: IntGauge,
    memory_declared: IntGauge,
    memory_pressure: IntGauge,
    /// Place in [`STRATEGIES`].
    strategy: AtomicUsize,
    threads: IntGauge,
    open_files: IntGauge,
    cpu_seconds: Counter,
}

impl Metrics {
    /// Figures at zero: each counter is there from the start, so that the first event is an increase.
    ///
    /// # Errors
    /// Where a metric's definition is not valid; the definitions are constants, so a test would have met it.
    pub fn new(meter: &Meter) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let metrics = Self {
            requests: IntCounterVec::new(
                Opts::new("ocr_requests_total", "Total OCR requests"),
                &["route", "code", "strategy"],
            )?,
            processing: HistogramVec::new(
                HistogramOpts::new(
                    "ocr_processing_seconds",
                    "OCR processing time: from the whole body received to the last page read",
                )
                .buckets(PROCESSING_BUCKETS.to_vec()),
                &["route", "strategy"],
            )?,
            pages: IntCounterVec::new(Opts::new("ocr_pages_total", "Pages, by outcome"), &["outcome"])?,
            lines: IntCounter::new("ocr_lines_total", "Lines of text read")?,
            rejected: IntCounterVec::new(
                Opts::new("ocr_rejected_total", "Requests refused without being looked at, by reason"),
                &["reason"],
            )?,
            requests_all: IntCounter::new("ocr_answers_total", "Requests answered")?,
            errors_all: IntCounter::new("ocr_answer_errors_total", "Requests answered with a status of 500 and above")?,
            queue_depth: IntGauge::new("ocr_queue_depth", "Requests that wait for their body or their turn")?,
            queue_capacity: IntGauge::new("ocr_queue_capacity", "Requests that may wait")?,
            in_flight: IntGauge::new("ocr_in_flight", "Requests in work")?,
            concurrency: IntGauge::new("ocr_concurrency", "Requests that may be in work at once")?,
            decode_processes: IntGauge::new("ocr_decode_processes", "Decode processes alive")?,
            decode_deaths: IntCounterVec::new(
                Opts::new("ocr_decode_process_deaths_total", "Decode processes lost, by cause"),
                &["cause"],
            )?,
            load_stage: IntGauge::new("ocr_model_load_stage", "Stage of the model's load, of 5; 5 is ready")?,
            load_failures: IntCounter::new("ocr_model_load_failures_total", "Attempts to load the model that failed")?,
            ready: IntGauge::new("ocr_ready", "1 where requests are taken")?,
            stuck: IntGauge::new("ocr_stuck", "1 where the watchdog sees work and no progress")?,
            model_info: IntGaugeVec::new(
                Opts::new("ocr_model_info", "The model that is loaded"),
                &["name", "version", "digest", "recogniser", "precision", "execution_provider"],
            )?,
            resident: IntGauge::new("process_resident_memory_bytes", "Resident memory of the server")?,
            memory_declared: IntGauge::new(
                "ocr_memory_declared_bytes",
                "Most memory that the server should take with its model; 0 while none is loaded",
            )?,
            memory_pressure: IntGauge::new(
                "ocr_memory_pressure",
                "How near memory is to its limit: 0 not, 1 above 80 %, 2 above 85, 3 above 90, 4 above 95",
            )?,
            strategy: AtomicUsize::new(0),
            threads: IntGauge::new("process_threads", "Threads of the server")?,
            open_files: IntGauge::new("process_open_fds", "Files that the server has open")?,
            cpu_seconds: Counter::new("process_cpu_seconds_total", "Seconds of the server on a core")?,
            registry,
        };
        metrics.start_at_zero();
        metrics.register(meter)?;
        Ok(metrics)
    }

    fn start_at_zero(&self) {
        for route in ROUTES.into_iter().chain([OTHER_ROUTE]) {
            for code in [OK].into_iter().chain(ErrorCode::ALL.map(ErrorCode::as_str)) {
                self.requests.with_label_values(&[route, code, STRATEGIES[0]]);
            }
        }
        for route in ROUTES {
            self.processing.with_label_values(&[route, STRATEGIES[0]]);
        }
        for outcome in ["read", "failed"] {
            self.pages.with_label_values(&[outcome]);
        }
        for reason in Rejection::ALL {
            self.rejected.with_label_values(&[reason.as_str()]);
        }
        for cause in Cause::ALL.into_iter().filter(|cause| *cause != Cause::Retired) {
            self.decode_deaths.with_label_values(&[cause.as_str()]);
        }
    }

    fn register(&self, meter: &Meter) -> Result<(), prometheus::Error> {
        let build = IntGaugeVec::new(Opts::new("ocr_build_info", "The program that runs"), &["version"])?;
        build.with_label_values(&[super::VERSION]).set(1);
        let started = Gauge::new("process_start_time_seconds", "When the server started, in seconds since 1970")?;
        started.set(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()));
        let registry = &self.registry;
        registry.register(Box::new(build))?;
        registry.register(Box::new(started))?;
        registry.register(Box::new(self.processing.clone()))?;
        registry.register(Box::new(self.model_info.clone()))?;
        registry.register(Box::new(self.cpu_seconds.clone()))?;
        for counters in [&self.requests, &self.pages, &self.rejected, &self.decode_deaths] {
            registry.register(Box::new(counters.clone()))?;
        }
        for counter in [&self.lines, &self.requests_all, &self.errors_all, &self.load_failures] {
            registry.register(Box::new(counter.clone()))?;
        }
        for gauge in [
            &self.queue_depth,
            &self.queue_capacity,
            &self.in_flight,
            &self.concurrency,
            &self.decode_processes,
            &self.load_stage,
            &self.ready,
            &self.stuck,
            &self.resident,
            &self.memory_declared,
            &self.memory_pressure,
            &self.threads,
            &self.open_files,
        ] {
            registry.register(Box::new(gauge.clone()))?;
        }
        meter.register(registry)
    }

    /// Notes what computes.
    pub fn computes_on(&self, strategy: &str) {
        let place = STRATEGIES.iter().position(|one| *one == strategy).unwrap_or(0);
        self.strategy.store(place, Ordering::Relaxed);
    }

    fn strategy(&self) -> &'static str {
        STRATEGIES.get(self.strategy.load(Ordering::Relaxed)).copied().unwrap_or(STRATEGIES[0])
    }

    /// Counts a request that was answered, or whose client left.
    pub fn answered(&self, route: &'static str, code: Option<ErrorCode>) {
        self.requests.with_label_values(&[route, code.map_or(OK, ErrorCode::as_str), self.strategy()]).inc();
        self.requests_all.inc();
        if code.is_some_and(|code| code.http_status() >= 500) {
            self.errors_all.inc();
        }
    }

    /// Notes how long a request took, from its whole body to its last page.
    pub fn processed(&self, route: &'static str, took: Duration) {
        self.processing.with_label_values(&[route, self.strategy()]).observe(took.as_secs_f64());
    }

    /// Counts a page and its lines.
    pub fn page(&self, success: bool, lines: usize) {
        self.pages.with_label_values(&[if success { "read" } else { "failed" }]).inc();
        self.lines.inc_by(u64::try_from(lines).unwrap_or(u64::MAX));
    }

    /// Counts a request that was sent away.
    pub fn rejected(&self, reason: Rejection) {
        self.rejected.with_label_values(&[reason.as_str()]).inc();
    }

    /// Notes how near memory is to its limit.
    pub fn pressure(&self, pressure: Pressure) {
        self.memory_pressure.set(pressure as i64);
    }

    /// Counts an attempt to load the model that failed.
    pub fn load_failed(&self) {
        self.load_failures.inc();
    }

    /// Requests answered since the start, and those of them with a status of 500 and above.
    pub fn totals(&self) -> (u64, u64) {
        (self.requests_all.get(), self.errors_all.get())
    }

    /// Pages and lines since the start; pages that failed are not among them.
    pub fn read(&self) -> (u64, u64) {
        (self.pages.with_label_values(&["read"]).get(), self.lines.get())
    }

    /// All figures in Prometheus' text format.
    ///
    /// # Errors
    /// Where the figures cannot be written, which does not happen with valid definitions.
    pub fn encode(&self, app: &App) -> Result<String, prometheus::Error> {
        self.look(app);
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }

    /// Takes what is not counted but looked at.
    fn look(&self, app: &App) {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let large = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.queue_depth.set(count(app.admission.queued()));
        self.queue_capacity.set(count(app.admission.queue()));
        self.in_flight.set(count(app.admission.in_flight()));
        self.concurrency.set(count(app.admission.concurrency()));
        self.load_stage.set(i64::from(app.load.progress().stage_number));
        self.ready.set(i64::from(app.is_ready()));
        self.stuck.set(i64::from(app.is_stuck()));
        if let Some(backend) = app.load.backend() {
            let sandbox = backend.sandbox();
            self.decode_processes.set(i64::from(sandbox.processes));
            // The pool counts; here its counts are only shown.
            for (cause, deaths) in &sandbox.deaths_by_cause {
                let counter = self.decode_deaths.with_label_values(&[cause]);
                counter.inc_by(deaths.saturating_sub(counter.get()));
            }
            let (model, engine) = (backend.model(), backend.engine());
            self.memory_declared.set(large(model.memory_bytes));
            self.model_info.reset();
            self.model_info
                .with_label_values(&[
                    &model.model.name,
                    &model.model.version,
                    &model.model.digest,
                    &model.recogniser,
                    &engine.precision,
                    &engine.execution_provider,
                ])
                .set(1);
        }
        let memory = process::memory();
        self.resident.set(large(memory.resident_bytes));
        self.threads.set(large(memory.threads));
        self.open_files.set(count(process::open_files()));
        let cpu = process::cpu_time().as_secs_f64();
        self.cpu_seconds.inc_by((cpu - self.cpu_seconds.get()).max(0.0));
    }
}
