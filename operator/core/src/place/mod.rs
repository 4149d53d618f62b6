//! How many pods of each strategy a pool should have now, and how many each of its Deployments is to ask for next.
//!
//! The scheduler decides what fits, not our arithmetic: a pod that finds no node for `spillAfterSeconds` spills to the
//! next strategy ([`spill`]). What the nodes offer ([`supply`]) only says what to try first. Pods are moved by small
//! steps that are safe by themselves ([`crate::rollout`]). Nothing here knows more than its arguments: no client, no
//! clock.

pub mod labels;
pub mod mismatch;
pub mod nodes;
pub mod pods;
pub mod remember;
pub mod spill;
pub mod supply;
mod why;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::{
    api::{OnMismatch, Strategy},
    rollout::{Count, New, Old, Rollout, floor, step, surge},
};
use mismatch::Replacements;
use pods::PodFacts;
use spill::{Memory, Seen, Share, Turn, share};
use supply::Supply;
pub use why::Why;

/// What is known of a pool when it is decided.
#[derive(Clone, Debug)]
pub struct Situation<'a> {
    pub now: Timestamp,
    /// Name of the revision that is wanted.
    pub revision: &'a str,
    /// Pods that the pool is to have.
    pub replicas: i32,
    pub spill_after: SignedDuration,
    pub on_mismatch: OnMismatch,
    /// Best strategy first.
    pub strategies: &'a [Known],
    /// Deployments of other revisions, or of strategies that are not wanted any more.
    pub old: &'a [OldCell],
    pub pods: &'a [PodFacts],
    /// What the nodes offer, in the order of the strategies; none where they cannot be seen.
    pub supply: Option<&'a [Supply]>,
}

/// What is known of a strategy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub strategy: Strategy,
    /// Pods of its Deployment for the wanted revision.
    pub count: Count,
    pub memory: Memory,
    pub replacements: Option<Replacements>,
}

/// A Deployment that is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldCell {
    /// None if its label is no strategy of ours.
    pub strategy: Option<Strategy>,
    pub count: Count,
}

impl OldCell {
    fn has_gpu(&self) -> bool {
        self.strategy.is_some_and(Strategy::needs_gpu)
    }
}

/// What is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// In the order of the strategies.
    pub strategies: Vec<Placed>,
    /// Pods to ask for next of each old Deployment, in their order.
    pub old: Vec<i32>,
    /// A pod to evict, because it runs a lower strategy than it was made for.
    pub evict: Option<Eviction>,
    /// New pods need GPUs that old ones have, nothing can cover for them, and the old ones are all there is.
    pub is_blocked: bool,
    /// When something falls due, if nothing happens before.
    pub next_check: Option<Duration>,
}

/// A pod to evict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eviction {
    pub pod: String,
    pub strategy: Strategy,
    /// What is remembered once it was done.
    pub then: Replacements,
}

impl Eviction {
    /// Notes that it was done. One that a disruption budget does not allow now is tried again, and counts for nothing.
    pub fn note(&self, strategies: &mut [Placed]) {
        for placed in strategies.iter_mut().filter(|placed| placed.strategy == self.strategy) {
            placed.replacements = Some(self.then.clone());
        }
    }
}

/// What a strategy is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub strategy: Strategy,
    /// Pods wanted of it in the end.
    pub wanted: i32,
    /// Pods to ask for next.
    pub replicas: i32,
    /// Pods that are about to end; as many more are wanted of the pool.
    pub leaving: i32,
    /// Pods that run it by their own word.
    pub verified: i32,
    pub memory: Memory,
    pub replacements: Option<Replacements>,
    /// Why there are not as many as could be, or not as promised.
    pub why: Option<Why>,
}

