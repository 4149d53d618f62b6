//! The server: requests in, answers out, and what keeps a pod's life in order.
//!
//! It knows the pipeline only by [`Backend`]; nothing here decodes, computes or renders, and no task holds its thread
//! for longer than half a millisecond.

mod admission;
mod answer;
mod app;
mod backend;
mod body;
mod error;
mod exit;
mod format;
mod listen;
mod load;
mod log;
mod metrics;
mod pressure;
mod probes;
mod process;
mod reader;
mod record;
mod request;
mod router;
mod run;
#[cfg(test)]
mod tests;
mod watchdog;

pub use backend::{Backend, DocumentStream, Loader};
pub use exit::{ServeError, TERMINATION_LOG, leave_termination_message};
pub use listen::ListenError;
pub use load::{LoadError, Progress};
pub use log::init as init_log;
pub use reader::{Look, ReaderBackend};
pub use run::{Ended, Server, Signal};

/// Version of the program.
const VERSION: &str = env!("CARGO_PKG_VERSION");
