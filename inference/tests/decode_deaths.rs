//! What happens when decode processes die, hang, lie, or cannot be started.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use common::{endless_pdf, memory_bomb, open, options, settings, text_pdf, until};
use ocr_api::ErrorCode;
use ocr_inference::decode::{Cause, DecodeOptions, DecodePool, PoolSettings};
use tokio_util::sync::CancellationToken;

/// The processes of a pool, known by a limit that no other test has.
fn processes(max_pixels: u64) -> Vec<rustix::process::Pid> {
    let wanted = max_pixels.to_string();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let pid = path.file_name()?.to_str()?.parse().ok().and_then(rustix::process::Pid::from_raw)?;
            let arguments = std::fs::read(path.join("cmdline")).ok()?;
            arguments.split(|byte| *byte == 0).any(|argument| argument == wanted.as_bytes()).then_some(pid)
        })
        .collect()
}

async fn reads_a_page(pool: &DecodePool) {
    let mut document = open(pool, text_pdf("Helvetica", "fine")).await.unwrap();
    document.page(0).await.unwrap();
}

#[tokio::test]
async fn a_page_that_takes_too_long_costs_only_its_document() {
    let pool =
        DecodePool::start(PoolSettings { page_timeout: Duration::from_millis(700), ..settings() }).await.unwrap();
    let mut document = open(&pool, endless_pdf()).await.unwrap();
    document.page(0).await.unwrap();
    let started = Instant::now();
    let error = document.page(1).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::DecodeLimit, "{}", error.message);
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!(document.page(0).await.unwrap_err().code, ErrorCode::Undecodable, "its process is gone");
    until("the end of the process", || pool.stats().ended(Cause::Timeout) == 1).await;
    reads_a_page(&pool).await;
}

#[tokio::test]
async fn a_request_that_runs_out_of_time_is_told_so() {
    let pool = DecodePool::start(settings()).await.unwrap();
    let short = DecodeOptions { deadline: Instant::now() + Duration::from_millis(500), ..options() };
    let mut document = pool.open(endless_pdf().into(), short, CancellationToken::new()).await.unwrap();
    assert_eq!(document.page(1).await.unwrap_err().code, ErrorCode::Timeout);
    until("the end of the process", || pool.stats().ended(Cause::Timeout) == 1).await;
}

#[tokio::test]
async fn a_cancelled_request_stops_its_process_at_once() {
    let pool = DecodePool::start(settings()).await.unwrap();
    let cancel = CancellationToken::new();
    let mut document = pool.open(endless_pdf().into(), options(), cancel.clone()).await.unwrap();
    let client = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        cancel.cancel();
        Instant::now()
    };
    let (page, left) = tokio::join!(document.page(1), client);
    assert_eq!(page.unwrap_err().code, ErrorCode::Cancelled);
    until("the end of the process", || pool.stats().ended(Cause::Cancelled) == 1).await;
    assert!(left.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_page_that_nobody_waits_for_any_more_stops_its_process_at_once() {
    let pool = DecodePool::start(settings()).await.unwrap();
    let mut document = open(&pool, endless_pdf()).await.unwrap();
    let given_up = tokio::time::timeout(Duration::from_millis(200), document.page(1)).await;
    assert!(given_up.is_err());
    let left = Instant::now();
    until("the end of the process", || pool.stats().ended(Cause::Cancelled) == 1).await;
    assert!(left.elapsed() < Duration::from_secs(1));
    drop(document);
    reads_a_page(&pool).await;
}

#[tokio::test]
async fn a_document_that_needs_too_much_memory_costs_only_itself() {
    // 14 MB for pixels, 20 MiB for the document, 64 MiB for the rest.
    let small = PoolSettings { max_pixels: 1_000_000, ..settings() };
    let pool = DecodePool::start(small).await.unwrap();
    let error = open(&pool, memory_bomb(300_000_000)).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::DecodeLimit, "{}", error.message);
    until("the end of the process", || pool.stats().ended(Cause::Aborted) == 1).await;
    reads_a_page(&pool).await;
    until("the next process", || pool.stats().alive() >= 1 && pool.stats().idle() >= 1).await;
}

