//! A request's body to the bytes of its document: bounded while it is read, never longer than the client moves.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    extract::{FromRequest, Multipart},
    http::{HeaderMap, Request, header},
};
use base64::Engine as _;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use ocr_api::ErrorCode;
use ocr_serving::{ApiError, quote};
use serde::Deserialize;

use super::{admission::Place, request::checked_password};
use crate::decode::Password;

/// A body is given memory as it arrives, this much at first: a length that a client only announces costs nothing.
const FIRST_BYTES: u64 = 64 << 10;

/// A document as it was sent.
#[derive(Debug)]
pub(super) struct Upload {
    pub bytes: Bytes,
    /// Sent beside the document in a JSON body.
    pub password: Option<Password>,
}

/// Refuses a body whose announced length is over the limit, before a byte of it is read.
pub(super) fn check_length(headers: &HeaderMap, limit: u64) -> Result<(), ApiError> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match announced {
        Some(length) if length > limit => Err(too_large(&format!("{length} bytes"), limit)),
        _ => Ok(()),
    }
}

fn too_large(have: &str, limit: u64) -> ApiError {
    ApiError::new(
        ErrorCode::TooLarge,
        format!("the body has {have}, the limit is {limit} bytes; send a smaller file, or fewer pages at a time"),
    )
}

/// Reads the body and takes the document out of it: raw, as the part `file` of a form, or as base64 in JSON.
/// What a raw body is, its first bytes decide: a `Content-Type` that says otherwise does not count.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: u64,
    idle: Duration,
    place: &mut Place,
) -> Result<Upload, ApiError> {
    let bytes = collect(body, limit, idle, place).await?;
    if bytes.is_empty() {
        return Err(empty("the body is empty"));
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let upload = match essence(content_type).as_str() {
        "multipart/form-data" => form(headers, bytes).await?,
        "application/json" => json(bytes).await?,
        _ => Upload { bytes, password: None },
    };
    if upload.bytes.is_empty() { Err(empty("the file has 0 bytes")) } else { Ok(upload) }
}

fn empty(have: &str) -> ApiError {
    ApiError::new(
        ErrorCode::EmptyBody,
        format!("{have}; send an image or a PDF as the body, or as the part `file` of a form"),
    )
}

/// The media type without its parameters.
fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

async fn collect(mut body: Body, limit: u64, idle: Duration, place: &mut Place) -> Result<Bytes, ApiError> {
    let mut bytes = BytesMut::new();
    let mut budget = 0_u64;
    loop {
        let frame = tokio::time::timeout(idle, body.frame()).await.map_err(|_| {
            ApiError::new(
                ErrorCode::BadRequest,
                format!(
                    "no byte of the body came for {} seconds, after {} bytes; send the request again",
                    idle.as_secs(),
                    bytes.len()
                ),
            )
        })?;
        let Some(frame) = frame else { return Ok(bytes.freeze()) };
        let Ok(frame) = frame else {
            return Err(ApiError::new(
                ErrorCode::BadRequest,
                format!("the body broke off after {} bytes; send the request again", bytes.len()),
            ));
        };
        let Ok(data) = frame.into_data() else { continue };
        let length = u64::try_from(bytes.len().saturating_add(data.len())).unwrap_or(u64::MAX);
        if length > limit {
            return Err(too_large(&format!("more than {limit} bytes"), limit));
        }
        while budget < length {
            // Doubled as a growing buffer is, so that the budget counts what is really held.
            let more = budget.max(FIRST_BYTES).min(limit.saturating_sub(budget).max(1));
            if !place.take_bytes(more) {
                return Err(ApiError::new(
                    ErrorCode::Overloaded,
                    "the server holds as many bodies as it has memory for; send the request again after Retry-After",
                )
                .with_retry_after(1));
            }
            budget += more;
        }
        bytes.extend_from_slice(&data);
    }
}

/// Takes the part `file`. Its file name is not read: names of documents are nobody's business here.
async fn form(headers: &HeaderMap, bytes: Bytes) -> Result<Upload, ApiError> {
    let malformed = |need: String| ApiError::new(ErrorCode::BadRequest, need);
    let mut request = Request::new(Body::from(bytes));
    if let Some(content_type) = headers.get(header::CONTENT_TYPE) {
        request.headers_mut().insert(header::CONTENT_TYPE, content_type.clone());
    }
    let mut parts = Multipart::from_request(request, &()).await.map_err(|_| {
        malformed("the Content-Type multipart/form-data needs a boundary; let your client set the header".to_owned())
    })?;
    let broken = || malformed("the form does not parse; send one part `file` as multipart/form-data".to_owned());
    let mut file = None;
    while let Some(part) = parts.next_field().await.map_err(|_| broken())? {
        match part.name() {
            Some("file") if file.is_none() => file = Some(part.bytes().await.map_err(|_| broken())?),
            Some("file") => {
                return Err(malformed(
                    "the form has more than one part `file`; send one document in a request".to_owned(),
                ));
            }
            name => {
                return Err(malformed(format!(
                    "the form has a part {}, which is not read here; send only the part `file`, and parameters in \
                     the query",
                    quote(name.unwrap_or_default())
                )));
            }
        }
    }
    let bytes = file.ok_or_else(|| empty("the form has no part `file`"))?;
    Ok(Upload { bytes, password: None })
}

/// A JSON body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonUpload<'a> {
    /// The document, in standard base64.
    #[serde(borrow)]
    file: std::borrow::Cow<'a, str>,
    #[serde(default)]
    password: Option<String>,
}

