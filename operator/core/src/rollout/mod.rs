//! From one revision to the next, and from one strategy to another.

mod step;

pub use step::{Count, New, Old, Rollout, Step, floor, step, surge};
