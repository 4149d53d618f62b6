//! Requests to a pool while something happens to it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time};

/// Longest wait for an answer.
const LIMIT: Duration = Duration::from_mins(2);

/// Clients that send the same page over and over until they are stopped. They speak over bare connections: a usual
/// client would try again in silence what failed on a connection that it had kept.
pub struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<Mutex<Vec<Sent>>>,
    clients: JoinHandle<()>,
}

/// A request and what came of it.
#[derive(Clone, Debug)]
pub struct Sent {
    pub at: Instant,
    pub elapsed: Duration,
    /// Whether its connection had carried another before.
    pub reused: bool,
    /// Status and body, or what went wrong.
    pub outcome: Result<(u16, String), String>,
}

impl Load {
    /// Starts clients that post `body` to `path` at `authority` (`10.96.0.7:80`): every other one opens a connection for
    /// each request, the others keep theirs as long as the server does.
    ///
    /// # Errors
    /// If they cannot be started.
    pub fn start(authority: &str, path: &str, body: &[u8], clients: usize, pause: Duration) -> anyhow::Result<Self> {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
        let target =
            Arc::new(Target { authority: authority.to_owned(), path: path.to_owned(), body: body.to_vec().into() });
        let (stopped, all) = (Arc::clone(&stop), Arc::clone(&sent));
        let clients = thread::spawn(move || {
            let client = |number: usize| {
                let (target, stop, sent) = (Arc::clone(&target), Arc::clone(&stopped), Arc::clone(&all));
                async move {
                    let mut kept = None;
                    while !stop.load(Ordering::Relaxed) {
                        let done = once(&target, &mut kept).await;
                        if !number.is_multiple_of(2) {
                            kept = None;
                        }
                        sent.lock().unwrap_or_else(PoisonError::into_inner).push(done);
                        time::sleep(pause).await;
                    }
                }
            };
            runtime.block_on(futures::future::join_all((0..clients).map(client)));
        });
        Ok(Self { stop, sent, clients })
    }

    /// Requests answered so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Stops the clients, waits for what is under way, and returns all that was sent.
    #[must_use]
    pub fn stop(self) -> Vec<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        // A client that panicked has nothing more to say than its message on standard error.
        let _ = self.clients.join();
        std::mem::take(&mut *self.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Target {
    authority: String,
    path: String,
    body: Bytes,
}

/// Sends one request, over the kept connection where there is one that is still open.
async fn once(target: &Target, kept: &mut Option<SendRequest<Full<Bytes>>>) -> Sent {
    let at = Instant::now();
    let open = kept.take().filter(|connection| !connection.is_closed());
    let reused = open.is_some();
    let outcome = time::timeout(LIMIT, exchange(target, open, kept)).await;
    let outcome = match outcome {
        Ok(outcome) => outcome.map_err(|error| format!("{error:#}")),
        Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
    };
    Sent { at, elapsed: at.elapsed(), reused, outcome }
}

async fn exchange(
    target: &Target,
    open: Option<SendRequest<Full<Bytes>>>,
    kept: &mut Option<SendRequest<Full<Bytes>>>,
) -> anyhow::Result<(u16, String)> {
    let mut connection = match open {
        Some(connection) => connection,
        None => connect(&target.authority).await?,
    };
    connection.ready().await.context("the connection was closed")?;
    let request = Request::post(&target.path)
        .header("host", &target.authority)
        .header("content-type", "application/octet-stream")
        .body(Full::new(target.body.clone()))?;
    let answer = connection.send_request(request).await.context("no answer")?;
    let status = answer.status().as_u16();
    let last = answer.headers().get("connection").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
    let body = answer.into_body().collect().await.context("the answer was cut off")?.to_bytes();
    if !last {
        *kept = Some(connection);
    }
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

async fn connect(authority: &str) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(authority).await.context("cannot connect")?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Checks that every request was answered 200 with the same text, and that enough were sent of both kinds.
///
/// # Errors
/// With those that were not, by how many.
pub fn all_answered(sent: &[Sent], text: &str, least: usize) -> anyhow::Result<()> {
    let wrong: Vec<String> = sent
        .iter()
        .filter_map(|one| match &one.outcome {
            Ok((200, body)) if body == text => None,
            Ok((status, body)) => Some(format!("{status} {}", body.chars().take(200).collect::<String>())),
            Err(error) => Some(format!("{error} (reused connection: {})", one.reused)),
        })
        .collect();
    ensure!(wrong.is_empty(), "{} of {} requests: {}", wrong.len(), sent.len(), wrong[..wrong.len().min(5)].join("; "));
    let reused = sent.iter().filter(|one| one.reused).count();
    ensure!(sent.len() >= least, "only {} requests were sent, {least} are needed", sent.len());
    ensure!(reused * 3 >= sent.len(), "only {reused} of {} went over a kept connection", sent.len());
    Ok(())
}
