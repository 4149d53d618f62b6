//! One document from request to answer: admitted, read, written, within its time.

use std::{convert::Infallible, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{FutureExt as _, Stream, stream};
use ocr_api::{ErrorCode, ModelRef, Page, PageStatus, StreamEnd};
use ocr_render::{Format, all_failed, document_from_pages, render};
use ocr_serving::{ApiError, listen::Crowded};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    admission::Place,
    app::App,
    backend::{Backend, DocumentStream},
    body::{self, Upload},
    metrics::Rejection,
    record::Record,
    request::Ask,
};
use crate::{
    meter::{Stage, UnitTally},
    read::ReadOptions,
};

/// Answers a request for a document.
pub(super) async fn answer(app: Arc<App>, record: Arc<Record>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let settings = &app.settings;
    let ask = Ask::read(&parts.uri, &parts.headers, settings)?;
    body::check_length(&parts.headers, settings.limits.max_body)?;
    if parts.extensions.get::<Crowded>().is_some() {
        app.metrics.rejected(Rejection::Connections);
        let message = "as many connections are open as may be; close idle ones and send the request again in 1 s";
        return Err(ApiError::new(ErrorCode::Overloaded, message).with_retry_after(1));
    }
    let (mut place, backend) = app.admit()?;
    let deadline = Deadline { at: record.began() + ask.timeout, timeout: ask.timeout };
    let work = async {
        let (limit, idle) = (settings.limits.max_body, settings.connections.idle());
        let upload = body::read(&parts.headers, body, limit, idle, &mut place).await.inspect_err(|error| {
            if error.detail.code == ErrorCode::Overloaded {
                app.metrics.rejected(Rejection::Bodies);
            }
        })?;
        record.received();
        let work = Work { app: Arc::clone(&app), record, place, deadline, model: backend.model().model };
        work.run(backend, upload, ask).await
    };
    deadline.limit(&app, work).await
}

/// When a request must be answered.
#[derive(Clone, Copy)]
struct Deadline {
    at: Instant,
    timeout: Duration,
}

impl Deadline {
    /// Runs the work until it is done, its time is over, or the server ends. What is cut off is dropped, which ends it
    /// in the engine and the decode process too.
    async fn limit<T>(self, app: &App, work: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
        tokio::select! {
            result = tokio::time::timeout_at(self.at, work) => result.unwrap_or_else(|_| Err(self.error(app))),
            () = app.abort.cancelled() => Err(aborted()),
        }
    }

    fn error(self, app: &App) -> ApiError {
        let limit = app.settings.limits.request_seconds;
        ApiError::new(
            ErrorCode::Timeout,
            format!(
                "Processing timed out after {} seconds; send fewer pages at a time, or allow more time by \
                 X-Ocr-Timeout-Seconds (at most {limit})",
                self.timeout.as_secs()
            ),
        )
    }
}

/// The end of a request that the shutdown did not wait for any longer.
fn aborted() -> ApiError {
    let message =
        "the server is shutting down and the time for requests in work is over; send it again, to another one";
    ApiError::new(ErrorCode::Draining, message).with_retry_after(1)
}

/// A request whose body is there.
struct Work {
    app: Arc<App>,
    record: Arc<Record>,
    place: Place,
    deadline: Deadline,
    model: ModelRef,
}

/// A document that is open. Dropping it ends its work and lets the next request begin.
struct Open {
    stream: Box<dyn DocumentStream>,
    tally: UnitTally,
    began: Instant,
    _cancel: DropGuard,
    _turn: tokio::sync::OwnedSemaphorePermit,
}

impl Work {
    async fn run(self, backend: Arc<dyn Backend>, upload: Upload, ask: Ask) -> Result<Response, ApiError> {
        let format = ask.format;
        let mut open = self.open(&*backend, upload, ask).await?;
        // The status is known with the first page: until then nothing is sent.
        let first = self.next(&mut open).await;
        let Some(first) = first else {
            let message = "the document has no pages; send one with at least one page";
            return Err(ApiError::new(ErrorCode::Undecodable, message));
        };
        if format == Format::Ndjson { self.stream(open, first).await } else { self.whole(open, first, format).await }
    }

    async fn open(&self, backend: &dyn Backend, upload: Upload, ask: Ask) -> Result<Open, ApiError> {
        if upload.password.is_some() && ask.password.is_some() {
            let message = "a password came in the header X-Ocr-Document-Password and in the body; send one";
            return Err(ApiError::new(ErrorCode::BadRequest, message));
        }
        let turn = self.place.turn().await.ok_or_else(ApiError::internal)?;
        self.app.meter.stage(self.record.purpose(), Stage::Queue, self.record.processing());
        let cancel = CancellationToken::new();
        let guard = cancel.clone().drop_guard();
        let began = Instant::now();
        let tally = UnitTally::default();
        let options = ReadOptions {
            pages: ask.pages,
            orientation: ask.orientation,
            dpi: ask.dpi,
            password: upload.password.or(ask.password),
            min_confidence: ask.min_confidence,
            deadline: self.deadline.at.into_std(),
            purpose: self.record.purpose(),
            tally: tally.clone(),
        };
        let stream = backend.open(upload.bytes, options, cancel).await?;
        Ok(Open { stream, tally, began, _cancel: guard, _turn: turn })
    }

