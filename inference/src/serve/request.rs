//! What a request asks for: its parameters and headers. The body is not touched here.

use std::time::Duration;

use axum::{
    extract::Query,
    http::{HeaderMap, Uri, header},
};
use ocr_api::ErrorCode;
use ocr_render::Format;
use ocr_serving::{ApiError, quote};

use crate::{
    decode::Password,
    plan::Orientation,
    read::PageRanges,
    settings::{ServeSettings, parse_dpi, parse_min_confidence},
};

/// Every parameter that the reading endpoints have.
const PARAMETERS: [&str; 5] = ["format", "pages", "min_confidence", "orientation", "dpi"];

/// Longest password: what PDF's strongest encryption takes.
const MAX_PASSWORD: usize = 127;

/// What a request asks for.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub format: Format,
    pub pages: Option<PageRanges>,
    pub min_confidence: f32,
    pub orientation: Orientation,
    pub dpi: Option<u32>,
    pub password: Option<Password>,
    /// Time for the whole request.
    pub timeout: Duration,
}

impl Ask {
    /// Reads parameters and headers.
    pub fn read(uri: &Uri, headers: &HeaderMap, settings: &ServeSettings) -> Result<Self, ApiError> {
        let parameters = Parameters::read(uri)?;
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        Ok(Self {
            format: match parameters.get("format") {
                Some(name) => Format::named(name)?,
                None => Format::accepted(accept)?,
            },
            pages: parameters.parse("pages", |text| text.parse().map_err(|error| format!("{error}")))?,
            min_confidence: parameters.parse("min_confidence", parse_min_confidence)?.unwrap_or(0.0),
            orientation: parameters
                .parse("orientation", |text| text.parse().map_err(|error| format!("{error}")))?
                .unwrap_or(settings.pipeline.document.orientation),
            dpi: parameters.parse("dpi", parse_dpi)?,
            password: password(headers)?,
            timeout: timeout(headers, settings.limits.request())?,
        })
    }
}

/// The query's parameters: each known, none twice.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn read(uri: &Uri) -> Result<Self, ApiError> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|_| {
            ApiError::new(ErrorCode::BadRequest, "the query does not parse; write it as ?format=json&pages=1-3,7")
        })?;
        for (index, (name, _)) in pairs.iter().enumerate() {
            if !PARAMETERS.contains(&name.as_str()) {
                return Err(ApiError::new(
                    ErrorCode::UnknownParameter,
                    format!("there is no parameter {}; there are {}", quote(name), PARAMETERS.join(", ")),
                ));
            }
            if pairs.iter().take(index).any(|(earlier, _)| earlier == name) {
                return Err(ApiError::new(
                    ErrorCode::BadRequest,
                    format!("the parameter {name} is given twice; give it once"),
                ));
            }
        }
        Ok(Self(pairs))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn parse<T>(&self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        parse(value).map(Some).map_err(|need| {
            ApiError::new(ErrorCode::BadRequest, format!("the parameter {name} has the value {}: {need}", quote(value)))
        })
    }
}

fn password(headers: &HeaderMap) -> Result<Option<Password>, ApiError> {
    let Some(value) = headers.get(ocr_api::header::DOCUMENT_PASSWORD) else { return Ok(None) };
    let text = String::from_utf8(value.as_bytes().to_vec()).map_err(|_| {
        ApiError::new(ErrorCode::BadRequest, "the header X-Ocr-Document-Password is not UTF-8; send it as UTF-8")
    })?;
    checked_password(text).map(Some)
}

/// Takes a password over where its length is one that a PDF can have.
pub(super) fn checked_password(text: String) -> Result<Password, ApiError> {
    if text.len() > MAX_PASSWORD {
        let message =
            format!("the password has {} bytes; a PDF's has at most {MAX_PASSWORD}: send the right one", text.len());
        return Err(ApiError::new(ErrorCode::BadRequest, message));
    }
    Ok(Password(text))
}

