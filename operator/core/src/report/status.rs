//! The status of a pool.

use std::collections::BTreeMap;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use ocr_api::PodStatus;

use super::fate::{Fate, fate};
use crate::{
    api::{
        OcrPoolStatus, PodReport, Proof, RevisionState, RevisionStatus, Strategy, StrategyStatus,
        conditions::{DEGRADED, NewCondition, PROGRESSING, READY, reason, set},
    },
    build::names,
    decide::{Plan, World},
    prove,
    valid::ValidPool,
};

/// What else is known when a pool is reported on.
#[derive(Clone, Debug, Default)]
pub struct Observed<'a> {
    /// Pods that belong to the pool, by the chain of their owners.
    pub pods: &'a [Pod],
    /// What pods say of themselves, by the pod's name.
    pub attested: BTreeMap<String, PodStatus>,
    /// What came of acting.
    pub troubles: Vec<Trouble>,
}

/// Something that did not come as it was planned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trouble {
    /// A reason of [`reason`].
    pub reason: &'static str,
    /// In a sentence, with what to do next.
    pub message: String,
}

/// Most pods that a status names.
const MOST_PODS: usize = 10;

/// Reasons, the most pressing first: the first that applies is the pool's.
const PRECEDENCE: [&str; 14] = [
    reason::INVALID_SPEC,
    reason::FORBIDDEN,
    reason::NAME_TAKEN,
    reason::FIELD_CONFLICT,
    reason::API_ERROR,
    reason::POD_REFUSED,
    reason::IMAGE_PULL_BACK_OFF,
    reason::OOM_KILLED,
    reason::CRASH_LOOP_BACK_OFF,
    reason::UNSCHEDULABLE,
    reason::PROOF_FAILED,
    reason::NOT_READY,
    reason::LOADING,
    reason::PROOF_PENDING,
];

/// Reasons that are part of every start and end, and of nothing that went wrong.
const PASSING: [&str; 3] = [reason::LOADING, reason::NOT_READY, reason::PROOF_PENDING];

/// Tells how a pool is.
#[must_use]
pub fn status(world: &World<'_>, plan: &Plan, observed: &Observed<'_>) -> OcrPoolStatus {
    let before = world.pool.status.clone().unwrap_or_default();
    let fates: Vec<Fate> = observed
        .pods
        .iter()
        .map(|pod| {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            fate(pod, observed.attested.get(name), world.now)
        })
        .collect();
    let mut troubles = observed.troubles.clone();
    troubles.extend(world.deployments.iter().filter_map(refused));
    let generation = world.pool.metadata.generation;
    let mut status = OcrPoolStatus {
        observed_generation: generation,
        conditions: before.conditions,
        image: before.image,
        replicas: count(fates.iter().filter(|fate| !fate.ending)),
        ready_replicas: count(fates.iter().filter(|fate| fate.ready)),
        proof: proof(world),
        ..OcrPoolStatus::default()
    };
    let conditions = match &plan.pool {
        Ok(pool) => {
            describe(&mut status, world, pool);
            status.strategies = strategies(plan, &fates, observed);
            status.strategy_summary = summary(&fates, observed);
            status.pods = reports(&fates);
            troubles.extend(fates.iter().filter_map(|fate| {
                let problem = fate.problem.as_ref()?;
                let message = format!("pod {}: {}", fate.name, problem.message);
                Some(Trouble { reason: problem.reason, message })
            }));
            conditions(world, pool, &status, &fates, troubles)
        }
        Err(invalid) => {
            let message = format!("{invalid}; what runs goes on running");
            let not_ready =
                NewCondition { type_: READY, status: false, reason: reason::INVALID_SPEC, message: message.clone() };
            let still = NewCondition {
                type_: PROGRESSING,
                status: false,
                reason: reason::INVALID_SPEC,
                message: message.clone(),
            };
            let degraded = NewCondition { type_: DEGRADED, status: true, reason: reason::INVALID_SPEC, message };
            vec![not_ready, still, degraded]
        }
    };
    status.reason = conditions.first().map(|ready| ready.reason.to_owned());
    if let Some(degraded) = conditions.iter().find(|condition| condition.type_ == DEGRADED && condition.status) {
        status.reason = Some(degraded.reason.to_owned());
    }
    for condition in conditions {
        set(&mut status.conditions, condition, generation, world.now);
    }
    status
}

