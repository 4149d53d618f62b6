//! What is counted and logged, and what is not.

use std::{
    io::Write,
    sync::{LazyLock, Mutex, PoisonError, atomic::Ordering},
};

use tracing_subscriber::fmt::MakeWriter;

use super::{fake::Attempt, *};
use crate::{decode::Cause, meter::Stage};

#[tokio::test]
async fn every_series_is_there_at_zero_before_the_first_request() {
    let bench = Bench::cold(FakeLoader::new(), &[]);
    let text = bench.admin("/metrics").await.ok().text();
    for code in ErrorCode::ALL.map(ErrorCode::as_str).into_iter().chain(["ok"]) {
        for route in ["/v1/ocr", "/v1/ocr/receipt", "/v1/parse", "other"] {
            let series = format!("ocr_requests_total{{code=\"{code}\",route=\"{route}\",strategy=\"cpu\"}} 0\n");
            assert!(text.contains(&series), "{series}");
        }
    }
    for stage in Stage::ALL {
        assert!(text.contains(&format!("ocr_stage_seconds_count{{stage=\"{}\"}} 0\n", stage.as_str())));
    }
    for cause in Cause::ALL.into_iter().filter(|cause| *cause != Cause::Retired) {
        assert!(text.contains(&format!("ocr_decode_process_deaths_total{{cause=\"{}\"}} 0\n", cause.as_str())));
    }
    for series in [
        "ocr_processing_seconds_count{route=\"/v1/ocr\",strategy=\"cpu\"} 0",
        "ocr_processing_seconds_bucket{route=\"/v1/ocr\",strategy=\"cpu\",le=\"0.02\"} 0",
        "ocr_processing_seconds_bucket{route=\"/v1/ocr\",strategy=\"cpu\",le=\"900\"} 0",
        "ocr_pages_total{outcome=\"read\"} 0",
        "ocr_pages_total{outcome=\"failed\"} 0",
        "ocr_lines_total 0",
        "ocr_units_total 0",
        "ocr_busy_seconds_total 0",
        "ocr_queue_depth 0",
        "ocr_in_flight 0",
        "ocr_queue_capacity 3",
        "ocr_concurrency 2",
        "ocr_rejected_total{reason=\"queue\"} 0",
        "ocr_rejected_total{reason=\"draining\"} 0",
        "ocr_batch_size_count 0",
        "ocr_decode_processes 0",
        "ocr_model_load_stage 1",
        "ocr_ready 0",
    ] {
        assert!(text.contains(&format!("{series}\n")), "{series} in\n{text}");
    }
    assert!(text.contains(concat!("ocr_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1")));
    assert!(!text.contains("NaN"));
    assert!(bench.metric("process_resident_memory_bytes").await > 1e6);
    assert!(bench.metric("process_start_time_seconds").await > 1.7e9);
}

#[tokio::test]
async fn requests_pages_and_lines_are_counted_and_proofs_are_not() {
    let bench = Bench::new().await;
    let proof = Request::post("/v1/ocr").header("x-ocr-proof", "1").body(Body::from("pages:3")).unwrap();
    bench.call(proof).await.ok();
    bench.post("/v1/ocr/receipt", "pages:3 fail:2").await.ok();
    bench.post("/v1/ocr", "refuse:undecodable").await;
    bench.post("/nowhere", "").await;
    bench.post("/v1/ocr?format=ndjson", "pages:2").await.ok();
    for (series, value) in [
        ("ocr_requests_total{code=\"ok\",route=\"/v1/ocr/receipt\",strategy=\"cpu\"}", 1.0),
        ("ocr_requests_total{code=\"ok\",route=\"/v1/ocr\",strategy=\"cpu\"}", 1.0),
        ("ocr_requests_total{code=\"undecodable\",route=\"/v1/ocr\",strategy=\"cpu\"}", 1.0),
        ("ocr_requests_total{code=\"not_found\",route=\"other\",strategy=\"cpu\"}", 1.0),
        ("ocr_processing_seconds_count{route=\"/v1/ocr/receipt\",strategy=\"cpu\"}", 1.0),
        ("ocr_processing_seconds_count{route=\"/v1/ocr\",strategy=\"cpu\"}", 2.0),
        ("ocr_pages_total{outcome=\"read\"}", 4.0),
        ("ocr_pages_total{outcome=\"failed\"}", 1.0),
        ("ocr_lines_total", 4.0),
        ("ocr_stage_seconds_count{stage=\"queue\"}", 3.0),
        ("ocr_decode_processes", 2.0),
    ] {
        assert_eq!(bench.metric(series).await, value, "{series}");
    }
    let info = "ocr_model_info{digest=\"sha256:f00d\",execution_provider=\"\",name=\"fake\",precision=\"fp32\",\
                recogniser=\"latin\",version=\"3\"}";
    assert_eq!(bench.metric(info).await, 1.0);
}