    async fn next(&self, open: &mut Open) -> Option<Page> {
        let page = open.stream.next_page().await?;
        self.record.page(page.success, page.lines.len());
        Some(page)
    }

    /// Reads every page and answers them together. Where each of them failed, there is nothing but the error.
    async fn whole(self, mut open: Open, first: Page, format: Format) -> Result<Response, ApiError> {
        let mut pages = vec![first];
        while let Some(page) = self.next(&mut open).await {
            pages.push(page);
        }
        let page_count = open.stream.page_count();
        self.app.admission.note(open.began.elapsed());
        let units = open.tally.units();
        drop(open);
        if let Some(error) = all_failed(&pages) {
            return Err(error.into());
        }
        let id = self.record.id().as_str().to_owned();
        let elapsed = self.record.processing();
        let rendering = Instant::now();
        let model = self.model;
        // Hundreds of pages take longer to write than a task may hold its thread.
        let written = tokio::task::spawn_blocking(move || {
            render(format, &document_from_pages(id, model, page_count, pages, elapsed))
        });
        let bytes = match written.await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(ApiError::internal()),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => return Err(ApiError::internal()),
            },
        };
        self.app.meter.stage(self.record.purpose(), Stage::Render, rendering.elapsed());
        let mut response = ([(header::CONTENT_TYPE, format.content_type())], bytes).into_response();
        if let Ok(units) = HeaderValue::from_str(&format!("{units:.3}")) {
            response.headers_mut().insert(ocr_api::header::UNITS, units);
        }
        Ok(response)
    }

    /// Answers each page as it is read.
    async fn stream(self, mut open: Open, first: Page) -> Result<Response, ApiError> {
        let mut head = vec![first];
        if head.iter().all(|page| !page.success) {
            match self.next(&mut open).await {
                Some(second) => head.push(second),
                None => return Err(all_failed(&head).map_or_else(ApiError::internal, ApiError::from)),
            }
        }
        // Room for every page, so that a client that takes its time holds up nobody else's.
        let room = usize::try_from(self.app.settings.pipeline.document.max_pages).unwrap_or(usize::MAX);
        let (send, receive) = mpsc::channel(room.saturating_add(2).min(tokio::sync::Semaphore::MAX_PERMITS));
        let page_count = open.stream.page_count();
        self.record.hand_over();
        tokio::spawn(self.produce(open, head, send));
        let body = Body::from_stream(lines(receive));
        let pages = HeaderValue::from(page_count);
        let headers =
            [(header::CONTENT_TYPE, HeaderValue::from_static(Format::Ndjson.content_type())), (PAGE_COUNT, pages)];
        Ok((headers, body).into_response())
    }

    /// Reads the pages into the channel, and the status line at the end, whatever happens.
    async fn produce(self, open: Open, head: Vec<Page>, send: mpsc::Sender<Bytes>) {
        let mut tally = Tally::default();
        let pages = self.pages(open, head, &send, &mut tally);
        let outcome = tokio::select! {
            outcome = AssertUnwindSafe(self.deadline.limit(&self.app, pages)).catch_unwind() => outcome,
            () = send.closed() => return, // the client left: dropping all this ends the work
        };
        let error = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.detail),
            Err(_) => Some(ApiError::internal().detail),
        };
        let code = error.as_ref().map(|error| error.code);
        let end = StreamEnd {
            status: "done".to_owned(),
            success: error.is_none() && tally.failed == 0,
            pages: tally.pages,
            failed: tally.failed,
            error,
        };
        if let Some(line) = line(&end) {
            let _ = send.send(line).await;
        }
        self.record.end(code);
    }

    async fn pages(
        &self,
        mut open: Open,
        head: Vec<Page>,
        send: &mpsc::Sender<Bytes>,
        tally: &mut Tally,
    ) -> Result<(), ApiError> {
        let mut head = head.into_iter();
        loop {
            let page = match head.next() {
                Some(page) => page,
                None => match self.next(&mut open).await {
                    Some(page) => page,
                    None => break,
                },
            };
            tally.pages += 1;
            tally.failed += u32::from(!page.success);
            let status =
                PageStatus { file: self.record.id().as_str().to_owned(), page: page.page_number, result: page };
            let written = tokio::task::spawn_blocking(move || line(&status)).await.ok().flatten();
            let written = written.ok_or_else(ApiError::internal)?;
            // A closed channel is a client that left; the caller sees it.
            let _ = send.send(written).await;
        }
        self.app.admission.note(open.began.elapsed());
        Ok(())
    }
}

/// Pages of the document that a stream is of.
const PAGE_COUNT: HeaderName = HeaderName::from_static(ocr_api::header::PAGE_COUNT);

/// What a stream has written.
#[derive(Default)]
struct Tally {
    pages: u32,
    failed: u32,
}

/// An object of the stream. `None` where it cannot be written, which none of ours is.
fn line(value: &impl serde::Serialize) -> Option<Bytes> {
    let mut bytes = serde_json::to_vec(value).ok()?;
    bytes.push(b'\n');
    Some(bytes.into())
}

/// The channel as a body.
fn lines(receive: mpsc::Receiver<Bytes>) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(receive, |mut receive| async { receive.recv().await.map(|line| (Ok(line), receive)) })
}
