//! One request: looked at, given to a pod, and its answer passed on; given to a second pod where the first fails.

mod answer;
mod fan_out;
mod headers;
mod pods;
pub mod upload;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, request},
    response::Response,
};
use ocr_api::{ErrorCode, header};
use ocr_serving::{ApiError, RequestId, listen::Peer, quote};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

pub use pods::{NoAnswer, Pods};

use self::upload::Upload;
use crate::{
    app::App,
    balance::{Ask, Kind, Outcome},
    dispatch::{Lease, Refused, Why},
    record::Record,
};

/// Bytes of a body that are there before a pod is asked for: a client that sends slowly holds no pod.
const BEFORE_A_POD: u64 = 1 << 20;

/// Pods that a request is given to, one after the other.
const TRIES: u32 = 2;

/// A request that is being forwarded.
struct Forward {
    app: Arc<App>,
    head: request::Parts,
    upload: Upload,
    kind: Kind,
    until: Instant,
    /// Longest time for the request.
    time: Duration,
}

/// How a try ended.
enum Tried {
    Answered(Response),
    /// Another pod may do better.
    Failed {
        error: ApiError,
        reason: &'static str,
        record: Record,
        not: Arc<str>,
    },
}

/// Answers a request with what a pod answers.
pub async fn forward(app: Arc<App>, request: Request, id: RequestId) -> Response {
    let counts = !request.headers().contains_key(header::PROOF);
    let record = Record::new(Arc::clone(&app.metrics), id.clone(), counts);
    let Ok(place) = Arc::clone(&app.places).try_acquire_owned() else {
        let message = format!(
            "{} requests are here at once, which is all that may; send the request again in 1 s",
            app.settings.limits.max_requests
        );
        return refuse(ApiError::new(ErrorCode::Overloaded, message).with_retry_after(1), record);
    };
    let response = match admit(app, request, &id) {
        Ok(forward) => forward.run(record, counts).await,
        Err(error) => refuse(error, record),
    };
    let (head, body) = response.into_parts();
    // The place is free when the last byte of the answer is gone.
    Response::from_parts(head, Body::new(answer::Holding::new(body, place)))
}

/// Looks at the head of a request.
fn admit(app: Arc<App>, request: Request, id: &RequestId) -> Result<Forward, ApiError> {
    let policy = app.policy();
    let (mut head, body) = request.into_parts();
    let address = head.extensions.get::<Peer>().map(|Peer(address)| *address);
    let client = app.keys.client(&head.headers, address.map(|address| address.ip()))?;
    app.rates.count(&client)?;
    let time = timeout(&head.headers, policy.request_time)?;
    let limits = upload::Limits {
        bytes: policy.body_bytes,
        idle: app.settings.connections.idle(),
        budget: Arc::clone(&app.bodies),
    };
    let upload = Upload::new(body, limits)?;
    headers::for_pod(&mut head.headers, id, address.map(|address: SocketAddr| address.ip()));
    Ok(Forward { app, head, upload, kind: Kind::Other, until: Instant::now() + time, time })
}

impl Forward {
    async fn run(mut self, mut record: Record, counts: bool) -> Response {
        if let Err(error) = self.limited(self.upload.fill(BEFORE_A_POD)).await {
            return refuse(error, record);
        }
        let mut ask = match self.ask() {
            Ok(ask) => ask,
            Err(error) => return refuse(error, record),
        };
        if counts {
            self.app.arrived(ask.cost);
        }
        if let Some(format) = fan_out::form(&self, &ask) {
            return fan_out::answer(self, ask, format, record).await;
        }
        for tries in 1..=TRIES {
            let lease = match self.lease(&ask).await {
                Ok(lease) => lease,
                Err(error) => return refuse(error, record),
            };
            match self.attempt(lease, record, tries).await {
                Tried::Answered(response) => return response,
                Tried::Failed { error, reason, record: begun, not } => {
                    record = begun;
                    if tries == TRIES || Instant::now() >= self.until {
                        return refuse(error, record);
                    }
                    tracing::warn!(request_id = record.id().as_str(), pod = &*not, reason, "given to a second pod");
                    self.app.metrics.retried(reason);
                    ask.not = Some(not);
                }
            }
        }
        refuse(ApiError::internal(), record)
    }

    /// What the request needs of a pod, by what is known of it before it is read.
    fn ask(&mut self) -> Result<Ask, ApiError> {
        self.kind = Kind::of(&self.upload.first());
        let costs = self.app.costs.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let cost = costs.estimate(self.kind, self.upload.length());
        let revision = match self.head.headers.remove(header::REVISION) {
            None => None,
            Some(value) => Some(value.to_str().map(Arc::from).map_err(|_| {
                ApiError::new(ErrorCode::BadRequest, "the header X-Ocr-Revision is not the name of a revision")
            })?),
        };
        let sticky = self.head.headers.remove(header::STICKY_KEY).map(|key| {
            let digest = Sha256::digest(key.as_bytes());
            digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        });
        Ok(Ask { cost, revision, sticky, not: None })
    }

    /// A pod. The body is read on meanwhile, so that a client that leaves is noticed.
    async fn lease(&self, ask: &Ask) -> Result<Lease, ApiError> {
        let dispatcher = Arc::clone(&self.app.dispatcher);
        let mut leasing = std::pin::pin!(dispatcher.lease(ask.clone(), self.upload.length(), self.until));
        let leased = tokio::select! {
            biased;
            leased = &mut leasing => leased,
            read = self.upload.fill(u64::MAX) => {
                read?;
                leasing.await
            }
        };
        leased.map_err(|refused| self.refusal(refused, ask))
    }

