//! The server's life: start, load, probes under load, clients that leave, the end.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use ocr_api::{ErrorCode, Health, HealthStatus, Ready, header};
use ocr_tests::{
    data::{self, SCAN, repository},
    http::send,
    pdf,
    program::is_long,
    server::{Options, Server},
    slow,
    suite::Suite,
    work::in_parallel,
};
use reqwest::Method;
use sha2::{Digest as _, Sha256};

/// Longest time until `/live` answers.
const LIVE: Duration = Duration::from_secs(1);
/// Longest time until `/ready` answers 200, with the default bundle.
const READY: Duration = Duration::from_secs(5);
/// 99 of 100 probes are answered within this, at full load.
const PROBE: Duration = Duration::from_millis(20);
/// Longest time that the engine works on for a client that left.
const IDLE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let mut suite = Suite::new();
    suite.case("it_lives_within_a_second_and_is_ready_within_five", start);
    suite.case("it_lives_and_says_why_it_is_not_ready_while_a_model_loads_slowly", slow_load);
    suite.case("a_load_that_fails_is_shown_and_tried_again", failed_load);
    suite.case("a_load_that_fails_at_its_last_stage_is_tried_again", failed_self_test);
    suite.case("probes_are_answered_in_time_at_full_load", probes_under_load);
    suite.case("the_engine_stops_for_a_client_that_left", client_leaves);
    suite.case("the_engine_stops_for_a_request_whose_time_ran_out", time_runs_out);
    suite.case("sigterm_in_the_middle_of_a_pdf_loses_no_accepted_request", sigterm);
    suite.run()
}

fn scans(pages: usize) -> anyhow::Result<Vec<u8>> {
    Ok(pdf::scan_pages(&data::read(data::example(SCAN))?, (1000, 1520), pages))
}

fn start() -> anyhow::Result<()> {
    let mut server = Server::launch(&Options::new())?;
    let live = server.wait_live(Duration::from_secs(20))?;
    let ready = server.wait_ready(Duration::from_mins(1))?;
    println!("alive after {:.0} ms, ready after {:.2} s", live.as_secs_f64() * 1e3, ready.as_secs_f64());
    ensure!(live <= LIVE, "alive after {live:?}");
    ensure!(ready <= READY, "ready after {ready:?}");
    Ok(())
}

fn slow_load() -> anyhow::Result<()> {
    let seconds = if is_long() { 30 } else { 8 };
    let folder = tempfile::tempdir()?;
    let library = slow::onnxruntime(folder.path(), seconds)?;
    let mut server = Server::launch(&Options::new().arguments(["--onnxruntime".into(), library.into_os_string()]))?;
    let live = server.wait_live(Duration::from_secs(20))?;
    ensure!(live <= LIVE, "alive after {live:?}");
    let answer = server.api().get("/ready")?;
    let ready: Ready = serde_json::from_slice(&answer.body).with_context(|| answer.describe())?;
    ensure!(
        answer.status == 503 && !ready.ready && !ready.models_loaded && ready.reason.is_some(),
        "{}",
        answer.describe()
    );
    let health: Health = serde_json::from_slice(&server.api().get("/health")?.body)?;
    ensure!(health.status == HealthStatus::Loading && !health.models_loaded, "{health:?}");
    ensure!(health.load.stages == 5 && health.load.stage_number < 5, "{:?}", health.load);
    let refused = server.api().post("/v1/ocr", data::read(data::example(SCAN))?)?;
    ensure!(refused.error()?.error.code == ErrorCode::NotReady, "{}", refused.describe());
    ensure!(refused.header("retry-after").parse::<u64>().is_ok(), "no Retry-After");
    ensure!(server.metrics()?.sum("ocr_model_load_stage")? < 5.0, "the metric says that it is loaded");
    // It stays alive all the time.
    let mut slowest = Duration::ZERO;
    let deadline = Instant::now() + Duration::from_secs(u64::from(seconds) + 60);
    while server.api().get("/ready")?.status != 200 {
        let asked = Instant::now();
        ensure!(server.api().get("/live")?.status == 200, "not alive");
        slowest = slowest.max(asked.elapsed());
        ensure!(Instant::now() < deadline, "never ready");
        thread::sleep(Duration::from_millis(50));
    }
    let ready = server.wait_ready(Duration::from_secs(u64::from(seconds) + 60))?;
    println!(
        "a load of {seconds} s: alive after {:.0} ms, slowest /live {:.0} ms, ready after {:.1} s",
        live.as_secs_f64() * 1e3,
        slowest.as_secs_f64() * 1e3,
        ready.as_secs_f64()
    );
    ensure!(ready >= Duration::from_secs(u64::from(seconds)), "the load was not slow");
    Ok(())
}