/// Decides.
#[must_use]
pub fn decide(situation: &Situation<'_>) -> Decision {
    let view = View::of(situation);
    let total = situation.replicas.max(0).saturating_add(view.extra);
    let turn = Turn {
        now: situation.now,
        supply: situation.supply,
        is_rolling: view.is_rolling,
        is_complete: view.ready >= total,
    };
    let inputs: Vec<(Strategy, Memory, Seen)> = situation
        .strategies
        .iter()
        .zip(&view.seen)
        .map(|(known, seen)| (known.strategy, known.memory.clone(), view.for_rooms(*seen)))
        .collect();
    let shares = share(&turn, total, &inputs);
    let replacing = view.replacing(situation, total);
    // What replaces a pod runs beside it first: on the last strategy, where there is room if anywhere.
    let is_covering = replacing.is_some() || view.was_just_replaced(situation.now);
    let cover = i32::from(may_cover(situation) && is_covering);
    let last = shares.len().saturating_sub(1);
    let targets: Vec<i32> =
        shares.iter().enumerate().map(|(index, one)| one.wanted + if index == last { cover } else { 0 }).collect();

    let new = view.cells(situation, &shares, &targets);
    let old: Vec<Old> = situation.old.iter().map(|cell| Old { count: cell.count, has_gpu: cell.has_gpu() }).collect();
    let next = step(&Rollout {
        wanted: total.saturating_add(cover),
        surge: surge(total),
        floor: floor(situation.replicas),
        new: &new,
        old: &old,
        is_starting: view.is_starting,
        coming: view.coming,
    });
    let evict = replacing.filter(|replacing| replacing.is_now).map(|Replacing { pod, strategy, .. }| {
        let index = situation.strategies.iter().position(|known| known.strategy == strategy);
        let before = index.and_then(|index| view.replacements.get(index)).cloned().flatten();
        let then = Replacements::and_one(before, situation.revision, situation.now);
        Eviction { pod: pod.clone(), strategy, then }
    });
    let strategies = situation.strategies.iter().enumerate().map(|(index, known)| {
        let replacements = view.replacements[index].clone();
        let why = why::why(situation, index, replacements.as_ref(), &shares[index], view.seen[index]);
        Placed {
            strategy: known.strategy,
            wanted: shares[index].wanted,
            replicas: next.new[index],
            leaving: view.leaving[index],
            verified: view.verified[index],
            memory: shares[index].memory.clone(),
            replacements,
            why,
        }
    });
    Decision {
        strategies: strategies.collect(),
        old: next.old,
        evict,
        is_blocked: next.is_blocked,
        next_check: next_check(situation, &shares),
    }
}

/// Whether another pod can be started beside one that is replaced: without a GPU there is room if anywhere. Where even the
/// last strategy needs one, pods are replaced in place, above the floor: one that waits for a GPU would count as unavailable
/// for the disruption budget, which would then let none go.
fn may_cover(situation: &Situation<'_>) -> bool {
    situation.strategies.last().is_some_and(|last| !last.strategy.needs_gpu())
}

/// What the pods show, counted once. Vectors are in the order of the strategies.
#[expect(clippy::struct_excessive_bools, reason = "each stands for itself")]
struct View {
    seen: Vec<Seen>,
    /// Pods of the wanted revision with a node.
    scheduled: Vec<i32>,
    /// GPU pods that are in the way of new ones: of other cells, or ending.
    others: Vec<i32>,
    leaving: Vec<i32>,
    verified: Vec<i32>,
    replacements: Vec<Option<Replacements>>,
    /// Pods wanted beyond the pool's own, because others are about to end.
    extra: i32,
    ready: i32,
    is_rolling: bool,
    /// Pods of other cells have GPUs.
    is_contended: bool,
    is_starting: bool,
    /// GPUs of pods that are ending.
    coming: i32,
    /// Every strategy needs a GPU, and old pods have some: nothing is gained by another strategy.
    is_in_place: bool,
}

/// A pod that is to be replaced.
#[derive(Clone, Copy)]
struct Replacing<'a> {
    pod: &'a String,
    strategy: Strategy,
    /// Another is ready in its place, or none can be had and enough are left.
    is_now: bool,
}

