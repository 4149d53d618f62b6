//! The wire of the OCR service: what a request is answered with, what the probes say, and what a model bundle declares.
//!
//! Shared by the inference server, the gateway and the operator. Plain data only: no I/O, no clock, no logic beyond
//! what a field's name promises.

pub mod document;
pub mod error;
pub mod gateway;
pub mod golden;
pub mod health;
pub mod manifest;
mod page;
pub mod proof;
pub mod status;

pub use document::{Document, DocumentLine, Line, ModelRef, Page, PageStatus, Point, Quad, StreamEnd, Warning, Word};
pub use error::{ErrorBody, ErrorCode, ErrorDetail};
pub use gateway::GatewayStatus;
pub use health::{Health, HealthStatus, Live, LoadProgress, LoadStage, Ready};
pub use manifest::Manifest;
pub use status::PodStatus;

/// Request headers that are part of the contract.
pub mod header {
    /// Names a request; taken from the caller where it is printable and short, made here otherwise, and always answered.
    pub const REQUEST_ID: &str = "x-request-id";
    /// Seconds that the caller is willing to wait; never above the server's own limit.
    pub const TIMEOUT_SECONDS: &str = "x-ocr-timeout-seconds";
    /// Marks a page that proves a server or a pool: it is read as any other, and counts in no metric.
    pub const PROOF: &str = "x-ocr-proof";
    /// The revision of the pool that answered, where the server belongs to one.
    pub const REVISION: &str = "x-ocr-revision";
    /// Requests with the same key are read by the same revision of a pool.
    pub const STICKY_KEY: &str = "x-ocr-sticky-key";
    /// Seconds that the request waited for the first pod of a pool that had none.
    pub const COLD_START: &str = "x-ocr-cold-start";
    /// Units of work that the document was, in an answer that is given whole.
    pub const UNITS: &str = "x-ocr-units";
    /// Pages in the document, in the head of a stream, which comes with the first page.
    pub const PAGE_COUNT: &str = "x-ocr-page-count";
    /// Password of an encrypted PDF. A header, because URLs end up in logs.
    pub const DOCUMENT_PASSWORD: &str = "x-ocr-document-password";
}
