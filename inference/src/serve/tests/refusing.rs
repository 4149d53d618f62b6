//! Requests that are refused, each with its code, and the server going on.

use std::sync::atomic::Ordering;

use super::*;

#[tokio::test]
async fn bad_input_has_its_code_and_the_server_goes_on() {
    let bench = Bench::new().await;
    for (path, body, code) in [
        ("/v1/ocr", "", ErrorCode::EmptyBody),
        ("/v1/ocr?page=1", "x", ErrorCode::UnknownParameter),
        ("/v1/ocr?format=docx", "x", ErrorCode::UnknownFormat),
        ("/v1/ocr?pages=x", "x", ErrorCode::BadRequest),
        ("/v1/ocr?dpi=1&dpi=1", "x", ErrorCode::BadRequest),
        ("/v1/ocr/", "x", ErrorCode::NotFound),
        ("/v2/ocr", "x", ErrorCode::NotFound),
        ("/v1/ocr/../../etc/passwd", "x", ErrorCode::NotFound),
        ("/live", "x", ErrorCode::MethodNotAllowed),
    ] {
        assert_eq!(bench.post(path, body).await.code(), code, "{path}");
        bench.post("/v1/ocr", "says:on").await.ok();
    }
    assert_eq!(bench.get("/v1/ocr").await.code(), ErrorCode::MethodNotAllowed);
}

