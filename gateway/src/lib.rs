//! One address for a pool of OCR pods: requests go to the pod that would be done with them first, wait while there is none,
//! and are tried again where one fails.
//!
//! Which pod, which revision and who waits are decided by pure functions ([`balance`], [`hold`]); the rest carries bytes.

mod app;
pub mod balance;
mod clients;
pub mod dispatch;
mod forward;
pub mod hold;
mod look;
mod metrics;
mod policy;
mod record;
mod run;
mod serve;
pub mod settings;
mod watch;

pub use run::Gateway;

/// Version of the program.
const VERSION: &str = env!("CARGO_PKG_VERSION");
