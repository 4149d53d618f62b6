//! The routes of both ports, and their description.

use std::sync::Arc;

use axum::{
    Extension, Router,
    body::Body,
    extract::{DefaultBodyLimit, Request, State},
    http::{StatusCode, Uri, header},
    middleware,
    response::{IntoResponse, Response},
};
use ocr_api::{Document, ErrorBody, ErrorCode, PageStatus, StreamEnd};
use ocr_serving::{ApiError, quote};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::{OpenApi, openapi::InfoBuilder};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    VERSION,
    answer::answer,
    app::App,
    probes,
    record::{Record, observe},
};

/// What the API's port answers; a test holds it against the description.
pub(super) const ENDPOINTS: [&str; 8] = [
    "POST /v1/ocr",
    "POST /v1/ocr/receipt",
    "POST /v1/parse",
    "GET /live",
    "GET /ready",
    "GET /health",
    "GET /openapi.json",
    "GET /",
];

#[derive(OpenApi)]
#[openapi(components(schemas(PageStatus, StreamEnd)), tags(
    (name = "read", description = "Images and PDFs to text"),
    (name = "probes", description = "How the server is"),
))]
struct Description;

/// An endpoint that reads a document: its path, its name and its summary are all that differ.
macro_rules! reads_document {
    ($name:ident, $path:literal, $summary:literal) => {
        #[utoipa::path(
            post, path = $path, tag = "read", operation_id = stringify!($name), summary = $summary,
            description = "Takes an image (JPEG, PNG, WebP, BMP, GIF, TIFF) or a PDF as the raw body, as the part `file` \
                of a form, or as base64 in JSON. What a raw body is, its first bytes decide; its Content-Type does not \
                count. A page that fails stands among the others with its error; where every page fails, the answer is \
                the first one's error.",
            params(
                ("format" = Option<String>, Query, description = "json, text, ndjson or tsv; else as Accept says, else json"),
                ("pages" = Option<String>, Query, description = "Pages to read, such as 1-3,7; else all"),
                ("min_confidence" = Option<f32>, Query, description = "Lines below are left out, 0 to 1"),
                ("orientation" = Option<String>, Query, description = "Degrees that pages are turned clockwise before they are read: auto, 0, 90, 180 or 270"),
                ("dpi" = Option<u32>, Query, description = "Resolution that PDF pages are rendered at, 36 to 600"),
                ("X-Request-Id" = Option<String>, Header, description = "Names the request: printable ASCII, at most 128 characters; made where absent"),
                ("X-Ocr-Timeout-Seconds" = Option<u64>, Header, description = "Time to wait for the answer; above the server's limit it counts as the limit"),
                ("X-Ocr-Document-Password" = Option<String>, Header, description = "Password of an encrypted PDF"),
            ),
            request_body(content(
                (Vec<u8> = "application/octet-stream"),
                (FormUpload = "multipart/form-data"),
                (JsonUpload = "application/json"),
            )),
            responses(
                (status = 200, description = "The document; with ndjson an object for each page and a last one that says how it ended", content(
                    (Document = "application/json"),
                    (PageStatus = "application/x-ndjson"),
                    (String = "text/plain"),
                    (String = "text/tab-separated-values"),
                )),
                (status = 400, description = "empty_body, bad_request, unknown_parameter, page_out_of_range, unsupported_language", body = ErrorBody),
                (status = 406, description = "unknown_format", body = ErrorBody),
                (status = 413, description = "too_large, too_many_pixels, too_many_pages", body = ErrorBody),
                (status = 415, description = "unsupported_media", body = ErrorBody),
                (status = 422, description = "undecodable, password_required, password_wrong, decode_limit", body = ErrorBody),
                (status = 429, description = "overloaded; Retry-After says when to come again", body = ErrorBody),
                (status = 500, description = "engine, internal", body = ErrorBody),
                (status = 503, description = "not_ready, draining; Retry-After says when to come again", body = ErrorBody),
                (status = 504, description = "timeout", body = ErrorBody),
            ),
        )]
        async fn $name(
            State(app): State<Arc<App>>,
            Extension(record): Extension<Arc<Record>>,
            request: Request,
        ) -> Result<Response, ApiError> {
            answer(app, record, request).await
        }
    };
}