#[tokio::test]
async fn what_the_pipeline_refuses_keeps_its_code_and_message() {
    let bench = Bench::new().await;
    for code in [
        ErrorCode::Undecodable,
        ErrorCode::UnsupportedMedia,
        ErrorCode::PasswordRequired,
        ErrorCode::PasswordWrong,
        ErrorCode::PageOutOfRange,
        ErrorCode::TooManyPages,
        ErrorCode::TooManyPixels,
        ErrorCode::DecodeLimit,
        ErrorCode::Engine,
        ErrorCode::OutOfMemory,
    ] {
        let error = bench.post("/v1/ocr", format!("refuse:{code}")).await.error().error;
        assert_eq!((error.code, error.message.as_str()), (code, "refused as it was told"));
    }
    assert_eq!(bench.fake.open(), 0);
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_one() {
    let bench = Bench::new().await;
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let answer = bench.call(Request::builder().method(method).uri("/v1/ocr").body(Body::empty()).unwrap()).await;
        assert_eq!(answer.code(), ErrorCode::MethodNotAllowed, "{method}");
        assert_eq!(answer.header("allow"), Some("POST"), "{method}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let bench = Bench::new().await;
    let never = Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    let request = Request::post("/v1/ocr").header("content-length", "10001").body(never).unwrap();
    let error = bench.call(request).await.error().error;
    assert_eq!(error.code, ErrorCode::TooLarge);
    assert!(error.message.contains("10001") && error.message.contains("10000"), "{}", error.message);
    assert_eq!(bench.post("/v1/ocr", vec![b' '; 10_001]).await.code(), ErrorCode::TooLarge);
    bench.post("/v1/ocr", vec![b' '; 10_000]).await.ok();
}

#[tokio::test(start_paused = true)]
async fn a_request_over_the_queue_is_refused_at_once_and_unread() {
    let bench = Bench::new().await;
    let running: Vec<_> = (0..5).map(|_| bench.start("delay:10")).collect();
    settle().await;
    assert_eq!((bench.app.admission.in_flight(), bench.app.admission.queued()), (2, 3));
    let begun = tokio::time::Instant::now();
    let never = Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    let refused = bench.call(Request::post("/v1/ocr").body(never).unwrap()).await;
    assert_eq!((refused.code(), begun.elapsed().as_millis()), (ErrorCode::Overloaded, 0));
    assert!(refused.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    for request in running {
        request.await.unwrap().ok();
    }
    assert_eq!(bench.fake.most.load(Ordering::SeqCst), 2);
    assert_eq!(bench.metric("ocr_rejected_total{reason=\"queue\"}").await, 1.0);
    bench.post("/v1/ocr", "says:again").await.ok();
}

#[tokio::test(start_paused = true)]
async fn a_request_out_of_time_is_ended_and_its_work_with_it() {
    let bench = Bench::new().await;
    let begun = tokio::time::Instant::now();
    let error = bench.post("/v1/ocr", "hang").await.error().error;
    assert_eq!(error.code, ErrorCode::Timeout);
    assert!(error.message.starts_with("Processing timed out after 100 seconds"), "{}", error.message);
    assert_eq!(begun.elapsed().as_secs(), 100);
    assert!(bench.fake.is_cancelled());
    assert_eq!((bench.fake.open(), bench.app.admission.in_flight()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_may_ask_for_less_time_and_not_for_more() {
    let bench = Bench::new().await;
    for (asked, given) in [("5", 5), ("500", 100)] {
        let begun = tokio::time::Instant::now();
        let request = Request::post("/v1/ocr").header("x-ocr-timeout-seconds", asked).body(Body::from("hang")).unwrap();
        assert_eq!(bench.call(request).await.code(), ErrorCode::Timeout);
        assert_eq!(begun.elapsed().as_secs(), given);
    }
}

#[tokio::test(start_paused = true)]
async fn time_in_the_queue_counts() {
    let bench = Bench::with(&["--concurrency=1"]).await;
    let first = bench.start("delay:90");
    settle().await;
    let second = bench.start("delay:90");
    first.await.unwrap().ok();
    assert_eq!(second.await.unwrap().code(), ErrorCode::Timeout);
}

#[tokio::test(start_paused = true)]
async fn work_ends_when_its_client_leaves() {
    let bench = Bench::new().await;
    let request = bench.start("hang");
    settle().await;
    assert_eq!(bench.fake.open(), 1);
    request.abort();
    settle().await;
    assert!(bench.fake.is_cancelled());
    assert_eq!((bench.fake.open(), bench.fake.abandoned.load(Ordering::SeqCst)), (0, 1));
    assert_eq!(bench.metric("ocr_requests_total{code=\"cancelled\",route=\"/v1/ocr\",strategy=\"cpu\"}").await, 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_its_client_leaves() {
    let bench = Bench::new().await;
    let request = Request::post("/v1/ocr?format=ndjson").body(Body::from("pages:9 delay:10")).unwrap();
    let response = bench.api.clone().oneshot(request).await.unwrap();
    drop(response);
    settle().await;
    assert!(bench.fake.is_cancelled());
    assert_eq!((bench.fake.open(), bench.app.admission.in_flight()), (0, 0));
    assert_eq!(bench.metric("ocr_requests_total{code=\"cancelled\",route=\"/v1/ocr\",strategy=\"cpu\"}").await, 1.0);
}

#[tokio::test]
async fn a_panic_is_our_error_and_frees_what_it_held() {
    let bench = Bench::new().await;
    for document in ["panic:0", "panic:1", "pages:3 panic:2"] {
        let error = bench.post("/v1/ocr", document).await.error().error;
        assert_eq!(error.code, ErrorCode::Internal);
        assert!(!error.message.contains("as told"), "the cause is ours alone: {}", error.message);
    }
    assert_eq!((bench.fake.open(), bench.app.admission.in_flight(), bench.app.admission.queued()), (0, 0, 0));
    assert_eq!(bench.metric("ocr_requests_total{code=\"internal\",route=\"/v1/ocr\",strategy=\"cpu\"}").await, 3.0);
    bench.post("/v1/ocr", "says:on").await.ok();
}

#[tokio::test]
async fn the_request_s_id_is_kept_or_made() {
    let bench = Bench::new().await;
    let with = |id: &'static str| Request::post("/v1/ocr").header("x-request-id", id).body(Body::from("x")).unwrap();
    let answer = bench.call(with("mine-1")).await.ok();
    assert_eq!((answer.header("x-request-id"), answer.json()["request_id"].as_str()), (Some("mine-1"), Some("mine-1")));
    let refused =
        bench.call(Request::get("/nowhere").header("x-request-id", "mine-2").body(Body::empty()).unwrap()).await;
    assert_eq!(refused.error().request_id, "mine-2");
    let made = bench.post("/v1/ocr", "x").await.ok();
    assert_eq!(made.header("x-request-id").unwrap().len(), 36);
}
