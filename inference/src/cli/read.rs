//! `ocr read`: files to text.

mod inputs;
mod output;

use std::{
    io::{self, IsTerminal, Read as _, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ocr_api::{ErrorCode, ErrorDetail, Page};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::{
    inputs::{Input, inputs},
    output::{FileResult, Format, Output},
};
use super::pipeline::reader_settings;
use crate::{
    decode::Password,
    meter::{Meter, Purpose},
    read::{self, PageRanges, ReadOptions, Reader},
    settings::{PipelineSettings, parse_min_confidence},
};

/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;
/// Longest password that a password file may hold, in bytes.
const MAX_PASSWORD_BYTES: u64 = 4096;
/// Files that are opened before it is their turn, so that no thread waits between two.
const FILES_AHEAD: usize = 2;
/// Pages of a file that wait to be printed.
const PAGES_AHEAD: usize = 4;
/// Longest that one file may take.
const FILE_LIMIT: Duration = Duration::from_hours(1);

/// What `ocr read` can be told.
#[derive(Args)]
pub struct ReadArgs {
    /// Files or folders to read; - is the standard input
    #[arg(required = true, value_name = "FILE|FOLDER|-")]
    paths: Vec<PathBuf>,

    /// Form of the output
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,

    /// Pages to read, such as 1-3,7; all by default
    #[arg(long, value_name = "PAGES")]
    pages: Option<PageRanges>,

    /// File whose first line is the password of encrypted PDFs
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,

    /// Leave out lines below this confidence, 0 to 1
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = parse_min_confidence)]
    min_confidence: f32,

    #[command(flatten)]
    pipeline: PipelineSettings,
}

impl ReadArgs {
    /// Reads everything: 0 where all was read, 1 where some was not, 2 where nothing could be begun.
    #[must_use]
    pub fn run(self) -> ExitCode {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .without_time()
            .with_target(false)
            .init();
        match self.read_all() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(1),
            // The reader of our output has seen enough.
            Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
            Err(error) => {
                let _ = writeln!(io::stderr(), "error: {error:#}");
                ExitCode::from(2)
            }
        }
    }

    fn read_all(self) -> anyhow::Result<bool> {
        let inputs = inputs(&self.paths)?;
        let password = self.password_file.as_deref().map(password).transpose()?;
        let runtime = tokio::runtime::Runtime::new().context("cannot start threads")?;
        let settings = reader_settings(&self.pipeline, MAX_FILE_BYTES, FILES_AHEAD + 1)?;
        let meter = Arc::new(Meter::new()?);
        let reader = read::load(&settings, &meter, runtime.handle(), &|_| {})?;
        let options = Options {
            pages: self.pages,
            orientation: self.pipeline.document.orientation,
            password,
            min_confidence: self.min_confidence,
        };
        let bar = progress_bar(inputs.len());
        let mut output = Output::new(self.format, io::stdout().lock(), inputs.len() > 1, reader.model().clone());
        let all_read = runtime.block_on(print_all(&reader, inputs, options, &mut output, &bar));
        bar.finish_and_clear();
        runtime.block_on(reader.decode_pool().shutdown());
        all_read
    }
}

/// How every file is read.
#[derive(Clone)]
struct Options {
    pages: Option<PageRanges>,
    orientation: crate::plan::Orientation,
    password: Option<Password>,
    min_confidence: f32,
}

/// A file being read: what comes of it, in order.
struct Pending {
    input: Input,
    events: mpsc::Receiver<Event>,
}

enum Event {
    Opened {
        page_count: u32,
    },
    Page(Box<Page>),
    /// The file cannot be read at all.
    Failed(ErrorDetail),
}

