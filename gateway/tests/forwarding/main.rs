//! Requests through a real gateway to pods that do as they are told.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails stops")]

mod common;
mod long_documents;

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use common::{Does, Pod, Running, answer};
use futures::{StreamExt as _, future::join_all};
use ocr_serving::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn a_request_is_passed_on_and_its_answer_back() {
    let pod = Pod::start("a", Does::Answers(0)).await;
    let gateway = Running::start(&[&pod], "{}").await;
    let request = gateway.post("twelve bytes").header("x-request-id", "seven").header("x-other", "kept");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-request-id"], "seven");
    assert_eq!(response.text().await.unwrap(), "a 12");
    let headers = pod.headers();
    assert_eq!((&headers["x-request-id"], &headers["x-other"]), (&"seven".parse().unwrap(), &"kept".parse().unwrap()));
    assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
    assert!(headers["traceparent"].to_str().unwrap().starts_with("00-"), "{headers:?}");
}

#[tokio::test]
async fn a_request_whose_pod_dies_is_read_by_another() {
    let (bad, good) = (Pod::start("bad", Does::Breaks).await, Pod::start("good", Does::Answers(0)).await);
    let gateway = Running::start(&[&bad, &good], "{}").await;
    for _ in 0..6 {
        assert_eq!(gateway.ask("page").await, (200, "good 4".to_owned()));
    }
    assert!((1..3).contains(&bad.requests()), "it rests after a failure: {}", bad.requests());
    assert!(gateway.admin("/metrics").await.contains("ocr_gateway_retries_total{reason=\"broken\"} "));
}

#[tokio::test]
async fn a_pod_that_accepts_no_connection_costs_no_request() {
    let (bad, good) = (Pod::start("bad", Does::Answers(0)).await, Pod::start("good", Does::Answers(0)).await);
    let gateway = Running::start(&[&bad, &good], "{}").await;
    bad.kill();
    for _ in 0..10 {
        assert_eq!(gateway.ask("page").await, (200, "good 4".to_owned()));
    }
}

#[tokio::test]
async fn a_pod_without_room_hands_the_request_to_another() {
    for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE] {
        let full = Pod::start("full", Does::Refuses(status)).await;
        let good = Pod::start("good", Does::Answers(0)).await;
        let gateway = Running::start(&[&full, &good], "{}").await;
        for _ in 0..4 {
            assert_eq!(gateway.ask("page").await, (200, "good 4".to_owned()));
        }
        assert!(full.requests() > 0);
    }
}

#[tokio::test]
async fn where_two_pods_fail_the_client_is_told_to_come_again() {
    let pods = [Pod::start("a", Does::Breaks).await, Pod::start("b", Does::Breaks).await];
    let gateway = Running::start(&[&pods[0], &pods[1]], "{}").await;
    let response = gateway.post("page").send().await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (502, &"1".parse().unwrap()));
    let text = response.text().await.unwrap();
    assert!(text.contains("\"pod_failed\"") && text.contains("\"request_id\""), "{text}");
    assert_eq!((pods[0].requests(), pods[1].requests()), (1, 1), "tried once on each, and not again");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_passed_on_as_whole() {
    let pod = Pod::start("a", Does::BreaksHalfway).await;
    let gateway = Running::start(&[&pod], "{}").await;
    assert_eq!(gateway.ask("page").await, (0, String::new()));
}

/// The pod holds a connection and says by `/status` that it has no request.
#[tokio::test]
async fn a_pod_that_accepts_and_never_answers_loses_its_requests_to_another() {
    let (mute, good) = (Pod::start("mute", Does::Swallows).await, Pod::start("good", Does::Answers(0)).await);
    let gateway = Running::start(&[&mute, &good], "{}").await;
    let began = Instant::now();
    let answers = join_all((0..4).map(|_| gateway.ask("page"))).await;
    assert!(answers.iter().all(|answer| *answer == (200, "good 4".to_owned())), "{answers:?}");
    assert!(mute.requests() > 0 && began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
}

#[tokio::test]
async fn without_a_ready_pod_requests_wait_and_are_told_of_it() {
    let pod = Pod::start("a", Does::Answers(0)).await;
    pod.ready(false);
    let gateway = Running::start(&[&pod], "{spec: {gateway: {hold: {requests: 3}}}}").await;
    gateway.until("the pod is seen to start", |status| !status.pods[0].takes_requests).await;
    let held = join_all((0..3).map(|_| gateway.post("page").send()));
    let others = async {
        gateway.until("three wait", |status| status.held == 3).await;
        let refused = gateway.post("page").send().await.unwrap();
        assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"30".parse().unwrap()));
        assert!(refused.text().await.unwrap().contains("\"not_ready\""));
        pod.ready(true);
    };
    let (answers, ()) = tokio::join!(held, others);
    for answer in answers {
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 200);
        let waited: f64 = answer.headers()["x-ocr-cold-start"].to_str().unwrap().parse().unwrap();
        assert!(waited > 0.0);
    }
    let warm = gateway.post("page").send().await.unwrap();
    assert!(!warm.headers().contains_key("x-ocr-cold-start"));
}

