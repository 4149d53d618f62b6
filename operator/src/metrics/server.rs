//! The HTTPS port of `/metrics`. Each connection carries one request, within a bounded time.

use std::{future::pending, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{
    Router,
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{CONTENT_TYPE, WWW_AUTHENTICATE},
    },
    response::{IntoResponse as _, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use prometheus::TEXT_FORMAT;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
        version::TLS13,
    },
};

use super::{
    authentication::{Guard, Verdict},
    registry::Metrics,
    review,
};
use crate::{commands::MetricsAuth, context::Context};

/// Connections at once; more wait to be accepted.
const CONNECTIONS: usize = 32;
/// Longest time for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Longest time for the head of the request.
const HEADER: Duration = Duration::from_secs(5);
/// Longest time for all of a connection: two questions to the API server, and an answer to a slow reader.
const WHOLE: Duration = Duration::from_secs(30);
/// Largest head of a request; a token has one or two KiB.
const HEAD_BYTES: usize = 16 << 10;
/// Wait after an accept that failed: the process is out of files, and asking again at once would change nothing.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Names in the certificate. Nobody can know the key that a replica makes at its start, so scrapers do not verify it.
const NAMES: [&str; 2] = ["ocr-operator", "localhost"];

/// Answers until it is dropped; forever idle where the settings turn it off.
///
/// # Errors
/// Where the port cannot be opened, or no certificate be made.
pub async fn serve(context: Arc<Context>) -> anyhow::Result<()> {
    let settings = &context.settings;
    if settings.metrics_port == 0 {
        return pending().await;
    }
    let guard = match settings.metrics_auth {
        // The other client refuses to write on a replica that does not lead, and every replica shows its metrics.
        MetricsAuth::Tokenreview => Some(Guard::new(review::by_api_server(context.clients.lease.clone()))),
        MetricsAuth::None => None,
    };
    let address = SocketAddr::from(([0, 0, 0, 0], settings.metrics_port));
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} for metrics"))?;
    let tls = Tls::new().context("cannot make a certificate for the metrics")?;
    run(listener, tls.acceptor, router(Arc::clone(&context.metrics), guard)).await;
    Ok(())
}

/// A certificate of our own, and what shows it.
struct Tls {
    acceptor: TlsAcceptor,
    /// What a client would have to trust; only tests can know it.
    #[cfg(test)]
    certificate: CertificateDer<'static>,
}

impl Tls {
    fn new() -> anyhow::Result<Self> {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(NAMES.map(str::to_owned).to_vec())?;
        let certificate: CertificateDer<'static> = cert.into();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            #[cfg(test)]
            certificate,
        })
    }
}

/// What the port shows.
struct Page {
    metrics: Arc<Metrics>,
    /// None lets in everybody.
    guard: Option<Guard>,
}

fn router(metrics: Arc<Metrics>, guard: Option<Guard>) -> Router {
    Router::new().route("/metrics", get(show)).with_state(Arc::new(Page { metrics, guard }))
}

