//! Follows a request from its head to the end of its answer: its line in the log and its place in the metrics.

use std::{sync::Arc, time::Duration};

use ocr_api::ErrorCode;
use ocr_serving::RequestId;
use tokio::time::Instant;

use crate::metrics::Metrics;

/// Code of an answer that is no error.
const OK: &str = "ok";

/// Code of an answer that a pod gave and that is an error: which one stands in its body, which is only passed on.
fn of_status(status: u16) -> &'static str {
    match status {
        0..400 => OK,
        400..500 => "pod_refused",
        _ => "pod_failed",
    }
}

/// A request that is being answered. Where it is dropped before its end, its client has left.
pub struct Record {
    metrics: Arc<Metrics>,
    id: RequestId,
    began: Instant,
    /// Pages that prove a pool are not counted.
    counts: bool,
    code: &'static str,
    pod: Option<Arc<str>>,
    revision: Option<Arc<str>>,
    waited: Duration,
    tries: u32,
    ended: bool,
}

impl Record {
    /// A request whose head has arrived.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, id: RequestId, counts: bool) -> Self {
        Self {
            metrics,
            id,
            began: Instant::now(),
            counts,
            code: ErrorCode::Cancelled.as_str(),
            pod: None,
            revision: None,
            waited: Duration::ZERO,
            tries: 0,
            ended: false,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn id(&self) -> &RequestId {
        &self.id
    }

    /// Notes the pod that it was given to, and how long it waited for one.
    pub fn given(&mut self, pod: &Arc<str>, revision: Option<&Arc<str>>, waited: Duration, cold: bool) {
        self.pod = Some(Arc::clone(pod));
        self.revision = revision.cloned();
        self.waited += waited;
        self.tries += 1;
        if self.counts {
            self.metrics.waited(waited, cold);
        }
    }

    /// Notes that the pod has begun its answer.
    pub fn answered(&mut self, status: u16, took: Duration) {
        self.code = of_status(status);
        if self.counts {
            self.metrics.upstream(self.revision.as_deref(), took);
        }
    }

    /// The answer was passed on to its end.
    pub fn end(&mut self) {
        self.finish(self.code);
    }

    /// The request was refused here.
    pub fn refused(&mut self, code: ErrorCode) {
        self.finish(code.as_str());
    }

    /// The pod broke off in the middle of its answer.
    pub fn broke(&mut self) {
        self.finish(ErrorCode::PodFailed.as_str());
    }

    fn finish(&mut self, code: &'static str) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let took = self.began.elapsed();
        if self.counts {
            self.metrics.answered(code, self.revision.as_deref(), took);
        }
        tracing::info!(
            request_id = self.id.as_str(),
            code,
            total_ms = milliseconds(took),
            waited_ms = milliseconds(self.waited),
            tries = self.tries,
            pod = self.pod.as_deref(),
            revision = self.revision.as_deref(),
            "request"
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.finish(ErrorCode::Cancelled.as_str());
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
