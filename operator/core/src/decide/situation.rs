//! From the world to what the planner must know, and from what it decides to Deployments.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node, Pod},
};

use super::World;
use crate::{
    api::{Strategy, StrategyStatus},
    build::names,
    place::{
        self, Decision, OldCell, Situation,
        nodes::{NodeFacts, NodeReader, Standing},
        pods, remember,
        supply::{held, supply},
    },
    rollout::Count,
    valid::ValidPool,
};

/// The pool's Deployments, by what becomes of them.
pub(super) struct Cells<'a> {
    /// Of the wanted revision, one for each strategy, in the pool's order.
    pub new: Vec<Cell<'a>>,
    /// All others: of other revisions, and of strategies that are not wanted any more.
    pub old: Vec<Old<'a>>,
}

/// A Deployment that should be.
pub(super) struct Cell<'a> {
    pub strategy: Strategy,
    pub name: String,
    pub live: Option<&'a Deployment>,
    /// Its pods; none where there is no Deployment yet.
    pub count: Count,
}

/// A Deployment that is to go.
pub(super) struct Old<'a> {
    pub deployment: &'a Deployment,
    pub count: Count,
}

impl<'a> Cells<'a> {
    pub fn of(world: &World<'a>, pool: &ValidPool) -> Self {
        let find = |name: &str| world.deployments.iter().find(|one| one.metadata.name.as_deref() == Some(name));
        let new: Vec<Cell<'a>> = pool
            .strategies
            .iter()
            .map(|strategy| {
                let name = names::deployment(&pool.name, &pool.revision.name, *strategy);
                let live = find(&name);
                let count = live.map_or(Count::default(), |live| count(live, world.pods));
                Cell { strategy: *strategy, name, live, count }
            })
            .collect();
        let is_new =
            |deployment: &&Deployment| new.iter().any(|cell| deployment.metadata.name.as_ref() == Some(&cell.name));
        let of_old = |deployment| Old { deployment, count: count(deployment, world.pods) };
        let old = world.deployments.iter().filter(|one| !is_new(one)).map(of_old).collect();
        Self { new, old }
    }

    /// Ready pods of the wanted revision.
    pub fn ready(&self) -> i32 {
        self.new.iter().map(|cell| cell.count.ready).sum()
    }
}

/// How many pods each strategy is to have, and each Deployment next.
pub(super) fn place(world: &World<'_>, pool: &ValidPool, cells: &Cells<'_>) -> Decision {
    let statuses: &[StrategyStatus] = world.pool.status.as_ref().map_or(&[], |status| &status.strategies);
    let is_new_revision = cells.new.iter().all(|cell| cell.live.is_none());
    let known: Vec<_> =
        cells.new.iter().map(|cell| remember::known(cell.strategy, cell.count, statuses, is_new_revision)).collect();
    let old: Vec<OldCell> =
        cells.old.iter().map(|one| OldCell { strategy: strategy(one.deployment), count: one.count }).collect();

    let placement = &pool.revision.runs.placement;
    // Where no strategy needs a GPU, other nodes than those that its pods are on say nothing.
    let needs_gpu = pool.strategies.iter().any(|strategy| strategy.needs_gpu());
    let homes: BTreeSet<&str> = world.pods.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.as_deref()).collect();
    let is_telling =
        |node: &&Arc<Node>| needs_gpu || node.metadata.name.as_deref().is_some_and(|name| homes.contains(name));
    let reader = NodeReader::new(placement);
    let nodes: Option<Vec<NodeFacts>> =
        world.nodes.map(|nodes| nodes.iter().filter(is_telling).map(|node| reader.read(node)).collect());
    let needs: Vec<(Strategy, u32)> =
        pool.strategies.iter().map(|strategy| (*strategy, pool.gpu_memory_mib(*strategy))).collect();
    let offers = nodes.as_ref().map(|nodes| {
        let all = world.all_pods.iter().map(std::convert::AsRef::as_ref);
        supply(nodes, &held(all, &placement.gpu_resource), &needs)
    });
    let leaving: BTreeSet<&str> = nodes
        .iter()
        .flatten()
        .filter(|node| node.standing == Standing::Leaving)
        .map(|node| node.name.as_str())
        .collect();
    let pods = pods::read(world.pods, world.attested, &leaving, &pool.revision.name, world.now);
    place::decide(&Situation {
        now: world.now,
        revision: &pool.revision.name,
        replicas: pool.replicas,
        spill_after: pool.spill_after,
        on_mismatch: pool.on_mismatch,
        strategies: &known,
        old: &old,
        pods: &pods,
        supply: offers.as_deref(),
    })
}

fn label<'a>(deployment: &'a Deployment, key: &str) -> Option<&'a String> {
    deployment.metadata.labels.as_ref()?.get(key)
}

fn strategy(deployment: &Deployment) -> Option<Strategy> {
    Strategy::named(label(deployment, names::STRATEGY)?)
}

/// Whether a Deployment that has no pods any more must stay for a while, because one of its pods is ending and has a
/// GPU: without its owner nobody would see whose pod it is, and the next would be sent to a GPU that is not free yet.
pub(super) fn has_gpus(world: &World<'_>, deployment: &Deployment) -> bool {
    strategy(deployment).is_some_and(Strategy::needs_gpu) && world.pods.iter().any(|pod| is_of(pod, deployment))
}

/// Whether a pod is of the revision and strategy of a Deployment.
fn is_of(pod: &Pod, deployment: &Deployment) -> bool {
    let has = |key: &str| pod.metadata.labels.as_ref().and_then(|labels| labels.get(key)) == label(deployment, key);
    has(names::REVISION) && has(names::STRATEGY)
}

/// Pods of a Deployment. Its status may be older than its spec, and than what is known of its pods: of one that was evicted
/// a moment ago it still says that it is ready, and another would be given up in its place. Ready are no more than were
/// asked for, and no more than are seen to be.
fn count(deployment: &Deployment, pods: &[Pod]) -> Count {
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
    let said = deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
    let seen = pods.iter().filter(|pod| is_of(pod, deployment) && pods::is_ready(pod)).count();
    let ready = said.min(i32::try_from(seen).unwrap_or(i32::MAX));
    Count { replicas, ready: ready.clamp(0, replicas.max(0)) }
}
