//! From one revision to the next.

mod step;

pub use step::{Count, Step, step};
