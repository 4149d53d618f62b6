//! A cluster that is simulated: Deployments, a scheduler, and pods that become ready after a while.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, PodSpec};
use ocrpool_core::{
    api::{Strategy, StrategyStatus},
    build,
    place::{
        self, Decision, OldCell, Situation,
        nodes::{NodeFacts, NodeReader, Standing},
        pods::PodFacts,
        remember,
        supply::{Held, Supply, supply},
    },
    rollout::Count,
    valid::ValidPool,
};
use serde_json::json;

use crate::{
    generate::{Condition, Happening, World},
    pools::valid,
    scheduler::may_go,
};

/// A cell: number of the revision, and strategy.
pub type Cell = (u32, Strategy);

#[derive(Clone, Debug)]
pub struct Pod {
    pub number: u32,
    pub cell: Cell,
    pub created: i64,
    pub node: Option<usize>,
    pub ready_at: Option<i64>,
    /// Told to end, and gone then.
    pub gone_at: Option<i64>,
    /// When its node fell silent: it never ends.
    pub stuck_since: Option<i64>,
    pub runs: Strategy,
}

pub struct Cluster {
    pub world: World,
    pub now: i64,
    pub replicas: i32,
    pub revision: u32,
    pub deployments: BTreeMap<Cell, i32>,
    pub pods: Vec<Pod>,
    pub status: Vec<StrategyStatus>,
    pub evictions: u64,
    pool: ValidPool,
    templates: Vec<PodSpec>,
    conditions: Vec<Condition>,
    lies: Vec<bool>,
    others: Vec<i32>,
    facts: Vec<NodeFacts>,
    /// By node, and by the strategy's place in the pool's list.
    open: Vec<Vec<bool>>,
    next_number: u32,
}

impl Cluster {
    pub fn new(world: World) -> Self {
        let names: Vec<&str> = world.strategies.iter().map(|strategy| strategy.as_str()).collect();
        let pool = valid(&json!({"strategies": names, "placement": world.placement, "replicas": world.replicas}));
        let template =
            |strategy: &Strategy| build::deployment(&pool, *strategy, 1).spec.unwrap().template.spec.unwrap();
        let mut cluster = Self {
            now: 0,
            replicas: world.replicas,
            revision: 1,
            deployments: BTreeMap::new(),
            pods: Vec::new(),
            status: Vec::new(),
            evictions: 0,
            templates: world.strategies.iter().map(template).collect(),
            conditions: vec![Condition::default(); world.nodes.len()],
            lies: vec![false; world.nodes.len()],
            others: world.nodes.iter().map(|node| node.others).collect(),
            facts: Vec::new(),
            open: Vec::new(),
            next_number: 0,
            pool,
            world,
        };
        for index in 0..cluster.world.nodes.len() {
            let (facts, open) = cluster.look(index);
            cluster.facts.push(facts);
            cluster.open.push(open);
        }
        cluster
    }

    fn look(&self, index: usize) -> (NodeFacts, Vec<bool>) {
        let node: Node =
            self.world.nodes[index].node(&format!("n{index}"), self.world.resource, &self.conditions[index]);
        let open = self.templates.iter().map(|template| may_go(template, &node)).collect();
        (NodeReader::new(&self.pool.revision.runs.placement).read(&node), open)
    }

    fn look_again(&mut self, index: usize) {
        let (facts, open) = self.look(index);
        self.facts[index] = facts;
        self.open[index] = open;
    }

    fn gpus(&self, index: usize) -> i32 {
        self.world.nodes[index].gpus - self.conditions[index].lost
    }

