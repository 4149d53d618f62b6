//! A long PDF over several pods: one reads from the front and says how many pages there are, the others take parts from the
//! back, and the pages are put together in order. A part that fails is given to another pod.

mod lines;
mod parts;

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header, response},
    response::{IntoResponse as _, Response},
};
use hyper::body::Incoming;
use ocr_api::{ErrorCode, ErrorDetail, ModelRef, Page, PageStatus, StreamEnd};
use ocr_render::{Format, all_failed, document_from_pages, render};
use ocr_serving::ApiError;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
    time::Instant,
};

use self::{
    lines::{Line, Lines},
    parts::Parts,
};
use super::{Forward, answer, headers, pod_failed, refuse};
use crate::{
    balance::{Ask, Kind, Outcome},
    dispatch::Lease,
    record::Record,
};

/// Endpoints that read a document.
const READING: [&str; 3] = ["/v1/ocr", "/v1/ocr/receipt", "/v1/parse"];

/// Pods beside the first that read parts of one document.
const MOST_OTHERS: usize = 15;

/// Times that parts of one document may fail.
const MOST_FAILURES: u32 = 5;

/// Whether a request is a document that may be read by several pods, and in which form it is to be answered.
pub(super) fn form(forward: &Forward, ask: &Ask) -> Option<Format> {
    let least = forward.app.policy().fan_out_pages;
    let is_document = forward.kind == Kind::Pdf && READING.contains(&forward.head.uri.path());
    if least == 0 || !is_document || others(forward, ask) == 0 {
        return None;
    }
    let query = forward.head.uri.query().unwrap_or_default();
    let mut named = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            // A pod reads the pages that were asked for; and tells of what it does not know.
            Some(("pages", _)) | None => return None,
            Some(("format", name)) => named = Some(Format::named(name).ok()?),
            Some(_) => {}
        }
    }
    let accept = forward.head.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    named.or_else(|| Format::accepted(accept).ok())
}

/// Pods beside one that may read.
fn others(forward: &Forward, ask: &Ask) -> usize {
    let now = Instant::now();
    let may = forward.app.dispatcher.look(|balance| {
        let is_meant = |revision: Option<&str>| ask.revision.as_deref().is_none_or(|wanted| revision == Some(wanted));
        balance.pods().filter(|pod| pod.takes_requests(now) && is_meant(pod.revision())).count()
    });
    may.saturating_sub(1).min(MOST_OTHERS)
}

/// A document that several pods read.
struct Spread {
    forward: Forward,
    /// What each part needs of its pod.
    ask: Ask,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    parts: Parts,
    /// The page that the first pod is at.
    page: u32,
    /// Parts that pods have.
    open: u32,
    failures: u32,
    /// Nothing more is read: it is done, or has failed too often.
    over: bool,
}

