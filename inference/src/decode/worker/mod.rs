//! The decode process: takes a document on stdin, answers with pages on stdout.
//!
//! One thread, blocking, no clock but for figures: whoever started it decides how long it may take. It must not open
//! files, and cannot once it is shut in.

mod figures;
mod fonts;
mod image;
mod jpeg;
mod pdf;
mod pixels;
mod tiff;

use std::{
    ffi::OsString,
    fs::File,
    io::{Read, Write},
    os::fd::AsFd,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use pdfium_render::prelude::Pdfium;

use self::{figures::Figures, pixels::Rendered};
use super::{
    Failure, Kind,
    limits::memory_budget,
    protocol::{self, Hello, Open, PageHeader, ProtocolError, Reply, Request, VERSION},
    sandbox::{
        self, Limits, SandboxError,
        probe::{Attack, Target, attempt},
    },
};

/// How a decode process is started.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// The PDF library; PDFs are refused without it.
    pub pdfium: Option<PathBuf>,
    /// Folder of fonts for PDFs that embed none.
    pub fonts: Option<PathBuf>,
    /// Most pixels of a page that this process will ever be asked for.
    pub max_pixels: u64,
    /// Most bytes of a document.
    pub max_body_bytes: u64,
    /// Seconds of CPU time for the whole life of the process.
    pub cpu_seconds: u64,
    /// The process that starts this one; if it is gone, this one ends.
    pub parent: u32,
    /// Attack the sandbox instead of decoding.
    pub probe: Option<(Attack, PathBuf, u16)>,
}

impl WorkerOptions {
    /// The arguments that start such a process; `ocr decode-worker` reads them.
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["decode-worker".into()];
        let mut add = |flag: &str, value: OsString| arguments.extend([flag.into(), value]);
        add("--parent", self.parent.to_string().into());
        add("--max-pixels", self.max_pixels.to_string().into());
        add("--max-body-bytes", self.max_body_bytes.to_string().into());
        add("--cpu-seconds", self.cpu_seconds.to_string().into());
        if let Some(pdfium) = &self.pdfium {
            add("--pdfium", pdfium.into());
        }
        if let Some(fonts) = &self.fonts {
            add("--fonts", fonts.into());
        }
        if let Some((attack, file, port)) = &self.probe {
            add("--probe", attack.as_str().into());
            add("--probe-file", file.into());
            add("--probe-port", port.to_string().into());
        }
        arguments
    }
}

