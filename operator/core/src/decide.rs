//! From what is there to what is to be done. No client, no clock: [`World`] holds all that a decision may know.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};

use crate::{
    api::{OcrPool, Strategy},
    build::{self, Child, names},
    installation::Installation,
    place::place,
    prove::{self, Memory},
    rollout::{Count, step},
    valid::{Invalid, ValidPool},
};

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
    /// Pods wanted, by strategy.
    pub wanted: Vec<(Strategy, i32)>,
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
        Ok(pool) if deleted => Plan {
            pool: Ok(pool),
            children: Vec::new(),
            remove: Vec::new(),
            wanted: Vec::new(),
            prove: false,
            next_check: STEADY,
        },
        Ok(pool) => plan(world, pool),
        Err(invalid) => Plan {
            pool: Err(invalid),
            children: Vec::new(),
            remove: Vec::new(),
            wanted: Vec::new(),
            prove: false,
            next_check: STEADY,
        },
    }
}

fn plan(world: &World<'_>, pool: ValidPool) -> Plan {
    let wanted = place(&pool.strategies, pool.replicas);
    let mut children = build::fixtures(&pool, world.installation);
    let mut remove = Vec::new();

    // The Deployment that should have pods, and all others: of other revisions, and of strategies not wanted any more.
    let current = wanted.first().map(|(strategy, _)| names::deployment(&pool.name, &pool.revision.name, *strategy));
    let is_current = |deployment: &&Deployment| deployment.metadata.name == current;
    let others: Vec<&Deployment> = world.deployments.iter().filter(|one| !is_current(one)).collect();
    let other_counts: Vec<Count> = others.iter().map(|one| count(one)).collect();
    let live = world.deployments.iter().find(is_current);
    let next = step(pool.replicas, surge(pool.replicas), live.map_or(Count::default(), count), &other_counts);

    if let Some((strategy, _)) = wanted.first() {
        let recorded = current.as_ref().and_then(|name| find_record(world, name, next.new));
        let deployment = recorded
            .or_else(|| live.map(|live| with_replicas(build::as_rendered(live), next.new)))
            .unwrap_or_else(|| build::deployment(&pool, *strategy, next.new));
        children.push(Child::Record(build::record(&deployment)));
        children.push(Child::Deployment(deployment));
    }
    for ((deployment, was), replicas) in others.iter().zip(&other_counts).zip(&next.old) {
        let name = deployment.metadata.name.clone().unwrap_or_default();
        let pods = deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0);
        if *replicas == 0 && was.replicas == 0 && pods == 0 {
            remove.push(name);
            continue;
        }
        let kept = find_record(world, &name, *replicas)
            .unwrap_or_else(|| with_replicas(build::as_rendered(deployment), *replicas));
        children.push(Child::Record(build::record(&kept)));
        children.push(Child::Deployment(kept));
    }

    let ready = live.map_or(0, |live| count(live).ready);
    let proof = prove::plan(world.memory, &pool.revision.name, ready, world.now);
    Plan { pool: Ok(pool), children, remove, wanted, prove: proof.now, next_check: proof.next_check.min(STEADY) }
}

/// Pods beyond the wanted ones while a revision replaces another: a quarter, and one at least.
const fn surge(wanted: i32) -> i32 {
    if wanted <= 4 { 1 } else { wanted / 4 }
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

/// Pods of a Deployment. What its status says may be older than its spec: never more ready than asked for.
fn count(deployment: &Deployment) -> Count {
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
    let ready = deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
    Count { replicas, ready: ready.clamp(0, replicas.max(0)) }
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
        memory: Memory,
    }

    impl Scene {
        fn new(spec: &Value) -> Self {
            Self {
                pool: pool(spec),
                installation: installation(),
                deployments: Vec::new(),
                records: Vec::new(),
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
        scene.memory.last = Some(Proof {
            time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()),
            revision,
            passed: true,
            message: None,
        });
        let plan = scene.decide();
        assert!(!plan.prove && plan.next_check == STEADY);
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