reads_document!(ocr, "/v1/ocr", "Read a document");
reads_document!(receipt, "/v1/ocr/receipt", "Read a receipt");
reads_document!(parse, "/v1/parse", "Read a document's layout");

/// A form with one part.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes a form; the form is read part by part")]
struct FormUpload {
    /// The document.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
}

/// A document in JSON.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes a body; the body is read without a copy of it")]
struct JsonUpload {
    /// The document, in standard base64.
    #[schema(value_type = String, format = Byte)]
    file: String,
    /// Password of an encrypted PDF.
    password: Option<String>,
}

/// Routes of the API's port.
pub(super) fn api(app: Arc<App>) -> Router {
    let (router, description) = described().split_for_parts();
    // Written once: it does not change while the server runs.
    let description = description.to_json().unwrap_or_default();
    let router = router
        .route("/openapi.json", axum::routing::get(move || std::future::ready(json_text(description.clone()))))
        .route("/", axum::routing::get(pointer));
    layered(router, app)
}

/// Routes of the admin port. The probes are there too: it answers when the API's port is crowded.
pub(super) fn admin(app: Arc<App>) -> Router {
    let router = Router::new()
        .route("/status", axum::routing::get(probes::status))
        .route("/metrics", axum::routing::get(metrics))
        .route("/live", axum::routing::get(probes::live))
        .route("/ready", axum::routing::get(probes::ready))
        .route("/health", axum::routing::get(probes::health));
    layered(router, app)
}

fn described() -> OpenApiRouter<Arc<App>> {
    let mut description = Description::openapi();
    description.info = InfoBuilder::new()
        .title("OCR inference server")
        .version(VERSION)
        .description(Some("Reads images and PDFs. Every error is JSON with a stable code."))
        .build();
    OpenApiRouter::with_openapi(description)
        .routes(routes!(ocr))
        .routes(routes!(receipt))
        .routes(routes!(parse))
        .routes(routes!(probes::live))
        .routes(routes!(probes::ready))
        .routes(routes!(probes::health))
}

/// What every route has: our JSON for what is not there, for the wrong method and for panics, and a record.
fn layered(router: Router<Arc<App>>, app: Arc<App>) -> Router {
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| -> Response<Body> {
            ApiError::internal().into_response()
        }))
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(Arc::clone(&app), observe))
        .with_state(app)
}

async fn not_found(uri: Uri) -> ApiError {
    let message = format!("there is no path {}; GET /openapi.json describes those that are", quote(uri.path()));
    ApiError::new(ErrorCode::NotFound, message)
}

async fn method_not_allowed(request: Request) -> ApiError {
    let message = format!(
        "{} does not take {}; the header Allow says what it takes",
        quote(request.uri().path()),
        quote(request.method().as_str())
    );
    ApiError::new(ErrorCode::MethodNotAllowed, message)
}

async fn metrics(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let text = app.metrics.encode(&app).map_err(|error| {
        tracing::error!(error = %error, "writing metrics failed");
        ApiError::internal()
    })?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// Where to look, for who opens the address in a browser.
async fn pointer() -> Response {
    let text = "OCR inference server\n\nPOST an image or a PDF to /v1/ocr:\n  curl --data-binary @page.png \
                http://<this address>/v1/ocr\n\nDescription: /openapi.json   State: /health\n";
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

fn json_text(text: String) -> Response {
    if text.is_empty() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_described_route_is_listed_and_the_other_way_round() {
        let description = serde_json::to_value(described().into_openapi()).unwrap();
        let mut described: Vec<String> = description["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))
            })
            .chain(["GET /openapi.json".to_owned(), "GET /".to_owned()])
            .collect();
        described.sort();
        let mut listed = ENDPOINTS.map(str::to_owned).to_vec();
        listed.sort();
        assert_eq!(described, listed);
    }
}
