//! A pipeline that does what the document's text says, such as `pages:3 delay:5 fail:2`.
//!
//! | word | what |
//! |---|---|
//! | `pages:N` | the document has N pages (1) |
//! | `delay:S` | each page takes S seconds |
//! | `open:S` | opening takes S seconds |
//! | `refuse:CODE` | the document cannot be opened |
//! | `fail:N` | page N fails |
//! | `panic:N` | reading page N panics; page 0: opening does |
//! | `hang` | the first page never comes |
//! | `says:TEXT` | the text of every line |

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use ocr_api::{
    ErrorCode, ErrorDetail, Line, LoadStage, ModelRef, Page,
    status::{EngineStatus, ModelStatus, SandboxStatus},
};
use tokio_util::sync::CancellationToken;

use crate::{
    hardware::{Cpu, Machine, Memory, Pressure},
    meter::Meter,
    read::{LoadFailure, ReadOptions},
    serve::{Backend, DocumentStream, LoadError, Loader, Progress},
};

/// What the pipeline saw.
#[derive(Default)]
pub struct Fake {
    /// Documents open now.
    pub open: AtomicUsize,
    /// Most documents open at once.
    pub most: AtomicUsize,
    /// Nothing can be read any more.
    pub lost: AtomicBool,
    /// Documents given up before their last page.
    pub abandoned: AtomicUsize,
    /// How the last document was to be read.
    pub options: Mutex<Option<ReadOptions>>,
    /// The last document's token.
    pub cancel: Mutex<Option<CancellationToken>>,
    /// Landlock's version, as `/status` shows it.
    pub landlock: AtomicUsize,
    /// Memory in bytes that the model declares.
    pub memory: AtomicU64,
}

impl Fake {
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    pub fn options(&self) -> ReadOptions {
        self.options.lock().unwrap().clone().unwrap()
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancel.lock().unwrap().as_ref().unwrap().is_cancelled()
    }
}

struct FakeBackend(Arc<Fake>);

/// A model that declares so many bytes of memory.
pub fn model(memory_bytes: u64) -> ModelStatus {
    ModelStatus {
        model: ModelRef { name: "fake".into(), version: "3".into(), digest: "sha256:f00d".into() },
        source: "path".into(),
        bytes: 42,
        memory_bytes,
        recogniser: "latin".into(),
        languages: vec!["en".into()],
    }
}

fn word<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    document.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix(':'))
}

fn number(document: &str, name: &str) -> Option<u32> {
    word(document, name).map(|value| value.parse().unwrap())
}

async fn sleep(seconds: Option<u32>) {
    if let Some(seconds) = seconds {
        tokio::time::sleep(Duration::from_secs(seconds.into())).await;
    }
}

impl Backend for FakeBackend {
    fn open(
        &self,
        bytes: Bytes,
        options: ReadOptions,
        cancel: CancellationToken,
    ) -> BoxFuture<'_, Result<Box<dyn DocumentStream>, ErrorDetail>> {
        async move {
            let document = String::from_utf8_lossy(&bytes).into_owned();
            let fake = Arc::clone(&self.0);
            fake.most.fetch_max(fake.open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            options.tally.add(2.5);
            *fake.options.lock().unwrap() = Some(options);
            *fake.cancel.lock().unwrap() = Some(cancel);
            let stream = FakeDocument { fake, next: 1, pages: number(&document, "pages").unwrap_or(1), document };
            sleep(number(&stream.document, "open")).await;
            assert_ne!(number(&stream.document, "panic"), Some(0), "as told: {}", stream.document);
            if let Some(code) = word(&stream.document, "refuse") {
                let code: ErrorCode = serde_json::from_value(code.into()).unwrap();
                return Err(ErrorDetail::new(code, "refused as it was told"));
            }
            Ok(Box::new(stream) as Box<dyn DocumentStream>)
        }
        .boxed()
    }

    fn model(&self) -> ModelStatus {
        model(self.0.memory.load(Ordering::SeqCst))
    }

    fn engine(&self) -> EngineStatus {
        EngineStatus { strategy: "cpu".into(), precision: "fp32".into(), ..EngineStatus::default() }
    }

    fn sandbox(&self) -> SandboxStatus {
        let landlock_abi = u32::try_from(self.0.landlock.load(Ordering::SeqCst)).unwrap();
        SandboxStatus { landlock_abi, seccomp: true, processes: 2, ..SandboxStatus::default() }
    }

