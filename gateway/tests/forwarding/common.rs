//! A real gateway on ports of its own, before pods that do as they are told.

use std::{
    io::Write as _,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse as _, Response},
    routing::get,
};
use clap::Parser as _;
use ocr_api::{GatewayStatus, PodStatus};
use ocr_gateway::{Gateway, settings::Settings};
use ocr_serving::Signal;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};

/// What a pod does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// Answers with its name after this many milliseconds.
    Answers(u64),
    /// Breaks the connection before it answers.
    Breaks,
    /// Accepts and never answers.
    Swallows,
    /// Says that it has no room.
    Refuses(StatusCode),
    /// Sends half of its answer, then breaks the connection.
    BreaksHalfway,
    /// Reads a document page by page, as a real pod does, and breaks the connection at a page.
    Reads { pages: u32, milliseconds: u64, until: u32 },
}

/// A pod that does as it is told.
pub struct Pod {
    pub api: SocketAddr,
    admin: SocketAddr,
    told: Arc<Told>,
    tasks: [JoinHandle<()>; 2],
}

struct Told {
    name: &'static str,
    does: Does,
    ready: AtomicBool,
    concurrency: AtomicU64,
    revision: Option<&'static str>,
    requests: AtomicUsize,
    bytes: AtomicUsize,
    headers: Mutex<HeaderMap>,
}

impl Pod {
    pub async fn start(name: &'static str, does: Does) -> Self {
        Self::of_revision(name, does, None).await
    }

    pub async fn of_revision(name: &'static str, does: Does, revision: Option<&'static str>) -> Self {
        let told = Arc::new(Told {
            name,
            does,
            ready: AtomicBool::new(true),
            concurrency: AtomicU64::new(4),
            revision,
            requests: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            headers: Mutex::default(),
        });
        let (api, api_address) = listen().await;
        let (admin, admin_address) = listen().await;
        let read = Router::new().fallback(read).with_state(Arc::clone(&told));
        let status = Router::new().route("/status", get(status)).with_state(Arc::clone(&told));
        let tasks = [
            tokio::spawn(async move { axum::serve(api, read).await.unwrap() }),
            tokio::spawn(async move { axum::serve(admin, status).await.unwrap() }),
        ];
        Self { api: api_address, admin: admin_address, told, tasks }
    }

    /// Whether it takes requests, by its own word.
    pub fn ready(&self, ready: bool) {
        self.told.ready.store(ready, Ordering::SeqCst);
    }

    pub fn concurrency(&self, concurrency: u64) {
        self.told.concurrency.store(concurrency, Ordering::SeqCst);
    }

    /// Requests that it got.
    pub fn requests(&self) -> usize {
        self.told.requests.load(Ordering::SeqCst)
    }

    /// Bytes of the bodies that it got whole.
    pub fn bytes(&self) -> usize {
        self.told.bytes.load(Ordering::SeqCst)
    }

    /// Headers of the last request.
    pub fn headers(&self) -> HeaderMap {
        self.told.headers.lock().unwrap().clone()
    }

