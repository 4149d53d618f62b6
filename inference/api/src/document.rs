//! The answer: a document of pages, each with its lines and words.

use serde::{Deserialize, Serialize};

use crate::error::ErrorDetail;

/// `[x, y]` in pixels of the page as it is seen: after EXIF or PDF rotation and, where the page was turned to be read,
/// before that turn.
pub type Point = [f32; 2];

/// Four corners in reading direction: top left, top right, bottom right, bottom left of the text itself.
pub type Quad = [Point; 4];

/// The answer to one request: every page that was asked for, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(utoipa::ToSchema))]
pub struct Document {
    /// Repeats the `X-Request-Id` header.
    pub request_id: String,
    /// The model that read the pages.
    pub model: ModelRef,
    /// True where every page was read.
    pub success: bool,
    /// Pages in the document, whether they were asked for or not.
    pub page_count: u32,
    /// Text of all pages read, in order, pages separated by a form feed (U+000C).
    pub text: String,
    /// The lines of all pages, in order, without their words.
    pub lines: Vec<DocumentLine>,
    /// Number of entries in `lines`.
    pub line_count: usize,
    /// Mean of the lines' confidence; 0 where there is no line.
    pub avg_confidence: f32,
    /// Milliseconds from the whole body received to the last page read.
    pub processing_time_ms: u64,
    /// The pages asked for, in order; one that failed stands among the others with its `error`.
    pub pages: Vec<Page>,
}

/// Which model answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(utoipa::ToSchema))]
pub struct ModelRef {
    /// Name of the bundle.
    pub name: String,
    /// Version of the bundle.
    pub version: String,
    /// `sha256:` and the digest of the bundle's manifest, which itself names the digest of every file.
    pub digest: String,
}

/// One page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(utoipa::ToSchema))]
pub struct Page {
    /// Counted from 1 in the document.
    pub page_number: u32,
    /// False where the page could not be read; then `error` says why.
    pub success: bool,
    /// Why the page could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorDetail>,
    /// Width of the page in pixels, before any resizing; 0 where it is not known.
    pub image_width: u32,
    /// Height of the page in pixels, before any resizing; 0 where it is not known.
    pub image_height: u32,
    /// Resolution that a PDF page was rendered at; absent for images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dpi: Option<u32>,
    /// Degrees that the page was turned clockwise to be read: 0, 90, 180 or 270.
    pub orientation: u16,
    /// Milliseconds that this page took, by its own stages.
    pub processing_time_ms: u64,
    /// Text of the page, lines separated by a newline.
    pub text: String,
    /// Markdown of the page; empty until the pool's endpoint makes it.
    pub markdown: String,
    /// HTML of the page; empty until the pool's endpoint makes it.
    pub html: String,
    /// Layout of the page; an empty object until the pool's endpoint makes it.
    #[cfg_attr(feature = "schemas", schema(value_type = Object))]
    pub json_output: serde_json::Map<String, serde_json::Value>,
    /// Lines in reading order.
    pub lines: Vec<Line>,
    /// Number of entries in `lines`.
    pub line_count: usize,
    /// Mean of the lines' confidence; 0 where there is no line.
    pub avg_confidence: f32,
    /// What a reader of this page should know.
    pub warnings: Vec<Warning>,
}

/// One line of text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(utoipa::ToSchema))]
pub struct Line {
    /// The text.
    pub text: String,
    /// Mean probability of the characters, 0 to 1.
    pub confidence: f32,
    /// Four corners: top left, top right, bottom right, bottom left.
    #[cfg_attr(feature = "schemas", schema(value_type = [[f32; 2]; 4]))]
    pub bbox: Quad,
    /// The line's words, in order.
    #[serde(default)]
    pub words: Vec<Word>,
}

/// A line as it stands in the document's own list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(utoipa::ToSchema))]
pub struct DocumentLine {
    /// The page that the line stands on, counted from 1.
    pub page_number: u32,
    /// The text.
    pub text: String,
    /// Mean probability of the characters, 0 to 1.
    pub confidence: f32,
    /// Four corners: top left, top right, bottom right, bottom left.
    #[cfg_attr(feature = "schemas", schema(value_type = [[f32; 2]; 4]))]
    pub bbox: Quad,
}

/// One word of a line. Its box follows from the steps of the recogniser, so its ends are good to about half a character.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(utoipa::ToSchema))]
pub struct Word {
    /// The text, without white space.
    pub text: String,
    /// Mean probability of the characters, 0 to 1.
    pub confidence: f32,
    /// Four corners: top left, top right, bottom right, bottom left.
    #[cfg_attr(feature = "schemas", schema(value_type = [[f32; 2]; 4]))]
    pub bbox: Quad,
}

/// What a reader of a page should know though the page was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Warning {
    /// Nothing that looks like text stands on the page.
    Blank,
    /// The text is so small that letters are likely wrong; send a larger picture.
    LowResolution,
    /// Text was found, and most of it could not be read with confidence.
    LowConfidence,
    /// The PDF page was rendered below the resolution asked for, to keep within the pixel limit.
    DpiLowered,
}

/// One object of an ndjson stream: a page, and which file it came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(utoipa::ToSchema))]
pub struct PageStatus {
    /// The file on the command line; the request id over HTTP, where names of documents are never repeated.
    pub file: String,
    /// Page number, counted from 1; 0 where the document could not be opened at all.
    pub page: u32,
    #[serde(flatten)]
    pub result: Page,
}

/// The last object of an ndjson stream. A stream without it was cut off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(utoipa::ToSchema))]
pub struct StreamEnd {
    /// Always `done`: what tells this object from a page.
    pub status: String,
    /// True where every page of every file was read.
    pub success: bool,
    /// Pages written before this line.
    pub pages: u32,
    /// Pages and files that failed.
    pub failed: u32,
    /// What ended the stream early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorDetail>,
}
