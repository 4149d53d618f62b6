//! `/live` and `/ready`, for the kubelet.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::net::TcpListener;

use crate::context::Context;

/// A replica that has not tried for the lease for so long hangs.
const HANGS: Duration = Duration::from_mins(1);

/// Answers until it is dropped.
///
/// # Errors
/// Where the port cannot be opened.
pub async fn serve(context: Arc<Context>) -> anyhow::Result<()> {
    let address = SocketAddr::from(([0, 0, 0, 0], context.settings.probe_port));
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} for probes"))?;
    let router = Router::new().route("/live", get(live)).route("/ready", get(ready)).with_state(context);
    axum::serve(listener, router).await.context("the probes ended")
}

async fn live(State(context): State<Arc<Context>>) -> (StatusCode, &'static str) {
    if context.clients.fence.clock().saturating_sub(context.last_try()) > HANGS {
        return (StatusCode::SERVICE_UNAVAILABLE, "it has not tried for the lease for a minute\n");
    }
    (StatusCode::OK, "live\n")
}

/// Ready as soon as the API server has answered once: a replica that waits is as ready as the one that works.
async fn ready(State(context): State<Arc<Context>>) -> (StatusCode, &'static str) {
    if context.last_answer().is_zero() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the API server has not answered yet\n");
    }
    (StatusCode::OK, "ready\n")
}