async fn json(bytes: Bytes) -> Result<Upload, ApiError> {
    // Ten megabytes take longer than a task may hold its thread.
    let parsed = tokio::task::spawn_blocking(move || parse_json(&bytes)).await;
    parsed.unwrap_or_else(|_| Err(ApiError::internal()))
}

fn parse_json(bytes: &[u8]) -> Result<Upload, ApiError> {
    let bad = |have: String| {
        let message = format!("{have}; send {{\"file\": \"<base64>\"}}, with \"password\" where the PDF has one");
        ApiError::new(ErrorCode::BadRequest, message)
    };
    let upload: JsonUpload<'_> = serde_json::from_slice(bytes).map_err(|error| {
        // serde's own message may quote what was sent.
        bad(format!("the JSON body does not fit at line {} column {}", error.line(), error.column()))
    })?;
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(upload.file.as_bytes())
        .map_err(|_| bad("the field `file` is not standard base64".to_owned()))?;
    Ok(Upload { bytes: decoded.into(), password: upload.password.map(checked_password).transpose()? })
}

/// How much of a refused body is read and thrown away, and for how long, so that the client sees the answer: closing
/// with bytes unread resets the connection, and the answer is lost with it.
const LINGER_BYTES: usize = 32 << 20;
const LINGER: Duration = Duration::from_secs(5);

/// A request's body that, dropped before its end, is read to the end in the background, within bounds.
pub(super) struct Lingering(Option<Body>);