    fn refusal(&self, refused: Refused, ask: &Ask) -> ApiError {
        let Refused { why, retry_after } = refused;
        let hold = self.app.policy().hold;
        let which =
            ask.revision.as_deref().map_or_else(String::new, |name| format!(" of the revision {}", quote(name)));
        let (code, message) = match why {
            Why::NoPod => (
                ErrorCode::NotReady,
                format!("no pod{which} is ready, and {} requests wait for one already", hold.requests),
            ),
            Why::TooLateNoPod => {
                (ErrorCode::NotReady, format!("no pod{which} became ready in the time that the request may wait"))
            }
            Why::Full => (
                ErrorCode::Overloaded,
                format!("every pod has as many requests as it takes, and {} wait already", hold.requests),
            ),
            Why::TooLateFull => {
                (ErrorCode::Overloaded, "no pod had room in the time that the request may wait".to_owned())
            }
        };
        ApiError::new(code, format!("{message}; send the request again in {retry_after} s"))
            .with_retry_after(retry_after)
    }

    /// Sends the request to the pod, and passes its answer on.
    async fn attempt(&self, mut lease: Lease, mut record: Record, tries: u32) -> Tried {
        let (name, api) = (Arc::clone(&lease.given().endpoint.name), lease.given().endpoint.api);
        record.given(&name, lease.given().revision.as_ref(), lease.waited(), lease.is_cold());
        let cold = lease.is_cold().then(|| lease.waited());
        let mut request = Request::new(self.upload.replay());
        *request.method_mut() = self.head.method.clone();
        *request.uri_mut() = self.head.uri.clone();
        *request.headers_mut() = self.head.headers.clone();
        let began = Instant::now();
        let failed = |error, reason, record| Tried::Failed { error, reason, record, not: Arc::clone(&name) };
        let answered = tokio::select! {
            answered = self.app.pods.send(api, request, self.until) => answered,
            () = lease.lost() => Err(NoAnswer::Silent),
        };
        let response = match answered {
            Ok(response) => response,
            Err(no_answer) => {
                if let Some(error) = self.upload.error() {
                    // The client's fault, not the pod's.
                    return Tried::Answered(refuse(error, record));
                }
                lease.ended(Outcome::Failed);
                let error = if Instant::now() < self.until { pod_failed() } else { self.timed_out() };
                return failed(error, no_answer.as_str(), record);
            }
        };
        record.answered(response.status().as_u16(), began.elapsed());
        let (mut head, body) = response.into_parts();
        if is_refusal(head.status) && tries < TRIES {
            // It has no room, loads its model or is about to end: it is well, but not for this request.
            return failed(pod_failed(), "refused", record);
        }
        self.upload.forget();
        self.learn(&head.headers);
        headers::strip(&mut head.headers);
        if let Some(value) = cold.and_then(|waited| HeaderValue::from_str(&format!("{:.3}", waited.as_secs_f64())).ok())
        {
            head.headers.insert(header::COLD_START, value);
        }
        match answer::take(body, lease, record).await {
            Ok(body) => Tried::Answered(Response::from_parts(head, body)),
            Err((answer::Broke, record)) => failed(pod_failed(), NoAnswer::Broken.as_str(), record),
        }
    }

    fn learn(&self, headers: &HeaderMap) {
        let units = headers.get(header::UNITS).and_then(|value| value.to_str().ok()?.parse::<f64>().ok());
        if let Some(units) = units {
            let mut costs = self.app.costs.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            costs.learn(self.kind, self.upload.length(), units);
        }
    }

    async fn limited<T>(&self, work: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
        tokio::time::timeout_at(self.until, work).await.unwrap_or_else(|_| Err(self.timed_out()))
    }

    fn timed_out(&self) -> ApiError {
        let message = format!(
            "the request took longer than {} seconds; send fewer pages at a time, or allow more time by \
             X-Ocr-Timeout-Seconds (at most {})",
            self.time.as_secs(),
            self.app.policy().request_time.as_secs()
        );
        ApiError::new(ErrorCode::Timeout, message)
    }
}

/// Whether a pod says that another one may take the request.
fn is_refusal(status: StatusCode) -> bool {
    [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(&status)
}

fn pod_failed() -> ApiError {
    let message = "the pods that were given the request did not answer; send it again";
    ApiError::new(ErrorCode::PodFailed, message).with_retry_after(1)
}

fn refuse(error: ApiError, mut record: Record) -> Response {
    use axum::response::IntoResponse as _;
    record.refused(error.detail.code);
    error.into_response()
}

/// What the client is willing to wait, at most the limit.
fn timeout(headers: &HeaderMap, limit: Duration) -> Result<Duration, ApiError> {
    let Some(value) = headers.get(header::TIMEOUT_SECONDS) else { return Ok(limit) };
    let seconds = value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok()).filter(|seconds| *seconds > 0);
    seconds.map(|seconds| Duration::from_secs(seconds).min(limit)).ok_or_else(|| {
        let limit = limit.as_secs();
        let message = format!(
            "the header X-Ocr-Timeout-Seconds is a whole number of seconds from 1; above {limit} it counts as {limit}"
        );
        ApiError::new(ErrorCode::BadRequest, message)
    })
}
