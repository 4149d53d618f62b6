//! `OcrPool`: what a user asks for ([`spec`](OcrPoolSpec)) and what is known to be so ([`status`](OcrPoolStatus)).

pub mod conditions;
mod placement;
mod pool;
mod quantity;
mod resources;
mod rollout;
mod status;

pub use placement::{OnMismatch, Placement, TaintEffect, Toleration, TolerationOperator};
pub use pool::{CpuPrecision, Limits, LogLevel, Model, OcrPool, OcrPoolSpec, Scaling, ScalingMode, Strategy};
pub use quantity::{Quantity, QuantityError};
pub use resources::{ComputeResources, PodResources, Resources};
pub use rollout::{ConfigMapRef, Golden, RolloutPolicy};
pub use status::{OcrPoolStatus, PodReport, Proof, ReplacedStatus, RevisionState, RevisionStatus, StrategyStatus};

/// The API group. Its domain must be registered before anything is published.
pub const GROUP: &str = "ocrpool.dev";

/// The version that is served and stored.
pub const VERSION: &str = "v1alpha1";

/// For fields that are left out where they are 0.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(crate) const fn is_zero(number: &i32) -> bool {
    *number == 0
}
