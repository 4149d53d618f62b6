//! The server with a pipeline that does as the document tells it.
#![allow(clippy::float_cmp, reason = "metrics that count are exact")]

mod connections;
mod fake;
mod figures;
mod life;
mod memory;
mod reading;
mod refusing;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode},
};
use clap::Parser;
use http_body_util::BodyExt as _;
use ocr_api::{ErrorBody, ErrorCode};
use serde_json::Value;
use tower::ServiceExt as _;

use self::fake::{Fake, FakeLoader};
use super::{app::App, load, router};
use crate::settings::ServeSettings;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    settings: ServeSettings,
}

/// A server without sockets.
struct Bench {
    app: Arc<App>,
    fake: Arc<Fake>,
    api: Router,
    admin: Router,
}

impl Bench {
    /// Not loaded yet.
    fn cold(loader: FakeLoader, arguments: &[&str]) -> Self {
        let fake = Arc::clone(&loader.fake);
        let app = App::new(settings(arguments), Arc::new(loader)).unwrap();
        Self { api: router::api(Arc::clone(&app)), admin: router::admin(Arc::clone(&app)), fake, app }
    }

    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(arguments: &[&str]) -> Self {
        let bench = Self::cold(FakeLoader::new(), arguments);
        load::load(Arc::clone(&bench.app)).await.unwrap();
        bench
    }

    async fn call(&self, request: Request<Body>) -> Answer {
        Answer::of(self.api.clone().oneshot(request).await.unwrap()).await
    }

    async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.call(Request::post(path).body(body.into()).unwrap()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn admin(&self, path: &str) -> Answer {
        let request = Request::get(path).body(Body::empty()).unwrap();
        Answer::of(self.admin.clone().oneshot(request).await.unwrap()).await
    }

    /// A request on a task of its own.
    fn start(&self, body: &'static str) -> tokio::task::JoinHandle<Answer> {
        let api = self.api.clone();
        tokio::spawn(async move {
            let request = Request::post("/v1/ocr").body(Body::from(body)).unwrap();
            Answer::of(api.oneshot(request).await.unwrap()).await
        })
    }

    /// Value of a metric, given with its labels as it is written.
    async fn metric(&self, series: &str) -> f64 {
        let text = self.admin("/metrics").await.text();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
    }
}

/// Settings that differ from the defaults where a swap could go unseen, but for what a test sets.
fn settings(arguments: &[&str]) -> ServeSettings {
    // clap takes a flag once.
    let mut all: Vec<String> = Vec::new();
    let usual = [
        "--listen=127.0.0.1",
        "--port=0",
        "--admin-port=0",
        "--request-seconds=100",
        "--concurrency=2",
        "--queue=3",
        "--max-body=10k",
        "--drain-delay-seconds=7",
    ];
    let name = |argument: &str| argument.split('=').next().unwrap_or_default().to_owned();
    for argument in usual {
        if !arguments.iter().any(|set| name(set) == name(argument)) {
            all.push(argument.to_owned());
        }
    }
    all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    Line::parse_from(std::iter::once("ocr".to_owned()).chain(all)).settings
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    async fn of(response: axum::response::Response) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Self { status: parts.status, headers: parts.headers, body }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The error, after what every error must have.
    fn error(&self) -> ErrorBody {
        let body: ErrorBody =
            serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()));
        assert_eq!(self.status.as_u16(), body.error.code.http_status());
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(self.header("x-request-id"), Some(body.request_id.as_str()));
        assert_eq!(self.header("retry-after").is_some(), body.error.code.is_retryable(), "{body:?}");
        assert!(body.error.message.len() > 10 && !body.error.message.contains('\n'), "{body:?}");
        body
    }

    fn code(&self) -> ErrorCode {
        self.error().error.code
    }

    fn ok(self) -> Self {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text());
        self
    }

    fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Lets every task that can go on do so, without the clock.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// Advances the paused clock.
async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    settle().await;
}