fn count<T>(items: impl Iterator<Item = T>) -> i32 {
    i32::try_from(items.count()).unwrap_or(i32::MAX)
}

/// What the pool is, in numbers and for the columns.
fn describe(status: &mut OcrPoolStatus, world: &World<'_>, pool: &ValidPool) {
    status.image =
        status.image.take().or_else(|| world.pool.spec.image.is_none().then(|| pool.revision.runs.image.clone()));
    status.endpoint = Some(format!("http://{}.{}.svc", pool.name, pool.namespace));
    status.selector = Some(selector(&pool.name));
    status.ready = Some(format!("{}/{}", status.ready_replicas, pool.replicas));
    status.revisions = revisions(world, pool);
    let all: i32 = status.revisions.iter().map(|revision| revision.replicas).sum();
    let newest = status.revisions.iter().find(|revision| revision.name == pool.revision.name);
    let share = newest.map_or(0, |newest| newest.replicas * 100 / all.max(1));
    status.rollout = (status.revisions.len() > 1).then(|| format!("{share}%"));
}

/// Pods wanted, placed and ready, by strategy.
fn strategies(plan: &Plan, fates: &[Fate], observed: &Observed<'_>) -> Vec<StrategyStatus> {
    let of_strategy = |strategy: Strategy| {
        let pods = fates.iter().zip(observed.pods);
        pods.filter(move |(_, pod)| label(pod, names::STRATEGY) == Some(strategy.as_str())).map(|(fate, _)| fate)
    };
    let row = |(strategy, wanted): &(Strategy, i32)| StrategyStatus {
        name: *strategy,
        wanted: *wanted,
        scheduled: count(of_strategy(*strategy).filter(|fate| fate.scheduled && !fate.ending)),
        ready: count(of_strategy(*strategy).filter(|fate| fate.ready)),
    };
    plan.wanted.iter().map(row).collect()
}

fn label<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

fn selector(pool: &str) -> String {
    names::selector(pool).iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// `cpu:2,gpu-fp16:1`, by what ready pods say that they compute on; a pod that could not be asked counts as `unknown`.
fn summary(fates: &[Fate], observed: &Observed<'_>) -> Option<String> {
    let mut counts: BTreeMap<&str, i32> = BTreeMap::new();
    for fate in fates.iter().filter(|fate| fate.ready) {
        let strategy = observed.attested.get(&fate.name).map_or("unknown", |status| status.engine.strategy.as_str());
        *counts.entry(strategy).or_default() += 1;
    }
    let texts: Vec<String> = counts.iter().map(|(strategy, count)| format!("{strategy}:{count}")).collect();
    (!texts.is_empty()).then(|| texts.join(","))
}

fn revisions(world: &World<'_>, pool: &ValidPool) -> Vec<RevisionStatus> {
    let mut revisions: Vec<RevisionStatus> = Vec::new();
    for deployment in world.deployments {
        let labels = deployment.metadata.labels.as_ref();
        let Some(name) = labels.and_then(|labels| labels.get(names::REVISION)) else { continue };
        let container = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()?.containers.first());
        let model = container.and_then(|container| {
            container.env.as_ref()?.iter().find(|variable| variable.name == "OCR_MODEL")?.value.clone()
        });
        let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
        let ready = deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
        if let Some(known) = revisions.iter_mut().find(|known| known.name == *name) {
            known.replicas += replicas;
            known.ready += ready;
            continue;
        }
        revisions.push(RevisionStatus {
            name: name.clone(),
            model: model.unwrap_or_default(),
            image: container.and_then(|container| container.image.clone()).unwrap_or_default(),
            state: RevisionState::Retiring,
            replicas,
            ready,
        });
    }
    let alone = revisions.len() == 1;
    if let Some(current) = revisions.iter_mut().find(|revision| revision.name == pool.revision.name) {
        current.state = if alone { RevisionState::Current } else { RevisionState::Starting };
    }
    revisions.sort_by_key(|revision| (revision.state == RevisionState::Retiring, revision.name.clone()));
    revisions
}

