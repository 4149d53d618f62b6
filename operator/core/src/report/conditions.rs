//! The conditions of a pool: what is most pressing, and whether it serves, moves, or is not as it was asked for.

use k8s_openapi::api::apps::v1::Deployment;

use super::{fate::Fate, verified};
use crate::{
    api::{
        OcrPoolStatus,
        conditions::{DEGRADED, NewCondition, PROGRESSING, READY, reason},
    },
    decide::World,
    prove,
    valid::{Invalid, ValidPool},
};

/// Something that did not come as it was planned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trouble {
    /// A reason of [`reason`].
    pub reason: &'static str,
    /// In a sentence, with what to do next.
    pub message: String,
}

/// Reasons, the most pressing first: the first that applies is the pool's.
const PRECEDENCE: [&str; 16] = [
    reason::INVALID_SPEC,
    reason::FORBIDDEN,
    reason::NAME_TAKEN,
    reason::FIELD_CONFLICT,
    reason::API_ERROR,
    reason::POD_REFUSED,
    reason::IMAGE_PULL_BACK_OFF,
    reason::OOM_KILLED,
    reason::CRASH_LOOP_BACK_OFF,
    reason::ROLLOUT_BLOCKED,
    reason::UNSCHEDULABLE,
    reason::PROOF_FAILED,
    reason::STRATEGY_MISMATCH,
    reason::NOT_READY,
    reason::LOADING,
    reason::PROOF_PENDING,
];

/// Reasons that are part of every start and end, and of nothing that went wrong.
const PASSING: [&str; 3] = [reason::LOADING, reason::NOT_READY, reason::PROOF_PENDING];

/// Of a pool whose spec cannot be.
pub(super) fn invalid(invalid: &Invalid) -> Vec<NewCondition> {
    let message = format!("{invalid}; what runs goes on running");
    let condition =
        |type_, status| NewCondition { type_, status, reason: reason::INVALID_SPEC, message: message.clone() };
    vec![condition(READY, false), condition(PROGRESSING, false), condition(DEGRADED, true)]
}

/// Of a pool that can be: `Ready` first.
pub(super) fn of(
    world: &World<'_>,
    pool: &ValidPool,
    status: &OcrPoolStatus,
    fates: &[Fate],
    mut troubles: Vec<Trouble>,
) -> Vec<NewCondition> {
    let revision = &pool.revision.name;
    let current_ready = status.revisions.iter().find(|one| one.name == *revision).map_or(0, |one| one.ready);
    let proven = prove::holds(world.memory, revision);
    if pool.replicas > 0 && current_ready > 0 && !proven {
        troubles.push(proof_trouble(world, revision));
    }
    troubles.sort_by_key(|trouble| (rank(trouble.reason), trouble.message.clone()));
    let worst = troubles.first();
    let rolling = status.revisions.len() > 1;
    let moving = rolling || status.replicas != pool.replicas || fates.iter().any(|fate| fate.ending);

    let ready = if pool.replicas == 0 {
        NewCondition {
            type_: READY,
            status: prove::has_passed(world.memory, revision),
            reason: reason::SCALED_TO_ZERO,
            message: "the pool is asked to have no pods".to_owned(),
        }
    } else if current_ready > 0 && proven {
        let message = format!("a page was read through {}", status.endpoint.as_deref().unwrap_or_default());
        NewCondition { type_: READY, status: true, reason: reason::PAGE_READ, message }
    } else {
        let (reason, message) = worst.map_or_else(
            || (reason::SCALING, format!("{} of {} pods are ready", status.ready_replicas, pool.replicas)),
            |worst| (worst.reason, worst.message.clone()),
        );
        NewCondition { type_: READY, status: false, reason, message }
    };
    let progressing = NewCondition {
        type_: PROGRESSING,
        status: moving,
        reason: match (rolling, moving) {
            (true, _) => reason::ROLLING_OUT,
            (false, true) => reason::SCALING,
            (false, false) => reason::AS_EXPECTED,
        },
        message: match (&status.rollout, moving) {
            (Some(share), _) => format!("{share} of the pods run revision {revision}"),
            (None, true) => format!("{} of {} pods are ready", status.ready_replicas, pool.replicas),
            (None, false) => "nothing is being started, replaced or removed".to_owned(),
        },
    };
    let wrong = worst.filter(|worst| !PASSING.contains(&worst.reason));
    let degraded = NewCondition {
        type_: DEGRADED,
        status: wrong.is_some(),
        reason: wrong.map_or(reason::AS_EXPECTED, |wrong| wrong.reason),
        message: wrong.map_or_else(|| "nothing is wrong".to_owned(), |wrong| wrong.message.clone()),
    };
    vec![ready, progressing, degraded, verified::condition(status)]
}