async fn show(State(page): State<Arc<Page>>, headers: HeaderMap) -> Response {
    let verdict = match &page.guard {
        Some(guard) => guard.admit(&headers).await,
        None => Verdict::Allowed,
    };
    match verdict {
        Verdict::Allowed => match page.metrics.encode() {
            Ok(text) => ([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
            Err(error) => {
                tracing::error!(%error, "the metrics cannot be written");
                (StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written\n").into_response()
            }
        },
        Verdict::Unknown => {
            let message = "a token is needed that the API server knows: Authorization: Bearer ...\n";
            (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], message).into_response()
        }
        Verdict::Forbidden(user) => {
            let message =
                format!("{user} may not read this: its role needs the verb get on the nonResourceURL /metrics\n");
            (StatusCode::FORBIDDEN, message).into_response()
        }
        Verdict::Unavailable(message) => (StatusCode::SERVICE_UNAVAILABLE, message + "\n").into_response(),
    }
}

/// Accepts connections until it is dropped.
async fn run(listener: TcpListener, tls: TlsAcceptor, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // It is never closed, so there is always a place in the end.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (tls, router) = (tls.clone(), router.clone());
                tokio::spawn(async move {
                    answer(stream, &tls, router).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers the request of a connection and closes it.
async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, tls: &TlsAcceptor, router: Router) {
    let all = async {
        let Ok(Ok(stream)) = timeout(HANDSHAKE, tls.accept(stream)).await else { return };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER)
            .max_buf_size(HEAD_BYTES)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        // A client that breaks the connection is its own affair.
        let _ = connection.await;
    };
    // One that takes its answer too slowly is cut off.
    let _ = timeout(WHOLE, all).await;
}

#[cfg(test)]
mod tests {
    use futures::future::FutureExt as _;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        net::TcpStream,
        time::Instant,
    };
    use tokio_rustls::{
        TlsConnector,
        client::TlsStream,
        rustls::{ClientConfig, RootCertStore, pki_types::ServerName},
    };

    use super::*;

    fn connector(tls: &Tls) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(tls.certificate.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }

    async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(tls: &Tls, stream: S) -> std::io::Result<TlsStream<S>> {
        connector(tls).connect(ServerName::try_from("ocr-operator").unwrap(), stream).await
    }

    /// A guard that knows three tokens.
    fn guard() -> Guard {
        Guard::new(Box::new(|token| {
            let verdict = match token.as_str() {
                "good" => Verdict::Allowed,
                "weak" => Verdict::Forbidden("bob".to_owned()),
                "early" => Verdict::Unavailable("the operator may not create tokenreviews".to_owned()),
                _ => Verdict::Unknown,
            };
            async move { verdict }.boxed()
        }))
    }

    fn page(guard: Option<Guard>) -> Router {
        router(Arc::new(Metrics::new().unwrap()), guard)
    }

    /// The server's end of a connection in memory, answered by a task; and the client's end.
    fn connection(tls: &Tls, guard: Option<Guard>) -> DuplexStream {
        let (ours, theirs) = duplex(64 << 10);
        let (acceptor, router) = (tls.acceptor.clone(), page(guard));
        tokio::spawn(async move { answer(theirs, &acceptor, router).await });
        ours
    }

    async fn ask(guard: Option<Guard>, path: &str, headers: &str) -> String {
        let tls = Tls::new().unwrap();
        let mut stream = handshake(&tls, connection(&tls, guard)).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: ocr-operator\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_metrics_are_for_those_who_may_read_them() {
        let rows = [
            ("", "401", "a token is needed"),
            ("Authorization: Bearer bad\r\n", "401", "a token is needed"),
            ("Authorization: Bearer weak\r\n", "403", "bob may not read this"),
            ("Authorization: Bearer early\r\n", "503", "may not create tokenreviews"),
            ("Authorization: Bearer good\r\n", "200", "# HELP ocr_operator_leader "),
        ];
        for (headers, status, text) in rows {
            let answer = ask(Some(guard()), "/metrics", headers).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(text), "{headers}\n{answer}");
            assert_eq!(answer.contains("ocr_operator_leader"), status == "200", "{answer}");
            assert_eq!(answer.contains("www-authenticate: Bearer"), status == "401", "{answer}");
        }
    }

    #[tokio::test]
    async fn without_a_guard_everybody_may_read_and_there_is_nothing_else() {
        let answer = ask(None, "/metrics", "").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("content-type: text/plain; version=0.0.4"));
        assert!(ask(None, "/", "").await.starts_with("HTTP/1.1 404 "));
    }

    #[tokio::test]
    async fn a_head_that_is_too_large_is_refused() {
        let large = format!("X-Large: {}\r\n", "a".repeat(HEAD_BYTES));
        assert!(ask(None, "/metrics", &large).await.starts_with("HTTP/1.1 431 "));
    }

    /// Reads until the other end closes, well or not.
    async fn until_closed(stream: &mut (impl AsyncRead + Unpin)) {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_begins_is_cut_off() {
        let tls = Tls::new().unwrap();
        let begun = Instant::now();
        until_closed(&mut connection(&tls, None)).await;
        assert_eq!(begun.elapsed(), HANDSHAKE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_half_a_head_is_cut_off() {
        let tls = Tls::new().unwrap();
        let mut stream = handshake(&tls, connection(&tls, None)).await.unwrap();
        let begun = Instant::now();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost:").await.unwrap();
        until_closed(&mut stream).await;
        assert_eq!(begun.elapsed(), HEADER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_whose_review_never_ends_is_cut_off() {
        let tls = Tls::new().unwrap();
        let guard = Guard::new(Box::new(|_| pending().boxed()));
        let mut stream = handshake(&tls, connection(&tls, Some(guard))).await.unwrap();
        let begun = Instant::now();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\n\r\n").await.unwrap();
        until_closed(&mut stream).await;
        assert_eq!(begun.elapsed(), WHOLE);
    }

    #[tokio::test]
    async fn over_the_bound_a_connection_waits_for_another_to_end() {
        let tls = Tls::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(run(listener, tls.acceptor.clone(), page(None)));
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let mut waiting = Box::pin(handshake(&tls, TcpStream::connect(address).await.unwrap()));
        // Long enough for a handshake that is served, short enough that none of the others has run into its limit.
        assert!(timeout(Duration::from_millis(200), &mut waiting).await.is_err());
        idle.pop();
        timeout(HANDSHAKE, waiting).await.unwrap().unwrap();
    }
}