/// The pods with a problem, the worst first.
fn reports(fates: &[Fate]) -> Vec<PodReport> {
    let mut troubled: Vec<&Fate> = fates.iter().filter(|fate| fate.problem.is_some()).collect();
    troubled.sort_by_key(|fate| (fate.problem.as_ref().map(|problem| rank(problem.reason)), fate.name.clone()));
    let report = |fate: &Fate| {
        let problem = fate.problem.as_ref()?;
        Some(PodReport {
            name: fate.name.clone(),
            reason: problem.reason.to_owned(),
            message: problem.message.clone(),
            restarts: fate.restarts,
        })
    };
    troubled.into_iter().filter_map(report).take(MOST_PODS).collect()
}

fn rank(of: &str) -> usize {
    PRECEDENCE.iter().position(|known| *known == of).unwrap_or(PRECEDENCE.len())
}

/// A Deployment whose pods cannot even be created: a quota, an admission rule.
fn refused(deployment: &Deployment) -> Option<Trouble> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let failure =
        conditions.iter().find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True")?;
    let message = format!("pods cannot be created: {}", failure.message.as_deref().unwrap_or("no reason given"));
    Some(Trouble { reason: reason::POD_REFUSED, message })
}

fn conditions(
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
            status: proven,
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
    vec![ready, progressing, degraded]
}