    fn on(&self, index: usize) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(move |pod| pod.node == Some(index))
    }

    fn held(&self, index: usize) -> i32 {
        i32::try_from(self.on(index).filter(|pod| pod.cell.1.needs_gpu()).count()).unwrap()
    }

    /// Something happens. Whether pods are lost by it, or more are wanted.
    pub fn happen(&mut self, happening: Happening) -> bool {
        let before = (self.ready(), self.live());
        match happening {
            Happening::Lose { node, gpus, ends_pods } => {
                self.conditions[node].lost = gpus;
                let left = self.gpus(node);
                let mut excess = if ends_pods { self.held(node) - left } else { 0 };
                for pod in self.pods.iter_mut().filter(|pod| pod.node == Some(node) && pod.cell.1.needs_gpu()) {
                    if excess > 0 && pod.gone_at.is_none() {
                        pod.gone_at = Some(self.now + self.world.end);
                        excess -= 1;
                    }
                }
            }
            Happening::Others { node, gpus } => self.others[node] = gpus,
            Happening::Cordon(node) => self.conditions[node].is_cordoned = true,
            Happening::Drain(node) => {
                self.conditions[node].is_drained = true;
                for pod in self.pods.iter_mut().filter(|pod| pod.node == Some(node) && pod.gone_at.is_none()) {
                    pod.gone_at = Some(self.now + self.world.end);
                }
            }
            Happening::Die { node, is_gone } => {
                self.conditions[node].is_dead = true;
                self.pods.retain(|pod| pod.node != Some(node) || !is_gone);
                for pod in self.pods.iter_mut().filter(|pod| pod.node == Some(node)) {
                    (pod.ready_at, pod.gone_at, pod.stuck_since) = (None, Some(i64::MAX), Some(self.now));
                }
            }
            Happening::Heal(node) => {
                self.conditions[node] = Condition::default();
                self.pods.retain(|pod| pod.node != Some(node) || pod.stuck_since.is_none());
                self.lies[node] = false;
            }
            Happening::Scale(replicas) => self.replicas = replicas,
            Happening::NewRevision => self.revision += 1,
            Happening::Delete => {
                if let Some(index) = self.pods.iter().position(|pod| pod.gone_at.is_none()) {
                    if self.pods[index].node.is_some() {
                        self.pods[index].gone_at = Some(self.now + self.world.end);
                    } else {
                        self.pods.remove(index);
                    }
                }
            }
            Happening::Lie(node) => self.lies[node] = true,
        }
        for index in 0..self.world.nodes.len() {
            self.look_again(index);
        }
        // Where pods are missing, those of another revision begin to look for a node from the start.
        let begins_again = happening == Happening::NewRevision && before.0 < self.replicas;
        self.live() < before.1 || begins_again || matches!(happening, Happening::Scale(_))
    }

    pub fn is_ready(&self, pod: &Pod) -> bool {
        pod.gone_at.is_none() && pod.ready_at.is_some_and(|at| at <= self.now)
    }

    /// Pods that were not told to end.
    fn live(&self) -> usize {
        self.pods.iter().filter(|pod| pod.gone_at.is_none()).count()
    }

    pub fn ready(&self) -> i32 {
        i32::try_from(self.pods.iter().filter(|pod| self.is_ready(pod)).count()).unwrap()
    }

    /// Kubernetes does what is to be done at this moment.
    pub fn settle(&mut self) {
        let now = self.now;
        self.pods.retain(|pod| pod.gone_at.is_none_or(|at| at > now));
        for (cell, replicas) in self.deployments.clone() {
            self.scale(cell, replicas);
        }
        for index in 0..self.pods.len() {
            if self.pods[index].node.is_none() {
                self.schedule(index);
            }
        }
    }

    /// As the `ReplicaSet` controller does: those without a node go first, then those that are not ready, then the
    /// youngest.
    fn scale(&mut self, cell: Cell, replicas: i32) {
        let live = |pod: &&Pod| pod.cell == cell && pod.gone_at.is_none();
        let mut count = i32::try_from(self.pods.iter().filter(live).count()).unwrap();
        while count < replicas {
            self.pods.push(Pod {
                number: self.next_number,
                cell,
                created: self.now,
                node: None,
                ready_at: None,
                gone_at: None,
                stuck_since: None,
                runs: cell.1,
            });
            self.next_number += 1;
            count += 1;
        }
        while count > replicas {
            let rank = |pod: &Pod| (pod.node.is_some(), self.is_ready(pod), std::cmp::Reverse(pod.number));
            let victim = self.pods.iter().filter(live).min_by_key(|pod| rank(pod)).unwrap().number;
            let is_bound = self.pods.iter().any(|pod| pod.number == victim && pod.node.is_some());
            if is_bound {
                let gone_at = self.now + self.world.end;
                self.pods.iter_mut().filter(|pod| pod.number == victim).for_each(|pod| pod.gone_at = Some(gone_at));
            } else {
                self.pods.retain(|pod| pod.number != victim);
            }
            count -= 1;
        }
    }

    fn schedule(&mut self, index: usize) {
        let strategy = self.pods[index].cell.1;
        let Some(place) = self.world.strategies.iter().position(|one| *one == strategy) else { return };
        let fits = |node: &usize| {
            let free_slots = self.world.nodes[*node].slots - i32::try_from(self.on(*node).count()).unwrap();
            let free_gpus = self.gpus(*node) - self.others[*node] - self.held(*node);
            self.open[*node][place] && free_slots > 0 && (!strategy.needs_gpu() || free_gpus > 0)
        };
        // A pod for the CPU takes a node with GPUs last.
        let order = |node: &usize| (!strategy.needs_gpu() && self.world.nodes[*node].gpus > 0, *node);
        let Some(node) = (0..self.world.nodes.len()).filter(fits).min_by_key(order) else { return };
        let runs = if self.lies[node] && strategy.needs_gpu() { Strategy::Cpu } else { strategy };
        let pod = &mut self.pods[index];
        pod.node = Some(node);
        pod.ready_at = Some(self.now + self.world.start);
        pod.runs = runs;
    }

    /// When the next pod becomes ready or is gone.
    pub fn next_event(&self) -> Option<i64> {
        let events = self.pods.iter().flat_map(|pod| [pod.gone_at, pod.ready_at.filter(|_| pod.gone_at.is_none())]);
        events.flatten().filter(|at| *at > self.now).min()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn count(&self, cell: Cell) -> Count {
        let ready = self.pods.iter().filter(|pod| pod.cell == cell && self.is_ready(pod)).count();
        Count { replicas: self.deployments.get(&cell).copied().unwrap_or(0), ready: i32::try_from(ready).unwrap() }
    }

    pub fn old_cells(&self) -> Vec<Cell> {
        self.deployments.keys().filter(|(revision, _)| *revision != self.revision).copied().collect()
    }

    fn pod_facts(&self, pod: &Pod) -> PodFacts {
        let leaving = |node: usize| self.world.is_visible && self.facts[node].standing == Standing::Leaving;
        let is_late = pod.stuck_since.is_some_and(|since| self.now > since + self.world.end + 30);
        PodFacts {
            name: format!("pod-{:06}", pod.number),
            strategy: pod.cell.1,
            is_new: pod.cell.0 == self.revision,
            scheduled: pod.node.is_some(),
            ready: self.is_ready(pod),
            ending: pod.gone_at.is_some(),
            unscheduled_since: pod.node.is_none().then(|| Self::at(pod.created)),
            leaving: is_late || pod.node.is_some_and(leaving),
            runs: self.is_ready(pod).then_some(pod.runs),
            passed_over: None,
        }
    }

    pub fn supply(&self) -> Option<Vec<Supply>> {
        self.world.is_visible.then(|| {
            let held: Held = (0..self.world.nodes.len()).map(|node| (format!("n{node}"), self.held(node))).collect();
            let needs: Vec<_> =
                self.world.strategies.iter().map(|one| (*one, self.pool.gpu_memory_mib(*one))).collect();
            supply(&self.facts, &held, &needs)
        })
    }

    /// What the planner decides now, with what it remembers.
    pub fn decide(&self, status: &[StrategyStatus]) -> Decision {
        let is_new_revision = !self.deployments.keys().any(|(revision, _)| *revision == self.revision);
        let known: Vec<_> = self
            .world
            .strategies
            .iter()
            .map(|one| remember::known(*one, self.count((self.revision, *one)), status, is_new_revision))
            .collect();
        let old: Vec<_> = self
            .old_cells()
            .into_iter()
            .map(|cell| OldCell { strategy: Some(cell.1), count: self.count(cell) })
            .collect();
        let pods: Vec<_> = self.pods.iter().map(|pod| self.pod_facts(pod)).collect();
        let supply = self.supply();
        place::decide(&Situation {
            now: Self::at(self.now),
            revision: &self.revision.to_string(),
            replicas: self.replicas,
            spill_after: SignedDuration::from_secs(self.world.spill_after),
            on_mismatch: self.world.on_mismatch,
            strategies: &known,
            old: &old,
            pods: &pods,
            supply: supply.as_deref(),
        })
    }

    /// Does what was decided. Whether anything changed by it.
    pub fn act(&mut self, decision: &Decision) -> bool {
        let before = self.deployments.clone();
        for (cell, replicas) in self.old_cells().into_iter().zip(&decision.old) {
            self.deployments.insert(cell, *replicas);
            if *replicas == 0 && !self.pods.iter().any(|pod| pod.cell == cell) {
                self.deployments.remove(&cell);
            }
        }
        for placed in &decision.strategies {
            let cell = (self.revision, placed.strategy);
            if placed.replicas > 0 || self.deployments.contains_key(&cell) {
                self.deployments.insert(cell, placed.replicas);
            }
        }
        let mut strategies = decision.strategies.clone();
        let evict = decision.evict.as_ref().filter(|_| self.may_disrupt());
        if let Some(eviction) = evict {
            let gone_at = self.now + self.world.end;
            let evicted = |pod: &&mut Pod| format!("pod-{:06}", pod.number) == eviction.pod;
            self.pods.iter_mut().filter(evicted).for_each(|pod| pod.gone_at = Some(gone_at));
            eviction.note(&mut strategies);
            self.evictions += 1;
        }
        self.status = strategies.iter().map(remember::status).collect();
        before != self.deployments || evict.is_some()
    }

    /// Whether the disruption budget lets a pod go: one at most may be missing of those that were asked for.
    fn may_disrupt(&self) -> bool {
        self.ready() >= self.deployments.values().sum()
    }

    /// GPUs that pods of the pool could have, with nodes that pods of a GPU strategy may go to.
    pub fn usable_gpus(&self) -> i32 {
        let is_usable = |node: &usize| {
            let strategies = self.world.strategies.iter().zip(&self.open[*node]);
            strategies.into_iter().any(|(strategy, open)| strategy.needs_gpu() && *open)
        };
        (0..self.world.nodes.len()).filter(is_usable).map(|node| self.gpus(node)).sum()
    }

    pub fn is_any_leaving(&self) -> bool {
        self.facts.iter().any(|facts| facts.standing == Standing::Leaving)
    }

    /// Pods on GPU strategies, of any revision, that stay.
    pub fn gpu_pods(&self) -> i32 {
        let count = self.pods.iter().filter(|pod| pod.cell.1.needs_gpu() && self.is_ready(pod)).count();
        i32::try_from(count).unwrap()
    }
}