    fn is_lost(&self) -> bool {
        self.0.lost.load(Ordering::SeqCst)
    }

    fn relieve(&self, _: Pressure) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

struct FakeDocument {
    fake: Arc<Fake>,
    document: String,
    pages: u32,
    next: u32,
}

impl DocumentStream for FakeDocument {
    fn page_count(&self) -> u32 {
        self.pages
    }

    fn next_page(&mut self) -> BoxFuture<'_, Option<Page>> {
        async move {
            let number_now = self.next;
            if number_now > self.pages {
                return None;
            }
            if self.document.contains("hang") {
                std::future::pending::<()>().await;
            }
            sleep(number(&self.document, "delay")).await;
            assert_ne!(number(&self.document, "panic"), Some(number_now), "as told: {}", self.document);
            self.next += 1;
            let failed = number(&self.document, "fail") == Some(number_now);
            Some(page(number_now, failed, word(&self.document, "says").unwrap_or("text")))
        }
        .boxed()
    }
}

impl Drop for FakeDocument {
    fn drop(&mut self) {
        self.fake.open.fetch_sub(1, Ordering::SeqCst);
        if self.next <= self.pages {
            self.fake.abandoned.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn page(page_number: u32, failed: bool, says: &str) -> Page {
    let line = Line { text: says.to_owned(), confidence: 0.5, bbox: [[1.0, 2.0]; 4], words: Vec::new() };
    let lines = if failed { Vec::new() } else { vec![line] };
    Page {
        page_number,
        success: !failed,
        error: failed.then(|| ErrorDetail::new(ErrorCode::Undecodable, "this page cannot be decoded")),
        image_width: 640,
        image_height: 480,
        dpi: None,
        orientation: 0,
        processing_time_ms: 5,
        text: lines.iter().map(|line| line.text.clone()).collect(),
        markdown: String::new(),
        html: String::new(),
        json_output: serde_json::Map::new(),
        line_count: lines.len(),
        avg_confidence: if failed { 0.0 } else { 0.5 },
        lines,
        warnings: Vec::new(),
    }
}

/// How an attempt to load ends.
pub enum Attempt {
    Succeeds,
    Fails,
    Panics,
    OutOfMemory,
    /// Goes on when the other end says so.
    Waits(std::sync::mpsc::Receiver<()>),
}

/// Loads the fake, after the attempts given.
pub struct FakeLoader {
    pub fake: Arc<Fake>,
    attempts: Mutex<Vec<Attempt>>,
}

impl FakeLoader {
    pub fn new() -> Self {
        Self::after([])
    }

    /// Succeeds after these attempts.
    pub fn after(attempts: impl IntoIterator<Item = Attempt>) -> Self {
        let fake = Fake { landlock: AtomicUsize::new(6), ..Fake::default() };
        let mut attempts: Vec<_> = attempts.into_iter().collect();
        attempts.reverse();
        Self { fake: Arc::new(fake), attempts: Mutex::new(attempts) }
    }
}

impl Loader for FakeLoader {
    fn load(&self, progress: &Progress, meter: &Arc<Meter>) -> Result<Arc<dyn Backend>, LoadError> {
        progress.stage(LoadStage::Open);
        meter.engine_progress();
        let attempt = self.attempts.lock().unwrap().pop().unwrap_or(Attempt::Succeeds);
        match attempt {
            Attempt::Succeeds => {}
            Attempt::Fails => {
                let message = "model.yaml: no such file; run `make assets`".to_owned();
                return Err(LoadError::Failed { failure: LoadFailure::NoModel, message });
            }
            Attempt::Panics => panic!("as told"),
            Attempt::OutOfMemory => return Err(LoadError::OutOfMemory { need_mib: 350, have_mib: 256 }),
            Attempt::Waits(go) => go.recv().unwrap(),
        }
        progress.stage(LoadStage::WarmUp);
        Ok(Arc::new(FakeBackend(Arc::clone(&self.fake))))
    }

    fn machine(&self) -> Machine {
        Machine {
            cpu: Cpu { threads: 2, ..Cpu::default() },
            memory: Memory { total: 4 << 30, limit: Some(2 << 30), available: 1 << 30, peak: None },
            ..Machine::default()
        }
    }
}
