//! Whether the pods run what they were made for, by their own word.

use super::conditions::Trouble;
use crate::{
    api::{
        OcrPoolStatus, StrategyStatus,
        conditions::{
            NewCondition, STRATEGY_VERIFIED,
            reason::{AS_EXPECTED, NO_NETWORK, NOT_ATTESTED, ROLLOUT_BLOCKED, SPILLED, STRATEGY_MISMATCH},
        },
    },
    decide::Plan,
    valid::ValidPool,
};

/// What is not as it was asked for: pods that run something lower, and a rollout that cannot go on.
pub(super) fn troubles(pool: &ValidPool, plan: &Plan) -> Vec<Trouble> {
    let mut troubles: Vec<Trouble> = plan
        .strategies
        .iter()
        .filter_map(|placed| {
            let why = placed.why.as_ref().filter(|why| why.reason == STRATEGY_MISMATCH)?;
            Some(Trouble { reason: STRATEGY_MISMATCH, message: format!("{}: {}", placed.strategy, why.message) })
        })
        .collect();
    if plan.is_blocked {
        let message = format!(
            "revision {} needs the GPU of the only pod that serves, which is kept: add cpu to spec.strategies, ask for 2 \
             pods, or free a GPU",
            pool.revision.name
        );
        troubles.push(Trouble { reason: ROLLOUT_BLOCKED, message });
    }
    troubles
}

/// The condition. It is not true while a ready pod has not said what it runs: what is not known is not verified.
pub(super) fn condition(status: &OcrPoolStatus) -> NewCondition {
    let strategies = &status.strategies;
    let new = |status, reason, message| NewCondition { type_: STRATEGY_VERIFIED, status, reason, message };
    let told = |is: &dyn Fn(&&StrategyStatus) -> bool| {
        let lines =
            strategies.iter().filter(is).filter_map(|one| Some(format!("{}: {}", one.name, one.message.as_ref()?)));
        lines.collect::<Vec<_>>().join("; ")
    };
    let mismatched = told(&|one| one.reason.as_deref() == Some(STRATEGY_MISMATCH));
    if !mismatched.is_empty() {
        return new(false, STRATEGY_MISMATCH, mismatched);
    }
    let (ready, verified) =
        strategies.iter().fold((0, 0), |(ready, verified), one| (ready + one.ready, verified + one.verified));
    if ready == 0 || verified < ready {
        let message = format!("{verified} of {ready} ready pods have said what they run");
        return new(false, NOT_ATTESTED, message);
    }
    let is_impossible = |one: &StrategyStatus| one.reason.as_deref() == Some(NO_NETWORK);
    let spilled = told(&|one| one.reason.is_some() && !is_impossible(one));
    if !spilled.is_empty() {
        return new(true, SPILLED, spilled);
    }
    // Where pods would be of it if it could be.
    let is_missed = |one: &StrategyStatus| strategies.iter().any(|other| other.name > one.name && other.wanted > 0);
    let impossible = told(&|one| is_impossible(one) && is_missed(one));
    if !impossible.is_empty() {
        return new(true, NO_NETWORK, impossible);
    }
    new(true, AS_EXPECTED, format!("all {ready} ready pods run what they were made for"))
}

#[cfg(test)]
mod tests {
    use ocr_api::PodStatus;
    use serde_json::{Value, json};

    use crate::{
        api::conditions::{DEGRADED, STRATEGY_VERIFIED},
        report::scene::{Scene, condition, ready},
    };

    fn says(strategy: &str) -> PodStatus {
        let mut status: PodStatus =
            serde_json::from_str(include_str!("../../../../tests/recorded/status.json")).unwrap();
        strategy.clone_into(&mut status.engine.strategy);
        // That of a machine without GPUs.
        status.engine.passed_over.clear();
        status
    }

    /// Two ready pods made for a GPU, or the CPU, that say that they run this.
    fn scene(strategies: &Value, runs: &[&str]) -> Scene {
        let spec = json!({"strategies": strategies, "replicas": 2, "scaling": {"mode": "Manual"}});
        let mut scene = Scene::new(&spec, 2, 2);
        for (number, runs) in runs.iter().enumerate() {
            scene.attested.insert(format!("pod-{number}"), says(runs));
        }
        scene
    }

