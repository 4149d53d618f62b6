//! From the open port to the quiet end.

use std::sync::atomic::Ordering;

use ocr_api::{Health, HealthStatus, LoadStage, PodStatus};
use ocr_serving::Signal;
use tokio::sync::mpsc;

use super::{
    fake::Attempt::{Fails, OutOfMemory, Panics, Succeeds, Waits},
    *,
};
use crate::{
    meter::EnginePulse,
    serve::{Ended, ServeError, Server, app::Phase},
};

async fn health(bench: &Bench) -> Health {
    serde_json::from_value(bench.get("/health").await.ok().json()).unwrap()
}

#[tokio::test]
async fn before_the_model_is_there_the_server_is_alive_and_not_ready() {
    let bench = Bench::cold(FakeLoader::new(), &[]);
    assert_eq!(bench.get("/live").await.ok().text(), r#"{"status":"alive"}"#);
    let ready = bench.get("/ready").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    let body = ready.json();
    assert_eq!((body["ready"].as_bool(), body["models_loaded"].as_bool()), (Some(false), Some(false)));
    assert!(body["reason"].as_str().unwrap().contains("stage 1 of 5"));
    assert_eq!(bench.post("/v1/ocr", "x").await.code(), ErrorCode::NotReady);
    let status: PodStatus = serde_json::from_value(bench.admin("/status").await.ok().json()).unwrap();
    assert_eq!((status.hardware.cpu_threads, status.model), (2, None));
    assert_eq!(status.memory.limit_bytes, Some(2 << 30));
}

#[tokio::test]
async fn with_the_model_the_probes_have_their_exact_bodies() {
    let bench = Bench::new().await;
    for answer in [bench.get("/live").await, bench.admin("/live").await] {
        assert_eq!(answer.ok().text(), r#"{"status":"alive"}"#);
    }
    for answer in [bench.get("/ready").await, bench.admin("/ready").await] {
        assert_eq!(answer.ok().text(), r#"{"ready":true,"models_loaded":true}"#);
    }
    let health = health(&bench).await;
    assert_eq!((health.status, health.models_loaded), (HealthStatus::Healthy, true));
    assert_eq!((health.load.stage, health.load.stage_number, health.load.stages), (LoadStage::Ready, 5, 5));
    assert!(health.available_endpoints.contains(&"POST /v1/ocr".to_owned()) && health.memory_mb > 0);
    assert_eq!((health.requests_processed, health.errors, health.version.as_str()), (0, 0, env!("CARGO_PKG_VERSION")));
    assert!(health.error_rate.abs() < f64::EPSILON);
    assert_eq!(bench.call(Request::head("/live").body(Body::empty()).unwrap()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_load_shows_its_stage_while_it_goes_on() {
    let (go, wait) = std::sync::mpsc::channel();
    let bench = Bench::cold(FakeLoader::after([Waits(wait)]), &[]);
    let loading = tokio::spawn(load::load(Arc::clone(&bench.app)));
    while health(&bench).await.load.stage != LoadStage::Open {
        tokio::task::yield_now().await;
    }
    let health_now = health(&bench).await;
    assert_eq!(
        (health_now.status, health_now.load.stage_number, health_now.load.attempt),
        (HealthStatus::Loading, 3, 1)
    );
    assert_eq!(bench.metric("ocr_model_load_stage").await, 3.0);
    assert!(bench.get("/ready").await.text().contains("opening the models"));
    go.send(()).unwrap();
    loading.await.unwrap().unwrap();
    assert_eq!(health(&bench).await.status, HealthStatus::Healthy);
    assert_eq!((bench.metric("ocr_model_load_stage").await, bench.metric("ocr_ready").await), (5.0, 1.0));
}

#[tokio::test(start_paused = true)]
async fn a_load_that_fails_is_shown_and_tried_again_with_back_off() {
    let bench = Bench::cold(FakeLoader::after([Fails, Panics, Fails, Succeeds]), &[]);
    let begun = tokio::time::Instant::now();
    let loading = tokio::spawn(load::load(Arc::clone(&bench.app)));
    while health(&bench).await.status != HealthStatus::Failed {
        tokio::task::yield_now().await;
    }
    let failed = health(&bench).await;
    assert_eq!(failed.load.error_reason.as_deref(), Some("NoModel"));
    assert!(failed.load.error.unwrap().contains("make assets") && failed.load.retry_in_seconds.unwrap() <= 1.0);
    let refused = bench.post("/v1/ocr", "x").await;
    assert_eq!((refused.code(), refused.header("retry-after")), (ErrorCode::NotReady, Some("1")));
    assert!(bench.get("/ready").await.text().contains("failed"));
    assert_eq!(bench.get("/live").await.status, StatusCode::OK);
    loading.await.unwrap().unwrap();
    assert_eq!(begun.elapsed().as_secs(), 1 + 2 + 4);
    let healthy = health(&bench).await;
    assert_eq!((healthy.status, healthy.load.attempt, healthy.load.error), (HealthStatus::Healthy, 4, None));
    assert_eq!(bench.metric("ocr_model_load_failures_total").await, 3.0);
    bench.post("/v1/ocr", "x").await.ok();
}

#[tokio::test]
async fn a_model_that_can_never_fit_ends_the_server_with_its_reason() {
    let server = Server::bind(settings(&[])).await.unwrap();
    let (_signals, receive) = mpsc::channel(2);
    let error = server.run(Arc::new(FakeLoader::after([Fails, OutOfMemory])), receive).await.unwrap_err();
    assert_eq!((error.exit_code(), error.reason()), (4, "OutOfMemory"));
    assert!(error.to_string().contains("needs 350 MiB, 256 MiB are available"));
}

#[tokio::test]
async fn a_port_in_use_is_a_reason_of_its_own() {
    let first = Server::bind(settings(&[])).await.unwrap();
    let port = format!("--admin-port={}", first.api_address().port());
    let Err(error) = Server::bind(settings(&[&port])).await else { panic!("two servers on one port") };
    assert!(matches!(error, ServeError::Listen(_)));
    assert_eq!(error.exit_code(), 3);
}

#[tokio::test]
async fn without_its_sandbox_the_server_is_degraded_and_ready() {
    let bench = Bench::new().await;
    bench.fake.landlock.store(0, Ordering::SeqCst);
    assert_eq!(health(&bench).await.status, HealthStatus::Degraded);
    bench.get("/ready").await.ok();
}

#[tokio::test(start_paused = true)]
async fn overload_is_no_reason_to_be_unready_or_dead() {
    let bench = Bench::new().await;
    let _running: Vec<_> = (0..5).map(|_| bench.start("hang")).collect();
    settle().await;
    assert_eq!(bench.post("/v1/ocr", "x").await.code(), ErrorCode::Overloaded);
    bench.get("/ready").await.ok();
    bench.get("/live").await.ok();
    assert_eq!(health(&bench).await.status, HealthStatus::Healthy);
}

#[tokio::test]
async fn a_stuck_engine_fails_live_alone() {
    let bench = Bench::new().await;
    assert!(bench.app.set_stuck(true));
    assert!(!bench.app.set_stuck(true), "no news");
    let live = bench.get("/live").await;
    assert_eq!((live.status, live.text().as_str()), (StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"stuck"}"#));
    bench.get("/ready").await.ok();
    assert_eq!((health(&bench).await.status, bench.metric("ocr_stuck").await), (HealthStatus::Degraded, 1.0));
    bench.app.set_stuck(false);
    bench.get("/live").await.ok();
}

#[tokio::test(start_paused = true)]
async fn the_watchdog_looks_at_the_engine() {
    let bench = Bench::with(&["--watchdog-seconds=30"]).await;
    let watching = tokio::spawn(crate::serve::run::watch(Arc::clone(&bench.app)));
    pass(100).await;
    bench.get("/live").await.ok();
    let job = bench.app.meter.engine_work();
    assert_eq!(bench.app.meter.engine(), EnginePulse { jobs: 1, finished: 1 });
    pass(29).await;
    bench.get("/live").await.ok();
    bench.app.meter.engine_progress();
    pass(30).await;
    bench.get("/live").await.ok();
    pass(3).await;
    assert_eq!(bench.get("/live").await.status, StatusCode::SERVICE_UNAVAILABLE);
    drop(job);
    pass(2).await;
    bench.get("/live").await.ok();
    watching.abort();
}

#[tokio::test]
async fn leaving_is_unready_and_serves_and_refusing_refuses() {
    let bench = Bench::new().await;
    bench.app.enter_phase(Phase::Leaving);
    let ready = bench.get("/ready").await;
    assert_eq!((ready.status, ready.header("connection")), (StatusCode::SERVICE_UNAVAILABLE, Some("close")));
    assert!(ready.json()["models_loaded"] == true && ready.text().contains("draining"));
    let answer = bench.post("/v1/ocr", "says:still").await.ok();
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(health(&bench).await.status, HealthStatus::Draining);

    bench.app.enter_phase(Phase::Refusing);
    let refused = bench.post("/v1/ocr", "says:no").await;
    assert_eq!((refused.code(), refused.header("connection")), (ErrorCode::Draining, Some("close")));
    bench.get("/live").await.ok();
    bench.app.enter_phase(Phase::Leaving);
    assert_eq!(bench.app.phase(), Phase::Refusing, "there is no way back");
}

/// A server on real ports.
struct Running {
    api: std::net::SocketAddr,
    signals: mpsc::Sender<Signal>,
    ended: tokio::task::JoinHandle<Result<Ended, ServeError>>,
    fake: Arc<Fake>,
}

impl Running {
    async fn start(arguments: &[&str]) -> Self {
        let server = Server::bind(settings(arguments)).await.unwrap();
        let (signals, receive) = mpsc::channel(2);
        let loader = FakeLoader::new();
        let fake = Arc::clone(&loader.fake);
        let api = server.api_address();
        let ended = tokio::spawn(server.run(Arc::new(loader), receive));
        let running = Self { api, signals, ended, fake };
        while !running.send("GET", "/ready", "").await.starts_with("HTTP/1.1 200") {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        running
    }

    async fn send(&self, method: &str, path: &str, body: &str) -> String {
        super::connections::exchange(self.api, method, path, body).await
    }
}

#[tokio::test]
async fn the_end_waits_for_what_was_accepted_and_refuses_the_rest() {
    let running = Running::start(&["--drain-delay-seconds=0"]).await;
    let accepted = {
        let api = running.api;
        tokio::spawn(async move { super::connections::exchange(api, "POST", "/v1/ocr", "delay:1").await })
    };
    while running.fake.open() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    running.signals.send(Signal::Terminate).await.unwrap();
    while running.send("GET", "/ready", "").await.starts_with("HTTP/1.1 200") {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let refused = running.send("POST", "/v1/ocr", "x").await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("draining"), "{refused}");
    assert!(refused.contains("connection: close"));
    assert!(accepted.await.unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(running.ended.await.unwrap().unwrap(), Ended::Drained);
    assert!(tokio::net::TcpStream::connect(running.api).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn an_end_out_of_time_ends_what_is_left_with_an_answer() {
    let running = Running::start(&["--drain-delay-seconds=0", "--drain-seconds=0"]).await;
    let api = running.api;
    let accepted = tokio::spawn(async move { super::connections::exchange(api, "POST", "/v1/ocr", "hang").await });
    while running.fake.open() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    running.signals.send(Signal::Terminate).await.unwrap();
    let answer = accepted.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("draining"), "{answer}");
    assert_eq!(running.ended.await.unwrap().unwrap(), Ended::TimedOut);
    assert!(running.fake.is_cancelled());
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let running = Running::start(&["--drain-delay-seconds=300"]).await;
    running.signals.send(Signal::Terminate).await.unwrap();
    running.signals.send(Signal::Terminate).await.unwrap();
    assert_eq!(running.ended.await.unwrap().unwrap(), Ended::Forced);
}

#[tokio::test]
async fn at_a_terminal_the_end_does_not_wait_for_endpoints() {
    let running = Running::start(&["--drain-delay-seconds=300"]).await;
    running.signals.send(Signal::Interrupt).await.unwrap();
    assert_eq!(running.ended.await.unwrap().unwrap(), Ended::Drained);
}