/// A copy of a bundle that tests may damage.
struct Copied {
    folder: tempfile::TempDir,
    /// The network that reads lines.
    network: PathBuf,
    manifest: PathBuf,
}

impl Copied {
    fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        for file in data::files(repository().join("assets/bundles/pp-ocrv6-tiny"))? {
            fs::copy(&file, folder.path().join(data::name(&file)))?;
        }
        let [network, manifest] = ["recogniser-latin.onnx", "model.yaml"].map(|name| folder.path().join(name));
        Ok(Self { folder, network, manifest })
    }

    /// Starts a server with it, waits until its load has failed, and returns why.
    fn fails(&self) -> anyhow::Result<(Server, String)> {
        let mut server =
            Server::launch(&Options::new().arguments(["--model".as_ref(), self.folder.path().as_os_str()]))?;
        server.wait_live(Duration::from_secs(20))?;
        let deadline = Instant::now() + Duration::from_secs(30);
        let health = loop {
            let health: Health = serde_json::from_slice(&server.api().get("/health")?.body)?;
            if health.status == HealthStatus::Failed {
                break health;
            }
            ensure!(Instant::now() < deadline, "never failed: {health:?}");
            thread::sleep(Duration::from_millis(20));
        };
        ensure!(health.load.retry_in_seconds.is_some(), "no next attempt");
        ensure!(health.load.error_reason.as_deref() == Some("LoadFailed"), "{:?}", health.load);
        Ok((server, health.load.error.context("no reason")?))
    }
}

fn failed_load() -> anyhow::Result<()> {
    let bundle = Copied::new()?;
    let whole = data::read(&bundle.network)?;
    let mut bytes = whole.clone();
    bytes[whole.len() / 2] ^= 1;
    fs::write(&bundle.network, &bytes)?;
    let damaged = data::name(&bundle.network);

    let (mut server, reason) = bundle.fails()?;
    ensure!(reason.contains(&damaged), "{reason}");
    ensure!(server.api().get("/live")?.status == 200, "a failed load is no reason to be restarted");
    ensure!(server.api().get("/ready")?.text().contains(&damaged), "/ready does not say why");

    fs::write(&bundle.network, whole)?;
    let ready = server.wait_ready(Duration::from_secs(90))?;
    println!("a damaged bundle: {reason}; mended, ready after {:.0} s", ready.as_secs_f64());
    Ok(())
}

/// What an attempt leaves in the process, ONNX Runtime's environment above all, must not fail the next.
fn failed_self_test() -> anyhow::Result<()> {
    let bundle = Copied::new()?;
    let (whole, manifest) = (data::read(&bundle.network)?, fs::read_to_string(&bundle.manifest)?);
    let mut bytes = whole.clone();
    // Weights beyond all bounds: the network opens and reads nonsense.
    let middle = whole.len() / 2;
    bytes[middle..middle + 4096].fill(0x7f);
    fs::write(&bundle.network, &bytes)?;
    let digest = |bytes: &[u8]| format!("{:x}", Sha256::digest(bytes));
    fs::write(&bundle.manifest, manifest.replace(&digest(&whole), &digest(&bytes)))?;

    let (mut server, reason) = bundle.fails()?;
    ensure!(reason.contains("self-test"), "{reason}");
    fs::write(&bundle.network, whole)?;
    fs::write(&bundle.manifest, manifest)?;
    server.wait_ready(Duration::from_secs(90))?;
    Ok(())
}

/// Asks for a path on a connection of its own, as a kubelet does; returns the status and how long that took.
fn probe(port: u16, path: &str) -> anyhow::Result<(u16, Duration)> {
    let asked = Instant::now();
    let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.with_context(|| format!("no answer: {answer}"))?, asked.elapsed()))
}

fn probes_under_load() -> anyhow::Result<()> {
    let seconds = if is_long() { 60 } else { 12 };
    let server = Server::start(&Options::new())?;
    let scan = data::read(data::example(SCAN))?;
    let stop = AtomicBool::new(false);
    let mut times = Vec::new();
    let pages = thread::scope(|scope| -> anyhow::Result<usize> {
        let load: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| -> anyhow::Result<usize> {
                    let mut pages = 0;
                    while !stop.load(Ordering::Relaxed) {
                        server.api().read(scan.clone())?;
                        pages += 1;
                    }
                    Ok(pages)
                })
            })
            .collect();
        let until = Instant::now() + Duration::from_secs(seconds);
        let mut probed = Ok(());
        while Instant::now() < until && probed.is_ok() {
            for path in ["/live", "/ready", "/health"] {
                probed = probe(server.port(), path).and_then(|(status, took)| {
                    times.push(took);
                    ensure!(status == 200, "{path}: {status}");
                    Ok(())
                });
            }
            thread::sleep(Duration::from_millis(10));
        }
        stop.store(true, Ordering::Relaxed);
        probed?;
        let mut pages = 0;
        for client in load {
            pages += client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        Ok(pages)
    })?;
    times.sort();
    let [median, p99] = [times[times.len() / 2], times[times.len() * 99 / 100]];
    println!(
        "{} probes while {pages} pages were read, 8 at a time: median {:.1} ms, p99 {:.1} ms (at most {}), slowest {:.1} ms",
        times.len(),
        median.as_secs_f64() * 1e3,
        p99.as_secs_f64() * 1e3,
        PROBE.as_millis(),
        times.last().copied().unwrap_or_default().as_secs_f64() * 1e3
    );
    ensure!(pages > 0, "there was no load");
    ensure!(p99 <= PROBE, "p99 {p99:?}");
    Ok(())
}

