//! Clients of the API server: one for the lease and for reading, one that also writes while the lease is held.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::future::{BoxFuture, FutureExt as _};
use http::{HeaderName, HeaderValue, Method, Request};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
};
use tower::{BoxError, Layer, Service};

use crate::metrics::Metrics;

/// Longest time for a call that is no watch. The client itself has no limit for reading.
pub const CALL: Duration = Duration::from_secs(10);

/// The two clients, and the fence of the second.
#[derive(Clone)]
pub struct Clients {
    /// For the lease. It may always write.
    pub lease: Client,
    /// For everything else. It writes only while the fence is open.
    pub fenced: Client,
    pub fence: Fence,
}

/// Until when writes may be sent. Nothing else stands between a replica that was stopped for a minute and what another
/// has done in its place.
#[derive(Clone, Debug)]
pub struct Fence {
    start: Instant,
    /// Milliseconds after `start`.
    open_until: Arc<AtomicU64>,
}

impl Fence {
    fn new() -> Self {
        Self { start: Instant::now(), open_until: Arc::default() }
    }

    /// Time since this process began to count, on a clock that cannot be set.
    pub fn clock(&self) -> Duration {
        self.start.elapsed()
    }

    /// Opens the fence until a time of [`Self::clock`].
    pub fn open_until(&self, until: Duration) {
        self.open_until.store(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Closes the fence.
    pub fn close(&self) {
        self.open_until.store(0, Ordering::SeqCst);
    }

    fn is_open(&self) -> bool {
        self.clock().as_millis() < u128::from(self.open_until.load(Ordering::SeqCst))
    }
}

/// A write that was refused because this replica does not lead.
#[derive(Debug, thiserror::Error)]
#[error("not sent: this replica does not hold the lease (any more)")]
pub struct NotLeading;

/// Connects, as `name`; what is sent counts in `metrics`.
pub async fn connect(name: &str, metrics: &Metrics) -> anyhow::Result<Clients> {
    let mut config = Config::infer().await.context("neither in a cluster nor with a kubeconfig")?;
    let agent = format!("ocr-operator/{} ({name})", env!("CARGO_PKG_VERSION"));
    let agent = HeaderValue::from_str(&agent).context("the replica's name fits no header")?;
    config.headers.push((HeaderName::from_static("user-agent"), agent));
    config.connect_timeout = Some(CALL);
    config.write_timeout = Some(CALL);
    let builder = ClientBuilder::try_from(config.clone()).context("cannot make a client")?;
    let lease = builder.with_layer(&metrics.count_requests()).build();
    // A retry by the client would be sent past the fence.
    config.default_retry = false;
    let fence = Fence::new();
    let builder = ClientBuilder::try_from(config).context("cannot make a client")?;
    // The fence is outermost: what it refuses is not sent, and does not count.
    let fenced = builder.with_layer(&metrics.count_requests()).with_layer(&FenceLayer(fence.clone())).build();
    Ok(Clients { lease, fenced, fence })
}

#[derive(Clone)]
struct FenceLayer(Fence);

impl<S> Layer<S> for FenceLayer {
    type Service = Fenced<S>;

    fn layer(&self, inner: S) -> Fenced<S> {
        Fenced { inner, fence: self.0.clone() }
    }
}

#[derive(Clone)]
struct Fenced<S> {
    inner: S,
    fence: Fence,
}

impl<S> Service<Request<Body>> for Fenced<S>
where
    S: Service<Request<Body>, Error = BoxError>,
    S::Future: Send + 'static,
    S::Response: Send,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.method() != Method::GET && !self.fence.is_open() {
            return async { Err(NotLeading.into()) }.boxed();
        }
        self.inner.call(request).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn send(fence: &Fence, method: Method) -> Result<&'static str, BoxError> {
        let inner = tower::service_fn(|_: Request<Body>| async { Ok::<_, BoxError>("sent") });
        let request = Request::builder().method(method).uri("/").body(Body::empty()).unwrap();
        FenceLayer(fence.clone()).layer(inner).call(request).await
    }

    #[tokio::test]
    async fn nothing_is_written_past_the_fence() {
        let fence = Fence::new();
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            assert!(send(&fence, method.clone()).await.unwrap_err().is::<NotLeading>());
            fence.open_until(fence.clock() + Duration::from_mins(1));
            assert_eq!(send(&fence, method.clone()).await.unwrap(), "sent");
            fence.close();
            assert!(send(&fence, method).await.is_err());
        }
        assert_eq!(send(&fence, Method::GET).await.unwrap(), "sent");
    }

    #[tokio::test]
    async fn the_fence_closes_by_itself() {
        let fence = Fence::new();
        fence.open_until(fence.clock() + Duration::from_millis(20));
        assert!(send(&fence, Method::PATCH).await.is_ok());
        tokio::time::sleep(Duration::from_millis(40)).await;
        assert!(send(&fence, Method::PATCH).await.is_err());
    }
}
