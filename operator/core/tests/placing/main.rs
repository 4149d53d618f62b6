//! Placing, against a scheduler that reads node affinity and taints as Kubernetes' does: what the planner takes for
//! open is what pods are sent to, and whatever becomes of the nodes, the pool serves.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure should stop the test")]

mod affinity;
mod cluster;
mod generate;
mod pools;
mod scheduler;
mod simulation;
