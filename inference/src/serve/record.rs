//! Follows a request from its head to its end: its id, its line in the log, its place in the metrics.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, header},
    middleware::Next,
    response::Response,
};
use ocr_api::{ErrorCode, ErrorDetail};
use ocr_serving::{RequestId, listen::Crowded, write_error};
use tokio::time::Instant;

use super::{
    app::{App, Phase},
    body::Lingering,
    metrics::{OTHER_ROUTE, ROUTES},
};
use crate::meter::Purpose;

/// A request that is being answered. Where it is dropped before its end, its client has left.
pub(super) struct Record {
    app: Arc<App>,
    route: &'static str,
    id: RequestId,
    began: Instant,
    purpose: Purpose,
    figures: Mutex<Figures>,
}

#[derive(Default)]
struct Figures {
    /// Since the whole body was received.
    processing: Option<Instant>,
    pages: u32,
    pages_failed: u32,
    lines: usize,
    /// Somebody else than the outermost layer ends the record.
    streams: bool,
    ended: bool,
}

impl Record {
    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// When the head of the request had arrived.
    pub const fn began(&self) -> Instant {
        self.began
    }

    /// The whole body is there: processing begins.
    pub fn received(&self) {
        self.figures().processing = Some(Instant::now());
    }

    /// Time since the whole body was there.
    pub fn processing(&self) -> Duration {
        self.figures().processing.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// What the request is for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Notes a page.
    pub fn page(&self, success: bool, lines: usize) {
        {
            let mut figures = self.figures();
            figures.pages += 1;
            figures.pages_failed += u32::from(!success);
            figures.lines += lines;
        }
        if self.purpose == Purpose::Serve {
            self.app.metrics.page(success, lines);
        }
    }

    /// From now on whoever writes the stream ends the record.
    pub fn hand_over(&self) {
        self.figures().streams = true;
    }

    /// The request is over: `code` says how, `None` well.
    pub fn end(&self, code: Option<ErrorCode>) {
        let (processing, pages, failed, lines) = {
            let mut figures = self.figures();
            if std::mem::replace(&mut figures.ended, true) {
                return;
            }
            (figures.processing, figures.pages, figures.pages_failed, figures.lines)
        };
        let took = processing.map(|since| since.elapsed());
        if self.purpose == Purpose::Serve {
            self.app.metrics.answered(self.route, code);
            if let Some(took) = took {
                self.app.metrics.processed(self.route, took);
            }
        }
        let (request_id, route, total_ms) = (self.id.as_str(), self.route, milliseconds(self.began.elapsed()));
        let code = code.map_or("ok", ErrorCode::as_str);
        let Some(ms) = took.map(milliseconds) else {
            tracing::info!(request_id, route, code, total_ms, "request refused");
            return;
        };
        tracing::info!(
            request_id,
            route,
            code,
            ms,
            total_ms,
            pages,
            pages_failed = failed,
            lines,
            "ocr processing time"
        );
    }

    fn figures(&self) -> std::sync::MutexGuard<'_, Figures> {
        // Plain numbers: none is left half written by a panic.
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.end(Some(ErrorCode::Cancelled));
    }
}

fn purpose(headers: &HeaderMap) -> Purpose {
    if headers.contains_key(ocr_api::header::PROOF) { Purpose::Prove } else { Purpose::Serve }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The outermost layer: gives the request its id, writes the body of errors, counts and logs.
pub(super) async fn observe(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let asked = matches!(*request.method(), Method::GET | Method::HEAD);
    let closes = request.extensions().get::<Crowded>().is_some();
    let route = ROUTES.into_iter().find(|route| path.as_deref() == Some(route)).unwrap_or(OTHER_ROUTE);
    // Probes, scrapes and the description are asked for all the time and are no work: neither counted nor logged.
    let counted = !(asked && path.is_some() && route == OTHER_ROUTE);
    let record = counted.then(|| {
        Arc::new(Record {
            app: Arc::clone(&app),
            route,
            id: id.clone(),
            began: Instant::now(),
            purpose: purpose(request.headers()),
            figures: Mutex::default(),
        })
    });
    if let Some(record) = &record {
        request.extensions_mut().insert(Arc::clone(record));
    }
    let (parts, body) = request.into_parts();
    let body = Lingering::wrap(&parts.headers, body);
    let mut response = next.run(Request::from_parts(parts, body)).await;

    let error = response.extensions_mut().remove::<ErrorDetail>();
    if let Some(record) = &record
        && !record.figures().streams
    {
        record.end(error.as_ref().map(|error| error.code));
    }
    if let Some(error) = error {
        write_error(&mut response, error, &id);
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        headers.insert(ocr_api::header::REQUEST_ID, value);
    }
    if let Some(revision) = &app.settings.pool.revision {
        headers.insert(ocr_api::header::REVISION, revision.clone());
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if closes || app.phase() > Phase::Serving {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