/// The last proof. While one after the other passes it stays the first of them, so that a pool that works is not written
/// every five minutes.
fn proof(world: &World<'_>) -> Option<Proof> {
    let last = world.memory.last.as_ref()?;
    let before = world.pool.status.as_ref().and_then(|status| status.proof.as_ref());
    let goes_on = before.filter(|before| before.passed && last.passed && before.revision == last.revision);
    Some(goes_on.unwrap_or(last).clone())
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
            message: "no page was read through the pool's address by this revision yet".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::OcrPool,
        build,
        decide::decide,
        fixture::{installation, pool, valid},
        prove::Memory,
    };

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn proven(revision: &str, passed: bool) -> Memory {
        let message = (!passed).then(|| "500 Internal Server Error".to_owned());
        let last = Proof { time: Time(now()), revision: revision.to_owned(), passed, message };
        Memory { last: Some(last), was_ready: true, ..Memory::default() }
    }

    /// A pool of `spec` whose Deployment has so many pods, all in this state.
    struct Scene {
        pool: OcrPool,
        deployments: Vec<Deployment>,
        pods: Vec<Pod>,
        memory: Memory,
        troubles: Vec<Trouble>,
    }

    impl Scene {
        fn new(spec: &Value, ready: i32, pods: i32) -> Self {
            let valid = valid(spec);
            let mut deployment = build::deployment(&valid, valid.strategies[0], pods);
            deployment.status = serde_json::from_value(json!({"replicas": pods, "readyReplicas": ready})).ok();
            let labels = names::revision_labels(&valid.name, &valid.revision.name, valid.strategies[0]);
            let pod = |number: i32| {
                serde_json::from_value(json!({
                    "metadata": {"name": format!("pod-{number}"), "labels": labels},
                    "status": {"conditions": [
                        {"type": "PodScheduled", "status": "True"},
                        {"type": "Ready", "status": if number < ready { "True" } else { "False" }},
                    ]},
                }))
                .unwrap()
            };
            Self {
                pool: pool(spec),
                deployments: vec![deployment],
                pods: (0..pods).map(pod).collect(),
                memory: proven(&valid.revision.name, true),
                troubles: Vec::new(),
            }
        }

        fn status(&self) -> OcrPoolStatus {
            let installation = installation();
            let world = World {
                now: now(),
                pool: &self.pool,
                installation: &installation,
                deployments: &self.deployments,
                records: &[],
                memory: &self.memory,
            };
            let observed = Observed { pods: &self.pods, attested: BTreeMap::new(), troubles: self.troubles.clone() };
            status(&world, &decide(&world), &observed)
        }
    }

    fn condition(status: &OcrPoolStatus, type_: &str) -> (bool, String, String) {
        let found = status.conditions.iter().find(|condition| condition.type_ == type_).unwrap();
        (found.status == "True", found.reason.clone(), found.message.clone())
    }

    fn ready(status: &OcrPoolStatus) -> (bool, String) {
        let (is, reason, _) = condition(status, READY);
        (is, reason)
    }

    #[test]
    fn a_pool_is_ready_when_its_revision_has_read_a_page() {
        let status = Scene::new(&json!({"scaling": {"min": 2}}), 2, 2).status();
        assert_eq!(ready(&status), (true, "PageRead".to_owned()));
        assert_eq!((status.ready.as_deref(), status.reason.as_deref()), (Some("2/2"), Some("PageRead")));
        assert_eq!(status.endpoint.as_deref(), Some("http://receipts.shop.svc"));
        assert_eq!(status.selector.as_deref(), Some("ocrpool.dev/pool=receipts"));
        assert_eq!(status.strategy_summary.as_deref(), Some("unknown:2"));
        assert_eq!(status.observed_generation, Some(3));
        assert_eq!((condition(&status, PROGRESSING).0, condition(&status, DEGRADED).0), (false, false));
        assert_eq!(status.rollout, None);
        assert!(status.image.unwrap().contains("ocr-inference"));
    }

    #[test]
    fn ready_pods_alone_make_no_ready_pool() {
        let revision = valid(&json!({})).revision.name;
        let rows = [
            (Memory::default(), "ProofPending"),
            (proven("another", true), "ProofPending"),
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

    #[test]
    fn while_another_revision_is_there_the_share_is_told() {
        let mut scene = Scene::new(&json!({"scaling": {"min": 3}}), 3, 3);
        scene.pool.spec.log_level = crate::api::LogLevel::Debug;
        let new = crate::valid::ValidPool::read(&scene.pool, &installation()).unwrap();
        let mut deployment = build::deployment(&new, new.strategies[0], 1);
        deployment.status = serde_json::from_value(json!({"replicas": 1, "readyReplicas": 0})).ok();
        scene.deployments.push(deployment);
        let status = scene.status();
        assert_eq!(status.rollout.as_deref(), Some("25%"));
        assert_eq!(status.revisions.len(), 2);
        assert_eq!(
            (status.revisions[0].name.as_str(), status.revisions[0].state),
            (new.revision.name.as_str(), RevisionState::Starting)
        );
        assert_eq!(status.revisions[1].state, RevisionState::Retiring);
        let (progressing, reason, _) = condition(&status, PROGRESSING);
        assert!(progressing && reason == "RollingOut");
    }

    /// A second look at the same world writes the same status, also after the next proof: nothing is patched in a steady
    /// state.
    #[test]
    fn a_status_that_was_written_stays_as_it_is() {
        let mut scene = Scene::new(&json!({}), 1, 1);
        scene.pool.status = Some(scene.status());
        assert_eq!(Some(scene.status()), scene.pool.status);
        let revision = valid(&json!({})).revision.name;
        scene.memory.note(&revision, Ok(()), now() + jiff::SignedDuration::from_secs(300));
        assert_eq!(Some(scene.status()), scene.pool.status);
        scene.memory.note(&revision, Err("500".to_owned()), now() + jiff::SignedDuration::from_secs(600));
        assert_ne!(Some(scene.status()), scene.pool.status);
    }
}
