//! What the gateway adds: delay against a direct call in the same run, small requests a second on one core, and memory of
//! idle connections. The pod behind it is this program again, and answers at once.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use axum::{Json, Router, routing::get};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use ocr_tests::data::repository;
use tokio::net::{TcpListener, TcpStream};

const USAGE: &str = "usage: bench-gateway [--gateway PROGRAM] [--seconds N] [--idle N]";
/// Most that the gateway may add to the median.
const MOST_ADDED: Duration = Duration::from_millis(1);
/// Fewest requests that it carries in a second of one core.
const LEAST_RATE: f64 = 5000.0;
/// Most memory with 10,000 idle connections, and with none.
const MOST_IDLE: f64 = 150e6;
const MOST_ALONE: f64 = 30e6;
/// Connections that send one request after the other.
const CLIENTS: usize = 32;
/// Rounds of direct and forwarded calls, interleaved, and calls of each in a round.
const ROUNDS: usize = 5;
const CALLS: usize = 1000;
/// A small request.
const BODY: &[u8] = &[7; 512];

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (mut gateway, mut seconds, mut idle) = (repository().join("target/release/ocr-gateway"), 5, 10_000);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().context(USAGE);
        match argument.as_str() {
            "pod" => return runtime()?.block_on(pod()),
            "--gateway" => gateway = PathBuf::from(value()?),
            "--seconds" => seconds = value()?.parse().context(USAGE)?,
            "--idle" => idle = value()?.parse().context(USAGE)?,
            _ => bail!(USAGE),
        }
    }
    runtime()?.block_on(bench(gateway, Duration::from_secs(seconds), idle))
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Answers every request at once, on a port of its own, and says on another what a pod says.
async fn pod() -> anyhow::Result<()> {
    let mut status: serde_json::Value = serde_json::from_str(include_str!("../../recorded/status.json"))?;
    status["work"]["concurrency"] = CLIENTS.into();
    let (api, admin) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
    println!("{}/{}", api.local_addr()?, admin.local_addr()?.port());
    std::io::stdout().flush()?;
    let answers = Router::new().fallback(async |body: Bytes| format!("{{\"bytes\":{}}}", body.len()));
    let says = Router::new().route("/status", get(move || std::future::ready(Json(status.clone()))));
    tokio::try_join!(axum::serve(api, answers), axum::serve(admin, says))?;
    Ok(())
}

/// A program that ends with this one.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program, and returns what of its output `find` finds.
fn start<T>(command: &mut Command, find: impl Fn(&str) -> Option<T>) -> anyhow::Result<(Running, T)> {
    let child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("starting {command:?}"))?;
    let mut running = Running(child);
    let output = running.0.stdout.take().context("no output")?;
    let mut lines = BufReader::new(output).lines();
    while let Some(line) = lines.next() {
        let line = line?;
        if let Some(found) = find(&line) {
            // Whatever else it says must not fill the pipe.
            std::thread::spawn(move || lines.for_each(drop));
            return Ok((running, found));
        }
    }
    bail!("{command:?} ended at once")
}