/// Waits until nothing is in work, then holds that the engine does no more.
fn becomes_idle(server: &Server) -> anyhow::Result<Duration> {
    let idle = server.wait_until("idle", IDLE, |status| status.work.in_flight == 0)?;
    thread::sleep(IDLE.saturating_sub(idle));
    let busy = server.status()?.work.busy_seconds;
    thread::sleep(Duration::from_millis(700));
    let later = server.status()?.work.busy_seconds;
    ensure!(later - busy < 0.02, "the engine went on for {:.2} s", later - busy);
    Ok(idle)
}

fn client_leaves() -> anyhow::Result<()> {
    let server = Server::start(&Options::new())?;
    let body = scans(60)?;
    let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], server.port())))?;
    write!(stream, "POST /v1/ocr HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len())?;
    stream.write_all(&body)?;
    server.wait_until("reading", Duration::from_secs(20), |status| {
        status.work.in_flight > 0 && status.work.busy_seconds > 1.0
    })?;
    drop(stream);
    let idle = becomes_idle(&server)?;
    println!("idle {:.0} ms after the client left", idle.as_secs_f64() * 1e3);
    let cancelled = server.metrics()?;
    let cancelled = cancelled
        .named("ocr_requests_total")
        .find(|sample| sample.labels.get("code").is_some_and(|code| code == "cancelled") && sample.value > 0.0);
    ensure!(cancelled.is_some(), "the request was not counted as cancelled");
    server.api().read(data::read(data::example(SCAN))?)?;
    Ok(())
}

fn time_runs_out() -> anyhow::Result<()> {
    let server = Server::start(&Options::new())?;
    let request = server.api().request(Method::POST, "/v1/ocr").header(header::TIMEOUT_SECONDS, "2").body(scans(60)?);
    let answer = send(request)?;
    ensure!(answer.error()?.error.code == ErrorCode::Timeout, "{}", answer.describe());
    ensure!(answer.elapsed < Duration::from_secs(4), "answered after {:?}", answer.elapsed);
    let idle = becomes_idle(&server)?;
    println!(
        "answered after {:.2} s of 2, idle {:.0} ms later",
        answer.elapsed.as_secs_f64(),
        idle.as_secs_f64() * 1e3
    );
    Ok(())
}

fn sigterm() -> anyhow::Result<()> {
    let pages = if is_long() { 20 } else { 4 };
    let mut server = Server::start(&Options::new().arguments(["--concurrency", "2"]))?;
    let body = scans(pages)?;
    let read = thread::scope(|scope| -> anyhow::Result<Vec<usize>> {
        // Two in work, two that wait.
        let clients = scope.spawn(|| {
            in_parallel(&[(); 4], 4, |_, ()| Ok::<_, anyhow::Error>(server.api().read(body.clone())?.pages.len()))
        });
        server.wait_until("all accepted", Duration::from_secs(30), |status| {
            status.work.in_flight == 2 && status.work.queued == 2 && status.work.busy_seconds > 1.0
        })?;
        server.terminate()?;
        // Not ready at once, and alive to the end.
        let deadline = Instant::now() + Duration::from_secs(2);
        loop {
            // Where connections are no longer taken it is not ready either.
            let Ok((status, _)) = probe(server.port(), "/ready") else { break };
            if status == 503 {
                break;
            }
            ensure!(Instant::now() < deadline, "still ready");
        }
        let answers = clients.join().map_err(|_| anyhow::anyhow!("a client panicked"))?;
        answers.into_iter().collect()
    })?;
    ensure!(read == [pages; 4], "pages read: {read:?}");
    let status = server.wait_exit(Duration::from_secs(30))?;
    ensure!(status.success(), "ended with {status}");
    println!("SIGTERM with 4 requests of {pages} pages accepted: all answered, ended with {status}");
    Ok(())
}