impl Lingering {
    /// Wraps the body of a request with these headers.
    pub fn wrap(headers: &HeaderMap, body: Body) -> Body {
        // A client that waits for "100 Continue" sends nothing once it has an answer.
        if headers.contains_key(header::EXPECT) || body.is_end_stream() {
            return body;
        }
        Body::new(Self(Some(body)))
    }
}

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = self.0.as_mut() else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let Some(mut body) = self.0.take().filter(|body| !body.is_end_stream()) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(tokio::time::timeout(LINGER, async move {
            let mut left = LINGER_BYTES;
            while let Some(Ok(frame)) = body.frame().await {
                let length = frame.data_ref().map_or(0, Bytes::len);
                if length > left {
                    return;
                }
                left -= length;
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use axum::http::HeaderValue;
    use futures::{StreamExt as _, stream};

    use super::*;
    use crate::serve::admission::Admission;

    const IDLE: Duration = Duration::from_secs(20);

    async fn read_as(content_type: &'static str, body: impl Into<Body>, limit: u64) -> Result<Upload, ApiError> {
        let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(content_type))].into_iter().collect();
        let mut place = Admission::new(1, 0, 1 << 20).enter().unwrap();
        read(&headers, body.into(), limit, IDLE, &mut place).await
    }

    fn form_of(parts: &[(&str, &str)]) -> String {
        let mut form = String::new();
        for (disposition, content) in parts {
            let _ = write!(form, "--B\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{content}\r\n");
        }
        form + "--B--\r\n"
    }

    const FORM: &str = "multipart/form-data; boundary=B";

    #[tokio::test]
    async fn a_raw_body_is_the_document_whatever_its_content_type_says() {
        for content_type in ["image/png", "application/x-www-form-urlencoded", "text/html", ""] {
            assert_eq!(read_as(content_type, "bytes", 10).await.unwrap().bytes, "bytes", "{content_type}");
        }
    }

    #[tokio::test]
    async fn a_form_s_file_is_the_document_whatever_its_name() {
        for name in ["a.png", "../../etc/passwd", "a%0d%0ab.png", ""] {
            let form = form_of(&[(&format!("name=\"file\"; filename=\"{name}\""), "bytes")]);
            assert_eq!(read_as(FORM, form, 1000).await.unwrap().bytes, "bytes", "{name}");
        }
    }

    #[tokio::test]
    async fn a_form_with_anything_but_one_file_is_refused() {
        for (parts, code, says) in [
            (vec![], ErrorCode::EmptyBody, "no part `file`"),
            (vec![("name=\"file\"", "")], ErrorCode::EmptyBody, "0 bytes"),
            (vec![("name=\"file\"", "a"), ("name=\"file\"", "b")], ErrorCode::BadRequest, "more than one"),
            (vec![("name=\"image\"", "a")], ErrorCode::BadRequest, "\"image\""),
            (vec![("name=\"file\"", "a"), ("name=\"a\\u{0}b\"", "b")], ErrorCode::BadRequest, "only the part `file`"),
        ] {
            let error = read_as(FORM, form_of(&parts), 1000).await.unwrap_err();
            assert_eq!(error.detail.code, code, "{parts:?}");
            assert!(error.detail.message.contains(says), "{}", error.detail.message);
        }
        for (content_type, body) in [("multipart/form-data", "x"), (FORM, "nothing of a form"), (FORM, "--B\r\n")] {
            assert_eq!(read_as(content_type, body, 1000).await.unwrap_err().detail.code, ErrorCode::BadRequest);
        }
    }

    #[tokio::test]
    async fn json_carries_the_document_in_base64() {
        let upload = read_as("application/json; charset=utf-8", r#"{"file": "Ynl0ZXM="}"#, 100).await.unwrap();
        assert_eq!((upload.bytes.as_ref(), upload.password.is_none()), (&b"bytes"[..], true));
        let upload = read_as("application/json", r#"{"file": "Ynl0ZXM=", "password": "p"}"#, 100).await.unwrap();
        assert_eq!(upload.password.unwrap().0, "p");
    }

    #[tokio::test]
    async fn json_that_does_not_fit_is_refused_without_repeating_it() {
        for body in [r#"{"file": "???secret"}"#, r#"{"image": "secret"}"#, "secret", r#"{"file": 5}"#, "[]"] {
            let error = read_as("application/json", body, 100).await.unwrap_err();
            assert_eq!(error.detail.code, ErrorCode::BadRequest, "{body}");
            assert!(!error.detail.message.contains("secret"), "{}", error.detail.message);
        }
        let error = read_as("application/json", r#"{"file": ""}"#, 100).await.unwrap_err();
        assert_eq!(error.detail.code, ErrorCode::EmptyBody);
    }

    #[tokio::test]
    async fn an_empty_body_is_told_what_to_send() {
        let error = read_as("image/png", "", 10).await.unwrap_err();
        assert_eq!(error.detail.code, ErrorCode::EmptyBody);
        assert!(error.detail.message.contains("part `file`"));
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_while_it_is_read() {
        let chunks = stream::iter((0..1_000_000).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(&[0; 1000]))));
        let error = read_as("image/png", Body::from_stream(chunks), 5000).await.unwrap_err();
        assert_eq!(error.detail.code, ErrorCode::TooLarge);
        assert!(error.detail.message.contains("5000"));
        assert!(read_as("image/png", vec![0; 5000], 5000).await.is_ok());
    }

    #[test]
    fn an_announced_length_over_the_limit_is_refused_unread() {
        let headers = [(header::CONTENT_LENGTH, HeaderValue::from_static("5001"))].into_iter().collect();
        assert_eq!(check_length(&headers, 5000).unwrap_err().detail.code, ErrorCode::TooLarge);
        assert!(check_length(&headers, 5001).is_ok());
        assert!(check_length(&HeaderMap::new(), 1).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stands_still_is_given_up() {
        let chunks = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"begin"))]).chain(stream::pending());
        let begun = tokio::time::Instant::now();
        let error = read_as("image/png", Body::from_stream(chunks), 5000).await.unwrap_err();
        assert_eq!(error.detail.code, ErrorCode::BadRequest);
        assert!(error.detail.message.contains("20 seconds, after 5 bytes"), "{}", error.detail.message);
        assert_eq!(begun.elapsed(), IDLE);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_refused() {
        let chunks = stream::iter([Ok(Bytes::from_static(b"begin")), Err(std::io::Error::other("gone"))]);
        let error = read_as("image/png", Body::from_stream(chunks), 5000).await.unwrap_err();
        assert_eq!(error.detail.code, ErrorCode::BadRequest);
    }

    #[tokio::test]
    async fn bodies_beyond_the_common_budget_are_overload() {
        let admission = Admission::new(1, 1, 100_000);
        let headers = HeaderMap::new();
        let mut first = admission.enter().unwrap();
        assert!(read(&headers, vec![0; 90_000].into(), 100_000, IDLE, &mut first).await.is_ok());
        let mut second = admission.enter().unwrap();
        let error = read(&headers, vec![0; 90_000].into(), 100_000, IDLE, &mut second).await.unwrap_err();
        assert_eq!((error.detail.code, error.retry_after), (ErrorCode::Overloaded, Some(1)));
        drop((first, second));
        let mut third = admission.enter().unwrap();
        assert!(read(&headers, vec![0; 90_000].into(), 100_000, IDLE, &mut third).await.is_ok());
    }

    #[tokio::test]
    async fn what_is_left_of_a_refused_body_is_read_away() {
        let (send, receive) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
        let stream = stream::unfold(receive, |mut receive| async { receive.recv().await.map(|item| (item, receive)) });
        drop(Lingering::wrap(&HeaderMap::new(), Body::from_stream(stream)));
        for _ in 0..10 {
            send.send(Ok(Bytes::from_static(b"more"))).await.unwrap();
        }
    }
}