/// Reads a document by several pods.
pub(super) async fn answer(forward: Forward, ask: Ask, format: Format, mut record: Record) -> Response {
    let began = Instant::now();
    let (lease, mut head, body) = match first(&forward, &ask, &mut record).await {
        Ok(first) => first,
        Err(error) => return refuse(error, record),
    };
    headers::strip(&mut head.headers);
    let pages = count(&head.headers, ocr_api::header::PAGE_COUNT);
    let Some(pages) = pages.filter(|_| head.status == StatusCode::OK) else {
        // An error, which is JSON in every form.
        return match answer::take(body, lease, record).await {
            Ok(body) => Response::from_parts(head, body),
            Err((answer::Broke, record)) => refuse(pod_failed(), record),
        };
    };
    let model = forward.app.dispatcher.look(|balance| {
        balance
            .pods()
            .find(|pod| pod.endpoint == lease.given().endpoint)
            .and_then(|pod| pod.report.as_ref()?.model.clone())
    });
    let revision = lease.given().revision.clone();
    let state = State { parts: Parts::new(pages), page: 1, open: 0, failures: 0, over: false };
    let least = forward.app.policy().fan_out_pages;
    let spread = Arc::new(Spread {
        ask: Ask { cost: ask.cost / f64::from(pages.max(1)), revision: revision.clone().or(ask.revision), ..ask },
        forward,
        state: Mutex::new(state),
        changed: Notify::new(),
    });
    let (send, receive) = mpsc::channel(usize::try_from(pages).unwrap_or(usize::MAX).clamp(1, 1 << 16));
    let others = if pages > least { others(&spread.forward, &spread.ask) } else { 0 };
    let work = tokio::spawn(Arc::clone(&spread).run((lease, Lines::new(body)), others, send));
    let joined = Joined { pages, receive, waiting: BTreeMap::new(), next: 1, work };
    let id = record.id().as_str().to_owned();
    let content_type = HeaderValue::from_static(format.content_type());
    let mut response = if format == Format::Ndjson {
        Body::from_stream(joined.stream(id, record)).into_response()
    } else {
        let model =
            model.unwrap_or_else(|| ModelRef { name: String::new(), version: String::new(), digest: String::new() });
        let all = match joined.whole(pages).await {
            Ok(all) => all,
            Err(error) => return refuse(error.into(), record),
        };
        if let Some(error) = all_failed(&all) {
            return refuse(error.into(), record);
        }
        let document = document_from_pages(id, model, pages, all, began.elapsed());
        let Some(bytes) = render(format, &document) else { return refuse(ApiError::internal(), record) };
        record.end();
        bytes.into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    if let Some(revision) = revision.and_then(|revision| HeaderValue::from_str(&revision).ok()) {
        headers.insert(ocr_api::header::REVISION, revision);
    }
    response
}

fn count(headers: &HeaderMap, name: &str) -> Option<u32> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// The first pod's answer, of all pages; from a second pod where the first fails.
async fn first(
    forward: &Forward,
    ask: &Ask,
    record: &mut Record,
) -> Result<(Lease, response::Parts, Incoming), ApiError> {
    let mut ask = ask.clone();
    // Each part is the whole document to a pod: it has to be here until the last one was sent.
    forward.limited(forward.upload.fill(u64::MAX)).await?;
    loop {
        let lease = forward.lease(&ask).await?;
        let name = Arc::clone(&lease.given().endpoint.name);
        record.given(&name, lease.given().revision.as_ref(), lease.waited(), lease.is_cold());
        let began = Instant::now();
        match send(forward, lease, None).await {
            Ok((lease, head, body)) => {
                record.answered(head.status.as_u16(), began.elapsed());
                return Ok((lease, head, body));
            }
            Err(error) if ask.not.is_some() || Instant::now() >= forward.until => return Err(error),
            Err(_) => ask.not = Some(name),
        }
    }
}

/// Sends the document to a pod, for all pages or some of them, as a stream.
async fn send(
    forward: &Forward,
    mut lease: Lease,
    pages: Option<&RangeInclusive<u32>>,
) -> Result<(Lease, response::Parts, Incoming), ApiError> {
    let mut request = Request::new(forward.upload.replay());
    *request.method_mut() = forward.head.method.clone();
    *request.uri_mut() = with_query(&forward.head.uri, pages).ok_or_else(ApiError::internal)?;
    *request.headers_mut() = forward.head.headers.clone();
    request.headers_mut().remove(header::ACCEPT);
    let api = lease.given().endpoint.api;
    let answered = tokio::select! {
        answered = forward.app.pods.send(api, request, forward.until) => answered.ok(),
        () = lease.lost() => None,
    };
    let Some(response) = answered else {
        lease.ended(Outcome::Failed);
        return Err(if Instant::now() < forward.until { pod_failed() } else { forward.timed_out() });
    };
    if super::is_refusal(response.status()) {
        return Err(pod_failed());
    }
    let (head, body) = response.into_parts();
    Ok((lease, head, body))
}

/// The same address, asking for a stream of these pages.
fn with_query(uri: &Uri, pages: Option<&RangeInclusive<u32>>) -> Option<Uri> {
    let kept =
        uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("format="));
    let mut query: Vec<String> = kept.map(str::to_owned).collect();
    query.push("format=ndjson".to_owned());
    if let Some(pages) = pages {
        query.push(format!("pages={}-{}", pages.start(), pages.end()));
    }
    format!("{}?{}", uri.path(), query.join("&")).parse().ok()
}

