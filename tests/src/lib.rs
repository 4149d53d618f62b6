//! What the suites share: the real server as a child process, measured from outside, and documents to send it.
//!
//! Nothing here looks inside the programs: they are run as a user runs them and judged by what they answer, what the
//! kernel says of them, and nothing else. The suites are the binaries under `suites/`.

pub mod cluster;
pub mod data;
#[cfg(test)]
mod guide;
pub mod helm;
pub mod hostile;
pub mod http;
pub mod memory;
pub mod metrics;
pub mod nvml;
pub mod pdf;
pub mod program;
pub mod score;
pub mod server;
pub mod slow;
pub mod suite;
pub mod variant;
pub mod work;
