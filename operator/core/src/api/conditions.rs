//! Conditions and their reasons. A reason is also the reason of the event and the label of the metric.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// A page was read through the pool's address by the revision that is wanted, and the wanted pods are ready.
pub const READY: &str = "Ready";
/// Pods are being started, replaced or removed.
pub const PROGRESSING: &str = "Progressing";
/// Something is not as it was asked for.
pub const DEGRADED: &str = "Degraded";

/// Every ready pod runs what it was made for, by its own word.
pub const STRATEGY_VERIFIED: &str = "StrategyVerified";

/// Reasons.
pub mod reason {
    /// Everything is as it was asked for.
    pub const AS_EXPECTED: &str = "AsExpected";
    /// A page was read through the pool's address.
    pub const PAGE_READ: &str = "PageRead";
    /// The pool is asked to have no pods.
    pub const SCALED_TO_ZERO: &str = "ScaledToZero";
    /// The pool's first pods are asked for.
    pub const CREATED: &str = "Created";
    /// Another number of pods is asked for.
    pub const SCALED: &str = "Scaled";
    /// All pods run the new revision.
    pub const ROLLED_OUT: &str = "RolledOut";
    /// A new revision replaces another.
    pub const ROLLING_OUT: &str = "RollingOut";
    /// Pods are started or removed.
    pub const SCALING: &str = "Scaling";
    /// Pods load their model.
    pub const LOADING: &str = "Loading";
    /// The page that proves the pool was not read, or not right.
    pub const PROOF_FAILED: &str = "ProofFailed";
    /// The page that proves the pool was not sent yet.
    pub const PROOF_PENDING: &str = "ProofPending";
    /// The spec asks for something that cannot be.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// The object cannot be read as an `OcrPool`.
    pub const UNREADABLE: &str = "Unreadable";
    /// Something of the name that a child would have exists and is not ours.
    pub const NAME_TAKEN: &str = "NameTaken";
    /// Another controller writes what we write.
    pub const FIELD_CONFLICT: &str = "FieldConflict";
    /// The operator lacks a right.
    pub const FORBIDDEN: &str = "Forbidden";
    /// The API server did not do what it was asked.
    pub const API_ERROR: &str = "ApiError";
    /// The image of a pod cannot be pulled.
    pub const IMAGE_PULL_BACK_OFF: &str = "ImagePullBackOff";
    /// No node has room for a pod.
    pub const UNSCHEDULABLE: &str = "Unschedulable";
    /// A pod ends again and again.
    pub const CRASH_LOOP_BACK_OFF: &str = "CrashLoopBackOff";
    /// A pod was ended because it used more memory than its limit.
    pub const OOM_KILLED: &str = "OOMKilled";
    /// A pod runs and is not ready.
    pub const NOT_READY: &str = "NotReady";
    /// A pod could not be created.
    pub const POD_REFUSED: &str = "PodRefused";
    /// A pod runs a lower strategy than it was made for.
    pub const STRATEGY_MISMATCH: &str = "StrategyMismatch";
    /// A pod has not said what it runs.
    pub const NOT_ATTESTED: &str = "NotAttested";
    /// A pod that ran a lower strategy than it was made for is evicted.
    pub const REPLACED: &str = "Replaced";
    /// Pods of a better strategy found no node, and others take their place.
    pub const SPILLED: &str = "Spilled";
    /// No node that the pods may go to offers a GPU that suits them.
    pub const NO_GPU_OFFERED: &str = "NoGpuOffered";
    /// All GPUs that would suit are taken.
    pub const NO_GPU_FREE: &str = "NoGpuFree";
    /// The model has no networks for a strategy.
    pub const NO_NETWORK: &str = "NoNetwork";
    /// One pod more of a better strategy is tried.
    pub const RECLAIMING: &str = "Reclaiming";
    /// A new revision needs the GPU of the only pod that serves.
    pub const ROLLOUT_BLOCKED: &str = "RolloutBlocked";
    /// All is well, on other hardware than was preferred.
    pub const OTHER_HARDWARE: [&str; 2] = [SPILLED, NO_NETWORK];
}

/// A condition to be; [`set`] gives it its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCondition {
    pub type_: &'static str,
    pub status: bool,
    pub reason: &'static str,
    pub message: String,
}

/// Puts a condition among the others. `lastTransitionTime` moves only when the status flips.
pub fn set(conditions: &mut Vec<Condition>, new: NewCondition, generation: Option<i64>, now: Timestamp) {
    let status = if new.status { "True" } else { "False" };
    let old = conditions.iter().position(|old| old.type_ == new.type_);
    let since = old.map(|index| &conditions[index]).filter(|old| old.status == status);
    let condition = Condition {
        last_transition_time: since.map_or(Time(now), |old| old.last_transition_time.clone()),
        message: new.message,
        observed_generation: generation,
        reason: new.reason.to_owned(),
        status: status.to_owned(),
        type_: new.type_.to_owned(),
    };
    match old {
        Some(index) => conditions[index] = condition,
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(status: bool, message: &str) -> NewCondition {
        NewCondition { type_: READY, status, reason: reason::PAGE_READ, message: message.to_owned() }
    }

    /// Read from this file: a reason that is added here is missed there.
    #[test]
    fn every_reason_is_explained_to_users() {
        let page = include_str!("../../../../docs/pools.md");
        let reasons: Vec<&str> = include_str!("conditions.rs")
            .lines()
            .filter_map(|line| line.trim().strip_prefix("pub const ")?.split_once(": &str = \"")?.1.strip_suffix("\";"))
            .collect();
        assert!(reasons.len() > 20);
        let missing: Vec<&&str> = reasons.iter().filter(|reason| !page.contains(&format!("`{reason}`"))).collect();
        assert!(missing.is_empty(), "not in docs/pools.md: {missing:?}");
    }

    #[test]
    fn the_time_moves_only_when_the_status_flips() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let mut conditions = Vec::new();
        set(&mut conditions, ready(true, "a"), Some(1), at(10));
        set(&mut conditions, ready(true, "b"), Some(2), at(20));
        assert_eq!((conditions[0].last_transition_time.0, conditions[0].message.as_str()), (at(10), "b"));
        assert_eq!(conditions[0].observed_generation, Some(2));
        set(&mut conditions, ready(false, "c"), Some(2), at(30));
        assert_eq!((conditions.len(), conditions[0].last_transition_time.0), (1, at(30)));
    }
}