#[tokio::test]
async fn processes_that_somebody_kills_are_replaced() {
    const MINE: u64 = 49_999_123;
    let pool = DecodePool::start(PoolSettings { max_pixels: MINE, ready: 2, ..settings() }).await.unwrap();
    until("two ready processes", || pool.stats().idle() == 2).await;
    for pid in processes(MINE) {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    until("their ends", || pool.stats().ended(Cause::Killed) == 2).await;
    until("two new ones", || pool.stats().idle() == 2).await;

    let mut document = open(&pool, endless_pdf()).await.unwrap();
    let killer = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        for pid in processes(MINE) {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
    };
    let (page, ()) = tokio::join!(document.page(1), killer);
    assert_eq!(page.unwrap_err().code, ErrorCode::DecodeLimit);
    reads_a_page(&pool).await;
}

#[tokio::test]
async fn a_process_is_replaced_after_so_many_documents() {
    let pool = DecodePool::start(PoolSettings { documents_per_process: 2, ..settings() }).await.unwrap();
    for _ in 0..8 {
        reads_a_page(&pool).await;
        until("a ready process", || pool.stats().idle() >= 1).await;
    }
    until("replacements", || pool.stats().ended(Cause::Retired) >= 3).await;
    assert_eq!(pool.stats().deaths(), 0);
}

#[tokio::test]
async fn documents_beyond_the_most_wait_and_beyond_those_are_refused() {
    let pool = DecodePool::start(PoolSettings { open: 1, waiting: 1, ..settings() }).await.unwrap();
    let held = open(&pool, text_pdf("Helvetica", "one")).await.unwrap();
    let short = || DecodeOptions { deadline: Instant::now() + Duration::from_millis(300), ..options() };
    let open_short = || pool.open(text_pdf("Helvetica", "two").into(), short(), CancellationToken::new());
    let (second, third) = tokio::join!(open_short(), open_short());
    assert_eq!(second.unwrap_err().code, ErrorCode::Timeout, "waited");
    assert_eq!(third.unwrap_err().code, ErrorCode::Overloaded, "refused");
    assert_eq!(pool.stats().waiting(), 0);
    let (fourth, ()) = tokio::join!(open(&pool, text_pdf("Helvetica", "four")), async { drop(held) });
    assert!(fourth.is_ok(), "a place that becomes free goes to the one who waits");
}

#[tokio::test]
async fn shutting_down_ends_every_process() {
    const MINE: u64 = 49_999_124;
    let pool = DecodePool::start(PoolSettings { max_pixels: MINE, ready: 2, ..settings() }).await.unwrap();
    let mut document = open(&pool, endless_pdf()).await.unwrap();
    let work = tokio::spawn(async move { document.page(1).await });
    until("ready processes", || pool.stats().idle() == 2).await;
    pool.shutdown().await;
    assert_eq!(work.await.unwrap().unwrap_err().code, ErrorCode::Draining);
    assert_eq!(pool.stats().alive(), 0);
    assert!(processes(MINE).is_empty());
    assert_eq!(open(&pool, text_pdf("Helvetica", "late")).await.unwrap_err().code, ErrorCode::Draining);
}

#[tokio::test]
async fn dropping_the_pool_ends_every_process() {
    const MINE: u64 = 49_999_125;
    drop(DecodePool::start(PoolSettings { max_pixels: MINE, ready: 2, ..settings() }).await.unwrap());
    until("the end of its processes", || processes(MINE).is_empty()).await;
}

#[tokio::test]
async fn a_pool_does_not_start_without_its_library_and_says_why() {
    let missing = PoolSettings { pdfium: Some("/nonexistent/libpdfium.so".into()), ..settings() };
    let error = DecodePool::start(missing).await.unwrap_err().to_string();
    assert!(error.contains("failed to load the PDF library"), "{error}");
    let missing = PoolSettings { fonts: Some("/nonexistent/fonts".into()), ..settings() };
    let error = DecodePool::start(missing).await.unwrap_err().to_string();
    assert!(error.contains("failed to list the fonts' folder"), "{error}");
    let missing = PoolSettings { program: "/nonexistent/ocr".into(), ..settings() };
    assert!(DecodePool::start(missing).await.is_err());
    let other = PoolSettings { program: "/bin/true".into(), ..settings() };
    assert!(DecodePool::start(other).await.is_err());
}

/// A program that greets as a decode process does, then answers whatever it is asked with `answer`.
fn impostor(folder: &Path, answer: &str) -> PathBuf {
    let frame = |json: &str| {
        let length: String =
            u32::try_from(json.len()).unwrap().to_le_bytes().map(|byte| format!("\\{byte:03o}")).concat();
        format!("printf '{length}%s' '{json}'")
    };
    let hello = r#"{"hello":{"version":2,"landlock_abi":null,"seccomp":true,"pdf":true,"address_space_bytes":1,"usage":{"resident_bytes":1,"cpu_ms":1}}}"#;
    let program = folder.join("impostor");
    let script = format!("#!/bin/sh\n{}\nhead -c 4 >/dev/null\n{}\nexec cat >/dev/null\n", frame(hello), frame(answer));
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

#[tokio::test]
async fn a_process_that_lies_is_not_believed() {
    let lies = [
        r#"{"opened":{"page_count":0}}"#,
        r#"{"opened":{"page_count":4000000000}}"#,
        r#"{"page":{"width":1,"height":1,"grey":true,"pixel_bytes":1,"dpi":null,"dpi_lowered":false,"elapsed_ms":1}}"#,
        r#"{"closed":{"resident_bytes":1,"cpu_ms":1}}"#,
        r#"{"unheard_of":{}}"#,
        "not JSON",
    ];
    for lie in lies {
        let folder = tempfile::tempdir().unwrap();
        let program = impostor(folder.path(), lie);
        let pool = DecodePool::start(PoolSettings { program, ..settings() }).await.unwrap();
        let error = open(&pool, text_pdf("Helvetica", "hello")).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Undecodable, "{lie}: {}", error.message);
        assert!(!error.message.contains("unheard_of"), "nothing that the process says reaches the client");
        until("its end", || pool.stats().ended(Cause::Protocol) == 1).await;
    }
}
