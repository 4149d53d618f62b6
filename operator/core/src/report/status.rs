//! The status of a pool.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use ocr_api::PodStatus;

use super::{
    conditions::{self, Trouble, rank},
    fate::{Fate, fate},
    rate, revisions, verified,
};
use crate::{
    api::{
        OcrPoolStatus, PodReport, Proof, Strategy, StrategyStatus,
        conditions::{DEGRADED, READY, STRATEGY_VERIFIED, reason, set},
    },
    build::names,
    decide::{Plan, World},
    place::{Placed, remember},
    valid::ValidPool,
};

/// Most pods that a status names.
const MOST_PODS: usize = 10;

/// Tells how a pool is. `troubles` are what came of acting.
#[must_use]
pub fn status(world: &World<'_>, plan: &Plan, mut troubles: Vec<Trouble>) -> OcrPoolStatus {
    let before = world.pool.status.clone().unwrap_or_default();
    let fates: Vec<Fate> = world
        .pods
        .iter()
        .map(|pod| {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            fate(pod, world.attested.get(name), world.now)
        })
        .collect();
    troubles.extend(world.deployments.iter().filter_map(conditions::refused));
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
            status.strategies = strategies(plan, pool, &fates, world);
            status.strategy_summary = summary(&fates, world);
            status.pods = reports(&fates);
            troubles.extend(fates.iter().zip(world.pods).filter_map(|(fate, pod)| {
                let problem = fate.problem.as_ref()?;
                // The planner waits for it, and has an answer if no node is found.
                if problem.reason == reason::UNSCHEDULABLE && may_spill(pool, pod) {
                    return None;
                }
                let message = format!("pod {}: {}", fate.name, problem.message);
                Some(Trouble { reason: problem.reason, message })
            }));
            troubles.extend(verified::troubles(pool, plan));
            conditions::of(world, pool, &status, &fates, troubles)
        }
        Err(invalid) => conditions::invalid(invalid),
    };
    status.reason = conditions.first().map(|ready| ready.reason.to_owned());
    let is = |type_: &str, value: bool| conditions.iter().find(|one| one.type_ == type_ && one.status == value);
    if let Some(degraded) = is(DEGRADED, true) {
        status.reason = Some(degraded.reason.to_owned());
    } else if let Some(other) = is(STRATEGY_VERIFIED, true).filter(|one| reason::OTHER_HARDWARE.contains(&one.reason))
        && is(READY, true).is_some_and(|ready| ready.reason == reason::PAGE_READ)
    {
        // All is well, on other hardware than was preferred.
        status.reason = Some(other.reason.to_owned());
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
    status.revisions = revisions::of(world, pool);
    let all: i32 = status.revisions.iter().map(|revision| revision.replicas).sum();
    let newest = status.revisions.iter().find(|revision| revision.name == pool.revision.name);
    let share = newest.map_or(0, |newest| newest.replicas * 100 / all.max(1));
    status.rollout = (status.revisions.len() > 1).then(|| format!("{share}%"));
}

/// Pods wanted, placed and ready, by strategy, and what the planner remembers of it. Those that cannot be come last.
fn strategies(plan: &Plan, pool: &ValidPool, fates: &[Fate], world: &World<'_>) -> Vec<StrategyStatus> {
    let of_strategy = |strategy: Strategy| {
        let pods = fates.iter().zip(world.pods);
        pods.filter(move |(_, pod)| label(pod, names::STRATEGY) == Some(strategy.as_str())).map(|(fate, _)| fate)
    };
    let before = world.pool.status.as_ref().map_or(&[][..], |status| &status.strategies);
    // By what they run, not by what they were made for.
    let rate = |strategy: Strategy| {
        let runs = |pod: &&PodStatus| pod.engine.strategy == strategy.as_str();
        let before = before.iter().find(|one| one.name == strategy);
        rate::rate(world.attested.values().filter(runs), before.and_then(|one| one.units_per_second.as_deref()))
    };
    let row = |placed: &Placed| StrategyStatus {
        scheduled: count(of_strategy(placed.strategy).filter(|fate| fate.scheduled && !fate.ending)),
        ready: count(of_strategy(placed.strategy).filter(|fate| fate.ready)),
        units_per_second: rate(placed.strategy),
        ..remember::status(placed)
    };
    let impossible = |strategy: &Strategy| StrategyStatus {
        reason: Some(reason::NO_NETWORK.to_owned()),
        message: Some(format!("{} has no networks for it and the pool's languages", pool.revision.runs.model)),
        ..StrategyStatus::new(*strategy)
    };
    plan.strategies.iter().map(row).chain(pool.impossible.iter().map(impossible)).collect()
}

