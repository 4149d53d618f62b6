//! From what is there, what was decided and what came of it, to what is told: status, conditions, events,
//! and the state that is counted.

mod conditions;
mod events;
mod fate;
mod rate;
mod revisions;
#[cfg(test)]
mod scene;
mod state;
mod status;
mod verified;

pub use conditions::Trouble;
pub use events::{Happening, happenings};
pub use fate::{Fate, PROBLEMS, fate};
pub use state::{State, is_ready};
pub use status::status;
