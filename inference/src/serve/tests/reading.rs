//! Documents that are answered.

use std::time::Duration;

use super::*;
use crate::plan::{Orientation, Turn};

#[tokio::test]
async fn a_document_is_answered_with_every_field() {
    let bench = Bench::new().await;
    for path in ["/v1/ocr", "/v1/ocr/receipt", "/v1/parse"] {
        let answer = bench.post(path, "pages:2 says:Total").await.ok();
        let body = answer.json();
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("x-ocr-units"), Some("2.500"));
        assert_eq!(body["request_id"].as_str(), answer.header("x-request-id"));
        assert_eq!(body["model"], serde_json::json!({"name": "fake", "version": "3", "digest": "sha256:f00d"}));
        assert_eq!((body["success"].as_bool(), body["page_count"].as_u64()), (Some(true), Some(2)));
        assert_eq!(body["text"], "Total\u{c}Total");
        assert_eq!((body["line_count"].as_u64(), body["avg_confidence"].as_f64()), (Some(2), Some(0.5)));
        assert_eq!(body["lines"][1]["page_number"], 2);
        assert!(body["processing_time_ms"].is_u64());
        for field in [
            "markdown",
            "html",
            "json_output",
            "processing_time_ms",
            "success",
            "page_number",
            "image_width",
            "image_height",
            "lines",
            "warnings",
        ] {
            assert!(!body["pages"][0][field].is_null(), "{field}");
        }
        let _: ocr_api::Document = serde_json::from_value(body).unwrap();
    }
}