/// Whether the next strategy takes a pod's place when no node is found for it.
fn may_spill(pool: &ValidPool, pod: &Pod) -> bool {
    let strategy = label(pod, names::STRATEGY);
    let is_last = pool.strategies.last().is_some_and(|last| strategy == Some(last.as_str()));
    label(pod, names::REVISION) == Some(pool.revision.name.as_str()) && !is_last
}

fn label<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

fn selector(pool: &str) -> String {
    names::selector(pool).iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// `cpu:2,gpu-fp16:1`, by what ready pods say that they compute on; a pod that could not be asked counts as `unknown`.
fn summary(fates: &[Fate], world: &World<'_>) -> Option<String> {
    let mut counts: BTreeMap<&str, i32> = BTreeMap::new();
    for fate in fates.iter().filter(|fate| fate.ready) {
        let strategy = world.attested.get(&fate.name).map_or("unknown", |status| status.engine.strategy.as_str());
        *counts.entry(strategy).or_default() += 1;
    }
    let texts: Vec<String> = counts.iter().map(|(strategy, count)| format!("{strategy}:{count}")).collect();
    (!texts.is_empty()).then(|| texts.join(","))
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

/// The last proof. While one after the other passes it stays the first of them, so that a pool that works is not written
/// every five minutes.
fn proof(world: &World<'_>) -> Option<Proof> {
    let last = world.memory.last.as_ref()?;
    let before = world.pool.status.as_ref().and_then(|status| status.proof.as_ref());
    let goes_on = before.filter(|before| before.passed && last.passed && before.revision == last.revision);
    Some(goes_on.unwrap_or(last).clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{
        api::conditions::{DEGRADED, PROGRESSING, STRATEGY_VERIFIED},
        fixture::valid,
        report::scene::{Scene, condition, now, ready},
    };

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
    fn a_strategy_that_the_model_has_no_networks_for_is_shown_and_missed_only_where_pods_would_be_of_it() {
        let strategies = |names: &[&str]| json!({"model": {"name": "large"}, "strategies": names});
        let all = Scene::new(&strategies(&["gpu-fp16", "gpu-int8", "cpu"]), 1, 1).status();
        let told: Vec<_> =
            all.strategies.iter().map(|one| (one.name.as_str(), one.wanted, one.reason.as_deref())).collect();
        assert_eq!(told, [("gpu-fp16", 1, None), ("cpu", 0, None), ("gpu-int8", 0, Some("NoNetwork"))]);
        let without = all.strategies[2].message.as_deref();
        assert_eq!(without, Some("large has no networks for it and the pool's languages"));

        let mut scene = Scene::new(&strategies(&["gpu-int8", "cpu"]), 1, 1);
        let mut says: ocr_api::PodStatus =
            serde_json::from_str(include_str!("../../../../tests/recorded/status.json")).unwrap();
        says.engine.strategy = "cpu".to_owned();
        scene.attested.insert("pod-0".to_owned(), says);
        let status = scene.status();
        let message = "gpu-int8: large has no networks for it and the pool's languages";
        assert_eq!(condition(&status, STRATEGY_VERIFIED), (true, "NoNetwork".to_owned(), message.to_owned()));
        assert_eq!(status.reason.as_deref(), Some("NoNetwork"));
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
