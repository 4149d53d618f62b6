//! Real sockets: what only they show.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::*;
use ocr_serving::listen::{self, Bounds};

const LONG: Duration = Duration::from_secs(30);

/// One request on a connection of its own; the whole answer, or nothing where the connection broke.
pub(super) async fn exchange(address: SocketAddr, method: &str, path: &str, body: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(address).await else { return String::new() };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(request.as_bytes()).await;
    read_all(&mut stream).await
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = timeout(LONG, stream.read_to_end(&mut answer)).await.expect("no answer");
    String::from_utf8(answer).unwrap()
}

async fn listening(bench: &Bench, bounds: Bounds) -> (SocketAddr, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let closing = CancellationToken::new();
    tokio::spawn(listen::serve(listener, bench.api.clone(), bounds, closing.clone()));
    (address, closing)
}

const BOUNDS: Bounds = Bounds { connections: 2, header: LONG, idle: LONG };

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if is_so() {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn a_client_that_hangs_up_ends_its_work() {
    let bench = Bench::new().await;
    let (address, _closing) = listening(&bench, BOUNDS).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"POST /v1/ocr HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nhang").await.unwrap();
    until("the document is open", || bench.fake.open() == 1).await;
    let begun = std::time::Instant::now();
    drop(stream);
    until("the work has ended", || bench.fake.open() == 0).await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert!(bench.fake.is_cancelled());
}

#[tokio::test]
async fn idle_connections_do_not_keep_the_probes_from_their_answer() {
    let bench = Bench::new().await;
    let (address, _closing) = listening(&bench, BOUNDS).await;
    let idle = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
    assert!(exchange(address, "GET", "/live", "").await.starts_with("HTTP/1.1 200"));
    let refused = exchange(address, "POST", "/v1/ocr", "x").await;
    assert!(refused.starts_with("HTTP/1.1 429") && refused.contains("retry-after: 1"), "{refused}");
    assert_eq!(bench.metric("ocr_rejected_total{reason=\"connections\"}").await, 1.0);
    drop(idle);
    for _ in 0..100 {
        if exchange(address, "POST", "/v1/ocr", "x").await.starts_with("HTTP/1.1 200") {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("the places did not come back");
}

#[tokio::test]
async fn a_head_that_does_not_come_closes_its_connection() {
    let bench = Bench::new().await;
    let bounds = Bounds { header: Duration::from_millis(100), ..BOUNDS };
    let (address, _closing) = listening(&bench, bounds).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"POST /v1/ocr HTTP/1.1\r\nHost").await.unwrap();
    assert_eq!(read_all(&mut stream).await.lines().next().unwrap_or_default(), "");
}

#[tokio::test]
async fn a_client_sees_its_refusal_though_it_goes_on_sending() {
    let bench = Bench::new().await;
    let (address, _closing) = listening(&bench, BOUNDS).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = 8 << 20;
    stream
        .write_all(format!("POST /v1/ocr HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    // Sends all of it before it looks for an answer, as most clients do.
    stream.write_all(&vec![0; length]).await.unwrap();
    let mut head = [0; 12];
    timeout(LONG, stream.read_exact(&mut head)).await.unwrap().unwrap();
    assert_eq!(&head, b"HTTP/1.1 413");
}

#[tokio::test]
async fn a_kept_connection_takes_the_next_request() {
    let bench = Bench::new().await;
    let (address, closing) = listening(&bench, BOUNDS).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    for _ in 0..2 {
        stream.write_all(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 4096];
        let length = timeout(LONG, stream.read(&mut answer)).await.unwrap().unwrap();
        assert!(String::from_utf8_lossy(&answer[..length]).ends_with(r#"{"status":"alive"}"#));
    }
    closing.cancel();
    assert_eq!(read_all(&mut stream).await, "", "closed without a word");
}

#[tokio::test]
async fn a_head_that_is_no_http_ends_its_connection_alone() {
    let bench = Bench::new().await;
    let (address, _closing) = listening(&bench, BOUNDS).await;
    for bytes in [&b"\x00\x01\x02\x03\r\n\r\n"[..], b"GET / HTTP/9.9\r\n\r\n", &vec![b'A'; 200_000]] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = timeout(LONG, stream.read_to_end(&mut answer)).await.unwrap();
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
    }
    assert!(exchange(address, "GET", "/live", "").await.starts_with("HTTP/1.1 200"));
}
