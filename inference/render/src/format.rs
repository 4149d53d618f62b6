//! Which form an answer has: by `?format=`, else by `Accept`.

use ocr_api::{Document, ErrorCode};
use ocr_serving::{ApiError, quote};

use crate::written;

/// A form of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Text,
    Ndjson,
    Tsv,
}

impl Format {
    const ALL: [Self; 4] = [Self::Json, Self::Text, Self::Ndjson, Self::Tsv];

    /// The names that clients use; said in errors.
    const NAMES: &str = "json, text, ndjson or tsv";

    const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
            Self::Ndjson => "ndjson",
            Self::Tsv => "tsv",
        }
    }

    /// Value of the answer's `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Text => "text/plain; charset=utf-8",
            Self::Ndjson => "application/x-ndjson",
            Self::Tsv => "text/tab-separated-values; charset=utf-8",
        }
    }

    /// True where a media range of `Accept` covers the form. `text/*` means text, `application/*` and `*/*` mean JSON.
    fn is_covered_by(self, range: &str) -> bool {
        match self {
            Self::Json => ["application/json", "application/*", "*/*"].contains(&range),
            Self::Text => ["text/plain", "text/*"].contains(&range),
            Self::Ndjson => ["application/x-ndjson", "application/ndjson", "application/jsonl"].contains(&range),
            Self::Tsv => range == "text/tab-separated-values",
        }
    }

    /// The form named by `?format=`.
    ///
    /// # Errors
    /// Where there is no such form.
    pub fn named(name: &str) -> Result<Self, ApiError> {
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| {
            ApiError::new(
                ErrorCode::UnknownFormat,
                format!("the format {} is not written here; ask for {}", quote(name), Self::NAMES),
            )
        })
    }

    /// The form that `Accept` prefers; JSON where there is no such header.
    ///
    /// # Errors
    /// Where it prefers none that is written here.
    pub fn accepted(accept: Option<&str>) -> Result<Self, ApiError> {
        let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else { return Ok(Self::Json) };
        let mut best: Option<(Self, f32)> = None;
        for range in accept.split(',') {
            let (range, quality) = media_range(range);
            let Some(format) = Self::ALL.into_iter().find(|format| format.is_covered_by(&range)) else { continue };
            // Of equals the first wins; 0 means "not this".
            if quality > best.map_or(0.0, |(_, quality)| quality) {
                best = Some((format, quality));
            }
        }
        best.map(|(format, _)| format).ok_or_else(|| {
            ApiError::new(
                ErrorCode::UnknownFormat,
                format!(
                    "nothing that Accept names is written here ({}); ask for application/json, text/plain, \
                     application/x-ndjson or text/tab-separated-values, or set ?format= to {}",
                    quote(accept),
                    Self::NAMES
                ),
            )
        })
    }
}

/// The range and its quality.
fn media_range(text: &str) -> (String, f32) {
    let mut parts = text.split(';');
    let range = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let quality = parts
        .filter_map(|part| part.trim().strip_prefix("q="))
        .find_map(|quality| quality.trim().parse::<f32>().ok())
        .unwrap_or(1.0);
    (range, quality.clamp(0.0, 1.0))
}

/// Writes a document. `None` where it cannot be written, which no document that we make is.
#[must_use]
pub fn render(format: Format, document: &Document) -> Option<Vec<u8>> {
    match format {
        Format::Json | Format::Ndjson => written::json(document).ok(),
        Format::Text => Some(written::text(document).into_bytes()),
        Format::Tsv => Some(written::tsv(document).into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameter_takes_exactly_the_names() {
        for format in Format::ALL {
            assert_eq!(Format::named(format.name()), Ok(format));
        }
        for name in ["JSON", "xml", "", "json "] {
            let error = Format::named(name).unwrap_err();
            assert_eq!(error.detail.code, ErrorCode::UnknownFormat);
            assert!(error.detail.message.contains("ndjson"), "{}", error.detail.message);
        }
    }

    #[test]
    fn accept_is_read_with_its_preferences() {
        for (accept, format) in [
            (None, Format::Json),
            (Some(""), Format::Json),
            (Some("*/*"), Format::Json),
            (Some("text/plain"), Format::Text),
            (Some("text/*;q=0.5, application/*;q=0.4"), Format::Text),
            (Some("application/json;q=0.1, application/x-ndjson"), Format::Ndjson),
            (Some("text/html, text/tab-separated-values ; q=0.3"), Format::Tsv),
            (Some("TEXT/PLAIN; charset=utf-8"), Format::Text),
            (Some("image/png, */*;q=0.1"), Format::Json),
        ] {
            assert_eq!(Format::accepted(accept), Ok(format), "{accept:?}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        for accept in ["image/png", "application/json;q=0", "text/html"] {
            assert_eq!(Format::accepted(Some(accept)).unwrap_err().detail.code, ErrorCode::UnknownFormat, "{accept}");
        }
    }
}
