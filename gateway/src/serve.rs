//! The ports: the pool's address, and the admin port with `/status` and `/metrics`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Query, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::get,
};
use ocr_api::{ErrorCode, ErrorDetail, Live, Ready};
use ocr_serving::{ApiError, RequestId, listen::Crowded, write_error};

use crate::{app::App, forward::forward};

/// Longest wait of a caller that asks for the next change.
const LONGEST_WAIT: u64 = 60;

/// Routes of the pool's address: probes are answered here, everything else by a pod.
pub fn api(app: Arc<App>) -> Router {
    Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .fallback(pass_on)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), finish))
        .with_state(app)
}

/// Routes of the admin port.
pub fn admin(app: Arc<App>) -> Router {
    Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .fallback(not_found)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), finish))
        .with_state(app)
}

async fn live() -> Json<Live> {
    Json(Live { status: "alive".to_owned() })
}

/// Ready as soon as the port is open: without a pod requests are held.
async fn ready(State(app): State<Arc<App>>) -> Response {
    let ready = !app.is_leaving();
    let reason = (!ready).then(|| "draining: the gateway is shutting down".to_owned());
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready, models_loaded: ready, reason })).into_response()
}

async fn pass_on(State(app): State<Arc<App>>, request: Request) -> Response {
    if request.extensions().get::<Crowded>().is_some() {
        let message = "more connections are open than may be; send the request again in 1 s";
        return ApiError::new(ErrorCode::Overloaded, message).with_retry_after(1).into_response();
    }
    let id = request.extensions().get::<RequestId>().cloned();
    let id = id.unwrap_or_else(|| RequestId::of(request.headers()));
    forward(app, request, id).await
}

/// What the gateway holds and knows. With `?held=N&wait_seconds=S` the answer comes when another number of requests is held
/// than `N`, or after `S` seconds: so a pool at zero wakes at once, and nobody asks in a loop.
async fn status(State(app): State<Arc<App>>, Query(ask): Query<HashMap<String, String>>) -> Response {
    let number = |name: &str| ask.get(name).and_then(|value| value.parse::<u64>().ok());
    if let (Some(held), Some(seconds)) = (number("held"), number("wait_seconds")) {
        let wait = Duration::from_secs(seconds.min(LONGEST_WAIT));
        let changed = app.dispatcher.held_is_not(usize::try_from(held).unwrap_or(usize::MAX));
        // No change is an answer, too.
        let _ = tokio::time::timeout(wait, changed).await;
    }
    Json(app.status()).into_response()
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    match app.figures() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => {
            tracing::error!(error = %error, "writing metrics failed");
            ApiError::internal().into_response()
        }
    }
}

async fn not_found() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "there is no such path; there are /status, /metrics, /live and /ready")
}

/// The outermost layer: gives the request its id, and writes the body of errors.
async fn finish(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    let closes = request.extensions().get::<Crowded>().is_some();
    request.extensions_mut().insert(id.clone());
    let mut response = next.run(request).await;
    if let Some(error) = response.extensions_mut().remove::<ErrorDetail>() {
        write_error(&mut response, error, &id);
    }
    let headers = response.headers_mut();
    headers.insert(ocr_api::header::REQUEST_ID, id.to_value());
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if closes || app.is_leaving() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