#[tokio::test]
async fn who_waits_too_long_or_leaves_frees_the_place() {
    let pod = Pod::start("a", Does::Answers(0)).await;
    pod.ready(false);
    let gateway = Running::start(&[&pod], "{spec: {gateway: {hold: {requests: 1, seconds: 1}}}}").await;
    gateway.until("the pod is seen to start", |status| !status.pods[0].takes_requests).await;
    let leaves = gateway.post("page").timeout(Duration::from_millis(300)).send();
    assert!(leaves.await.unwrap_err().is_timeout());
    gateway.until("it has left", |status| status.held == 0).await;
    let late = gateway.ask("page").await;
    assert_eq!(late.0, 503);
    assert!(late.1.contains("\"not_ready\"") && late.1.contains("became ready"), "{}", late.1);
    assert_eq!(gateway.status().await.held, 0);
    assert_eq!(pod.requests(), 0);
}

#[tokio::test]
async fn who_asks_for_the_number_of_waiting_requests_hears_of_the_first_at_once() {
    let pod = Pod::start("a", Does::Answers(0)).await;
    pod.ready(false);
    let gateway = Running::start(&[&pod], "{}").await;
    gateway.until("the pod is seen to start", |status| !status.pods[0].takes_requests).await;
    let hears = async {
        let answer = gateway.admin("/status?held=0&wait_seconds=30").await;
        (answer, Instant::now())
    };
    let asks = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let began = Instant::now();
        let _ = gateway.post("page").timeout(Duration::from_secs(1)).send().await;
        began
    };
    let ((answer, heard), asked) = tokio::join!(hears, asks);
    assert!(answer.contains("\"held\":1"), "{answer}");
    assert!(heard.duration_since(asked) < Duration::from_millis(500), "{:?}", heard.duration_since(asked));
}

#[tokio::test]
async fn ten_thousand_requests_at_zero_are_held_or_refused_and_nothing_else() {
    let pod = Pod::start("a", Does::Answers(0)).await;
    pod.ready(false);
    let gateway =
        Running::with(&[&pod], "{spec: {gateway: {hold: {requests: 50}}}}", &["--max-connections", "4000"]).await;
    gateway.until("the pod is seen to start", |status| !status.pods[0].takes_requests).await;
    let held = join_all((0..50).map(|_| gateway.ask("page")));
    let rest = async {
        gateway.until("fifty wait", |status| status.held == 50).await;
        let codes: Vec<u16> = futures::stream::iter(0..9950)
            .map(|_| async { gateway.ask("page").await.0 })
            .buffer_unordered(200)
            .collect()
            .await;
        assert!(codes.iter().all(|code| *code == 503), "{:?}", codes.iter().find(|code| **code != 503));
        assert_eq!(gateway.status().await.held, 50);
        pod.ready(true);
    };
    let (answers, ()) = tokio::join!(held, rest);
    assert!(answers.iter().all(|answer| *answer == (200, "a 4".to_owned())));
    assert_eq!(gateway.status().await.refused, 9950);
}

#[tokio::test]
async fn more_requests_than_pods_take_wait_for_room() {
    let pod = Pod::start("a", Does::Answers(50)).await;
    pod.concurrency(1);
    let gateway = Running::start(&[&pod], "{}").await;
    let answers = join_all((0..10).map(|_| gateway.ask("page"))).await;
    assert!(answers.iter().all(|answer| *answer == (200, "a 4".to_owned())), "{answers:?}");
}

#[tokio::test]
async fn a_large_body_streams_and_one_over_the_limit_is_refused_halfway() {
    let pod = Pod::start("a", Does::Answers(0)).await;
    let gateway = Running::start(&[&pod], "{spec: {limits: {bodyBytes: 6Mi}}}").await;
    let whole = vec![7_u8; 6 << 20];
    assert_eq!(answer(gateway.post(whole.clone())).await, (200, format!("a {}", whole.len())));
    // Announced, and refused before it is read.
    let (status, text) = answer(gateway.post(vec![7_u8; (6 << 20) + 1])).await;
    assert!((status, text.contains("\"too_large\"")) == (413, true) || status == 0, "{status} {text}");
    // Not announced: refused when it is there, though a pod has begun to read it.
    let chunks = futures::stream::iter((0..100).map(|_| Ok::<_, std::io::Error>(vec![7_u8; 100 << 10])));
    let (status, text) = answer(gateway.post(reqwest::Body::wrap_stream(chunks))).await;
    assert!((status, text.contains("\"too_large\"")) == (413, true) || status == 0, "{status} {text}");
    assert_eq!(pod.bytes(), whole.len(), "the pod has got the first one whole and no other");
}

#[tokio::test]
async fn a_large_body_is_sent_again_from_its_start() {
    let (bad, good) = (Pod::start("bad", Does::Breaks).await, Pod::start("good", Does::Answers(0)).await);
    let gateway = Running::start(&[&bad, &good], "{}").await;
    for _ in 0..4 {
        assert_eq!(answer(gateway.post(vec![7_u8; 4 << 20])).await, (200, format!("good {}", 4 << 20)));
    }
    assert!(bad.requests() > 0);
}