async fn print_all(
    reader: &Reader,
    inputs: Vec<Input>,
    options: Options,
    output: &mut Output<impl Write>,
    bar: &ProgressBar,
) -> anyhow::Result<bool> {
    let mut pending = start_in_order(reader.clone(), inputs, options);
    let mut all_read = true;
    while let Some(Pending { input, mut events }) = pending.recv().await {
        let began = Instant::now();
        let (mut page_count, mut pages, mut failure) = (0, Vec::new(), None);
        while let Some(event) = events.recv().await {
            match event {
                Event::Opened { page_count: count } => page_count = count,
                Event::Failed(error) => failure = Some(error),
                Event::Page(page) => {
                    all_read &= page.success;
                    if let Some(error) = &page.error {
                        bar.suspend(|| complain(&input, Some(page.page_number), error));
                    }
                    bar.suspend(|| output.page(&input.name, &page))?;
                    pages.extend(output.keeps_pages().then_some(*page));
                }
            }
        }
        if let Some(error) = &failure {
            all_read = false;
            bar.suspend(|| complain(&input, None, error));
        }
        bar.suspend(|| output.file(&input.name, FileResult { page_count, pages, failure, elapsed: began.elapsed() }))?;
        bar.inc(1);
    }
    output.finish(all_read)?;
    Ok(all_read)
}

/// Starts the files one after the other, a few ahead of the one that is being printed.
fn start_in_order(reader: Reader, inputs: Vec<Input>, options: Options) -> mpsc::Receiver<Pending> {
    let (started, pending) = mpsc::channel(FILES_AHEAD);
    tokio::spawn(async move {
        for input in inputs {
            let Ok(slot) = started.reserve().await else { return };
            let (sender, events) = mpsc::channel(PAGES_AHEAD);
            tokio::spawn(read_file(reader.clone(), input.clone(), options.clone(), sender));
            slot.send(Pending { input, events });
        }
    });
    pending
}

async fn read_file(reader: Reader, input: Input, options: Options, events: mpsc::Sender<Event>) {
    if let Err(error) = read_pages(&reader, &input, options, &events).await {
        // Where nobody listens any more, nobody needs to know.
        let _ = events.send(Event::Failed(error)).await;
    }
}

async fn read_pages(
    reader: &Reader,
    input: &Input,
    options: Options,
    events: &mpsc::Sender<Event>,
) -> Result<(), ErrorDetail> {
    let path = input.path.clone();
    let bytes = tokio::task::spawn_blocking(move || bytes(path.as_deref()))
        .await
        .map_err(|_| ErrorDetail::new(ErrorCode::Internal, "reading the file panicked"))??;
    let options = ReadOptions {
        pages: options.pages,
        orientation: options.orientation,
        password: options.password,
        min_confidence: options.min_confidence,
        ..ReadOptions::whole(Instant::now() + FILE_LIMIT, Purpose::Serve)
    };
    let mut document = reader.open(bytes.into(), options, CancellationToken::new()).await?;
    let _ = events.send(Event::Opened { page_count: document.page_count() }).await;
    while let Some(page) = document.next_page().await {
        if events.send(Event::Page(Box::new(page))).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// The bytes of a file, or of the standard input.
fn bytes(path: Option<&Path>) -> Result<Vec<u8>, ErrorDetail> {
    let failed = |error: io::Error| ErrorDetail::new(ErrorCode::BadRequest, format!("cannot be read: {error}"));
    let mut bytes = Vec::new();
    match path {
        Some(path) => std::fs::File::open(path).map_err(failed)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes),
        None => io::stdin().lock().take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes),
    }
    .map_err(failed)?;
    match bytes.len() as u64 {
        0 => Err(ErrorDetail::new(ErrorCode::EmptyBody, "is empty; there is nothing to read")),
        length if length > MAX_FILE_BYTES => Err(ErrorDetail::new(
            ErrorCode::TooLarge,
            format!("is larger than {} MiB, the most that is read; split it", MAX_FILE_BYTES >> 20),
        )),
        _ => Ok(bytes),
    }
}

fn password(path: &Path) -> anyhow::Result<Password> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_PASSWORD_BYTES).read_to_string(&mut text))
        .with_context(|| format!("cannot read the password file {}", path.display()))?;
    Ok(Password(text.lines().next().unwrap_or_default().to_owned()))
}

fn complain(input: &Input, page: Option<u32>, error: &ErrorDetail) {
    let page = page.map_or(String::new(), |page| format!(", page {page}"));
    let _ = writeln!(io::stderr(), "error: {}{page}: {}", input.name, error.message);
}

/// Files done, on a terminal; nothing elsewhere, or where one file is read.
fn progress_bar(files: usize) -> ProgressBar {
    let target = if files > 1 && io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} files, {elapsed}, {eta} left");
    let bar = ProgressBar::with_draw_target(Some(files as u64), target);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
