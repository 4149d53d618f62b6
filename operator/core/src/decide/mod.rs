//! From what is there to what is to be done. No client, no clock: [`World`] holds all that a decision may know.

mod situation;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Node, Pod},
};
use ocr_api::PodStatus;

use crate::{
    api::OcrPool,
    build::{self, Child},
    installation::Installation,
    place::{Eviction, Placed},
    prove::{self, Memory},
    valid::{Invalid, ValidPool},
};
use situation::{Cells, Old, has_gpus, place};

/// What is there.
#[derive(Clone, Debug)]
pub struct World<'a> {
    /// The time of the observation.
    pub now: Timestamp,
    pub pool: &'a OcrPool,
    pub installation: &'a Installation,
    /// Deployments that the pool controls.
    pub deployments: &'a [Deployment],
    /// Records that the pool controls.
    pub records: &'a [ConfigMap],
    /// Pods that belong to the pool, by the chain of their owners.
    pub pods: &'a [Pod],
    /// What pods say of themselves, by the pod's name.
    pub attested: &'a BTreeMap<String, PodStatus>,
    /// The nodes, where they can be seen.
    pub nodes: Option<&'a [Arc<Node>]>,
    /// Every pod of ours, of all pools: they have GPUs.
    pub all_pods: &'a [Arc<Pod>],
    /// What is known of the page that proves the pool.
    pub memory: &'a Memory,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The pool as it was read, or why it cannot be.
    pub pool: Result<ValidPool, Invalid>,
    /// Objects that should be so, in the order in which they are applied.
    pub children: Vec<Child>,
    /// Names of Deployments that are to go, with their records.
    pub remove: Vec<String>,
    /// What each strategy is to be, best first.
    pub strategies: Vec<Placed>,
    /// A pod to evict, because it runs a lower strategy than it was made for.
    pub evict: Option<Eviction>,
    /// A new revision needs the GPUs of pods that cannot be given up.
    pub is_blocked: bool,
    /// Whether to read a page through the pool's address now.
    pub prove: bool,
    /// When to look again if nothing happens.
    pub next_check: Duration,
}

/// How often a pool is looked at in which nothing happens.
const STEADY: Duration = Duration::from_secs(30);

/// Decides. A spec that cannot be is left as it is: what runs goes on running.
#[must_use]
pub fn decide(world: &World<'_>) -> Plan {
    let deleted = world.pool.metadata.deletion_timestamp.is_some();
    match ValidPool::read(world.pool, world.installation) {
        Ok(pool) if !deleted => plan(world, pool),
        pool => Plan {
            pool,
            children: Vec::new(),
            remove: Vec::new(),
            strategies: Vec::new(),
            evict: None,
            is_blocked: false,
            prove: false,
            next_check: STEADY,
        },
    }
}

fn plan(world: &World<'_>, pool: ValidPool) -> Plan {
    let cells = Cells::of(world, &pool);
    let decision = place(world, &pool, &cells);
    let mut children = build::fixtures(&pool, world.installation);
    let mut remove = Vec::new();

    // A strategy that never had a pod needs no Deployment; a pool at zero has one all the same, which says what it
    // would run.
    let has_any =
        decision.strategies.iter().any(|placed| placed.replicas > 0) || cells.new.iter().any(|one| one.live.is_some());
    for (index, (cell, placed)) in cells.new.iter().zip(&decision.strategies).enumerate() {
        let replicas = placed.replicas;
        if cell.live.is_none() && replicas == 0 && (has_any || index > 0) {
            continue;
        }
        let deployment = find_record(world, &cell.name, replicas)
            .or_else(|| cell.live.map(|live| with_replicas(build::as_rendered(live), replicas)))
            .unwrap_or_else(|| build::deployment(&pool, cell.strategy, replicas));
        children.push(Child::Record(build::record(&deployment)));
        children.push(Child::Deployment(deployment));
    }
    for (Old { deployment, count }, replicas) in cells.old.iter().zip(&decision.old) {
        let name = deployment.metadata.name.clone().unwrap_or_default();
        let pods = deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0);
        let is_over = *replicas == 0 && count.replicas == 0 && pods == 0;
        if is_over && !has_gpus(world, deployment) {
            remove.push(name);
            continue;
        }
        let kept = find_record(world, &name, *replicas)
            .unwrap_or_else(|| with_replicas(build::as_rendered(deployment), *replicas));
        children.push(Child::Record(build::record(&kept)));
        children.push(Child::Deployment(kept));
    }

    let proof = prove::plan(world.memory, &pool.revision.name, cells.ready(), world.now);
    let next_check = proof.next_check.min(STEADY).min(decision.next_check.unwrap_or(STEADY));
    Plan {
        pool: Ok(pool),
        children,
        remove,
        strategies: decision.strategies,
        evict: decision.evict,
        is_blocked: decision.is_blocked,
        prove: proof.now,
        next_check,
    }
}