#[tokio::test]
async fn a_client_that_sends_a_byte_a_second_holds_no_pod() {
    let pod = Pod::start("a", Does::Answers(0)).await;
    pod.concurrency(1);
    let gateway = Running::with(&[&pod], "{spec: {limits: {requestSeconds: 3}}}", &["--idle-seconds", "20"]).await;
    let address = gateway.api.strip_prefix("http://").unwrap().to_owned();
    let slow = async {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let head = format!("POST /v1/ocr HTTP/1.1\r\nhost: {address}\r\ncontent-length: 1000\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let dribble = async {
            while write.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let mut text = vec![0; 4096];
        tokio::select! {
            () = dribble => String::new(),
            length = read.read(&mut text) => String::from_utf8_lossy(&text[..length.unwrap()]).into_owned(),
        }
    };
    let others = join_all((0..20).map(|_| gateway.ask("page")));
    let began = Instant::now();
    let (slow, others) = tokio::join!(slow, others);
    assert!(others.iter().all(|answer| answer.0 == 200), "{others:?}");
    assert!(slow.starts_with("HTTP/1.1 504 "), "{slow}");
    assert!(began.elapsed() < Duration::from_secs(6));
    assert_eq!(pod.requests(), 20, "the slow one never reached a pod");
}

#[tokio::test]
async fn revisions_are_split_by_weight_and_one_can_be_asked_for() {
    let old = Pod::of_revision("old", Does::Answers(0), Some("r1")).await;
    let new = Pod::of_revision("new", Does::Answers(0), Some("r2")).await;
    let pool = "{status: {routing: {weights: [{revision: r1, weight: 90}, {revision: r2, weight: 10}, {revision: gone, weight: 50}]}}}";
    let gateway = Running::start(&[&old, &new], pool).await;
    for _ in 0..50 {
        assert_eq!(gateway.ask("page").await.0, 200);
    }
    assert_eq!((old.requests(), new.requests()), (45, 5));
    let of = async |name: &str, value: &str| answer(gateway.post("page").header(name, value)).await.1;
    assert_eq!(of("x-ocr-revision", "r2").await, "new 4");
    let first = of("x-ocr-sticky-key", "customer-7").await;
    for _ in 0..10 {
        assert_eq!(of("x-ocr-sticky-key", "customer-7").await, first);
    }
}

#[tokio::test]
async fn clients_are_limited_each_for_itself_where_the_pool_says_so() {
    let pod = Pod::start("a", Does::Answers(0)).await;
    let keys = tempfile::tempdir().unwrap();
    for client in ["one", "two"] {
        std::fs::write(keys.path().join(client), format!("key-of-{client}")).unwrap();
    }
    let pool = "{spec: {gateway: {rateLimit: {requests: 2, periodSeconds: 600}}}}";
    let gateway = Running::with(&[&pod], pool, &["--api-keys", &keys.path().display().to_string()]).await;
    let ask = async |key: &str| answer(gateway.post("page").bearer_auth(key)).await;
    assert_eq!(gateway.ask("page").await.0, 401);
    assert_eq!(ask("guessed").await.0, 401);
    assert_eq!([ask("key-of-one").await.0, ask("key-of-one").await.0], [200, 200]);
    let (status, text) = ask("key-of-one").await;
    assert_eq!((status, text.contains("\"rate_limited\"")), (429, true));
    assert_eq!(ask("key-of-two").await.0, 200);
    assert!(!pod.headers().contains_key("authorization"), "keys of the gateway are none of the pod's");
    assert_eq!(pod.requests(), 3);
}

#[tokio::test]
async fn probes_answer_without_pods_and_proofs_are_not_counted() {
    let pod = Pod::start("a", Does::Answers(0)).await;
    let gateway = Running::start(&[&pod], "{}").await;
    for path in ["/live", "/ready"] {
        assert_eq!(gateway.client.get(format!("{}{path}", gateway.api)).send().await.unwrap().status(), 200);
    }
    assert_eq!(answer(gateway.post("page").header("x-ocr-proof", "1")).await.0, 200);
    let counted = |text: &str| text.contains("ocr_gateway_requests_total{");
    assert!(!counted(&gateway.admin("/metrics").await));
    gateway.ask("page").await;
    let text = gateway.admin("/metrics").await;
    assert!(text.contains("ocr_gateway_requests_total{code=\"ok\",revision=\"none\"} 1"), "{text}");
    assert_eq!(gateway.status().await.arrived, 1);
}

#[tokio::test]
async fn a_gateway_that_ends_finishes_what_it_accepted() {
    let pod = Pod::start("a", Does::Answers(700)).await;
    let gateway = Running::start(&[&pod], "{}").await;
    let asks = gateway.ask("page");
    let ends = async {
        gateway.until("it is being read", |status| status.in_flight == 1).await;
        gateway.signal(Signal::Terminate).await;
    };
    let (answer, ()) = tokio::join!(asks, ends);
    assert_eq!(answer, (200, "a 4".to_owned()));
    tokio::time::timeout(Duration::from_secs(5), gateway.ended).await.unwrap().unwrap();
}
