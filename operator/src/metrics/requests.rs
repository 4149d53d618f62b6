//! Counts the requests to the API server, as its own metrics and audit log name them.

use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt as _};
use http::{Method, Request, Response, StatusCode, Uri};
use kube::client::Body;
use prometheus::IntCounterVec;
use tower::{BoxError, Layer, Service};

/// Label of a request that no answer came to: no connection, no answer in time, given up.
pub const NO_ANSWER: &str = "error";

/// Counts what goes through a client. A request that the client repeats by itself counts once, with its last answer.
#[derive(Clone)]
pub struct CountRequests(IntCounterVec);

impl CountRequests {
    /// Counts by a counter with the labels `verb` and `code`.
    pub const fn new(counter: IntCounterVec) -> Self {
        Self(counter)
    }
}

impl<S> Layer<S> for CountRequests {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, counter: self.0.clone() }
    }
}

/// A client whose requests are counted.
#[derive(Clone)]
pub struct Counted<S> {
    inner: S,
    counter: IntCounterVec,
}

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut sent = Sent { counter: self.counter.clone(), verb: verb(request.method(), request.uri()), code: None };
        let answer = self.inner.call(request);
        async move {
            let answer = answer.await;
            sent.answered(answer.as_ref().ok().map(Response::status));
            answer
        }
        .boxed()
    }
}

/// A request on its way. It is counted when it is dropped: whoever waits for it may give up before an answer comes.
struct Sent {
    counter: IntCounterVec,
    verb: &'static str,
    code: Option<StatusCode>,
}

impl Sent {
    fn answered(&mut self, code: Option<StatusCode>) {
        self.code = code;
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        let code = self.code.as_ref().map_or(NO_ANSWER, StatusCode::as_str);
        self.counter.with_label_values(&[self.verb, code]).inc();
    }
}

/// What Kubernetes calls a request in its roles and its audit log.
///
/// The paths are `/api/v1/…` and `/apis/GROUP/VERSION/…`, then `namespaces/NAMESPACE/` where there is one, the resource,
/// and a name unless all objects are meant.
fn verb(method: &Method, uri: &Uri) -> &'static str {
    let segments: Vec<&str> = uri.path().split('/').filter(|segment| !segment.is_empty()).collect();
    let resource = match segments.as_slice() {
        ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => match rest {
            ["namespaces", _, of_namespace @ ..] if !of_namespace.is_empty() => of_namespace,
            _ => rest,
        },
        _ => &[],
    };
    let of_all = resource.len() == 1;
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if of_all => "deletecollection",
        Method::DELETE => "delete",
        _ if of_all && is_watch(uri) => "watch",
        _ if of_all => "list",
        _ => "get",
    }
}

fn is_watch(uri: &Uri) -> bool {
    uri.query().unwrap_or_default().split('&').any(|pair| pair == "watch=true" || pair == "watch=1")
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use tokio::time::timeout;

    use super::*;

    #[test]
    fn requests_have_the_verbs_that_roles_have() {
        let pools = "/apis/ocrpool.dev/v1alpha1/ocrpools";
        let rows = [
            (Method::GET, "/api/v1/pods".to_owned(), "list"),
            (Method::GET, "/api/v1/pods?&labelSelector=a%3Db&limit=500".to_owned(), "list"),
            (Method::GET, format!("{pools}?&watch=true&timeoutSeconds=290"), "watch"),
            (Method::GET, "/api/v1/namespaces/shop/pods/watch?x=1".to_owned(), "get"),
            (Method::GET, "/api/v1/namespaces/shop/services/receipts".to_owned(), "get"),
            (Method::GET, "/api/v1/namespaces/shop/services".to_owned(), "list"),
            (Method::GET, "/api/v1/namespaces".to_owned(), "list"),
            (Method::GET, "/api/v1/namespaces/shop".to_owned(), "get"),
            (Method::GET, "/version".to_owned(), "get"),
            (Method::POST, "/apis/events.k8s.io/v1/namespaces/shop/events".to_owned(), "create"),
            (Method::POST, "/apis/authentication.k8s.io/v1/tokenreviews".to_owned(), "create"),
            (Method::PUT, "/apis/coordination.k8s.io/v1/namespaces/ocr/leases/ocr-operator".to_owned(), "update"),
            (Method::PATCH, "/apis/ocrpool.dev/v1alpha1/namespaces/shop/ocrpools/receipts/status".to_owned(), "patch"),
            (Method::DELETE, "/apis/apps/v1/namespaces/shop/deployments/receipts-aaa-cpu".to_owned(), "delete"),
            (Method::DELETE, "/apis/apps/v1/namespaces/shop/deployments".to_owned(), "deletecollection"),
        ];
        for (method, uri, expected) in rows {
            assert_eq!(verb(&method, &uri.parse().unwrap()), expected, "{method} {uri}");
        }
    }

    fn counter() -> IntCounterVec {
        IntCounterVec::new(prometheus::Opts::new("requests", "Requests"), &["verb", "code"]).unwrap()
    }

    fn request() -> Request<Body> {
        Request::get("/api/v1/pods").body(Body::empty()).unwrap()
    }

    #[tokio::test]
    async fn an_answer_counts_by_its_code_and_a_broken_connection_as_error() {
        let counter = counter();
        let answering = tower::service_fn(|_| async {
            Ok::<_, BoxError>(Response::builder().status(StatusCode::CONFLICT).body(())?)
        });
        CountRequests::new(counter.clone()).layer(answering).call(request()).await.unwrap();
        let broken = tower::service_fn(|_| async { Err::<Response<()>, BoxError>("connection reset".into()) });
        CountRequests::new(counter.clone()).layer(broken).call(request()).await.unwrap_err();
        let count = |code| counter.with_label_values(&["list", code]).get();
        assert_eq!((count("409"), count("error")), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_given_up_counts_as_error() {
        let counter = counter();
        let silent = tower::service_fn(|_| pending::<Result<Response<()>, BoxError>>());
        let answer = CountRequests::new(counter.clone()).layer(silent).call(request());
        timeout(Duration::from_secs(10), answer).await.unwrap_err();
        assert_eq!(counter.with_label_values(&["list", "error"]).get(), 1);
    }
}
