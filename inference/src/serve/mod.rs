//! The server: requests in, answers out, and what keeps a pod's life in order.
//!
//! It knows the pipeline only by [`Backend`]; nothing here decodes, computes or renders, and no task holds its thread
//! for longer than half a millisecond.

mod admission;
mod answer;
mod app;
mod backend;
mod body;
mod exit;
mod load;
mod metrics;
mod pressure;
mod probes;
mod reader;
mod record;
mod request;
mod router;
mod run;
#[cfg(test)]
mod tests;
mod watchdog;

pub use backend::{Backend, DocumentStream, Loader};
pub use exit::ServeError;
pub use load::{LoadError, Progress};
pub use reader::{Look, ReaderBackend};
pub use run::{Ended, Server};

/// Version of the program.
const VERSION: &str = env!("CARGO_PKG_VERSION");
