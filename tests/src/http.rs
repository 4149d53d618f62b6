//! Requests to the server under test, and its answers.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use ocr_api::{Document, ErrorBody, ErrorCode};
use reqwest::{
    Method,
    blocking::{Body, Client, RequestBuilder, multipart},
    header::HeaderMap,
};
use serde_json::Value;

/// Longest wait for an answer: above the longest that a suite allows its server (900 s), so that the server's answer is seen and not ours.
const TIMEOUT: Duration = Duration::from_secs(930);

/// A client of one server. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client,
    base: String,
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// From sending the request to the last byte of the answer.
    pub elapsed: Duration,
}

impl Http {
    /// A client of the server at `base`, such as `http://127.0.0.1:8100`.
    ///
    /// # Errors
    /// If the client cannot be made.
    pub fn new(base: impl Into<String>) -> anyhow::Result<Self> {
        let client = Client::builder().no_proxy().timeout(TIMEOUT).build().context("cannot make an HTTP client")?;
        Ok(Self { client, base: base.into() })
    }

    /// A request still to be filled in and sent by [`send`].
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// `GET path`.
    ///
    /// # Errors
    /// If no answer comes.
    pub fn get(&self, path: &str) -> anyhow::Result<Answer> {
        send(self.request(Method::GET, path))
    }

    /// `POST path` with a raw body.
    ///
    /// # Errors
    /// If no answer comes.
    pub fn post(&self, path: &str, body: impl Into<Body>) -> anyhow::Result<Answer> {
        send(self.request(Method::POST, path).body(body))
    }

    /// `POST path` as a form with the one part `name`, the way a browser sends a file.
    ///
    /// # Errors
    /// If no answer comes.
    pub fn post_form(&self, path: &str, name: &str, file_name: &str, body: Vec<u8>) -> anyhow::Result<Answer> {
        let part = multipart::Part::bytes(body).file_name(file_name.to_owned());
        let form = multipart::Form::new().part(name.to_owned(), part);
        send(self.request(Method::POST, path).multipart(form))
    }

    /// Reads a document at `/v1/ocr` with everything at its default.
    ///
    /// # Errors
    /// If no answer comes, or another than a document.
    pub fn read(&self, body: impl Into<Body>) -> anyhow::Result<Document> {
        self.post("/v1/ocr", body)?.document()
    }
}

/// Sends a request and takes the whole answer.
///
/// # Errors
/// If no answer comes.
pub fn send(request: RequestBuilder) -> anyhow::Result<Answer> {
    let started = Instant::now();
    let response = request.send().context("no answer")?;
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let body = response.bytes().context("the answer was cut off")?.to_vec();
    Ok(Answer { status, headers, body, elapsed: started.elapsed() })
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value; empty where it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// If it is none.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("no JSON: {}", self.describe()))
    }

    /// The document of an answer with status 200.
    ///
    /// # Errors
    /// If it is another answer.
    pub fn document(&self) -> anyhow::Result<Document> {
        ensure!(self.status == 200, "no document: {}", self.describe());
        serde_json::from_slice(&self.body).with_context(|| format!("not a document: {}", self.describe()))
    }

    /// The error of an answer with another status than 200.
    ///
    /// # Errors
    /// If it is a success, or not in the form of our errors.
    pub fn error(&self) -> anyhow::Result<ErrorBody> {
        ensure!(self.status >= 400, "no error: {}", self.describe());
        let body: ErrorBody =
            serde_json::from_slice(&self.body).with_context(|| format!("not our error: {}", self.describe()))?;
        ensure!(
            body.error.code.http_status() == self.status,
            "{} belongs to status {}: {}",
            body.error.code,
            body.error.code.http_status(),
            self.describe()
        );
        Ok(body)
    }

    /// Every error code in the answer: of the answer as a whole, or of the pages that failed.
    ///
    /// # Errors
    /// If the answer is neither a document nor an error of ours.
    pub fn codes(&self) -> anyhow::Result<Vec<ErrorCode>> {
        if self.status == 200 {
            Ok(self.document()?.pages.into_iter().filter_map(|page| page.error).map(|error| error.code).collect())
        } else {
            Ok(vec![self.error()?.error.code])
        }
    }

    /// Status and the beginning of the body, for messages.
    #[must_use]
    pub fn describe(&self) -> String {
        let text = self.text();
        let start: String = text.chars().take(300).collect();
        format!("{} {start}", self.status)
    }
}

/// What of a document must be the same each time it is read: all but ids and times.
///
/// # Errors
/// Never for a document that came over the wire.
pub fn comparable(document: &Document) -> anyhow::Result<Value> {
    let mut value = serde_json::to_value(document)?;
    strip(&mut value);
    Ok(value)
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| name != "request_id" && name != "processing_time_ms");
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_and_times_are_left_out_at_every_depth() {
        let mut value = json!({"request_id": "a", "pages": [{"processing_time_ms": 3, "text": "x"}], "n": 1});
        strip(&mut value);
        assert_eq!(value, json!({"pages": [{"text": "x"}], "n": 1}));
    }

    fn answer(status: u16, body: &Value) -> Answer {
        Answer { status, headers: HeaderMap::new(), body: body.to_string().into_bytes(), elapsed: Duration::ZERO }
    }

    #[test]
    fn an_error_whose_status_is_not_its_codes_is_refused() {
        let body = json!({"error": {"code": "too_large", "message": "m"}, "request_id": "r"});
        assert_eq!(answer(413, &body).codes().unwrap(), [ErrorCode::TooLarge]);
        assert!(answer(400, &body).error().is_err());
        assert!(answer(500, &json!("plain")).codes().is_err());
    }
}