fn proof_trouble(world: &World<'_>, revision: &str) -> Trouble {
    match world.memory.last.as_ref().filter(|last| last.revision == *revision && !last.passed) {
        Some(failed) => {
            let message = failed.message.clone().unwrap_or_else(|| "no reason given".to_owned());
            Trouble {
                reason: reason::PROOF_FAILED,
                message: format!("a page sent through the pool's address: {message}"),
            }
        }
        None => Trouble {
            reason: reason::PROOF_PENDING,
            message: "no page was read through the pool's address by this revision since its pods are ready".to_owned(),
        },
    }
}

/// Place of a reason: the lower, the more pressing.
pub(super) fn rank(of: &str) -> usize {
    PRECEDENCE.iter().position(|known| *known == of).unwrap_or(PRECEDENCE.len())
}

/// A Deployment whose pods cannot even be created: a quota, an admission rule.
pub(super) fn refused(deployment: &Deployment) -> Option<Trouble> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let failure =
        conditions.iter().find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True")?;
    let message = format!("pods cannot be created: {}", failure.message.as_deref().unwrap_or("no reason given"));
    Some(Trouble { reason: reason::POD_REFUSED, message })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        fixture::valid,
        prove::Memory,
        report::scene::{Scene, condition, proven, ready},
    };

    #[test]
    fn ready_pods_alone_make_no_ready_pool() {
        let revision = valid(&json!({})).revision.name;
        let rows = [
            (Memory::default(), "ProofPending"),
            (proven("another", true), "ProofPending"),
            (Memory { lapsed: true, ..proven(&revision, true) }, "ProofPending"),
            (proven(&revision, false), "ProofFailed"),
        ];
        for (memory, reason) in rows {
            let mut scene = Scene::new(&json!({}), 1, 1);
            scene.memory = memory;
            assert_eq!(ready(&scene.status()), (false, reason.to_owned()));
        }
        let mut scene = Scene::new(&json!({}), 1, 1);
        scene.memory = proven(&revision, false);
        let (degraded, _, message) = condition(&scene.status(), DEGRADED);
        assert!(degraded && message.ends_with("500 Internal Server Error"), "{message}");
    }

    #[test]
    fn a_proof_alone_makes_no_ready_pool_without_pods() {
        let status = Scene::new(&json!({}), 0, 1).status();
        assert_eq!(ready(&status), (false, "Loading".to_owned()));
    }

    #[test]
    fn at_zero_the_last_proof_stands() {
        let spec = json!({"replicas": 0, "scaling": {"mode": "Manual"}});
        assert_eq!(ready(&Scene::new(&spec, 0, 0).status()), (true, "ScaledToZero".to_owned()));
        let mut lapsed = Scene::new(&spec, 0, 0);
        lapsed.memory.lapsed = true;
        assert_eq!(ready(&lapsed.status()), (true, "ScaledToZero".to_owned()));
        let mut never = Scene::new(&spec, 0, 0);
        never.memory = Memory::default();
        assert_eq!(ready(&never.status()), (false, "ScaledToZero".to_owned()));
    }

    #[test]
    fn what_is_wrong_with_a_pod_is_the_reason_of_the_pool_even_while_others_serve() {
        let mut scene = Scene::new(&json!({"scaling": {"min": 2}}), 1, 2);
        scene.pods[1].status = serde_json::from_value(json!({"conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: 1 Insufficient memory."}]}))
        .unwrap();
        let status = scene.status();
        assert_eq!(ready(&status), (true, "PageRead".to_owned()));
        assert_eq!((status.ready.as_deref(), status.reason.as_deref()), (Some("1/2"), Some("Unschedulable")));
        assert_eq!(status.pods[0].name, "pod-1");
        assert!(condition(&status, DEGRADED).2.contains("pod pod-1: no node has room for it: 0/1 nodes"));
        assert_eq!((status.strategies[0].scheduled, status.strategies[0].wanted), (1, 2));
    }

    #[test]
    fn the_most_pressing_trouble_is_told() {
        let trouble = |reason| Trouble { reason, message: reason.to_owned() };
        let mut scene = Scene::new(&json!({}), 1, 1);
        scene.troubles = vec![trouble(reason::API_ERROR), trouble(reason::NAME_TAKEN), trouble(reason::FIELD_CONFLICT)];
        assert_eq!(scene.status().reason.as_deref(), Some("NameTaken"));
    }

    #[test]
    fn pods_that_cannot_be_created_are_told_of() {
        let mut scene = Scene::new(&json!({}), 0, 0);
        scene.deployments[0].status = serde_json::from_value(json!({"conditions": [
            {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: cpu"}]}))
        .ok();
        let status = scene.status();
        assert_eq!(status.reason.as_deref(), Some("PodRefused"));
        assert!(condition(&status, READY).2.contains("exceeded quota: cpu"));
    }

    #[test]
    fn an_invalid_spec_says_why_and_that_what_runs_goes_on() {
        let mut scene = Scene::new(&json!({}), 1, 1);
        scene.pool.spec.model.name = "none".to_owned();
        let status = scene.status();
        let (is_ready, reason, message) = condition(&status, READY);
        assert!(
            !is_ready && reason == "InvalidSpec" && message.contains("large, small") && message.contains("goes on")
        );
        assert_eq!(status.ready_replicas, 1);
    }
}
