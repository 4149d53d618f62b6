//! `/metrics` of the operator: what is counted, and the port that shows it to whoever may read it.
//!
//! The rest of the operator only calls [`Metrics`]; nothing is ever decided by what was counted.

mod authentication;
mod pools;
mod process;
mod registry;
mod requests;
mod review;
mod server;

pub use pools::PoolName;
pub use registry::{Ended, Metrics};
pub use server::serve;