    /// Ends it, ports and all.
    pub fn kill(&self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn status(State(told): State<Arc<Told>>) -> Json<PodStatus> {
    let mut status: PodStatus = serde_json::from_str(include_str!("../../../tests/recorded/status.json")).unwrap();
    status.revision = told.revision.map(str::to_owned);
    status.work.draining = !told.ready.load(Ordering::SeqCst);
    status.work.concurrency = told.concurrency.load(Ordering::SeqCst);
    (status.work.in_flight, status.work.queued, status.work.busy_seconds) = (0, 0, 0.0);
    Json(status)
}

async fn read(State(told): State<Arc<Told>>, uri: Uri, headers: HeaderMap, body: Body) -> Response {
    told.requests.fetch_add(1, Ordering::SeqCst);
    *told.headers.lock().unwrap() = headers;
    if let Does::Refuses(status) = told.does {
        return status.into_response();
    }
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else { return StatusCode::BAD_REQUEST.into_response() };
    told.bytes.fetch_add(body.len(), Ordering::SeqCst);
    match told.does {
        Does::Answers(milliseconds) => {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            format!("{} {}", told.name, body.len()).into_response()
        }
        Does::Swallows => std::future::pending().await,
        Does::Refuses(status) => status.into_response(),
        Does::Reads { pages, milliseconds, until } => stream(&told, &uri, pages, milliseconds, until),
        // A panic ends the connection, as the death of a process does.
        Does::Breaks => std::panic::resume_unwind(Box::new("told to")),
        Does::BreaksHalfway => {
            let half = futures::stream::iter([Ok(Bytes::from_static(b"half"))]);
            let broken = futures::stream::once(async {
                // The first half has to leave before.
                tokio::time::sleep(Duration::from_millis(200)).await;
                Err(std::io::Error::other("told to"))
            });
            Body::from_stream(futures::StreamExt::chain(half, broken)).into_response()
        }
    }
}

/// Pages that a query asks for, `first-last`; all where it asks for none.
fn asked(uri: &Uri, pages: u32) -> (u32, u32) {
    let query = uri.query().unwrap_or_default();
    let range = query.split('&').find_map(|pair| pair.strip_prefix("pages=")?.split_once('-'));
    range.map_or((1, pages), |(first, last)| (first.parse().unwrap(), last.parse().unwrap()))
}

/// A stream of pages, each with the pod's name and its number as its text.
fn stream(told: &Arc<Told>, uri: &Uri, pages: u32, milliseconds: u64, until: u32) -> Response {
    let (name, (first, last)) = (told.name, asked(uri, pages));
    let lines = futures::stream::unfold(first, move |number| async move {
        if number > last + 1 {
            return None;
        }
        if number == last + 1 {
            let end = serde_json::json!({"status": "done", "success": true, "pages": last + 1 - first, "failed": 0});
            return Some((Ok(format!("{end}\n")), number + 1));
        }
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        if number >= until {
            return Some((Err(std::io::Error::other("told to")), last + 2));
        }
        let line = serde_json::json!({
            "file": "seven", "page": number, "page_number": number, "success": true, "image_width": 1, "image_height": 1,
            "orientation": 0, "processing_time_ms": milliseconds, "text": format!("{name} {number}"), "markdown": "",
            "html": "", "json_output": {}, "lines": [], "line_count": 0, "avg_confidence": 0.0, "warnings": [],
        });
        Some((Ok(format!("{line}\n")), number + 1))
    });
    ([("x-ocr-page-count", pages.to_string())], Body::from_stream(lines)).into_response()
}

/// A gateway that runs.
pub struct Running {
    pub api: String,
    admin: String,
    pub client: reqwest::Client,
    signals: mpsc::Sender<Signal>,
    pub ended: JoinHandle<()>,
}

impl Running {
    /// Before these pods, with what the pool says.
    pub async fn start(pods: &[&Pod], pool: &str) -> Self {
        Self::with(pods, pool, &[]).await
    }

    pub async fn with(pods: &[&Pod], pool: &str, flags: &[&str]) -> Self {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(pool.as_bytes()).unwrap();
        let mut arguments: Vec<String> =
            ["ocr-gateway", "--listen", "127.0.0.1", "--port", "0", "--admin-port", "0", "--drain-delay-seconds", "0"]
                .map(str::to_owned)
                .to_vec();
        for pod in pods {
            arguments.extend(["--pod".to_owned(), format!("{}/{}", pod.api, pod.admin.port())]);
        }
        arguments.extend(["--pool-file".to_owned(), file.path().display().to_string()]);
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let gateway = Gateway::bind(Settings::try_parse_from(arguments).unwrap()).await.unwrap();
        let (api, admin) = (gateway.api_address(), gateway.admin_address());
        let (signals, receive) = mpsc::channel(2);
        let ended = tokio::spawn(async move { gateway.run(receive).await.unwrap() });
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let running = Self { api: format!("http://{api}"), admin: format!("http://{admin}"), client, signals, ended };
        running.until("the pods are known", |status| status.pods.len() == pods.len()).await;
        // A pod says how it is in the first round; until then it is taken for one that takes little.
        tokio::time::sleep(Duration::from_millis(200)).await;
        running
    }

    pub fn post(&self, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        self.client.post(format!("{}/v1/ocr", self.api)).body(body)
    }

    /// The answer's status and text.
    pub async fn ask(&self, body: &'static str) -> (u16, String) {
        answer(self.post(body)).await
    }

    pub async fn status(&self) -> GatewayStatus {
        self.client.get(format!("{}/status", self.admin)).send().await.unwrap().json().await.unwrap()
    }

    pub async fn admin(&self, path: &str) -> String {
        self.client.get(format!("{}{path}", self.admin)).send().await.unwrap().text().await.unwrap()
    }

    /// Waits until the gateway says so of itself.
    pub async fn until(&self, what: &str, is: impl Fn(&GatewayStatus) -> bool) {
        let began = Instant::now();
        loop {
            let status = self.status().await;
            if is(&status) {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(10), "not within 10 s: {what}: {status:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn signal(&self, signal: Signal) {
        self.signals.send(signal).await.unwrap();
    }
}

/// Status and text of an answer; 0 where the connection broke.
pub async fn answer(request: reqwest::RequestBuilder) -> (u16, String) {
    let Ok(response) = request.send().await else { return (0, String::new()) };
    let status = response.status().as_u16();
    match response.text().await {
        Ok(text) => (status, text),
        Err(_) => (0, String::new()),
    }
}
