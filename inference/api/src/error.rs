//! Errors as a client sees them: a stable code, a status, and a message that says what to do next.

use serde::{Deserialize, Serialize};

/// What went wrong, in a word that does not change between versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request has no document: an empty body, a multipart form without the part `file`, or a file of 0 bytes.
    EmptyBody,
    /// A header, parameter or form that does not parse, or has a value outside its range.
    BadRequest,
    /// A parameter that this endpoint does not have.
    UnknownParameter,
    /// A `format` or `Accept` that this endpoint cannot write.
    UnknownFormat,
    /// The page range names pages that the document does not have.
    PageOutOfRange,
    /// A language that the model cannot read.
    UnsupportedLanguage,
    /// The address takes requests with a key only, and none that it knows came.
    Unauthorized,
    /// No such path.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The body is over the limit.
    TooLarge,
    /// The page has more pixels than the limit.
    TooManyPixels,
    /// The document has more pages than the limit.
    TooManyPages,
    /// The bytes are of no kind that is read here.
    UnsupportedMedia,
    /// The bytes look like a kind that is read here, and cannot be decoded.
    Undecodable,
    /// The PDF is encrypted and no password came with it.
    PasswordRequired,
    /// The password does not open the PDF.
    PasswordWrong,
    /// The decoder was ended because the document used more memory or time than one may.
    DecodeLimit,
    /// The queue is full.
    Overloaded,
    /// The client has sent as many requests as one may.
    RateLimited,
    /// The pods that were given the request did not answer.
    PodFailed,
    /// The model is not loaded yet, or could not be loaded.
    NotReady,
    /// The server is shutting down.
    Draining,
    /// The time for this request ran out.
    Timeout,
    /// The request was given up before it was done: its client left.
    Cancelled,
    /// The model could not be run.
    Engine,
    /// Memory ran out under the page, and no way of computing that needs less is left.
    OutOfMemory,
    /// A fault of ours.
    Internal,
}

impl ErrorCode {
    /// Every code, for documentation and for metrics that start at zero.
    pub const ALL: [Self; 27] = [
        Self::EmptyBody,
        Self::BadRequest,
        Self::UnknownParameter,
        Self::UnknownFormat,
        Self::PageOutOfRange,
        Self::UnsupportedLanguage,
        Self::Unauthorized,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::TooLarge,
        Self::TooManyPixels,
        Self::TooManyPages,
        Self::UnsupportedMedia,
        Self::Undecodable,
        Self::PasswordRequired,
        Self::PasswordWrong,
        Self::DecodeLimit,
        Self::Overloaded,
        Self::RateLimited,
        Self::PodFailed,
        Self::NotReady,
        Self::Draining,
        Self::Timeout,
        Self::Cancelled,
        Self::Engine,
        Self::OutOfMemory,
        Self::Internal,
    ];

    /// The code as it is written in an answer and in a metric's label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EmptyBody => "empty_body",
            Self::BadRequest => "bad_request",
            Self::UnknownParameter => "unknown_parameter",
            Self::UnknownFormat => "unknown_format",
            Self::PageOutOfRange => "page_out_of_range",
            Self::UnsupportedLanguage => "unsupported_language",
            Self::Unauthorized => "unauthorized",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::TooLarge => "too_large",
            Self::TooManyPixels => "too_many_pixels",
            Self::TooManyPages => "too_many_pages",
            Self::UnsupportedMedia => "unsupported_media",
            Self::Undecodable => "undecodable",
            Self::PasswordRequired => "password_required",
            Self::PasswordWrong => "password_wrong",
            Self::DecodeLimit => "decode_limit",
            Self::Overloaded => "overloaded",
            Self::RateLimited => "rate_limited",
            Self::PodFailed => "pod_failed",
            Self::NotReady => "not_ready",
            Self::Draining => "draining",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Engine => "engine",
            Self::OutOfMemory => "out_of_memory",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status that an answer with this code has.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::EmptyBody
            | Self::BadRequest
            | Self::UnknownParameter
            | Self::PageOutOfRange
            | Self::UnsupportedLanguage => 400,
            Self::Unauthorized => 401,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::UnknownFormat => 406,
            Self::TooLarge | Self::TooManyPixels | Self::TooManyPages => 413,
            Self::UnsupportedMedia => 415,
            Self::Undecodable | Self::PasswordRequired | Self::PasswordWrong | Self::DecodeLimit => 422,
            Self::Overloaded | Self::RateLimited => 429,
            Self::Cancelled => 499,
            Self::Engine | Self::OutOfMemory | Self::Internal => 500,
            Self::PodFailed => 502,
            Self::NotReady | Self::Draining => 503,
            Self::Timeout => 504,
        }
    }

    /// True where the same request may succeed later: the caller waits as `Retry-After` says and sends it again.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Overloaded | Self::RateLimited | Self::PodFailed | Self::NotReady | Self::Draining)
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(feature = "schemas", derive(utoipa::ToSchema))]
#[error("{message}")]
pub struct ErrorDetail {
    /// Stable; made for programs.
    pub code: ErrorCode,
    /// What is needed, what was found, and what to do next; made for people.
    pub message: String,
}

impl ErrorDetail {
    /// An error with its message.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// The body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(utoipa::ToSchema))]
pub struct ErrorBody {
    pub error: ErrorDetail,
    /// Repeats the `X-Request-Id` header.
    pub request_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_written_as_serde_writes_it() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }

    #[test]
    fn every_code_is_an_error_status() {
        for code in ErrorCode::ALL {
            assert!((400..600).contains(&code.http_status()), "{code}");
        }
    }
}
