//! What the servers of the OCR service have in common: ports and connections within bounds, ids of requests, errors as
//! JSON, settings from flags and variables, the log, signals and last words.
//!
//! Nothing here knows what a server serves.

mod error;
pub mod exit;
pub mod listen;
pub mod log;
pub mod process;
mod request_id;
pub mod settings;
mod signals;

pub use error::{ApiError, quote, write_error};
pub use request_id::RequestId;
pub use signals::{Signal, signals};