    #[test]
    fn pods_are_verified_when_each_has_said_so() {
        type Row<'a> = (Value, &'a [&'a str], i32, bool, &'a str, &'a str);
        let rows: [Row<'_>; 5] = [
            (json!(["cpu"]), &["cpu", "cpu"], 2, true, "AsExpected", "all 2 ready pods run what they were made for"),
            (json!(["cpu"]), &["cpu"], 1, false, "NotAttested", "1 of 2 ready pods have said what they run"),
            (json!(["cpu"]), &[], 0, false, "NotAttested", "0 of 2 ready pods have said what they run"),
            (json!(["cpu"]), &["cpu", "tpu"], 1, false, "NotAttested", "1 of 2 ready pods have said what they run"),
            (
                json!(["gpu-fp16", "cpu"]),
                &["gpu-fp16", "gpu-fp16"],
                2,
                true,
                "AsExpected",
                "all 2 ready pods run what they were made for",
            ),
        ];
        for (strategies, runs, verified, is, reason, message) in rows {
            let status = scene(&strategies, runs).status();
            assert_eq!(condition(&status, STRATEGY_VERIFIED), (is, reason.to_owned(), message.to_owned()), "{runs:?}");
            assert_eq!(status.strategies[0].verified, verified, "{runs:?}");
            assert!(!condition(&status, DEGRADED).0, "{runs:?}");
            assert_eq!(status.reason.as_deref(), Some("PageRead"));
        }
        let none = Scene::new(&json!({}), 0, 1).status();
        assert_eq!(condition(&none, STRATEGY_VERIFIED).1, "NotAttested");
    }

    #[test]
    fn a_pod_that_runs_something_lower_is_shown_while_it_serves() {
        let status = scene(&json!(["gpu-fp16", "cpu"]), &["gpu-fp16", "cpu"]).status();
        let message = "gpu-fp16: 1 of 2 ready pods run cpu instead";
        assert_eq!(condition(&status, STRATEGY_VERIFIED), (false, "StrategyMismatch".to_owned(), message.to_owned()));
        assert_eq!(condition(&status, DEGRADED), (true, "StrategyMismatch".to_owned(), message.to_owned()));
        assert_eq!(ready(&status), (true, "PageRead".to_owned()));
        assert_eq!(status.reason.as_deref(), Some("StrategyMismatch"));
        assert_eq!(status.strategy_summary.as_deref(), Some("cpu:1,gpu-fp16:1"));
        let gpu = &status.strategies[0];
        assert_eq!((gpu.ready, gpu.verified, gpu.reason.as_deref()), (2, 1, Some("StrategyMismatch")));
    }

    #[test]
    fn the_reason_that_a_pod_gives_is_passed_on() {
        let mut scene = scene(&json!(["gpu-fp16", "cpu"]), &["gpu-fp16", "cpu"]);
        let long = "the driver is too old ".repeat(50);
        for (strategy, reason, message) in [("gpu-fp16", "NoDriver", long.as_str()), ("gpu-int8", "Odd", "odd")] {
            let passed = ocr_api::status::PassedOver {
                strategy: strategy.to_owned(),
                reason: reason.to_owned(),
                message: message.to_owned(),
            };
            scene.attested.get_mut("pod-1").unwrap().engine.passed_over.push(passed);
        }
        let message = condition(&scene.status(), STRATEGY_VERIFIED).2;
        let begin = "gpu-fp16: 1 of 2 ready pods run cpu instead; pod-1 says NoDriver: the driver is too old the";
        assert!(message.starts_with(begin) && message.len() < 400, "{message}");
    }

    #[test]
    fn a_pool_on_other_hardware_than_was_preferred_says_so_and_is_well() {
        let mut scene = scene(&json!(["gpu-fp16", "cpu"]), &["gpu-fp16", "gpu-fp16"]);
        let spilled = crate::api::StrategyStatus {
            room: Some(1),
            ..crate::api::StrategyStatus::new(crate::api::Strategy::GpuFp16)
        };
        scene.pool.status =
            Some(crate::api::OcrPoolStatus { strategies: vec![spilled], ..crate::api::OcrPoolStatus::default() });
        scene.pods[1].status = serde_json::from_value(json!({"conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}]}))
        .unwrap();
        let status = scene.status();
        let (is, reason, message) = condition(&status, STRATEGY_VERIFIED);
        assert_eq!((is, reason.as_str()), (true, "Spilled"), "{message}");
        assert!(message.starts_with("gpu-fp16: room for 1 of 2 pods: "), "{message}");
        assert_eq!(status.reason.as_deref(), Some("Spilled"));
        // A pod that waits for a node is nothing wrong where another strategy takes its place.
        assert!(!condition(&status, DEGRADED).0);
        assert_eq!(status.pods[0].reason, "Unschedulable");
    }

    #[test]
    fn a_rollout_that_needs_the_only_gpu_says_what_to_do() {
        let mut scene = Scene::new(&json!({"strategies": ["gpu-fp16"]}), 1, 1);
        scene.pool.spec.log_level = crate::api::LogLevel::Debug;
        let new = crate::valid::ValidPool::read(&scene.pool, &crate::fixture::installation()).unwrap();
        let mut waiting = scene.pods[0].clone();
        waiting.metadata.name = Some("waits".to_owned());
        let labels = waiting.metadata.labels.as_mut().unwrap();
        labels.insert(crate::build::names::REVISION.to_owned(), new.revision.name.clone());
        waiting.metadata.creation_timestamp = serde_json::from_value(json!("2025-12-31T23:59:00Z")).unwrap();
        waiting.status = serde_json::from_value(json!({"conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."}]}))
        .unwrap();
        scene.pods.push(waiting);
        scene.deployments.push(crate::build::deployment(&new, new.strategies[0], 1));
        let status = scene.status();
        assert_eq!(status.reason.as_deref(), Some("RolloutBlocked"));
        let message = condition(&status, DEGRADED).2;
        assert!(message.ends_with("add cpu to spec.strategies, ask for 2 pods, or free a GPU"), "{message}");
    }
}
