//! What is seen of a pool's pods, counted once for all that is decided by it.

use jiff::Timestamp;

use super::{
    Known, OldCell, Situation, may_cover,
    mismatch::{self, Replacements},
    pods::PodFacts,
    spill::{self, Seen, Share},
};
use crate::{
    api::{OnMismatch, Strategy},
    rollout::{Count, New, floor},
};

/// What the pods show, counted once. Vectors are in the order of the strategies.
#[expect(clippy::struct_excessive_bools, reason = "each stands for itself")]
pub(super) struct View {
    pub seen: Vec<Seen>,
    /// Pods of the wanted revision with a node.
    pub scheduled: Vec<i32>,
    /// GPU pods that are in the way of new ones: of other cells, or ending.
    pub others: Vec<i32>,
    pub leaving: Vec<i32>,
    pub verified: Vec<i32>,
    pub replacements: Vec<Option<Replacements>>,
    /// Pods wanted beyond the pool's own, because others are about to end.
    pub extra: i32,
    pub ready: i32,
    pub is_rolling: bool,
    /// Pods of other cells have GPUs.
    pub is_contended: bool,
    pub is_starting: bool,
    /// GPUs of pods that are ending.
    pub coming: i32,
    /// Every strategy needs a GPU, and old pods have some: nothing is gained by another strategy.
    pub is_in_place: bool,
}

/// A pod that is to be replaced.
#[derive(Clone, Copy)]
pub(super) struct Replacing<'a> {
    pub pod: &'a String,
    pub strategy: Strategy,
    /// Another is ready in its place, or none can be had and enough are left.
    pub is_now: bool,
}

