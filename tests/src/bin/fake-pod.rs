//! Stands in for `ocr serve` where pods run nothing, or have to misbehave: it answers what a real server was recorded to
//! answer to the page of a proof, on the same two ports, and reads nothing. The suite `http` compares the recording with
//! a real server in every run.
//!
//! `PUT /behaviour` on the admin port changes what it does: `{"reads": "rightly|wrongly|not", "ready": true}`, and
//! `"eats": true` lets it take memory until it is killed.
//! `PUT /attestations` lets it say for each pod, by its address, what that computes on: `{"10.245.0.7": "gpu-fp16"}`; from
//! then on a pod that is not named has not said anything yet, and each that is has been at work since this process began,
//! as fast as what it computes on is ([`RATES`]).

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::Context as _;
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::{get, post, put},
};
use ocr_api::proof;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpListener;

/// Units of work in a second, by strategy; none of any other. The suite `control_plane` expects them.
const RATES: [(&str, f64); 3] = [("gpu-fp16", 20.0), ("gpu-int8", 10.0), ("cpu", 2.0)];

const STATUS: &str = include_str!("../../recorded/status.json");

#[derive(Clone, Copy, Debug, Deserialize)]
struct Behaviour {
    reads: Reads,
    ready: bool,
    #[serde(default)]
    eats: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Reads {
    Rightly,
    Wrongly,
    Not,
}

struct Fake {
    behaviour: Mutex<Behaviour>,
    status: Value,
    attestations: Mutex<Option<BTreeMap<String, String>>>,
    started: Instant,
    /// Requests that are no proofs, and those of them that failed.
    requests: AtomicU64,
    errors: AtomicU64,
    /// Not given where one process stands for pods of many revisions.
    revision: Option<String>,
}

impl Fake {
    fn behaviour(&self) -> Behaviour {
        *self.behaviour.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let fake = Arc::new(Fake {
        behaviour: Mutex::new(Behaviour { reads: Reads::Rightly, ready: true, eats: false }),
        status: serde_json::from_str(STATUS).context("the recording is no JSON")?,
        attestations: Mutex::new(None),
        started: Instant::now(),
        requests: AtomicU64::new(0),
        errors: AtomicU64::new(0),
        revision: std::env::var("OCR_REVISION").ok(),
    });
    let api = Router::new()
        .route("/live", get(|| async { "live" }))
        .route("/ready", get(ready))
        .route("/v1/ocr", post(read))
        .with_state(Arc::clone(&fake));
    let admin = Router::new()
        .route("/status", get(status))
        .route("/behaviour", put(behave))
        .route("/attestations", put(attest))
        .with_state(fake);
    let listen = async |port: u16| TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], port))).await;
    let (api_port, admin_port) = (listen(8100).await.context("port 8100")?, listen(8101).await.context("port 8101")?);
    tokio::select! {
        ended = axum::serve(api_port, api) => ended?,
        ended = axum::serve(admin_port, admin) => ended?,
        ended = terminated() => ended?,
    }
    Ok(())
}

/// As process 1 of a container it would not be ended by a signal that it does not handle.
async fn terminated() -> std::io::Result<()> {
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?.recv().await;
    Ok(())
}

async fn ready(State(fake): State<Arc<Fake>>) -> StatusCode {
    if fake.behaviour().ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn status(State(fake): State<Arc<Fake>>, headers: HeaderMap) -> Response {
    let mut status = fake.status.clone();
    if let Some(attestations) = &*fake.attestations.lock().unwrap_or_else(PoisonError::into_inner) {
        let host = headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
        let address = host.rsplit_once(':').map_or(host, |(address, _)| address);
        let Some(strategy) = attestations.get(address) else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
        status["engine"]["strategy"] = strategy.as_str().into();
        let busy = fake.started.elapsed().as_secs_f64();
        let rate = RATES.iter().find(|(name, _)| name == strategy).map_or(0.0, |(_, rate)| *rate);
        status["work"]["units"] = (rate * busy).into();
        status["work"]["busy_seconds"] = busy.into();
    }
    status["work"]["requests"] = fake.requests.load(Ordering::Relaxed).into();
    status["work"]["errors"] = fake.errors.load(Ordering::Relaxed).into();
    Json(status).into_response()
}

async fn attest(State(fake): State<Arc<Fake>>, Json(attestations): Json<BTreeMap<String, String>>) -> StatusCode {
    *fake.attestations.lock().unwrap_or_else(PoisonError::into_inner) = Some(attestations);
    StatusCode::NO_CONTENT
}

async fn read(State(fake): State<Arc<Fake>>, headers: HeaderMap) -> Response {
    let reads = fake.behaviour().reads;
    if !headers.contains_key(ocr_api::header::PROOF) {
        fake.requests.fetch_add(1, Ordering::Relaxed);
        fake.errors.fetch_add(u64::from(matches!(reads, Reads::Not)), Ordering::Relaxed);
    }
    let mut answer = match reads {
        Reads::Rightly => proof::LINES.join("\n").into_response(),
        Reads::Wrongly => "SOMETHING ELSE".into_response(),
        Reads::Not => (StatusCode::INTERNAL_SERVER_ERROR, "told to fail").into_response(),
    };
    if let Some(revision) = fake.revision.as_ref().and_then(|revision| revision.parse().ok()) {
        answer.headers_mut().insert(ocr_api::header::REVISION, revision);
    }
    answer
}

async fn behave(State(fake): State<Arc<Fake>>, Json(behaviour): Json<Behaviour>) -> StatusCode {
    *fake.behaviour.lock().unwrap_or_else(PoisonError::into_inner) = behaviour;
    if behaviour.eats {
        tokio::task::spawn_blocking(eat);
    }
    StatusCode::NO_CONTENT
}

/// Takes memory until the kernel ends this process.
fn eat() {
    let mut eaten = Vec::new();
    loop {
        // What was never written to is no memory yet.
        eaten.push(vec![1_u8; 1 << 20]);
        std::hint::black_box(&eaten);
    }
}