impl Spread {
    /// Reads all pages into the channel, in any order. Dropping the channel's other end ends it.
    async fn run(self: Arc<Self>, (lease, lines): (Lease, Lines), others: usize, send: mpsc::Sender<Page>) {
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&self).front(lease, lines, send.clone()));
        for _ in 0..others {
            tasks.spawn(Arc::clone(&self).back(others, send.clone()));
        }
        tokio::select! {
            () = async { while tasks.join_next().await.is_some() {} } => {}
            () = send.closed() => {}
            () = tokio::time::sleep_until(self.forward.until) => {}
        }
        // What the first pod left when it failed, and nobody was there to take.
        if others == 0 && !send.is_closed() && Instant::now() < self.forward.until {
            self.back(1, send).await;
        }
    }

    /// The first pod, from the first page until it meets the others.
    async fn front(self: Arc<Self>, mut lease: Lease, mut lines: Lines, send: mpsc::Sender<Page>) {
        let mut next = 1;
        loop {
            let end = self.state().parts.end();
            if next >= end {
                // Its connection is closed, and it stops.
                lease.ended(Outcome::Answered);
                self.changed.notify_waiters();
                return;
            }
            let line = tokio::select! {
                line = lines.next() => line,
                () = lease.lost() => Err(lines::Broke),
            };
            let Ok(Some(Line::Page(page))) = line else {
                lease.ended(Outcome::Failed);
                let mut state = self.state();
                state.parts.first_failed(next);
                state.failures += 1;
                drop(state);
                self.changed.notify_waiters();
                return;
            };
            let PageStatus { page: number, result, .. } = *page;
            if number >= self.state().parts.end() || send.send(result).await.is_err() {
                continue;
            }
            next = number + 1;
            self.state().page = next;
        }
    }

    /// A pod beside the first: part after part, while there are any.
    async fn back(self: Arc<Self>, others: usize, send: mpsc::Sender<Page>) {
        let others = u32::try_from(others).unwrap_or(u32::MAX);
        let mut not = None;
        loop {
            let changed = self.changed.notified();
            let part = {
                let mut state = self.state();
                if state.over || state.failures > MOST_FAILURES || send.is_closed() {
                    return;
                }
                let page = state.page;
                let part = state.parts.take(page, others);
                state.open += u32::from(part.is_some());
                // Parts that others have may come back.
                if part.is_none() && state.open == 0 && page >= state.parts.end() {
                    state.over = true;
                    self.changed.notify_waiters();
                    return;
                }
                part
            };
            let Some(part) = part else {
                changed.await;
                continue;
            };
            let ask = Ask {
                not: not.take(),
                cost: self.ask.cost * f64::from(part.end() - part.start() + 1),
                ..self.ask.clone()
            };
            let (rest, failed) = self.read(part, ask, &send).await;
            let mut state = self.state();
            state.open -= 1;
            state.parts.give_back(rest);
            state.failures += u32::from(failed.is_some());
            drop(state);
            not = failed;
            self.changed.notify_waiters();
        }
    }

    /// Reads a part. What is left of it, and the pod that failed.
    #[expect(clippy::reversed_empty_ranges, reason = "nothing is left")]
    async fn read(
        &self,
        part: RangeInclusive<u32>,
        ask: Ask,
        send_to: &mpsc::Sender<Page>,
    ) -> (RangeInclusive<u32>, Option<Arc<str>>) {
        let mut next = *part.start();
        let Ok(lease) = self.forward.lease(&ask).await else { return (part, Some("".into())) };
        let name = Arc::clone(&lease.given().endpoint.name);
        let Ok((mut lease, head, body)) = send(&self.forward, lease, Some(&part)).await else {
            return (part, Some(name));
        };
        if head.status != StatusCode::OK {
            return (part, Some(name));
        }
        let mut lines = Lines::new(body);
        while next <= *part.end() {
            let line = tokio::select! {
                line = lines.next() => line,
                () = lease.lost() => Err(lines::Broke),
            };
            let Ok(Some(Line::Page(page))) = line else {
                lease.ended(Outcome::Failed);
                return (next..=*part.end(), Some(name));
            };
            next = page.page + 1;
            if send_to.send(page.result).await.is_err() {
                break;
            }
        }
        lease.ended(Outcome::Answered);
        (1..=0, None)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Pages of several pods, in order. Dropped, its work ends.
struct Joined {
    pages: u32,
    receive: mpsc::Receiver<Page>,
    waiting: BTreeMap<u32, Page>,
    next: u32,
    work: tokio::task::JoinHandle<()>,
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.work.abort();
    }
}

impl Joined {
    /// The next page; `None` after the last.
    async fn next(&mut self) -> Option<Result<Page, ErrorDetail>> {
        if self.next > self.pages {
            return None;
        }
        loop {
            if let Some(page) = self.waiting.remove(&self.next) {
                self.next += 1;
                return Some(Ok(page));
            }
            let Some(page) = self.receive.recv().await else {
                let message =
                    format!("page {} could not be had from any pod in time; send the document again", self.next);
                return Some(Err(ErrorDetail::new(ErrorCode::PodFailed, message)));
            };
            self.waiting.insert(page.page_number, page);
        }
    }

    async fn whole(mut self, pages: u32) -> Result<Vec<Page>, ErrorDetail> {
        let mut all = Vec::with_capacity(usize::try_from(pages).unwrap_or_default().min(10_000));
        while let Some(page) = self.next().await {
            all.push(page?);
        }
        Ok(all)
    }

    /// A line for each page, and one at the end.
    fn stream(
        self,
        id: String,
        record: Record,
    ) -> impl futures::Stream<Item = Result<Bytes, std::convert::Infallible>> {
        let end = StreamEnd { status: "done".to_owned(), success: true, pages: 0, failed: 0, error: None };
        futures::stream::unfold(Some((self, record, end)), move |state| {
            let id = id.clone();
            async move {
                let (mut joined, mut record, mut end) = state?;
                match joined.next().await {
                    Some(Ok(page)) => {
                        end.pages += 1;
                        end.failed += u32::from(!page.success);
                        end.success &= page.success;
                        let line = line(&PageStatus { file: id, page: page.page_number, result: page });
                        Some((Ok(line), Some((joined, record, end))))
                    }
                    last => {
                        if let Some(Err(error)) = last {
                            record.refused(error.code);
                            (end.success, end.error) = (false, Some(error));
                        } else {
                            record.end();
                        }
                        Some((Ok(line(&end)), None))
                    }
                }
            }
        })
    }
}

fn line(value: &impl serde::Serialize) -> Bytes {
    // Types of ours, which can be written.
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}