async fn bench(gateway: PathBuf, time: Duration, idle: usize) -> anyhow::Result<()> {
    let (_pod, pod) =
        start(Command::new(std::env::current_exe()?).arg("pod"), |line| line.contains('/').then(|| line.to_owned()))?;
    let direct: SocketAddr = pod.split_once('/').context("no port")?.0.parse()?;
    let mut command = Command::new(gateway);
    command.args(["--listen", "127.0.0.1", "--port", "0", "--admin-port", "0", "--threads", "1", "--pod", &pod]);
    command.args(["--max-connections", "12000", "--header-seconds", "300", "--log-format", "json"]);
    command.env_remove("OCR_SHARED");
    let (_gateway, (through, admin)) = start(&mut command, |line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let address = |name: &str| line[name].as_str()?.parse::<SocketAddr>().ok();
        Some((address("address")?, address("admin_address")?))
    })?;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let alone = figure(admin, "process_resident_memory_bytes").await?;
    println!("memory with nothing to do: {:.1} MB (at most {:.0})", alone / 1e6, MOST_ALONE / 1e6);

    let (median_direct, median_through) = medians(direct, through).await?;
    let added = median_through.saturating_sub(median_direct);
    println!(
        "median of {} calls: {median_direct:.0?} direct, {median_through:.0?} through the gateway: {added:.0?} added (at most {MOST_ADDED:?})",
        ROUNDS * CALLS
    );

    let (of_gateway, wall) = rate(through, admin, time).await?;
    println!(
        "{CLIENTS} clients: {wall:.0} requests a second, {of_gateway:.0} in a second of the gateway's core (at least {LEAST_RATE:.0})"
    );

    let connections = connections(through, idle).await?;
    let crowded = figure(admin, "process_resident_memory_bytes").await?;
    let count = connections.len();
    println!("memory with {count} idle connections: {:.1} MB (at most {:.0})", crowded / 1e6, MOST_IDLE / 1e6);

    ensure!(alone <= MOST_ALONE, "it takes too much memory with nothing to do");
    ensure!(added <= MOST_ADDED, "it adds too much");
    ensure!(of_gateway >= LEAST_RATE, "it is too slow");
    ensure!(count == idle && crowded <= MOST_IDLE, "idle connections take too much memory");
    Ok(())
}

/// A connection that sends one request after the other.
struct Client {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Client {
    async fn connect(to: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, host: to.to_string() })
    }

    async fn call(&mut self) -> anyhow::Result<Duration> {
        let request = Request::post("/v1/ocr").header("host", &self.host).body(Full::from(BODY))?;
        let began = Instant::now();
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(status == 200 && body.as_ref() == b"{\"bytes\":512}", "{status}: {body:?}");
        Ok(began.elapsed())
    }
}

/// Medians of direct and of forwarded calls, in turns, so that a busy machine slows both.
async fn medians(direct: SocketAddr, through: SocketAddr) -> anyhow::Result<(Duration, Duration)> {
    let mut clients = [Client::connect(direct).await?, Client::connect(through).await?];
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (client, times) in clients.iter_mut().zip(&mut times) {
            for _ in 0..CALLS {
                times.push(client.call().await?);
            }
        }
    }
    let [direct, through] = times.map(|mut times| {
        times.sort();
        times[times.len() / 2]
    });
    Ok((direct, through))
}

/// Requests in a second of the gateway's time on a core, and in a second.
async fn rate(through: SocketAddr, admin: SocketAddr, time: Duration) -> anyhow::Result<(f64, f64)> {
    let cpu = "process_cpu_seconds_total";
    let (before, began) = (figure(admin, cpu).await?, Instant::now());
    let clients = (0..CLIENTS).map(|_| async {
        let mut client = Client::connect(through).await?;
        let mut calls = 0_u32;
        while began.elapsed() < time {
            client.call().await?;
            calls += 1;
        }
        anyhow::Ok(calls)
    });
    let calls: u32 = futures::future::try_join_all(clients).await?.into_iter().sum();
    let wall = began.elapsed().as_secs_f64();
    let took = figure(admin, cpu).await? - before;
    Ok((f64::from(calls) / took, f64::from(calls) / wall))
}

/// Connections that have sent a request each, and are kept.
async fn connections(through: SocketAddr, count: usize) -> anyhow::Result<Vec<Client>> {
    let mut clients = Vec::with_capacity(count);
    for number in 0..count {
        let mut client = Client::connect(through).await.with_context(|| format!("connection {number}"))?;
        client.call().await.with_context(|| format!("connection {number}"))?;
        clients.push(client);
    }
    Ok(clients)
}

async fn figure(admin: SocketAddr, name: &str) -> anyhow::Result<f64> {
    let text = reqwest::get(format!("http://{admin}/metrics")).await?.text().await?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).with_context(|| format!("no {name} in {text}"))
}
