//! Long documents, read by several pods.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use ocr_api::{Document, PageStatus, StreamEnd};

use crate::common::{Does, Pod, Running, answer};

const PDF: &str = "%PDF-1.7 as far as a gateway looks";

/// Pods that read a document of so many pages, each in so many milliseconds.
async fn readers(names: [&'static str; 3], pages: u32, milliseconds: u64) -> Vec<Pod> {
    let mut pods = Vec::new();
    for name in names {
        pods.push(Pod::start(name, Does::Reads { pages, milliseconds, until: u32::MAX }).await);
    }
    pods
}

async fn before(pods: &[Pod]) -> Running {
    Running::start(&pods.iter().collect::<Vec<_>>(), "{}").await
}

async fn document(gateway: &Running) -> Document {
    let (status, text) = answer(gateway.post(PDF)).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Names of the pods that read the pages, in the order of the pages; each page says which one it is.
fn read_by(document: &Document) -> Vec<&str> {
    for (page, number) in document.pages.iter().zip(1..) {
        assert_eq!(page.page_number, number);
        assert!(page.text.ends_with(&format!(" {number}")), "{}", page.text);
    }
    document.pages.iter().map(|page| page.text.split(' ').next().unwrap()).collect()
}

#[tokio::test]
async fn a_long_document_takes_about_its_pages_over_the_pods() {
    let pods = readers(["a", "b", "c"], 60, 20).await;
    let gateway = before(&pods).await;
    let began = Instant::now();
    let document = document(&gateway).await;
    // 60 pages of 20 ms are 1.2 s for one; what is measured is `make bench-gateway`'s.
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    let by = read_by(&document);
    assert_eq!((by.len(), document.page_count, document.success), (60, 60, true));
    for pod in ["a", "b", "c"] {
        let count = by.iter().filter(|name| **name == pod).count();
        assert!((10..=30).contains(&count), "{pod} read {count} pages");
    }
    assert_eq!(document.model.name, "pp-ocrv6-tiny");
    assert_eq!(gateway.status().await.arrived, 1, "it is one request");
    gateway.until("nothing is left", |status| status.in_flight == 0).await;
}

#[tokio::test]
async fn a_short_document_is_read_by_one_pod() {
    let pods = readers(["a", "b", "c"], 8, 1).await;
    let gateway = before(&pods).await;
    let document = document(&gateway).await;
    let by = read_by(&document);
    assert!(by.iter().all(|name| *name == by[0]), "{by:?}");
    assert_eq!(pods.iter().map(Pod::requests).sum::<usize>(), 1);
}

#[tokio::test]
async fn every_form_is_as_a_pod_writes_it() {
    let pods = readers(["a", "b", "c"], 20, 2).await;
    let gateway = before(&pods).await;
    let url = |query: &str| format!("{}/v1/ocr{query}", gateway.api);
    let text = answer(gateway.client.post(url("?format=text")).body(PDF)).await.1;
    assert_eq!(text.trim_end().split('\u{c}').count(), 20);
    let stream = gateway.client.post(url("")).header("accept", "application/x-ndjson").body(PDF);
    let response = stream.header("x-request-id", "seven").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let lines = response.text().await.unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    for (line, number) in lines[..20].iter().zip(1..) {
        let page: PageStatus = serde_json::from_str(line).unwrap();
        assert_eq!((page.page, page.file.as_str()), (number, "seven"));
    }
    let end: StreamEnd = serde_json::from_str(lines[20]).unwrap();
    assert_eq!((end.pages, end.failed, end.success, end.error), (20, 0, true, None));
    // Pages that were asked for are one pod's.
    let some = answer(gateway.client.post(url("?pages=2-3&format=ndjson")).body(PDF)).await.1;
    assert_eq!(some.lines().count(), 3);
}

#[tokio::test]
async fn the_first_page_of_a_stream_comes_when_it_is_read() {
    let pods = readers(["a", "b", "c"], 30, 50).await;
    let gateway = before(&pods).await;
    let began = Instant::now();
    let response = gateway.client.post(format!("{}/v1/ocr?format=ndjson", gateway.api)).body(PDF).send().await.unwrap();
    let first = response.bytes_stream().next().await.unwrap().unwrap();
    assert!(first.starts_with(b"{\"file\"") && began.elapsed() < Duration::from_millis(400), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_part_that_fails_is_read_elsewhere() {
    // One of three dies at a page from the back, wherever it begins.
    let pods = [
        Pod::start("a", Does::Reads { pages: 40, milliseconds: 10, until: u32::MAX }).await,
        Pod::start("b", Does::Reads { pages: 40, milliseconds: 10, until: 30 }).await,
        Pod::start("c", Does::Reads { pages: 40, milliseconds: 10, until: u32::MAX }).await,
    ];
    let gateway = before(&pods).await;
    for _ in 0..3 {
        let document = document(&gateway).await;
        let by = read_by(&document);
        assert_eq!((by.len(), document.success), (40, true));
        assert!(document.pages[29..].iter().all(|page| !page.text.starts_with("b ")), "{by:?}");
    }
    assert!(pods[1].requests() > 0);
}

#[tokio::test]
async fn the_first_pod_may_die_too() {
    let pods = [
        Pod::start("a", Does::Reads { pages: 30, milliseconds: 10, until: 5 }).await,
        Pod::start("b", Does::Reads { pages: 30, milliseconds: 10, until: 5 }).await,
        Pod::start("c", Does::Reads { pages: 30, milliseconds: 10, until: u32::MAX }).await,
    ];
    let gateway = before(&pods).await;
    let document = document(&gateway).await;
    assert_eq!((read_by(&document).len(), document.success), (30, true));
}

#[tokio::test]
async fn a_document_that_no_pod_can_read_ends_with_its_error() {
    let pods = readers(["a", "b", "c"], 20, 1).await;
    let gateway = before(&pods).await;
    for pod in &pods {
        pod.kill();
    }
    let (status, text) = answer(gateway.post(PDF)).await;
    assert_eq!((status, text.contains("\"pod_failed\"")), (502, true), "{text}");
}
