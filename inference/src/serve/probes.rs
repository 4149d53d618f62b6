//! What tells others how the server is: `/live`, `/ready`, `/health`, and `/status` on the admin port.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use ocr_api::{
    Health, HealthStatus, Live, PodStatus, Ready,
    status::{Hardware, MemoryStatus, Work},
};

use ocr_serving::process;

use super::{
    VERSION,
    app::{App, Phase},
    router::ENDPOINTS,
};

/// Alive unless the watchdog says otherwise. Touches no lock: what is stuck must not stick to it.
#[utoipa::path(get, path = "/live", tag = "probes", responses(
    (status = 200, description = "The server works, or waits for work", body = Live),
    (status = 503, description = "The engine has work and makes no progress: restart the server", body = Live),
))]
pub(super) async fn live(State(app): State<Arc<App>>) -> Response {
    let (status, word) =
        if app.is_stuck() { (StatusCode::SERVICE_UNAVAILABLE, "stuck") } else { (StatusCode::OK, "alive") };
    (status, Json(Live { status: word.to_owned() })).into_response()
}

/// Ready once the model is loaded and until the server is told to end; never unready for load.
#[utoipa::path(get, path = "/ready", tag = "probes", responses(
    (status = 200, description = "Requests are taken", body = Ready),
    (status = 503, description = "Loading, failed or draining; `reason` says which", body = Ready),
))]
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    let ready = app.is_ready();
    let body =
        Ready { ready, models_loaded: app.load.backend().is_some(), reason: (!ready).then(|| app.not_ready_because()) };
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body)).into_response()
}

/// How the server is, for people and dashboards.
#[utoipa::path(get, path = "/health", tag = "probes", responses((status = 200, body = Health)))]
pub(super) async fn health(State(app): State<Arc<App>>) -> Json<Health> {
    let (requests_processed, errors) = app.metrics.totals();
    Json(Health {
        status: health_status(&app),
        models_loaded: app.load.backend().is_some(),
        available_endpoints: ENDPOINTS.iter().map(|endpoint| (*endpoint).to_owned()).collect(),
        memory_mb: process::memory().resident_mb(),
        uptime_seconds: app.started.elapsed().as_secs(),
        version: VERSION.to_owned(),
        load: app.load.progress(),
        requests_processed,
        errors,
        error_rate: ratio(errors, requests_processed),
    })
}

/// 0 of nothing, because JSON knows no NaN.
fn ratio(part: u64, whole: u64) -> f64 {
    // Counts of requests are far below the 2^53 that an f64 holds exactly.
    #[expect(clippy::cast_precision_loss)]
    let ratio = part as f64 / whole.max(1) as f64;
    ratio
}

fn health_status(app: &App) -> HealthStatus {
    if app.phase() != Phase::Serving {
        return HealthStatus::Draining;
    }
    let Some(backend) = app.load.backend() else {
        return match app.load.progress().retry_in_seconds {
            Some(_) => HealthStatus::Failed,
            None => HealthStatus::Loading,
        };
    };
    let sandbox = backend.sandbox();
    if app.is_stuck() || sandbox.landlock_abi == 0 || !sandbox.seccomp {
        HealthStatus::Degraded
    } else {
        HealthStatus::Healthy
    }
}

/// What the pod really runs, and how busy it is.
pub(super) async fn status(State(app): State<Arc<App>>) -> Json<PodStatus> {
    let backend = app.load.backend();
    let machine = app.loader.machine();
    let memory = process::memory();
    let (pages, lines) = app.metrics.read();
    let (requests, errors) = app.metrics.totals();
    Json(PodStatus {
        version: VERSION.to_owned(),
        revision: app.settings.pool.revision.as_ref().and_then(|value| value.to_str().ok()).map(str::to_owned),
        load: app.load.progress(),
        model: backend.map(|backend| backend.model()),
        hardware: Hardware::from(&machine),
        engine: backend.map(|backend| backend.engine()).unwrap_or_default(),
        sandbox: backend.map(|backend| backend.sandbox()).unwrap_or_default(),
        work: Work {
            in_flight: count(app.admission.in_flight()),
            queued: count(app.admission.queued()),
            capacity: count(app.admission.queue()),
            concurrency: count(app.admission.concurrency()),
            requests,
            errors,
            units: app.meter.units(),
            busy_seconds: app.meter.busy_seconds(),
            pages,
            lines,
            draining: app.phase() != Phase::Serving,
        },
        memory: MemoryStatus {
            resident_bytes: memory.resident_bytes,
            peak_resident_bytes: memory.peak_resident_bytes,
            load_peak_bytes: app.load.peak_bytes(),
            limit_bytes: machine.memory.limit,
            cgroup_peak_bytes: machine.memory.peak,
        },
    })
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