/// Why the process could not start its work.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("the process that started this one has ended")]
    Orphaned,
    #[error("failed to read the process's own figures")]
    Figures(#[source] std::io::Error),
    #[error(transparent)]
    Pdf(#[from] pdf::LibraryError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("failed to tie the process to the one that started it")]
    Lifeline(#[from] rustix::io::Errno),
}

/// Works until stdin ends.
#[must_use]
pub fn run(options: &WorkerOptions) -> ExitCode {
    // A panic's message may quote the document, and nobody reads stderr.
    std::panic::set_hook(Box::new(|_| {}));
    close_inherited_files();
    let Ok((mut requests, mut replies)) = claim_stdio() else { return ExitCode::FAILURE };
    let worker = match Worker::start(options) {
        Ok(worker) => worker,
        Err(error) => {
            let _ = protocol::write(&mut replies, &Reply::NotStarted { reason: with_causes(&error) });
            return ExitCode::FAILURE;
        }
    };
    if let Some((attack, file, port)) = &options.probe {
        let target = Target { file: file.clone(), port: *port, parent: options.parent };
        let _ = protocol::write(&mut replies, &attempt(*attack, &target));
        return ExitCode::SUCCESS;
    }
    match worker.serve(&mut requests, &mut replies) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

struct Worker {
    pdfium: Option<Pdfium>,
    figures: Figures,
    max_body_bytes: u64,
    hello: Hello,
}

impl Worker {
    fn start(options: &WorkerOptions) -> Result<Self, StartError> {
        follow_parent(options.parent)?;
        let figures = Figures::open().map_err(StartError::Figures)?;
        // Also looks up how to read the clock, which needs a file.
        figures.usage();
        let read_fonts_ahead = !sandbox::landlock_is_available();
        let pdfium = match &options.pdfium {
            Some(library) => Some(pdf::load_library(library, options.fonts.as_deref(), read_fonts_ahead)?),
            None => None,
        };
        let mapped = figures.mapped_bytes().map_err(StartError::Figures)?;
        let address_space_bytes = mapped.saturating_add(memory_budget(options.max_pixels, options.max_body_bytes));
        let in_force = sandbox::enter(Limits {
            fonts: options.fonts.as_deref(),
            address_space_bytes,
            cpu_seconds: options.cpu_seconds,
        })?;
        let hello = Hello {
            version: VERSION,
            landlock_abi: in_force.landlock_abi,
            seccomp: true,
            pdf: pdfium.is_some(),
            address_space_bytes,
            usage: figures.usage(),
        };
        Ok(Self { pdfium, figures, max_body_bytes: options.max_body_bytes, hello })
    }

    fn serve(&self, requests: &mut File, replies: &mut File) -> Result<(), ProtocolError> {
        protocol::write(replies, &Reply::Hello(self.hello.clone()))?;
        while let Some(request) = protocol::read(requests)? {
            match request {
                Request::Open(open) => self.document(&open, requests, replies)?,
                Request::Close => protocol::write(replies, &Reply::Closed(self.figures.usage()))?,
                Request::Measure { .. } | Request::Page { .. } => return Err(ProtocolError::Unexpected),
            }
        }
        Ok(())
    }

    /// Serves one document until it is closed.
    fn document(&self, open: &Open, requests: &mut File, replies: &mut File) -> Result<(), ProtocolError> {
        if open.body_bytes > self.max_body_bytes {
            return Err(ProtocolError::TooLong(open.body_bytes));
        }
        let length = usize::try_from(open.body_bytes).map_err(|_| ProtocolError::TooLong(open.body_bytes))?;
        let mut bytes = Vec::with_capacity(length);
        requests.take(open.body_bytes).read_to_end(&mut bytes)?;
        if bytes.len() != length {
            return Err(ProtocolError::Ended);
        }
        let mut document = match guarded(|| self.open(open, bytes)) {
            Ok(document) => document,
            Err(failure) => return fail(failure, replies),
        };
        protocol::write(replies, &Reply::Opened { page_count: document.page_count() })?;
        loop {
            match protocol::read(requests)? {
                Some(Request::Measure { index }) => match guarded(|| document.cost(index)) {
                    Ok(bytes) => protocol::write(replies, &Reply::Measured { bytes })?,
                    Err(failure) => fail(failure, replies)?,
                },
                Some(Request::Page { index }) => match decode(document.as_mut(), index) {
                    Ok((page, elapsed)) => send(&page, elapsed, replies)?,
                    Err(failure) => fail(failure, replies)?,
                },
                Some(Request::Close) => {
                    drop(document);
                    return protocol::write(replies, &Reply::Closed(self.figures.usage()));
                }
                Some(Request::Open(_)) => return Err(ProtocolError::Unexpected),
                None => return Ok(()),
            }
        }
    }

    fn open(&self, open: &Open, bytes: Vec<u8>) -> Result<Box<dyn Document + '_>, Failure> {
        Ok(match open.kind {
            Kind::Pdf => Box::new(pdf::open(self.pdfium.as_ref(), bytes, open)?),
            Kind::Tiff => Box::new(tiff::TiffDocument::open(bytes, open)?),
            Kind::Jpeg | Kind::Png | Kind::WebP | Kind::Bmp | Kind::Gif => {
                Box::new(image::ImageDocument::new(bytes, open))
            }
        })
    }
}

/// A document that is open.
trait Document {
    /// Never 0.
    fn page_count(&self) -> u32;

    /// Bytes that decoding a page takes, counted from 0; by its header, before anything is allocated.
    fn cost(&mut self, index: u32) -> Result<u64, Failure>;

    /// Decodes a page, counted from 0.
    fn page(&mut self, index: u32) -> Result<Rendered, Failure>;
}

/// Runs a decoder; a panic in it is a failure of its document.
fn guarded<T>(decode: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or(Err(Failure::Panicked))
}

/// Decodes a page, and says how long it took.
fn decode(document: &mut dyn Document, index: u32) -> Result<(Rendered, Duration), Failure> {
    let started = Instant::now();
    guarded(|| document.page(index)).map(|page| (page, started.elapsed()))
}

fn send(page: &Rendered, elapsed: Duration, replies: &mut File) -> Result<(), ProtocolError> {
    let header = PageHeader {
        width: page.width,
        height: page.height,
        grey: page.grey,
        pixel_bytes: page.pixels.len() as u64,
        dpi: page.dpi,
        dpi_lowered: page.dpi_lowered,
        elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
    };
    protocol::write(replies, &Reply::Page(header))?;
    Ok(replies.write_all(&page.pixels)?)
}

/// Answers with a failure. After a panic the process ends: what the decoder left behind is not trusted.
fn fail(failure: Failure, replies: &mut File) -> Result<(), ProtocolError> {
    protocol::write(replies, &Reply::Failed(failure))?;
    if failure == Failure::Panicked { Err(ProtocolError::Ended) } else { Ok(()) }
}

/// Takes the pipes for the protocol, and leaves `/dev/null` in their place: a library that prints must not be
/// understood as an answer.
fn claim_stdio() -> std::io::Result<(File, File)> {
    let requests = std::io::stdin().as_fd().try_clone_to_owned()?;
    let replies = std::io::stdout().as_fd().try_clone_to_owned()?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok((requests.into(), replies.into()))
}

/// Ends this process when the one that started it ends.
fn follow_parent(parent: u32) -> Result<(), StartError> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // It may have ended before the line above.
    let alive = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    if alive.map(i64::from) == Some(i64::from(parent)) { Ok(()) } else { Err(StartError::Orphaned) }
}

/// Closes what the server, or the shell that started it, left open: an open file needs no permission any more.
#[allow(unsafe_code, reason = "no safe function closes files that it does not own")]
fn close_inherited_files() {
    // SAFETY: called before this process, which has one thread, has opened anything; only stdio is kept.
    let _ = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text.truncate(text.floor_char_boundary(1000));
    text
}