#[tokio::test]
async fn probes_and_scrapes_are_not_requests() {
    let bench = Bench::new().await;
    for path in ["/live", "/ready", "/health", "/", "/openapi.json"] {
        bench.get(path).await.ok();
    }
    bench.admin("/status").await.ok();
    assert_eq!(bench.metric("ocr_answers_total").await, 0.0);
    assert_eq!(bench.get("/health").await.json()["requests_processed"], 0);
}

#[tokio::test]
async fn health_counts_requests_and_faults_of_ours() {
    let bench = Bench::new().await;
    for document in ["x", "refuse:undecodable", "panic:1", "x"] {
        bench.post("/v1/ocr", document).await;
    }
    let health = bench.get("/health").await.json();
    assert_eq!((health["requests_processed"].as_u64(), health["errors"].as_u64()), (Some(4), Some(1)));
    assert_eq!(health["error_rate"], 0.25);
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_shown_as_it_is() {
    let bench = Bench::new().await;
    let _running: Vec<_> = (0..4).map(|_| bench.start("hang")).collect();
    settle().await;
    assert_eq!((bench.metric("ocr_in_flight").await, bench.metric("ocr_queue_depth").await), (2.0, 2.0));
    let work = &bench.admin("/status").await.ok().json()["work"];
    assert_eq!(
        (work["in_flight"].as_u64(), work["queued"].as_u64(), work["capacity"].as_u64()),
        (Some(2), Some(2), Some(3))
    );
}

#[tokio::test]
async fn labels_come_from_no_client() {
    let bench = Bench::new().await;
    for path in ["/v1/planted-path", "/v1/ocr?planted=1"] {
        let request = Request::builder().method("PLANTED").uri(path).body(Body::empty()).unwrap();
        bench.call(request).await;
    }
    let request = Request::post("/v1/ocr").header("x-request-id", "planted").body(Body::from("x")).unwrap();
    bench.call(request).await.ok();
    assert!(!bench.admin("/metrics").await.text().to_lowercase().contains("planted"));
}

/// One listener more, as long as the process lives. While there is only one, whoever comes first to a place that logs
/// settles for all threads whether it is heard, and a thread without a listener settles that it is not.
static SECOND_LISTENER: LazyLock<tracing::Dispatch> = LazyLock::new(|| {
    let silent = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(std::io::sink);
    tracing::Dispatch::new(silent.finish())
});

/// Keeps the log.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Takes the log of this thread until the guard is dropped.
    pub(super) fn take() -> (Self, tracing::subscriber::DefaultGuard) {
        LazyLock::force(&SECOND_LISTENER);
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_max_level(tracing::Level::TRACE)
            .with_writer(log.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap()
    }

    pub(super) fn events(&self, message: &str) -> Vec<Value> {
        let events = self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>();
        events.into_iter().filter(|event| event["message"] == message).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn the_log_has_no_text_names_or_passwords() {
    let (log, _guard) = Log::take();
    let bench = Bench::new().await;
    let form = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"planted-name.png\"\r\n\r\n\
                says:planted-text pages:2\r\n--B--\r\n";
    let wrong = "--B\r\nContent-Disposition: form-data; name=\"planted-part\"; filename=\"planted-name.png\"\r\n\r\n\
                 x\r\n--B--\r\n";
    for (path, body) in [
        ("/v1/ocr", form),
        ("/v1/ocr?format=ndjson", form),
        ("/v1/ocr?format=text", wrong),
        ("/v1/ocr?planted-parameter=planted-value", form),
        ("/v1/ocr?pages=planted-pages", form),
        ("/planted-path", form),
    ] {
        let request = Request::post(path)
            .header("content-type", "multipart/form-data; boundary=B")
            .header("x-ocr-document-password", "planted-password")
            .header("x-request-id", "request-7")
            .body(Body::from(body))
            .unwrap();
        bench.call(request).await;
    }
    bench.post("/v1/ocr", "panic:1 says:planted-text").await;
    let text = log.text();
    assert!(!text.contains("planted"), "{text}");
    assert_eq!(log.events("ocr processing time").len() + log.events("request refused").len(), 7, "{text}");
    assert!(text.contains("request-7"));
}

#[tokio::test]
async fn a_request_is_logged_with_its_figures() {
    let (log, _guard) = Log::take();
    let bench = Bench::new().await;
    bench.post("/v1/ocr", "pages:3 fail:2").await.ok();
    let event = log.events("ocr processing time").remove(0);
    assert_eq!((event["route"].as_str(), event["code"].as_str()), (Some("/v1/ocr"), Some("ok")));
    assert_eq!(
        (event["pages"].as_u64(), event["pages_failed"].as_u64(), event["lines"].as_u64()),
        (Some(3), Some(1), Some(2))
    );
    assert!(event["ms"].is_u64() && event["request_id"].is_string());
}

#[tokio::test(start_paused = true)]
async fn a_load_is_logged_from_its_first_stage_to_its_end() {
    let (log, _guard) = Log::take();
    let bench = Bench::cold(FakeLoader::after([Attempt::Fails]), &[]);
    load::load(Arc::clone(&bench.app)).await.unwrap();
    let stages = log.events("loading models");
    assert_eq!(stages[0]["stage"], "opening the models");
    assert_eq!((stages[0]["stage_number"].as_u64(), stages[0]["stages"].as_u64()), (Some(3), Some(5)));
    let failed = log.events("loading models failed").remove(0);
    assert_eq!((failed["attempt"].as_u64(), failed["retry_seconds"].as_u64()), (Some(1), Some(1)));
    let loaded = log.events("models loaded").remove(0);
    assert!(loaded["ms"].is_number() && loaded["rss_mb"].as_u64().unwrap() > 0);
    assert_eq!((loaded["digest"].as_str(), loaded["strategy"].as_str()), (Some("sha256:f00d"), Some("cpu")));
}

#[tokio::test(start_paused = true)]
async fn memory_is_logged_every_minute() {
    let (log, _guard) = Log::take();
    let bench = Bench::new().await;
    let logging = tokio::spawn(crate::serve::run::log_memory(Arc::clone(&bench.app)));
    pass(125).await;
    logging.abort();
    let events = log.events("memory usage");
    assert_eq!(events.len(), 3, "at the start, after one minute and after two");
    assert!(events[0]["rss_mb"].as_u64().unwrap() > 0);
    assert!(log.events(LEAK).is_empty());
}

/// What the warning of too much memory begins with.
const LEAK: &str =
    "more memory than the model should take: it may leak; lower --concurrency or --max-pixels, and report it";

#[tokio::test(start_paused = true)]
async fn more_memory_than_declared_is_a_warning() {
    let (log, _guard) = Log::take();
    let bench = Bench::new().await;
    // A test takes some megabytes; the fake model declares less.
    bench.fake.memory.store(1 << 20, Ordering::SeqCst);
    let logging = tokio::spawn(crate::serve::run::log_memory(Arc::clone(&bench.app)));
    pass(1).await;
    logging.abort();
    let events = log.events(LEAK);
    assert_eq!((events.len(), events[0]["declared_mb"].as_u64()), (1, Some(1)));
    assert_eq!(bench.metric("ocr_memory_declared_bytes").await, f64::from(1 << 20));
}
