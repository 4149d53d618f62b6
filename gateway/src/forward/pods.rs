//! Connections to pods.

use std::{net::SocketAddr, time::Duration};

use axum::http::{Request, Response, Uri, uri};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::Instant;

use super::upload::Replay;

/// How long a pod has to accept a connection: it is in the same cluster.
const CONNECT: Duration = Duration::from_secs(1);

/// How long a connection is kept that is not used; below the 30 s after which a pod closes it.
const IDLE: Duration = Duration::from_secs(20);

/// Connections to a pod that are kept while they are not used.
const KEPT: usize = 32;

/// Why a pod gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// It accepts no connection.
    Unreachable,
    /// The connection broke before there was an answer.
    Broken,
    /// It accepted the request and has lost it, or takes too long.
    Silent,
}

impl NoAnswer {
    /// As a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Broken => "broken",
            Self::Silent => "silent",
        }
    }
}

/// Sends requests to pods.
#[derive(Clone, Debug)]
pub struct Pods(Client<HttpConnector, Replay>);

impl Default for Pods {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(KEPT)
            .build(connector);
        Self(client)
    }
}

impl Pods {
    /// Sends a request to a pod, and returns when the head of its answer is there.
    ///
    /// # Errors
    /// Where there is no answer within the time.
    pub async fn send(
        &self,
        to: SocketAddr,
        mut request: Request<Replay>,
        until: Instant,
    ) -> Result<Response<Incoming>, NoAnswer> {
        let path = request.uri().path_and_query().cloned();
        let mut parts = uri::Parts::default();
        parts.scheme = Some(uri::Scheme::HTTP);
        parts.authority = to.to_string().parse().ok();
        parts.path_and_query = path.or_else(|| Some(uri::PathAndQuery::from_static("/")));
        *request.uri_mut() = Uri::from_parts(parts).map_err(|_| NoAnswer::Unreachable)?;
        match tokio::time::timeout_at(until, self.0.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if error.is_connect() => Err(NoAnswer::Unreachable),
            Ok(Err(_)) => Err(NoAnswer::Broken),
            Err(_) => Err(NoAnswer::Silent),
        }
    }
}
