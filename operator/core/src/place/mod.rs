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
mod view;
mod why;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::{
    api::{OnMismatch, Strategy},
    rollout::{Count, Old, Rollout, floor, step, surge},
};
use mismatch::Replacements;
use pods::PodFacts;
use spill::{Memory, Seen, Share, Turn, share};
use supply::Supply;
use view::{Replacing, View};
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
            let pods = view::number(pods.iter().filter(|pod| pod.strategy == strategy));
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

    /// Two GPU pods and a cover, one of which runs something lower.
    fn mismatched(change: impl FnOnce(&mut Vec<Known>, &mut Vec<PodFacts>)) -> Decision {
        use Strategy::{Cpu, GpuFp16};
        let known = |strategy, replicas| Known {
            strategy,
            count: Count { replicas, ready: replicas },
            memory: Memory::default(),
            replacements: None,
        };
        let mut strategies = vec![known(GpuFp16, 2), known(Cpu, 1)];
        let mut pods = vec![pod("a", GpuFp16, GpuFp16), pod("b", GpuFp16, Cpu), pod("c", Cpu, Cpu)];
        change(&mut strategies, &mut pods);
        decide(&Situation {
            now: at(0),
            revision: "new",
            replicas: 2,
            spill_after: SignedDuration::from_secs(30),
            on_mismatch: OnMismatch::Replace,
            strategies: &strategies,
            old: &[],
            pods: &pods,
            supply: None,
        })
    }

    #[test]
    fn replacements_are_counted_by_strategy() {
        let past = |count| Some(Replacements { revision: "new".to_owned(), count, last: at(-36_000) });
        let decision = mismatched(|strategies, _| {
            strategies[0].replacements = past(2);
            strategies[1].replacements = past(4);
        });
        let eviction = decision.evict.unwrap();
        assert_eq!((eviction.pod.as_str(), eviction.then.count), ("b", 3));
    }

    #[test]
    fn the_next_look_is_when_something_falls_due() {
        let due = |change: &dyn Fn(&mut Vec<Known>, &mut Vec<PodFacts>)| mismatched(change).next_check;
        let waits = |since: i64, ending: bool, is_new: bool| {
            due(&move |_, pods| {
                (pods[0].scheduled, pods[0].ready, pods[0].ending, pods[0].is_new) = (false, false, ending, is_new);
                pods[0].unscheduled_since = Some(at(since));
            })
        };
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(due(&|_, _| {}), None);
        assert_eq!([waits(-10, false, true), waits(-29, false, true)], [seconds(20), seconds(1)]);
        assert_eq!(waits(-30, false, true), None, "it is due");
        assert_eq!([waits(-10, true, true), waits(-10, false, false)], [None, None]);
    }

    /// Half a minute where all pods are ready, ten minutes where some are missing.
    #[test]
    fn a_gpu_is_tried_when_it_has_been_free_for_long_enough() {
        use Strategy::{Cpu, GpuFp16};
        let look = |ready_cpus: i32, free_since: i64| {
            let memory = Memory { room: Some(1), free_since: Some(at(free_since)), ..Memory::default() };
            let gpu = Known { strategy: GpuFp16, count: Count { replicas: 1, ready: 1 }, memory, replacements: None };
            let cpu = Count { replicas: 1, ready: ready_cpus };
            let strategies = [gpu.clone(), Known { strategy: Cpu, count: cpu, memory: Memory::default(), ..gpu }];
            let pods = [pod("a", GpuFp16, GpuFp16), pod("c", Cpu, Cpu)];
            let supply = [Supply { offered: 2, free: 1, free_of_better: 1, ..Supply::default() }, Supply::default()];
            let decision = decide(&Situation {
                now: at(0),
                revision: "new",
                replicas: 2,
                spill_after: SignedDuration::from_secs(30),
                on_mismatch: OnMismatch::Serve,
                strategies: &strategies,
                old: &[],
                pods: &pods,
                supply: Some(&supply),
            });
            (decision.strategies[0].wanted, decision.next_check.map(|wait| wait.as_secs()))
        };
        assert_eq!([look(1, -10), look(1, -29), look(1, -30)], [(1, Some(20)), (1, Some(1)), (2, None)]);
        assert_eq!([look(0, -30), look(0, -599), look(0, -600)], [(1, None), (1, None), (2, None)]);
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