/// What the client is willing to wait, at most the limit.
fn timeout(headers: &HeaderMap, limit: Duration) -> Result<Duration, ApiError> {
    let Some(value) = headers.get(ocr_api::header::TIMEOUT_SECONDS) else { return Ok(limit) };
    let seconds = value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok()).filter(|seconds| *seconds > 0);
    seconds.map(|seconds| Duration::from_secs(seconds).min(limit)).ok_or_else(|| {
        ApiError::new(
            ErrorCode::BadRequest,
            format!(
                "the header X-Ocr-Timeout-Seconds is a whole number of seconds from 1; above {} it counts as {0}",
                limit.as_secs()
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};
    use clap::Parser;

    use super::*;
    use crate::plan::Turn;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        settings: ServeSettings,
    }

    fn read(uri: &str, headers: &[(&'static str, &str)]) -> Result<Ask, ApiError> {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap()))
            .collect();
        let settings = Line::parse_from(["ocr", "--request-seconds", "100", "--orientation", "90"]).settings;
        Ask::read(&uri.parse().unwrap(), &headers, &settings)
    }

    fn code(uri: &str, headers: &[(&'static str, &str)]) -> ErrorCode {
        read(uri, headers).unwrap_err().detail.code
    }

    #[test]
    fn without_parameters_the_settings_count() {
        let ask = read("/v1/ocr", &[]).unwrap();
        assert_eq!(ask.format, Format::Json);
        assert_eq!(ask.orientation, Orientation::Fixed(Turn::Quarter));
        assert_eq!(ask.timeout, Duration::from_secs(100));
        assert!(ask.pages.is_none() && ask.dpi.is_none() && ask.password.is_none());
        assert!(ask.min_confidence.abs() < f32::EPSILON);
    }

    #[test]
    fn every_parameter_is_read() {
        let ask = read(
            "/v1/ocr?format=tsv&pages=2-3%2C5&min_confidence=0.5&orientation=180&dpi=200",
            &[("accept", "text/plain"), ("x-ocr-document-password", "pässword"), ("x-ocr-timeout-seconds", "7")],
        )
        .unwrap();
        assert_eq!(ask.format, Format::Tsv);
        assert_eq!(ask.pages.unwrap().select(9), Ok(vec![1, 2, 4]));
        assert!((ask.min_confidence - 0.5).abs() < f32::EPSILON);
        assert_eq!(ask.orientation, Orientation::Fixed(Turn::Half));
        assert_eq!(ask.dpi, Some(200));
        assert_eq!(ask.password.unwrap().0, "pässword");
        assert_eq!(ask.timeout, Duration::from_secs(7));
    }

    #[test]
    fn a_longer_wait_than_the_limit_counts_as_the_limit() {
        assert_eq!(read("/", &[("x-ocr-timeout-seconds", "999999")]).unwrap().timeout, Duration::from_secs(100));
        for value in ["0", "-1", "soon", "1.5", ""] {
            assert_eq!(code("/", &[("x-ocr-timeout-seconds", value)]), ErrorCode::BadRequest, "{value}");
        }
    }

    #[test]
    fn an_unknown_parameter_is_told_the_known_ones() {
        let error = read("/v1/ocr?page=1", &[]).unwrap_err();
        assert_eq!(error.detail.code, ErrorCode::UnknownParameter);
        assert!(error.detail.message.contains("\"page\"") && error.detail.message.contains("pages, min_confidence"));
    }

    #[test]
    fn a_password_in_the_url_is_an_unknown_parameter_and_its_value_is_not_repeated() {
        let error = read("/v1/ocr?password=hunter2", &[]).unwrap_err();
        assert_eq!(error.detail.code, ErrorCode::UnknownParameter);
        assert!(!error.detail.message.contains("hunter2"));
    }

    #[test]
    fn bad_values_are_refused_with_what_is_needed() {
        for uri in [
            "/?pages=0",
            "/?pages=3-1",
            "/?pages=",
            "/?min_confidence=2",
            "/?min_confidence=NaN",
            "/?orientation=45",
            "/?dpi=10000",
            "/?dpi=150&dpi=150",
        ] {
            assert_eq!(code(uri, &[]), ErrorCode::BadRequest, "{uri}");
        }
        assert_eq!(code("/?format=xml", &[]), ErrorCode::UnknownFormat);
        assert_eq!(code("/", &[("accept", "image/png")]), ErrorCode::UnknownFormat);
        assert_eq!(code("/", &[("x-ocr-document-password", &"x".repeat(128))]), ErrorCode::BadRequest);
    }
}