fn find_record(world: &World<'_>, name: &str, replicas: i32) -> Option<Deployment> {
    let record = world.records.iter().find(|record| record.metadata.name.as_deref() == Some(name))?;
    build::recorded(record, replicas)
}

fn with_replicas(mut deployment: Deployment, replicas: i32) -> Deployment {
    if let Some(spec) = &mut deployment.spec {
        spec.replicas = Some(replicas);
    }
    deployment
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::{OcrPoolStatus, Proof},
        fixture::{installation, pool, valid},
    };

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    /// What a decision is made from, kept so that it can be borrowed.
    struct Scene {
        pool: OcrPool,
        installation: Installation,
        deployments: Vec<Deployment>,
        records: Vec<ConfigMap>,
        pods: Vec<Pod>,
        nodes: Option<Vec<Arc<Node>>>,
        all_pods: Vec<Arc<Pod>>,
        memory: Memory,
    }

    impl Scene {
        fn new(spec: &Value) -> Self {
            Self {
                pool: pool(spec),
                installation: installation(),
                deployments: Vec::new(),
                records: Vec::new(),
                pods: Vec::new(),
                nodes: None,
                all_pods: Vec::new(),
                memory: Memory::default(),
            }
        }

        fn decide(&self) -> Plan {
            decide(&World {
                now: now(),
                pool: &self.pool,
                installation: &self.installation,
                deployments: &self.deployments,
                records: &self.records,
                pods: &self.pods,
                attested: &BTreeMap::new(),
                nodes: self.nodes.as_deref(),
                all_pods: &self.all_pods,
                memory: &self.memory,
            })
        }

        /// The cluster does what was planned: objects exist, and all pods that were asked for are ready.
        fn act(&mut self, plan: &Plan) {
            self.deployments.retain(|one| !plan.remove.contains(one.metadata.name.as_ref().unwrap()));
            for child in &plan.children {
                match child {
                    Child::Deployment(deployment) => {
                        let mut live = deployment.clone();
                        let replicas = live.spec.as_ref().unwrap().replicas;
                        live.status =
                            serde_json::from_value(json!({"replicas": replicas, "readyReplicas": replicas})).ok();
                        self.deployments.retain(|one| one.metadata.name != live.metadata.name);
                        let labels = live.metadata.labels.clone().unwrap();
                        self.pods.retain(|pod| pod.metadata.labels.as_ref() != Some(&labels));
                        self.pods.extend((0..replicas.unwrap()).map(|number| ready_pod(&labels, number)));
                        self.deployments.push(live);
                    }
                    Child::Record(record) => {
                        self.records.retain(|one| one.metadata.name != record.metadata.name);
                        self.records.push(record.clone());
                    }
                    _ => {}
                }
            }
        }

        fn settle(&mut self) -> Vec<Vec<(String, i32)>> {
            let mut history = Vec::new();
            for _ in 0..30 {
                let plan = self.decide();
                let pods = deployments(&plan);
                if history.last() == Some(&pods) && plan.remove.is_empty() {
                    return history;
                }
                history.push(pods);
                self.act(&plan);
            }
            panic!("it does not settle: {history:?}")
        }
    }

    fn ready_pod(labels: &BTreeMap<String, String>, number: i32) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": format!("ready-{number}"), "labels": labels},
            "spec": {"nodeName": "any", "containers": []},
            "status": {"conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}]},
        }))
        .unwrap()
    }

    fn deployments(plan: &Plan) -> Vec<(String, i32)> {
        let of = |child: &Child| match child {
            Child::Deployment(one) => {
                Some((one.metadata.name.clone().unwrap(), one.spec.as_ref().unwrap().replicas.unwrap()))
            }
            _ => None,
        };
        plan.children.iter().filter_map(of).collect()
    }

    #[test]
    fn a_new_pool_gets_its_objects_in_an_order_that_works() {
        let plan = Scene::new(&json!({"scaling": {"min": 3}})).decide();
        let kinds: Vec<_> = plan.children.iter().map(Child::kind).collect();
        assert_eq!(
            kinds,
            ["ServiceAccount", "NetworkPolicy", "PodDisruptionBudget", "Service", "ConfigMap", "Deployment"]
        );
        assert!(plan.children.iter().all(|child| build::is_controlled_by(child.metadata(), "0000-1111")));
        assert_eq!(deployments(&plan)[0].1, 3);
        assert!(!plan.prove);
    }

    #[test]
    fn a_spec_that_cannot_be_leaves_what_runs_alone() {
        let mut scene = Scene::new(&json!({}));
        scene.settle();
        scene.pool.spec.model.name = "none".to_owned();
        let plan = scene.decide();
        assert!(plan.pool.is_err() && plan.children.is_empty() && plan.remove.is_empty() && !plan.prove);
    }

    #[test]
    fn a_pool_that_is_being_deleted_gets_nothing_new() {
        let mut scene = Scene::new(&json!({}));
        scene.pool.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
        assert!(scene.decide().children.is_empty());
    }

    #[test]
    fn a_new_revision_replaces_the_old_one_step_by_step_and_the_old_one_goes() {
        let mut scene = Scene::new(&json!({"scaling": {"min": 3}}));
        let old = scene.settle().last().unwrap()[0].0.clone();
        scene.pool.spec.log_level = crate::api::LogLevel::Debug;
        let history = scene.settle();
        for step in &history {
            let total: i32 = step.iter().map(|(_, replicas)| replicas).sum();
            assert!((3..=4).contains(&total), "{history:?}");
        }
        let last = history.last().unwrap();
        assert_eq!((last.len(), last[0].1), (1, 3));
        assert_ne!(last[0].0, old);
        assert_eq!(scene.deployments.len(), 1);
    }

    #[test]
    fn a_pool_of_one_pod_is_never_without_it_while_it_is_replaced() {
        let mut scene = Scene::new(&json!({}));
        scene.settle();
        scene.pool.spec.log_level = crate::api::LogLevel::Debug;
        let first = scene.decide();
        let mut replicas: Vec<i32> = deployments(&first).into_iter().map(|(_, replicas)| replicas).collect();
        replicas.sort_unstable();
        assert_eq!(replicas, [1, 1]);
    }

    /// What an upgraded operator renders otherwise is not applied: the record says what the revision is made of.
    #[test]
    fn another_rendering_of_the_same_revision_restarts_nothing() {
        let mut scene = Scene::new(&json!({}));
        scene.settle();
        let older = |deployment: &mut Deployment| {
            deployment.spec.as_mut().unwrap().template.spec.as_mut().unwrap().containers[0].working_dir =
                Some("/as-it-was-rendered-before".to_owned());
        };
        scene.deployments.iter_mut().for_each(older);
        scene.records = scene.deployments.iter().map(build::record).collect();
        let before = scene.deployments[0].spec.clone();
        let plan = scene.decide();
        let planned = plan.children.iter().find_map(|child| match child {
            Child::Deployment(deployment) => Some(deployment.spec.clone()),
            _ => None,
        });
        assert_eq!(planned.unwrap(), before);

        // With its record gone, the Deployment itself is what is left to go by.
        scene.records.clear();
        let plan = scene.decide();
        assert!(plan.children.iter().any(|child| matches!(child, Child::Deployment(one) if one.spec == before)));
        assert!(plan.children.iter().any(|child| matches!(child, Child::Record(_))));
    }

    #[test]
    fn a_template_that_was_edited_is_what_it_was_again() {
        let mut scene = Scene::new(&json!({}));
        scene.settle();
        let before = scene.deployments[0].spec.clone();
        scene.deployments[0].spec.as_mut().unwrap().template.spec.as_mut().unwrap().containers[0].image =
            Some("elsewhere.example.com/miner".to_owned());
        let plan = scene.decide();
        assert!(plan.children.iter().any(|child| matches!(child, Child::Deployment(one) if one.spec == before)));
    }

    #[test]
    fn no_pods_are_wanted_of_a_pool_at_zero() {
        let mut scene = Scene::new(&json!({"replicas": 0, "scaling": {"mode": "Manual"}}));
        assert_eq!(scene.settle().last().unwrap()[0].1, 0);
    }

    #[test]
    fn a_page_is_read_as_soon_as_a_pod_of_the_revision_is_ready() {
        let mut scene = Scene::new(&json!({}));
        assert!(!scene.decide().prove);
        scene.settle();
        assert!(scene.decide().prove);
        let revision = valid(&json!({})).revision.name;
        scene.memory.last = Some(passed(revision));
        let plan = scene.decide();
        assert!(!plan.prove && plan.next_check == STEADY);
    }

    /// A page was read a moment ago.
    fn passed(revision: String) -> Proof {
        let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now());
        Proof { time, revision, passed: true, message: None }
    }

    /// A node with so many GPUs of 24 GB.
    fn node(name: &str, gpus: i32) -> Arc<Node> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "labels": {"nvidia.com/gpu.memory": "23034"}},
                "status": {
                    "allocatable": {"nvidia.com/gpu": gpus.to_string()},
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            }))
            .unwrap(),
        )
    }

    /// A pod of a GPU strategy on a node.
    fn gpu_pod(name: &str, revision: &str, node: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"ocrpool.dev/revision": revision, "ocrpool.dev/strategy": "gpu-fp16"}},
            "spec": {"nodeName": node, "containers": [{"name": "ocr", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]},
            "status": {"conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}]},
        }))
        .unwrap()
    }

    /// Name of the Deployment without the pool's, and its pods.
    fn cells(plan: &Plan) -> Vec<(String, i32)> {
        let short = |(name, replicas): (String, i32)| (name.split('-').skip(2).collect::<Vec<_>>().join("-"), replicas);
        deployments(plan).into_iter().map(short).collect()
    }

    fn two_strategies() -> Value {
        json!({"strategies": ["gpu-fp16", "gpu-int8", "cpu"], "replicas": 2, "scaling": {"mode": "Manual"}})
    }

    #[test]
    fn without_sight_of_the_nodes_the_best_strategy_is_tried_first() {
        assert_eq!(cells(&Scene::new(&two_strategies()).decide()), [("gpu-fp16".to_owned(), 2)]);
    }

    #[test]
    fn a_cluster_without_gpus_starts_on_cpu_at_once_and_says_why() {
        let mut scene = Scene::new(&two_strategies());
        scene.nodes = Some(vec![node("plain", 0)]);
        let plan = scene.decide();
        assert_eq!(cells(&plan), [("cpu".to_owned(), 2)]);
        let why = plan.strategies[0].why.clone().unwrap();
        assert_eq!(why.reason, "NoGpuOffered");
        assert_eq!(why.message, "room for 0 of 2 pods: no node that pods may go to offers a GPU for it");
        // A GPU that comes later is tried later; what was remembered is read from the status.
        scene.nodes = Some(vec![node("plain", 0), node("gpu", 1)]);
        let strategies = plan.strategies.iter().map(crate::place::remember::status).collect();
        scene.pool.status = Some(OcrPoolStatus { strategies, ..OcrPoolStatus::default() });
        scene.act(&plan);
        assert_eq!(cells(&scene.decide()), [("cpu".to_owned(), 2)]);
    }

    #[test]
    fn gpus_that_pods_of_other_pools_have_are_not_free() {
        let replaced = |others: Vec<Pod>| {
            let mut scene = Scene::new(&json!({"strategies": ["gpu-fp16", "cpu"]}));
            scene.settle();
            let revision = scene.deployments[0].metadata.labels.clone().unwrap()["ocrpool.dev/revision"].clone();
            scene.nodes = Some(vec![node("a", 2)]);
            scene.pods = vec![gpu_pod("own", &revision, "a")];
            scene.all_pods = scene.pods.iter().cloned().chain(others).map(Arc::new).collect();
            scene.pool.spec.log_level = crate::api::LogLevel::Debug;
            cells(&scene.decide()).into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(replaced(vec![]), ["gpu-fp16", "gpu-fp16"]);
        // The new revision begins on the CPU, and takes the GPU when that is given up.
        assert_eq!(replaced(vec![gpu_pod("other", "another", "a")]), ["cpu", "gpu-fp16"]);
    }

    #[test]
    fn a_deployment_stays_until_its_last_gpu_pod_is_gone() {
        let mut scene = Scene::new(&json!({"strategies": ["gpu-fp16", "cpu"]}));
        let old = scene.settle().last().unwrap()[0].0.clone();
        let revision = scene.deployments[0].metadata.labels.clone().unwrap()["ocrpool.dev/revision"].clone();
        scene.pool.spec.log_level = crate::api::LogLevel::Debug;
        let old_spec = scene.deployments[0].spec.as_mut().unwrap();
        old_spec.replicas = Some(0);
        scene.deployments[0].status = None;
        let mut ending = gpu_pod("ending", &revision, "a");
        ending.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
        for (pods, removed) in [
            (vec![ending.clone()], vec![]),
            (vec![gpu_pod("another", "another", "a")], vec![old.clone()]),
            (vec![], vec![old]),
        ] {
            scene.pods = pods;
            assert_eq!(scene.decide().remove, removed);
        }
    }

    #[test]
    fn a_strategy_that_is_dropped_is_replaced_like_an_old_revision() {
        let mut scene = Scene::new(&json!({"strategies": ["gpu-fp16", "cpu"]}));
        scene.settle();
        scene.pool.spec.strategies = vec![crate::api::Strategy::Cpu];
        assert_eq!(cells(&scene.decide()), [("cpu".to_owned(), 1), ("gpu-fp16".to_owned(), 1)]);
        assert_eq!(scene.settle().last().unwrap().len(), 1);
        assert_eq!(scene.deployments.len(), 1);
    }

    #[test]
    fn room_that_was_found_counts_for_its_revision_alone() {
        let mut scene = Scene::new(&json!({"strategies": ["gpu-fp16", "cpu"]}));
        scene.settle();
        let full = crate::api::StrategyStatus {
            room: Some(0),
            spilled_at: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now())),
            ..crate::api::StrategyStatus::new(crate::api::Strategy::GpuFp16)
        };
        scene.pool.status = Some(OcrPoolStatus { strategies: vec![full], ..OcrPoolStatus::default() });
        assert_eq!(scene.decide().strategies[0].wanted, 0);
        scene.pool.spec.log_level = crate::api::LogLevel::Debug;
        assert_eq!(scene.decide().strategies[0].wanted, 1);
    }

    #[test]
    fn pods_on_a_node_that_goes_are_replaced_before_they_are_gone() {
        let mut scene = Scene::new(&json!({"replicas": 2, "scaling": {"mode": "Manual"}}));
        scene.settle();
        let revision = scene.deployments[0].metadata.labels.clone().unwrap()["ocrpool.dev/revision"].clone();
        let mut pod = gpu_pod("one", &revision, "goes");
        pod.metadata.labels.as_mut().unwrap().insert("ocrpool.dev/strategy".to_owned(), "cpu".to_owned());
        scene.pods = vec![pod];
        let mut cordoned = node("goes", 0).as_ref().clone();
        cordoned.spec = serde_json::from_value(json!({"unschedulable": true})).unwrap();
        scene.nodes = Some(vec![Arc::new(cordoned), node("stays", 0)]);
        assert_eq!(cells(&scene.decide()), [("cpu".to_owned(), 3)]);
        scene.nodes = Some(vec![node("goes", 0), node("stays", 0)]);
        assert_eq!(cells(&scene.decide()), [("cpu".to_owned(), 2)]);
        scene.nodes = None;
        assert_eq!(cells(&scene.decide()), [("cpu".to_owned(), 2)]);
    }

    /// A pod that was evicted is none, whatever the status of its Deployment says still: else another would be given up for it.
    #[test]
    fn nothing_is_given_up_for_a_pod_that_is_gone() {
        let spec = json!({"strategies": ["gpu-fp16", "cpu"], "replicas": 2, "scaling": {"mode": "Manual"}});
        let mut scene = Scene::new(&spec);
        scene.settle();
        let mut covers = build::deployment(&valid(&spec), crate::api::Strategy::Cpu, 1);
        covers.status = serde_json::from_value(json!({"replicas": 1, "readyReplicas": 1})).ok();
        scene.pods.push(ready_pod(covers.metadata.labels.as_ref().unwrap(), 0));
        scene.deployments.push(covers);
        let both = |cpu| [("gpu-fp16".to_owned(), 2), ("cpu".to_owned(), cpu)];
        assert_eq!(cells(&scene.decide()), both(0));
        scene.pods[0].metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
        assert_eq!(cells(&scene.decide()), both(1));
    }

    #[test]
    fn a_look_is_taken_when_a_pod_will_have_waited_long_enough() {
        let mut scene = Scene::new(&json!({"strategies": ["gpu-fp16", "cpu"], "placement": {"spillAfterSeconds": 20}}));
        scene.settle();
        let revision = scene.deployments[0].metadata.labels.clone().unwrap()["ocrpool.dev/revision"].clone();
        let mut pod = gpu_pod("one", &revision, "a");
        pod.spec = None;
        pod.status = None;
        pod.metadata.creation_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now() - jiff::SignedDuration::from_secs(13)));
        scene.pods = vec![pod];
        scene.memory.last = Some(passed(revision));
        assert_eq!(scene.decide().next_check, Duration::from_secs(7));
    }

    #[test]
    fn the_status_does_not_change_what_is_decided_but_for_the_image() {
        let mut scene = Scene::new(&json!({}));
        let plan = scene.decide();
        scene.pool.status =
            Some(OcrPoolStatus { replicas: 9, reason: Some("Odd".to_owned()), ..OcrPoolStatus::default() });
        assert_eq!(scene.decide(), plan);
    }
}
