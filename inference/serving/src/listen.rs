//! Connections: accepted within a bound, none kept that does not move.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, http::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::Sleep,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Who a request comes from.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Marks requests of connections over the bound: only the probes are answered to them, so that a crowd of idle clients
/// does not look like a dead server.
#[derive(Clone, Copy)]
pub struct Crowded;

/// Connections over the bound that are held at once; more are closed unheard.
const CROWD: usize = 64;

/// How long a connection over the bound has to send the head of its request.
const CROWD_HEADER: Duration = Duration::from_secs(2);

/// Largest head of a request, and what is read of a body at once.
const BUFFER_BYTES: usize = 64 << 10;

/// Wait after an accept that failed: the process is out of files, and asking again at once would change nothing.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bounds of a port.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub connections: usize,
    pub header: Duration,
    pub idle: Duration,
}

/// A port that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}{}", next_step(.source))]
pub struct ListenError {
    /// Where to.
    pub address: SocketAddr,
    /// Why not.
    #[source]
    pub source: io::Error,
}

fn next_step(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => "; another program has the port: end it, or set --port and --admin-port",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need a right: set --port and --admin-port",
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address: set --listen",
        _ => "",
    }
}

/// Opens a port.
///
/// # Errors
/// Where it cannot be opened, with what to do.
pub async fn bind(address: IpAddr, port: u16) -> Result<TcpListener, ListenError> {
    let address = SocketAddr::new(address, port);
    TcpListener::bind(address).await.map_err(|source| ListenError { address, source })
}

/// Serves until `closing`, then lets every connection finish the request it is at. Returns when none is left.
pub async fn serve(listener: TcpListener, router: Router, bounds: Bounds, closing: CancellationToken) {
    let places = Arc::new(Semaphore::new(bounds.connections));
    let crowd = Arc::new(Semaphore::new(CROWD));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = closing.cancelled() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(error = %error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // An answer is written in one piece: waiting for more to send only delays it.
        let _ = stream.set_nodelay(true);
        let (place, header, crowded) = match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => (place, bounds.header, None),
            Err(_) => match Arc::clone(&crowd).try_acquire_owned() {
                Ok(place) => (place, bounds.header.min(CROWD_HEADER), Some(Crowded)),
                Err(_) => continue,
            },
        };
        let router = router.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            if let Some(crowded) = crowded {
                request.extensions_mut().insert(crowded);
            }
            // Apart from its connection, which is kept idle far longer than it works on a request.
            Box::pin(router.clone().oneshot(request))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header)
            .max_buf_size(BUFFER_BYTES)
            .serve_connection(TokioIo::new(Moving::new(stream, bounds.idle)), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A client that breaks the connection is its own affair; its request's record says `cancelled`.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

/// A stream that fails where its peer takes nothing for too long. Reading has clocks of its own: the head's and the
/// body's.
struct Moving<S> {
    stream: S,
    idle: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Moving<S> {
    const fn new(stream: S, idle: Duration) -> Self {
        Self { stream, idle, stalled: None }
    }

    /// Passes a write on, and starts or stops the clock by it.
    fn timed<T>(&mut self, polled: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let idle = self.idle;
        let sleep = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        match sleep.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Moving<TcpStream> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Moving<S>
where
    Self: Unpin,
{
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.timed(polled, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.timed(polled, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.timed(polled, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let (ours, _theirs) = tokio::io::duplex(16);
        let mut stream = Moving::new(ours, Duration::from_secs(20));
        let begun = tokio::time::Instant::now();
        let error = stream.write_all(&[0; 17]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), Duration::from_secs(20));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_a_little_now_and_then_is_waited_for() {
        let (ours, mut theirs) = tokio::io::duplex(16);
        let mut stream = Moving::new(ours, Duration::from_secs(20));
        let taker = tokio::spawn(async move {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(19)).await;
                let mut bytes = [0; 16];
                tokio::io::AsyncReadExt::read_exact(&mut theirs, &mut bytes).await.unwrap();
            }
        });
        stream.write_all(&[0; 160]).await.unwrap();
        taker.await.unwrap();
    }

    #[test]
    fn an_error_says_what_to_do() {
        let address = "0.0.0.0:8100".parse().unwrap();
        let error = ListenError { address, source: io::ErrorKind::AddrInUse.into() };
        assert!(error.to_string().contains("0.0.0.0:8100") && error.to_string().contains("--port"), "{error}");
    }
}