#[tokio::test]
async fn a_form_and_json_are_answered_like_a_raw_body() {
    let bench = Bench::new().await;
    let form = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"../x\\ny.png\"\r\n\
                Content-Type: image/png\r\n\r\nsays:form\r\n--B--\r\n";
    for (content_type, body, text) in [
        ("multipart/form-data; boundary=B", form, "form"),
        ("application/json", r#"{"file": "c2F5czpqc29u"}"#, "json"),
        ("image/png", "says:raw", "raw"),
    ] {
        let request = Request::post("/v1/ocr").header("content-type", content_type).body(Body::from(body)).unwrap();
        assert_eq!(bench.call(request).await.ok().json()["text"], text);
    }
}

#[tokio::test]
async fn parameters_and_headers_reach_the_pipeline() {
    let bench = Bench::new().await;
    let request = Request::post("/v1/ocr?pages=2&min_confidence=0.25&orientation=270&dpi=200")
        .header("x-ocr-document-password", "open sesame")
        .body(Body::from("pages:3"))
        .unwrap();
    bench.call(request).await.ok();
    let options = bench.fake.options();
    assert_eq!(options.pages.unwrap().select(3), Ok(vec![1]));
    assert_eq!(options.orientation, Orientation::Fixed(Turn::ThreeQuarters));
    assert_eq!((options.dpi, options.password.unwrap().0.as_str()), (Some(200), "open sesame"));
    assert!((options.min_confidence - 0.25).abs() < f32::EPSILON);
    let left = options.deadline.duration_since(std::time::Instant::now());
    assert!(left > Duration::from_secs(90) && left <= Duration::from_secs(100));
}

#[tokio::test]
async fn a_password_may_come_in_json_but_not_twice() {
    let bench = Bench::new().await;
    let body = r#"{"file": "c2F5czpqc29u", "password": "p"}"#;
    let request = || Request::post("/v1/ocr").header("content-type", "application/json");
    bench.call(request().body(Body::from(body)).unwrap()).await.ok();
    assert_eq!(bench.fake.options().password.unwrap().0, "p");
    let twice = request().header("x-ocr-document-password", "q").body(Body::from(body)).unwrap();
    assert_eq!(bench.call(twice).await.code(), ErrorCode::BadRequest);
}

#[tokio::test]
async fn the_form_of_the_answer_follows_the_parameter_before_accept() {
    let bench = Bench::new().await;
    for (path, accept, content_type) in [
        ("/v1/ocr?format=text", "application/json", "text/plain; charset=utf-8"),
        ("/v1/ocr", "text/plain", "text/plain; charset=utf-8"),
        ("/v1/ocr?format=tsv", "*/*", "text/tab-separated-values; charset=utf-8"),
        ("/v1/ocr", "application/x-ndjson", "application/x-ndjson"),
        ("/v1/ocr?format=json", "text/plain", "application/json"),
    ] {
        let request = Request::post(path).header("accept", accept).body(Body::from("says:words")).unwrap();
        let answer = bench.call(request).await.ok();
        assert_eq!(answer.header("content-type"), Some(content_type), "{path} {accept}");
        assert!(answer.text().contains("words"));
    }
}

#[tokio::test]
async fn a_page_that_fails_stands_among_the_others() {
    let body = Bench::new().await.post("/v1/ocr", "pages:3 fail:2").await.ok().json();
    assert_eq!(body["success"], false);
    assert_eq!(body["pages"][1]["error"]["code"], "undecodable");
    assert_eq!((body["pages"][1]["text"].as_str(), body["pages"][1]["success"].as_bool()), (Some(""), Some(false)));
    assert_eq!(body["text"], "text\u{c}\u{c}text");
}

#[tokio::test]
async fn a_document_without_a_readable_page_is_its_error() {
    let bench = Bench::new().await;
    for path in ["/v1/ocr", "/v1/ocr?format=text", "/v1/ocr?format=ndjson"] {
        let error = bench.post(path, "pages:1 fail:1").await.error().error;
        assert_eq!((error.code, error.message.as_str()), (ErrorCode::Undecodable, "this page cannot be decoded"));
    }
    assert_eq!(bench.post("/v1/ocr", "pages:0").await.code(), ErrorCode::Undecodable);
}

#[tokio::test]
async fn a_stream_has_an_object_a_page_and_says_how_it_ended() {
    let answer = Bench::new().await.post("/v1/ocr?format=ndjson", "pages:3 fail:2").await.ok();
    assert_eq!(answer.header("x-ocr-page-count"), Some("3"));
    let lines = answer.lines();
    assert_eq!(lines.len(), 4);
    for (line, number) in lines.iter().zip(1..=3) {
        assert_eq!(line["page"], number);
        assert_eq!(line["file"].as_str(), answer.header("x-request-id"));
        assert_eq!(line["success"], number != 2);
        assert!(line["processing_time_ms"].is_u64() && line["lines"].is_array());
    }
    assert_eq!(lines[3], serde_json::json!({"status": "done", "success": false, "pages": 3, "failed": 1}));
}

#[tokio::test]
async fn a_stream_whose_first_page_failed_still_brings_the_others() {
    let lines = Bench::new().await.post("/v1/ocr?format=ndjson", "pages:2 fail:1").await.ok().lines();
    assert_eq!((lines[0]["success"].as_bool(), lines[1]["page"].as_u64()), (Some(false), Some(2)));
    assert_eq!((lines[2]["pages"].as_u64(), lines[2]["failed"].as_u64()), (Some(2), Some(1)));
}

#[tokio::test(start_paused = true)]
async fn the_pages_of_a_stream_come_as_they_are_read() {
    let bench = Bench::new().await;
    let request = Request::post("/v1/ocr?format=ndjson").body(Body::from("pages:3 delay:10")).unwrap();
    let mut body = bench.api.clone().oneshot(request).await.unwrap().into_body();
    let begun = tokio::time::Instant::now();
    for (wait, word) in [(0, "\"page\":1"), (10, "\"page\":2"), (20, "\"page\":3"), (20, "\"status\":\"done\"")] {
        let line = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(String::from_utf8_lossy(&line).contains(word));
        assert_eq!(begun.elapsed().as_secs(), wait);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_its_stream_holds_up_nobody() {
    let bench = Bench::with(&["--concurrency=1"]).await;
    let request = Request::post("/v1/ocr?format=ndjson").body(Body::from("pages:50 delay:1")).unwrap();
    let unread = bench.api.clone().oneshot(request).await.unwrap();
    pass(60).await;
    assert_eq!((bench.fake.open(), bench.app.admission.in_flight()), (0, 0));
    bench.post("/v1/ocr", "says:next").await.ok();
    assert_eq!(Answer::of(unread).await.lines().len(), 51);
}

#[tokio::test(start_paused = true)]
async fn a_stream_out_of_time_says_so_in_its_last_line() {
    let bench = Bench::new().await;
    let request = Request::post("/v1/ocr?format=ndjson")
        .header("x-ocr-timeout-seconds", "25")
        .body(Body::from("pages:9 delay:10"))
        .unwrap();
    let lines = bench.call(request).await.ok().lines();
    let end = lines.last().unwrap();
    assert_eq!((end["status"].as_str(), end["pages"].as_u64()), (Some("done"), Some(2)));
    assert_eq!((end["success"].as_bool(), end["error"]["code"].as_str()), (Some(false), Some("timeout")));
    assert!(bench.fake.is_cancelled());
}

#[tokio::test]
async fn a_stream_whose_reader_panics_ends_with_its_error() {
    let bench = Bench::new().await;
    let lines = bench.post("/v1/ocr?format=ndjson", "pages:3 panic:2").await.ok().lines();
    assert_eq!(lines.len(), 2);
    assert_eq!((lines[1]["status"].as_str(), lines[1]["error"]["code"].as_str()), (Some("done"), Some("internal")));
    assert_eq!(bench.app.admission.queued() + bench.app.admission.in_flight(), 0);
}

#[tokio::test]
async fn the_description_has_every_route_and_the_codes() {
    let description = Bench::new().await.get("/openapi.json").await.ok().json();
    assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
    let post = &description["paths"]["/v1/ocr"]["post"];
    for status in ["200", "400", "406", "413", "415", "422", "429", "500", "503", "504"] {
        assert!(post["responses"][status].is_object(), "{status}");
    }
    for body in ["application/octet-stream", "multipart/form-data", "application/json"] {
        assert!(post["requestBody"]["content"][body].is_object(), "{body}");
    }
    for schema in ["Document", "Page", "Line", "ErrorBody", "ErrorCode", "StreamEnd", "Health"] {
        assert!(description["components"]["schemas"][schema].is_object(), "{schema}");
    }
    let paths: Vec<_> = description["paths"].as_object().unwrap().keys().collect();
    assert_eq!(paths, ["/health", "/live", "/ready", "/v1/ocr", "/v1/ocr/receipt", "/v1/parse"]);
}
