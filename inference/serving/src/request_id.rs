//! The name of a request.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue};

/// Longest id that is taken over from a client.
const MAX_BYTES: usize = 128;

/// Names a request in answers and logs: printable ASCII, at most 128 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The client's own id where it is printable ASCII and not too long, else a new one.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(ocr_api::header::REQUEST_ID).and_then(|value| value.to_str().ok());
        match given.filter(|id| {
            (1..=MAX_BYTES).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
        }) {
            Some(id) => Self(id.into()),
            None => Self(uuid::Uuid::new_v4().to_string().into()),
        }
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as the value of a header.
    #[must_use]
    pub fn to_value(&self) -> HeaderValue {
        // Printable ASCII is what a value may be.
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    #[test]
    fn an_id_is_taken_over_only_where_it_is_printable_and_short() {
        let id = |value: &[u8]| {
            let headers = [(HeaderName::from_static("x-request-id"), HeaderValue::from_bytes(value).unwrap())];
            RequestId::of(&headers.into_iter().collect())
        };
        assert_eq!(id(b"abc-123").as_str(), "abc-123");
        assert_eq!(id(b"abc-123").to_value(), "abc-123");
        assert_eq!(id(&[b'x'; 128]).as_str().len(), 128);
        for bad in [&b""[..], &[b'x'; 129], "ü".as_bytes(), b"a\tb"] {
            assert_eq!(id(bad).as_str().len(), 36, "{bad:?}");
        }
        assert_ne!(RequestId::of(&HeaderMap::new()), RequestId::of(&HeaderMap::new()));
    }
}
