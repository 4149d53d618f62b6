//! Settings: a flag and an `OCR_…` variable each, read once at the start.

mod bytes;
mod environment;
mod parse;
mod server;

pub use bytes::parse_bytes;
pub use environment::{EnvironmentError, check_environment};
pub use parse::{SettingsError, parse, try_parse_from};
pub use server::{ConnectionSettings, DrainSettings, ListenSettings, LogFormat, LogLevel, LogSettings};
