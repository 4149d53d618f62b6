//! Errors to answers: the one place where a code becomes a status.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use ocr_api::{ErrorBody, ErrorCode, ErrorDetail};

use crate::RequestId;

/// An error on its way to the client. The body is written by the outermost layer, which knows the request's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    pub detail: ErrorDetail,
    /// Seconds after which the same request may succeed.
    pub retry_after: Option<u32>,
}

impl ApiError {
    /// An error with its message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { detail: ErrorDetail::new(code, message), retry_after: None }
    }

    /// A fault of ours: the cause is in the log, the client learns nothing of it.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(
            ErrorCode::Internal,
            "the server failed on this request; the log has the cause under this request id, and other requests go on",
        )
    }

    /// The same, with the seconds after which the request may be sent again.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl From<ErrorDetail> for ApiError {
    fn from(detail: ErrorDetail) -> Self {
        // What the pipeline says may be sent again is worth a moment's wait.
        let retry_after = detail.code.is_retryable().then_some(1);
        Self { detail, retry_after }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.detail.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self.detail);
        response
    }
}

/// Makes an answer's body that of an error.
pub fn write_error(response: &mut Response, error: ErrorDetail, id: &RequestId) {
    let body = ErrorBody { error, request_id: id.as_str().to_owned() };
    // Strings and an enum: nothing in it can fail to be written.
    let bytes = serde_json::to_vec(&body).unwrap_or_default();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().remove(header::CONTENT_LENGTH);
    *response.body_mut() = Body::from(bytes);
}

/// Text of a client as it may stand in a message to the same client: short, on one line, in quotes.
#[must_use]
pub fn quote(text: &str) -> String {
    const MOST: usize = 60;
    let mut short: String = text.chars().take(MOST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_status_and_keeps_its_detail() {
        for code in ErrorCode::ALL {
            let response = ApiError::new(code, "why").into_response();
            assert_eq!(response.status().as_u16(), code.http_status());
            assert_eq!(response.extensions().get::<ErrorDetail>().unwrap().code, code);
        }
    }

    #[test]
    fn quoted_text_stays_short_and_on_one_line() {
        let quoted = quote(&format!("a\nb\u{1b}[31m{}", "x".repeat(500)));
        assert!(quoted.chars().count() < 90 && !quoted.contains('\n') && !quoted.contains('\u{1b}'));
        assert!(quoted.starts_with(r#""a\nb"#));
    }
}