impl View {
    pub fn of(situation: &Situation<'_>) -> Self {
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
    pub fn for_rooms(&self, seen: Seen) -> Seen {
        Seen { is_overdue: seen.is_overdue && !self.is_in_place, ..seen }
    }

    /// The pod to be replaced next, the first by name. Not during a rollout, which replaces all of them.
    pub fn replacing<'a>(&self, situation: &'a Situation<'_>, total: i32) -> Option<Replacing<'a>> {
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
    pub fn was_just_replaced(&self, now: Timestamp) -> bool {
        let mut all = self.replacements.iter().flatten();
        all.any(|past| !spill::passed(now, Some(past.last), mismatch::COVERED))
    }

    /// The cells of the wanted revision, with the GPUs that there are for them now.
    pub fn cells(&self, situation: &Situation<'_>, shares: &[Share], targets: &[i32]) -> Vec<New> {
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

pub(super) fn number<T>(items: impl Iterator<Item = T>) -> i32 {
    i32::try_from(items.count()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::place::{spill::Memory, supply::Supply};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn known(strategy: Strategy) -> Known {
        Known { strategy, count: Count { replicas: 1, ready: 1 }, memory: Memory::default(), replacements: None }
    }

    /// A pool of these strategies that wants two pods; what its pods are is up to the test.
    fn situation<'a>(strategies: &'a [Known], old: &'a [OldCell], pods: &'a [PodFacts]) -> Situation<'a> {
        Situation {
            now: at(0),
            revision: "new",
            replicas: 2,
            spill_after: SignedDuration::from_secs(30),
            on_mismatch: OnMismatch::Serve,
            strategies,
            old,
            pods,
            supply: None,
        }
    }

    /// What a pool of `gpu-fp16` and `cpu` with this pod alone shows: of the first strategy scheduled, waiting, overdue,
    /// scheduled of the wanted revision, others and leaving; then whether it is rolling, contended and starting, and GPUs
    /// that are coming.
    fn shown(pod: PodFacts) -> ([i32; 6], [bool; 3], i32) {
        let strategies = [known(Strategy::GpuFp16), known(Strategy::Cpu)];
        let strategies =
            [strategies[0].clone(), Known { count: Count { replicas: 0, ready: 0 }, ..strategies[1].clone() }];
        let pods = [pod];
        let view = View::of(&situation(&strategies, &[], &pods));
        let Seen { scheduled, waiting, is_overdue } = view.seen[0];
        (
            [scheduled, waiting, i32::from(is_overdue), view.scheduled[0], view.others[0], view.leaving[0]],
            [view.is_rolling, view.is_contended, view.is_starting],
            view.coming,
        )
    }

    #[test]
    fn a_pod_counts_for_what_it_is() {
        let ready = PodFacts::of_ready("a", Strategy::GpuFp16, None);
        let pod = |change: fn(&mut PodFacts)| {
            let mut pod = ready.clone();
            change(&mut pod);
            shown(pod)
        };
        let (yes, no) = (true, false);
        assert_eq!(pod(|_| {}), ([1, 0, 0, 1, 0, 0], [no, no, no], 0), "as it should be");
        assert_eq!(pod(|pod| pod.ready = false), ([1, 0, 0, 1, 0, 0], [no, no, yes], 0), "starting");
        assert_eq!(pod(|pod| pod.ending = true), ([0, 0, 0, 0, 1, 0], [no, no, yes], 1), "ending");
        assert_eq!(
            pod(|pod| (pod.ending, pod.leaving) = (true, true)),
            ([0, 0, 0, 0, 1, 0], [no, no, yes], 0),
            "ending on a node that is gone"
        );
        assert_eq!(pod(|pod| pod.leaving = true), ([1, 0, 0, 1, 0, 1], [no, no, no], 0), "leaving");
        assert_eq!(
            pod(|pod| (pod.leaving, pod.ready) = (true, false)),
            ([1, 0, 0, 1, 0, 1], [no, no, yes], 0),
            "leaving before it was ready"
        );
        assert_eq!(pod(|pod| pod.is_new = false), ([1, 0, 0, 0, 1, 0], [yes, yes, yes], 0), "old");
        assert_eq!(
            pod(|pod| (pod.is_new, pod.leaving) = (false, true)),
            ([1, 0, 0, 0, 1, 1], [yes, yes, yes], 0),
            "old and leaving"
        );
        assert_eq!(
            pod(|pod| (pod.is_new, pod.leaving, pod.ready) = (false, true, false)),
            ([1, 0, 0, 0, 1, 0], [yes, yes, yes], 0),
            "old, leaving and not ready: given up anyway"
        );
        assert_eq!(
            pod(|pod| (pod.is_new, pod.ending) = (false, true)),
            ([0, 0, 0, 0, 1, 0], [no, yes, yes], 1),
            "old and ending"
        );
        assert_eq!(
            pod(|pod| (pod.is_new, pod.ending, pod.leaving) = (false, true, true)),
            ([0, 0, 0, 0, 1, 0], [no, no, yes], 0),
            "old and ending on a node that is gone"
        );
        assert_eq!(
            pod(|pod| (pod.scheduled, pod.ready) = (false, false)),
            ([0, 1, 0, 0, 0, 0], [no, no, no], 0),
            "without a node"
        );
        assert_eq!(
            pod(|pod| (pod.is_new, pod.scheduled, pod.ready) = (false, false, false)),
            ([0, 0, 0, 0, 0, 0], [yes, no, yes], 0),
            "old and without a node"
        );
        assert_eq!(
            pod(|pod| (pod.ending, pod.scheduled, pod.ready) = (true, false, false)),
            ([0, 0, 0, 0, 0, 0], [no, no, yes], 0),
            "ending and without a node"
        );
        assert_eq!(
            pod(|pod| pod.strategy = Strategy::Cpu),
            ([0, 0, 0, 0, 0, 0], [no, no, no], 0),
            "of the other strategy"
        );
        assert_eq!(
            pod(|pod| (pod.strategy, pod.is_new) = (Strategy::Cpu, false)),
            ([0, 0, 0, 0, 0, 0], [yes, no, yes], 0),
            "old, without a GPU"
        );
        assert_eq!(
            pod(|pod| (pod.strategy, pod.ending) = (Strategy::Cpu, true)),
            ([0, 0, 0, 0, 0, 0], [no, no, yes], 0),
            "ending, without a GPU"
        );
        assert_eq!(
            pod(|pod| pod.strategy = Strategy::GpuInt8),
            ([0, 0, 0, 0, 0, 0], [yes, yes, yes], 0),
            "of a strategy that is not wanted"
        );
    }

    #[test]
    fn a_pod_without_a_node_is_overdue_at_its_time_unless_it_ends_or_is_old() {
        let overdue = |since, ending, is_new| {
            let mut pod = PodFacts::of_ready("a", Strategy::GpuFp16, None);
            (pod.scheduled, pod.ready, pod.ending, pod.is_new) = (false, false, ending, is_new);
            pod.unscheduled_since = since;
            shown(pod).0[2] == 1
        };
        assert!(overdue(Some(at(-30)), false, true));
        assert!(!overdue(Some(at(-29)), false, true) && !overdue(None, false, true));
        assert!(!overdue(Some(at(-99)), true, true) && !overdue(Some(at(-99)), false, false));
        let scheduled =
            PodFacts { unscheduled_since: Some(at(-99)), ..PodFacts::of_ready("a", Strategy::GpuFp16, None) };
        assert_eq!(shown(scheduled).0[2], 0);
    }

    #[test]
    fn old_deployments_are_seen_by_what_they_ask_for() {
        let strategies = [known(Strategy::GpuFp16), known(Strategy::Cpu)];
        let alone = [known(Strategy::GpuFp16)];
        let see = |strategies: &[Known], strategy, replicas, ready| {
            let old = [OldCell { strategy, count: Count { replicas, ready } }];
            let view = View::of(&situation(strategies, &old, &[]));
            (view.is_rolling, view.is_contended, view.is_in_place, view.ready)
        };
        let (gpu, cpu) = (Some(Strategy::GpuFp16), Some(Strategy::Cpu));
        assert_eq!(see(&strategies, gpu, 1, 1), (true, true, false, 3));
        assert_eq!(see(&strategies, gpu, 0, 0), (false, false, false, 2));
        assert_eq!(see(&strategies, gpu, 1, 5), (true, true, false, 3), "no more are ready than are asked for");
        assert_eq!(see(&strategies, gpu, -1, 1), (false, false, false, 2));
        assert_eq!(see(&strategies, cpu, 1, 1), (true, false, false, 3));
        assert_eq!(see(&strategies, None, 1, 1), (true, false, false, 3));
        assert_eq!(see(&alone, gpu, 1, 1), (true, true, true, 2));
        assert_eq!(see(&alone, cpu, 1, 1), (true, false, false, 2));
    }

    #[test]
    fn where_pods_are_replaced_in_place_one_that_waits_is_not_overdue() {
        let strategies = [known(Strategy::GpuFp16)];
        let old = [OldCell { strategy: Some(Strategy::GpuFp16), count: Count { replicas: 1, ready: 1 } }];
        let overdue = Seen { scheduled: 3, waiting: 2, is_overdue: true };
        let in_place = View::of(&situation(&strategies, &old, &[]));
        assert_eq!(in_place.for_rooms(overdue), Seen { is_overdue: false, ..overdue });
        let plain = View::of(&situation(&strategies, &[], &[]));
        assert_eq!(plain.for_rooms(overdue), overdue);
        assert_eq!(plain.for_rooms(Seen::default()), Seen::default());
    }

    #[test]
    fn pods_that_leave_are_made_up_for_at_most_once_over() {
        let strategies = [known(Strategy::GpuFp16)];
        let leaving = PodFacts { leaving: true, ..PodFacts::of_ready("a", Strategy::GpuFp16, None) };
        for (count, extra) in [(0, 0), (1, 1), (2, 2), (3, 2)] {
            let pods = vec![leaving.clone(); count];
            assert_eq!(View::of(&situation(&strategies, &[], &pods)).extra, extra, "{count}");
        }
    }

    #[test]
    fn a_pod_was_just_replaced_for_a_minute() {
        let just = |second: Option<i64>| {
            let past = second.map(|second| Replacements { revision: "new".to_owned(), count: 1, last: at(second) });
            let strategies = [Known { replacements: past, ..known(Strategy::GpuFp16) }];
            View::of(&situation(&strategies, &[], &[])).was_just_replaced(at(0))
        };
        assert_eq!([None, Some(0), Some(-59), Some(-60)].map(just), [false, true, true, false]);
    }

    /// With a GPU pod of the old revision that has one of the node's GPUs.
    #[test]
    fn a_new_cell_has_the_gpus_that_are_free_and_promised_to_no_better_one() {
        let strategies = [known(Strategy::GpuFp16), known(Strategy::GpuInt8), known(Strategy::Cpu)];
        let old = [OldCell { strategy: Some(Strategy::GpuFp16), count: Count { replicas: 1, ready: 1 } }];
        let mut pods =
            vec![PodFacts::of_ready("a", Strategy::GpuFp16, None), PodFacts::of_ready("b", Strategy::GpuFp16, None)];
        pods[1].is_new = false;
        let supplies = [3, 3, 0].map(|free| Supply { free, ..Supply::default() });
        let share = |room| Share { asked: 9, wanted: 9, memory: Memory { room, ..Memory::default() } };
        let cells = |rooms: [Option<i32>; 3], supply: Option<&[Supply]>, targets: [i32; 3], pods: &[PodFacts]| {
            let situation = Situation { supply, ..situation(&strategies, &old, pods) };
            let cells = View::of(&situation).cells(&situation, &rooms.map(share), &targets);
            cells.into_iter().map(|cell| (cell.most, cell.may_cover)).collect::<Vec<_>>()
        };
        let (none, most) = ([None; 3], i32::MAX);
        let free = |rooms, targets| cells(rooms, Some(&supplies), targets, &pods);
        assert_eq!(free(none, [2, 0, 0]), [(4, true), (2, true), (most, true)], "one of the three goes to the better");
        assert_eq!(free(none, [9, 0, 0]), [(4, true), (0, true), (most, true)], "all three do");
        assert_eq!(free(none, [0, 0, 0]), [(4, true), (3, true), (most, true)]);
        assert_eq!(
            free([Some(4), Some(2), None], [2, 0, 0]),
            [(3, true), (2, true), (most, true)],
            "the old one takes room"
        );
        assert_eq!(
            free([Some(1), Some(0), None], [2, 0, 0]),
            [(1, true), (0, true), (most, true)],
            "not below those that are there"
        );
        assert_eq!(cells(none, None, [2, 0, 0], &pods), [(most, false), (most, false), (most, true)]);
        let mut waiting = pods.clone();
        waiting.push(PodFacts { scheduled: false, ready: false, unscheduled_since: Some(at(-40)), ..pods[0].clone() });
        assert_eq!(
            cells(none, Some(&supplies), [3, 0, 0], &waiting),
            [(1, true), (3, true), (most, true)],
            "what waits too long gets none"
        );
        waiting[2].strategy = Strategy::Cpu;
        assert_eq!(
            cells(none, Some(&supplies), [1, 0, 1], &waiting),
            [(4, true), (3, true), (most, false)],
            "nor does it cover"
        );
        waiting[2].unscheduled_since = Some(at(-10));
        assert_eq!(cells(none, Some(&supplies), [1, 0, 1], &waiting), [(4, true), (3, true), (most, true)]);
    }
}
