//! From what is there, what was decided and what came of it, to what is told: status, conditions, events,
//! and the state that is counted.

mod events;
mod fate;
mod state;
mod status;

pub use events::{Happening, happenings};
pub use fate::{Fate, fate};
pub use state::{State, is_ready};
pub use status::{Observed, Trouble, status};
