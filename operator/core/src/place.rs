//! How many pods of each strategy a pool should have.

use crate::api::Strategy;

/// Pods wanted, by strategy, in the pool's order of preference. All are of the first one: nothing is known yet of what
/// the nodes have.
#[must_use]
pub fn place(strategies: &[Strategy], replicas: i32) -> Vec<(Strategy, i32)> {
    let mut left = replicas;
    strategies.iter().map(|strategy| (*strategy, std::mem::take(&mut left))).collect()
}