impl View {
    fn of(situation: &Situation<'_>) -> Self {
        let strategies = situation.strategies;
        let is_wanted = |pod: &PodFacts| pod.is_new && strategies.iter().any(|known| known.strategy == pod.strategy);
        let live = || situation.pods.iter().filter(|pod| !pod.ending);
        let each = |count: &dyn Fn(&PodFacts) -> bool, of: Strategy| {
            number(situation.pods.iter().filter(|pod| pod.strategy == of && count(pod)))
        };
        let per = |count: &dyn Fn(&PodFacts) -> bool| -> Vec<i32> {
            strategies.iter().map(|known| each(count, known.strategy)).collect()
        };
        let is_late = |pod: &PodFacts| {
            pod.unscheduled_since.is_some_and(|since| situation.now.duration_since(since) >= situation.spill_after)
        };
        let seen = strategies.iter().map(|known| Seen {
            scheduled: each(&|pod| !pod.ending && pod.scheduled, known.strategy),
            waiting: each(&|pod| !pod.ending && pod.is_new && !pod.scheduled, known.strategy),
            is_overdue: each(&|pod| !pod.ending && pod.is_new && !pod.scheduled && is_late(pod), known.strategy) > 0,
        });
        // An old pod that is not ready is given up anyway.
        let leaving = per(&|pod| !pod.ending && pod.leaving && (pod.is_new || pod.ready));
        let of_strategy = |known: &Known| -> Vec<&PodFacts> {
            live().filter(|pod| pod.is_new && pod.strategy == known.strategy).collect()
        };
        let old_has_gpu = |cell: &OldCell| cell.has_gpu() && cell.count.replicas > 0;
        // One that ends on a node that is gone gives nothing.
        let gives_gpu = |pod: &PodFacts| pod.strategy.needs_gpu() && pod.scheduled && !(pod.ending && pod.leaving);
        let is_contended =
            situation.old.iter().any(old_has_gpu) || situation.pods.iter().any(|pod| !is_wanted(pod) && gives_gpu(pod));
        let asked: i32 = strategies.iter().map(|known| known.count.replicas.max(0)).sum();
        let ready = |count: &Count| count.ready.clamp(0, count.replicas.max(0));
        Self {
            seen: seen.collect(),
            scheduled: per(&|pod| !pod.ending && pod.is_new && pod.scheduled),
            others: per(&|pod| pod.scheduled && (pod.ending || !pod.is_new)),
            // Never more than twice the pods, whatever becomes of the nodes.
            extra: leaving.iter().sum::<i32>().min(situation.replicas.max(0)),
            leaving,
            verified: per(&PodFacts::is_verified),
            replacements: strategies
                .iter()
                .map(|known| {
                    let before = known.replacements.as_ref();
                    mismatch::remembered(before, situation.revision, &of_strategy(known), situation.now)
                })
                .collect(),
            ready: strategies.iter().map(|known| ready(&known.count)).sum::<i32>()
                + situation.old.iter().map(|cell| ready(&cell.count)).sum::<i32>(),
            is_rolling: situation.old.iter().any(|cell| cell.count.replicas > 0) || live().any(|pod| !is_wanted(pod)),
            is_contended,
            is_starting: live().any(|pod| is_wanted(pod) && pod.scheduled && !pod.ready)
                || asked > number(live().filter(|pod| is_wanted(pod))),
            coming: number(situation.pods.iter().filter(|pod| pod.ending && gives_gpu(pod))),
            is_in_place: is_contended && strategies.iter().all(|known| known.strategy.needs_gpu()),
        }
    }

    /// Where pods are replaced in place, one that waits does so for the GPU of another that ends: no spill.
    fn for_rooms(&self, seen: Seen) -> Seen {
        Seen { is_overdue: seen.is_overdue && !self.is_in_place, ..seen }
    }

    /// The pod to be replaced next, the first by name. Not during a rollout, which replaces all of them.
    fn replacing<'a>(&self, situation: &'a Situation<'_>, total: i32) -> Option<Replacing<'a>> {
        if situation.on_mismatch != OnMismatch::Replace || self.is_rolling {
            return None;
        }
        let may = |pod: &&PodFacts| {
            let index = situation.strategies.iter().position(|known| known.strategy == pod.strategy);
            index.is_some_and(|index| mismatch::is_due(self.replacements[index].as_ref(), situation.now))
        };
        let mismatched = situation.pods.iter().filter(|pod| pod.is_new && pod.is_mismatched()).filter(may);
        let pod = mismatched.min_by(|one, other| one.name.cmp(&other.name))?;
        // No more than that: else some are about to go anyway.
        let is_covered = self.ready == total.saturating_add(1);
        let is_above_floor = self.ready == total && total > floor(situation.replicas);
        let is_now = if may_cover(situation) { is_covered } else { is_above_floor };
        Some(Replacing { pod: &pod.name, strategy: pod.strategy, is_now })
    }

    /// Whether a pod was evicted so recently that it may still be seen as ready.
    fn was_just_replaced(&self, now: Timestamp) -> bool {
        let mut all = self.replacements.iter().flatten();
        all.any(|past| !spill::passed(now, Some(past.last), mismatch::COVERED))
    }

    /// The cells of the wanted revision, with the GPUs that there are for them now.
    fn cells(&self, situation: &Situation<'_>, shares: &[Share], targets: &[i32]) -> Vec<New> {
        // GPUs that better strategies are about to take: the same nodes may suit several.
        let mut promised = 0_i32;
        let cell = |(index, known): (usize, &Known)| {
            let (count, wanted, scheduled) = (known.count, targets[index], self.scheduled[index]);
            let seen = self.seen[index];
            if !self.is_contended {
                return New::unlimited(count, wanted);
            }
            if !known.strategy.needs_gpu() {
                return New { may_cover: !seen.is_overdue, ..New::unlimited(count, wanted) };
            }
            let supply = situation.supply.and_then(|all| all.get(index));
            let free = supply.map_or(i32::MAX, |supply| (supply.free - promised).max(0));
            // What the pool as a whole has room for, without those that are in the way.
            let room = shares[index].memory.room.map_or(i32::MAX, |room| room - self.others[index]);
            let mut most = scheduled.saturating_add(free).min(room.max(scheduled));
            if seen.is_overdue {
                most = most.min(scheduled);
            }
            promised += (wanted.min(most) - scheduled).max(0);
            // Where no GPU can be seen to be free, another GPU pod is no cover.
            New { count, wanted, most, may_cover: supply.is_some() }
        };
        situation.strategies.iter().enumerate().map(cell).collect()
    }
}

