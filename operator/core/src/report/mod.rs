//! From what is there, what was decided and what came of it, to what is told: status, conditions, events.

mod fate;
mod status;

pub use fate::{Fate, fate};
pub use status::{Observed, Trouble, status};