fn number<T>(items: impl Iterator<Item = T>) -> i32 {
    i32::try_from(items.count()).unwrap_or(i32::MAX)
}

/// When a pod will have waited too long, or a GPU been free for long enough.
fn next_check(situation: &Situation<'_>, shares: &[Share]) -> Option<Duration> {
    let waiting = situation.pods.iter().filter(|pod| pod.is_new && !pod.ending);
    let overdue = waiting.filter_map(|pod| Some(pod.unscheduled_since? + situation.spill_after));
    let free = shares.iter().filter_map(|share| Some(share.memory.free_since? + spill::SETTLED));
    let due = overdue.chain(free).filter(|due| *due > situation.now).min()?;
    Some(Duration::try_from(due.duration_since(situation.now)).unwrap_or_default().max(Duration::from_secs(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    /// A ready pod of `gpu-fp16`, or of `cpu`, that runs this.
    fn pod(name: &str, strategy: Strategy, runs: Strategy) -> PodFacts {
        PodFacts::of_ready(name, strategy, Some(runs))
    }

    /// What becomes of these pods in a pool of these strategies: pods to ask for next, and who is evicted.
    fn next(
        strategies: &[Strategy],
        wanted: i32,
        on_mismatch: OnMismatch,
        pods: &[PodFacts],
    ) -> (Vec<i32>, Option<String>) {
        let count = |strategy: Strategy| {
            let pods = number(pods.iter().filter(|pod| pod.strategy == strategy));
            Count { replicas: pods, ready: pods }
        };
        let known: Vec<Known> = strategies
            .iter()
            .map(|strategy| Known {
                strategy: *strategy,
                count: count(*strategy),
                memory: Memory::default(),
                replacements: None,
            })
            .collect();
        let decision = decide(&Situation {
            now: at(0),
            revision: "new",
            replicas: wanted,
            spill_after: SignedDuration::from_secs(30),
            on_mismatch,
            strategies: &known,
            old: &[],
            pods,
            supply: None,
        });
        let mut strategies = decision.strategies.clone();
        if let Some(eviction) = &decision.evict {
            eviction.note(&mut strategies);
            let counts: Vec<_> =
                strategies.iter().map(|placed| placed.replacements.clone().map(|past| past.count)).collect();
            assert_eq!(counts[0], Some(1));
        }
        (strategies.iter().map(|placed| placed.replicas).collect(), decision.evict.map(|eviction| eviction.pod))
    }

    #[test]
    fn a_pod_is_replaced_when_another_is_ready_beside_it() {
        use Strategy::{Cpu, GpuFp16};
        let (both, gpus) = ([GpuFp16, Cpu], [GpuFp16]);
        let (good, bad) = (pod("a", GpuFp16, GpuFp16), pod("b", GpuFp16, Cpu));
        let (worse, cover) = (pod("c", GpuFp16, Cpu), pod("d", Cpu, Cpu));
        let evicted = |name: &str| Some(name.to_owned());
        let (serve, replace) = (OnMismatch::Serve, OnMismatch::Replace);
        assert_eq!(next(&both, 2, serve, &[good.clone(), bad.clone()]), (vec![2, 0], None));
        assert_eq!(next(&both, 2, replace, &[good.clone(), good.clone()]), (vec![2, 0], None));
        assert_eq!(next(&both, 2, replace, &[good.clone(), bad.clone()]), (vec![2, 1], None));
        assert_eq!(next(&both, 2, replace, &[good.clone(), bad.clone(), cover.clone()]), (vec![2, 1], evicted("b")));
        // The first by name, one at a time.
        assert_eq!(next(&both, 2, replace, &[worse.clone(), bad.clone(), cover]), (vec![2, 1], evicted("b")));
        // Nothing can be started beside it: in place, above the floor.
        assert_eq!(next(&gpus, 2, replace, &[good.clone(), bad.clone()]), (vec![2], evicted("b")));
        assert_eq!(next(&gpus, 3, replace, &[good, bad.clone(), worse]), (vec![3], evicted("b")));
        assert_eq!(next(&gpus, 1, replace, std::slice::from_ref(&bad)), (vec![1], None));
        let starting = PodFacts { ready: false, ..bad.clone() };
        assert_eq!(next(&gpus, 1, replace, &[starting]), (vec![1], None));
    }
}
