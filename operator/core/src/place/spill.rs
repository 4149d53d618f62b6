//! How many pods of each strategy there is room for, as experience tells.
//!
//! Of every strategy but the last at most [`Memory::room`] pods are wanted. The room is unlimited until a pod of it
//! finds no node for too long; then it is what the scheduler found nodes for, and the rest *spills* to the next
//! strategy. When a better one seems to have a place again, its room grows by one pod as a trial (*reclaim*), which is
//! taken back like any other pod that finds no node. The pod of the lower strategy is given up only when the better one
//! is ready: that is the rollout's matter (`rollout/step.rs`).
//!
//! A spill is never put off, since pods are missing. A reclaim that was undone within [`QUIET`] is not tried again for
//! as long, so that a GPU that comes and goes moves pods once an hour at most; one that held lets the next follow at
//! once.

use jiff::{SignedDuration, Timestamp};

use super::supply::Supply;
use crate::api::Strategy;

/// Least time between a reclaim that was undone and the next; between two reclaims where nodes cannot be seen; and
/// until a room that is not used up is forgotten.
pub const QUIET: SignedDuration = SignedDuration::from_hours(1);

/// How long a GPU must seem free until a pod is sent to it: longer than a device plugin takes to start again.
pub const SETTLED: SignedDuration = SignedDuration::from_secs(30);

/// The same while pods are missing: those that start are not disturbed, and those that never will must not keep a pool
/// from what might work.
pub const UNSETTLED: SignedDuration = SignedDuration::from_mins(10);

/// What is remembered of a strategy. Times are whole seconds, as the API server keeps them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Most pods wanted of it, of all revisions; none is no limit.
    pub room: Option<i32>,
    /// When the room was last lowered below what was wanted.
    pub spilled_at: Option<Timestamp>,
    /// When it was last raised, on trial.
    pub reclaimed_at: Option<Timestamp>,
    /// Since when a GPU seems free for one pod more, while there is too little room.
    pub free_since: Option<Timestamp>,
}

/// What is seen of a strategy's pods. Those that are ending are no part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// With a node, of all revisions.
    pub scheduled: i32,
    /// Of the wanted revision, without a node.
    pub waiting: i32,
    /// One of them has waited too long.
    pub is_overdue: bool,
}

/// What else bears on the rooms.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    pub now: Timestamp,
    /// What the nodes offer to each strategy; none where they cannot be seen.
    pub supply: Option<&'a [Supply]>,
    /// Pods of another revision are there.
    pub is_rolling: bool,
    /// As many pods are ready as are wanted.
    pub is_complete: bool,
}

/// What a strategy gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Pods that were to be had of it.
    pub asked: i32,
    /// Of these, as many as there is room for.
    pub wanted: i32,
    pub memory: Memory,
}

/// Shares `total` pods out to strategies, best first. The last takes whatever is left, whether there is room or not.
#[must_use]
pub fn share(turn: &Turn<'_>, total: i32, strategies: &[(Strategy, Memory, Seen)]) -> Vec<Share> {
    let mut shares: Vec<Share> = Vec::with_capacity(strategies.len());
    let mut rest = total.max(0);
    // A better strategy is tried, so that this one gets only what that one cannot use.
    let mut is_second = false;
    let mut may_reclaim = !turn.is_rolling;
    for (index, (strategy, memory, seen)) in strategies.iter().enumerate() {
        if index + 1 == strategies.len() {
            let memory = Memory { room: None, free_since: None, ..memory.clone() };
            shares.push(Share { asked: rest, wanted: rest, memory });
            break;
        }
        let supply = turn.supply.filter(|_| strategy.needs_gpu()).and_then(|all| all.get(index));
        let bound = bound(supply, *seen, rest, memory.room.is_none() && is_second);
        let mut next = lower(turn, memory, bound, rest);
        if bound.is_none() && is_forgettable(turn, &next, *seen, rest) {
            next.room = None;
        }
        next.free_since = free_since(turn, &next, supply, rest);
        if may_reclaim && bound.is_none() && is_due(turn, &next, *seen, supply, rest) {
            next.room = next.room.map(|room| room.saturating_add(1));
            next.reclaimed_at = Some(second(turn.now));
            next.free_since = free_since(turn, &next, supply, rest);
        }
        let wanted = next.room.map_or(rest, |room| room.clamp(0, rest));
        // One strategy is tried at a time, the better first.
        may_reclaim &= seen.scheduled >= wanted;
        shares.push(Share { asked: rest, wanted, memory: next });
        rest -= wanted;
        is_second |= supply.is_none_or(|supply| supply.offered > 0);
    }
    shares
}

/// Most pods that there is room for by what is seen now; none if nothing speaks against more.
fn bound(supply: Option<&Supply>, seen: Seen, rest: i32, is_untried_second: bool) -> Option<i32> {
    // What the scheduler says.
    let refused = seen.is_overdue.then_some(seen.scheduled);
    // Nobody has what it needs: it is not even tried.
    let unoffered = supply.filter(|supply| supply.offered == 0).map(|_| seen.scheduled);
    // Where a better strategy found no place, this one would find none either, and lose time trying.
    let scarce = supply
        .filter(|_| is_untried_second)
        .map(|supply| seen.scheduled.saturating_add(supply.free_of_better))
        .filter(|fits| rest > *fits);
    [refused, unoffered, scarce].into_iter().flatten().min()
}

fn lower(turn: &Turn<'_>, memory: &Memory, bound: Option<i32>, rest: i32) -> Memory {
    let before = memory.room.unwrap_or(i32::MAX);
    let room = bound.map_or(before, |bound| bound.min(before));
    let mut next = memory.clone();
    if room < before {
        next.room = Some(room);
        if room < rest {
            next.spilled_at = Some(second(turn.now));
        }
    }
    next
}

/// A room that was enough for so long says nothing any more.
fn is_forgettable(turn: &Turn<'_>, memory: &Memory, seen: Seen, rest: i32) -> bool {
    let is_enough = memory.room.is_some_and(|room| room >= rest);
    // Those that were wanted last have their nodes.
    let is_filled = seen.waiting == 0 && seen.scheduled >= rest;
    is_enough && is_filled && !turn.is_rolling && passed(turn.now, memory.spilled_at, QUIET)
}

fn free_since(turn: &Turn<'_>, memory: &Memory, supply: Option<&Supply>, rest: i32) -> Option<Timestamp> {
    let is_short = memory.room.is_some_and(|room| room < rest);
    let is_free = supply.is_some_and(|supply| supply.free_of_better > 0);
    (is_short && is_free).then(|| memory.free_since.unwrap_or_else(|| second(turn.now)))
}

/// Whether to try one pod more.
fn is_due(turn: &Turn<'_>, memory: &Memory, seen: Seen, supply: Option<&Supply>, rest: i32) -> bool {
    let Some(room) = memory.room.filter(|room| *room < rest) else { return false };
    // The one before has not found its node yet.
    if seen.waiting > 0 || seen.scheduled < room {
        return false;
    }
    let was_undone = match (memory.reclaimed_at, memory.spilled_at) {
        (Some(raised), Some(lowered)) => lowered >= raised && lowered.duration_since(raised) < QUIET,
        _ => false,
    };
    if was_undone && !passed(turn.now, memory.spilled_at, QUIET) {
        return false;
    }
    match supply {
        Some(_) => {
            let settled = if turn.is_complete { SETTLED } else { UNSETTLED };
            memory.free_since.is_some_and(|since| turn.now.duration_since(since) >= settled)
        }
        None => passed(turn.now, memory.spilled_at.max(memory.reclaimed_at), QUIET),
    }
}

/// Whether so much time has passed; for ever, since what never was. A clock that went back counts as no time passed.
pub(super) fn passed(now: Timestamp, since: Option<Timestamp>, pause: SignedDuration) -> bool {
    since.is_none_or(|since| now.duration_since(since) >= pause)
}

/// A time in whole seconds.
pub(super) fn second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn memory(room: Option<i32>, spilled: Option<i64>, reclaimed: Option<i64>, free: Option<i64>) -> Memory {
        Memory { room, spilled_at: spilled.map(at), reclaimed_at: reclaimed.map(at), free_since: free.map(at) }
    }

    fn seen(scheduled: i32, waiting: i32, is_overdue: bool) -> Seen {
        Seen { scheduled, waiting, is_overdue }
    }

    fn offers(offered: i32, free: i32) -> Supply {
        Supply { offered, free, free_of_better: free, ..Supply::default() }
    }

    /// Where, and when, pods are shared out.
    struct Place {
        now: i64,
        supply: Option<Supply>,
        is_rolling: bool,
        is_complete: bool,
    }

    /// Nodes with 4 GPUs, all of them taken.
    fn busy(now: i64) -> Place {
        Place { now, supply: Some(offers(4, 0)), is_rolling: false, is_complete: true }
    }

    fn free(now: i64) -> Place {
        Place { supply: Some(offers(4, 1)), ..busy(now) }
    }

    fn blind(now: i64) -> Place {
        Place { supply: None, ..busy(now) }
    }

    /// 4 pods of a GPU strategy, before `cpu`.
    fn gpu(place: &Place, memory: &Memory, seen: Seen) -> Share {
        let supply = place.supply.clone().map(|supply| vec![supply, Supply::default()]);
        let turn = Turn {
            now: at(place.now),
            supply: supply.as_deref(),
            is_rolling: place.is_rolling,
            is_complete: place.is_complete,
        };
        let cpu = (Strategy::Cpu, Memory::default(), Seen::default());
        let mut shares = share(&turn, 4, &[(Strategy::GpuFp16, memory.clone(), seen), cpu]);
        assert_eq!((shares[0].asked, shares[0].wanted + shares[1].wanted), (4, 4));
        assert_eq!(shares[1].asked, shares[1].wanted);
        shares.remove(0)
    }

    #[test]
    fn a_room_is_forgotten_after_an_hour_in_which_it_was_enough_and_full() {
        let full = memory(Some(4), Some(0), None, None);
        let room = |place: &Place, memory: &Memory, seen: Seen| gpu(place, memory, seen).memory.room;
        assert_eq!(room(&busy(HOUR), &full, seen(4, 0, false)), None);
        assert_eq!(room(&busy(HOUR - 1), &full, seen(4, 0, false)), Some(4));
        assert_eq!(room(&busy(HOUR), &full, seen(4, 1, false)), Some(4), "one waits");
        assert_eq!(room(&busy(HOUR), &full, seen(3, 0, false)), Some(4), "one has no node yet");
        assert_eq!(room(&Place { is_rolling: true, ..busy(HOUR) }, &full, seen(4, 0, false)), Some(4));
        assert_eq!(room(&busy(HOUR), &memory(Some(3), Some(0), None, None), seen(4, 0, false)), Some(3), "not enough");
    }

    /// A GPU that is free is one for a pod more only where there is too little room.
    #[test]
    fn a_room_that_is_enough_waits_for_no_gpu_and_tries_none() {
        let enough = gpu(&free(100), &memory(Some(4), Some(90), None, Some(0)), seen(4, 0, false));
        assert_eq!(enough.memory, memory(Some(4), Some(90), None, None));
        let short = gpu(&free(100), &memory(Some(3), Some(90), None, Some(90)), seen(3, 0, false));
        assert_eq!(short.memory, memory(Some(3), Some(90), None, Some(90)));
    }

    #[test]
    fn a_pod_that_waits_too_long_spills_at_once_whatever_was_before() {
        let rows = [
            // memory, seen -> room, spilled
            (memory(None, None, None, None), seen(0, 4, false), None, None),
            (memory(None, None, None, None), seen(1, 3, true), Some(1), Some(100)),
            (memory(None, None, None, None), seen(4, 1, true), Some(4), None),
            (memory(Some(3), Some(7), None, None), seen(2, 1, true), Some(2), Some(100)),
            (memory(Some(3), Some(99), Some(98), None), seen(2, 1, true), Some(2), Some(100)),
            // It is no news while its pod is still there.
            (memory(Some(2), Some(7), None, None), seen(2, 1, true), Some(2), Some(7)),
            (memory(Some(2), Some(7), None, None), seen(3, 1, true), Some(2), Some(7)),
        ];
        for (before, seen, room, spilled) in rows {
            for place in [busy(100), blind(100), Place { is_rolling: true, ..busy(100) }] {
                let next = gpu(&place, &before, seen);
                assert_eq!((next.memory.room, next.memory.spilled_at), (room, spilled.map(at)), "{before:?} {seen:?}");
                assert_eq!(next.wanted, room.unwrap_or(4).min(4));
                assert_eq!(next.memory.reclaimed_at, before.reclaimed_at);
            }
        }
    }

    #[test]
    fn what_nobody_offers_is_not_tried_and_takes_no_node_from_a_pod() {
        let none = Place { supply: Some(offers(0, 0)), ..busy(100) };
        let next = gpu(&none, &memory(None, None, None, None), seen(0, 0, false));
        assert_eq!((next.wanted, next.memory), (0, memory(Some(0), Some(100), None, None)));
        let next = gpu(&none, &memory(None, None, None, None), seen(2, 0, false));
        assert_eq!((next.wanted, next.memory.room), (2, Some(2)));
        // A second look at the same says the same.
        assert_eq!(gpu(&Place { now: 130, ..none }, &next.memory, seen(2, 0, false)), next);
        // Where nodes cannot be seen, it is tried.
        assert_eq!(gpu(&blind(100), &memory(None, None, None, None), seen(0, 0, false)).wanted, 4);
    }

    #[test]
    fn one_more_is_tried_when_a_gpu_is_free_for_a_while() {
        let spilled = memory(Some(2), Some(0), None, None);
        // Noticed, and waited for.
        let first = gpu(&free(100), &spilled, seen(2, 0, false));
        assert_eq!((first.wanted, &first.memory), (2, &memory(Some(2), Some(0), None, Some(100))));
        assert_eq!(gpu(&free(129), &first.memory, seen(2, 0, false)), first);
        let second = gpu(&free(130), &first.memory, seen(2, 0, false));
        assert_eq!((second.wanted, &second.memory), (3, &memory(Some(3), Some(0), Some(130), Some(100))));
        // One at a time: its pod is not there, then waits, then has its node.
        for seen in [seen(2, 0, false), seen(2, 1, false)] {
            assert_eq!(gpu(&free(131), &second.memory, seen), second);
        }
        let third = gpu(&free(132), &second.memory, seen(3, 0, false));
        assert_eq!((third.wanted, third.memory.reclaimed_at), (4, Some(at(132))));
        // What is taken meanwhile is forgotten.
        assert_eq!(gpu(&busy(110), &first.memory, seen(2, 0, false)).memory, spilled);
    }

    #[test]
    fn nothing_is_tried_while_pods_are_missing_or_replaced() {
        let waited = |since: i64| memory(Some(2), Some(0), None, Some(since));
        let incomplete = |now: i64| Place { is_complete: false, ..free(now) };
        let rolling = Place { is_rolling: true, ..free(5000) };
        assert_eq!(gpu(&incomplete(130), &waited(100), seen(2, 0, false)).wanted, 2);
        assert_eq!(gpu(&incomplete(699), &waited(100), seen(2, 0, false)).wanted, 2);
        // Those that never come must not keep the pool from what might.
        assert_eq!(gpu(&incomplete(700), &waited(100), seen(2, 0, false)).wanted, 3);
        assert_eq!(gpu(&rolling, &waited(100), seen(2, 0, false)).wanted, 2);
        // A pod that has no node, or was never made.
        assert_eq!(gpu(&free(5000), &waited(100), seen(2, 1, false)).wanted, 2);
        assert_eq!(gpu(&free(5000), &waited(100), seen(1, 0, false)).wanted, 2);
    }

    #[test]
    fn what_was_undone_is_not_tried_again_for_an_hour() {
        let rows = [
            // spilled, reclaimed, now -> tried
            (Some(1000), Some(900), 1000 + HOUR - 1, false),
            (Some(1000), Some(900), 1000 + HOUR, true),
            (Some(1000), Some(1000), 1000 + HOUR - 1, false),
            // It had held for an hour: this is another matter.
            (Some(900 + HOUR), Some(900), 1000 + HOUR, true),
            (Some(899 + HOUR), Some(900), 1000 + HOUR, false),
            // It holds.
            (Some(900), Some(901), 1000, true),
            (Some(900), None, 1000, true),
            (None, None, 1000, true),
        ];
        for (spilled, reclaimed, now, expected) in rows {
            let before = memory(Some(2), spilled, reclaimed, Some(0));
            let next = gpu(&free(now), &before, seen(2, 0, false));
            assert_eq!(next.wanted == 3, expected, "{spilled:?} {reclaimed:?} {now}");
        }
    }

    #[test]
    fn blindly_one_more_is_tried_once_an_hour() {
        let rows = [
            (Some(1000), None, 1000 + HOUR - 1, false),
            (Some(1000), None, 1000 + HOUR, true),
            // Also where the last try went well.
            (Some(1000), Some(5000), 5000 + HOUR - 1, false),
            (Some(1000), Some(5000), 5000 + HOUR, true),
            (Some(5000), Some(1000), 5000 + HOUR - 1, false),
            (None, None, 0, true),
        ];
        for (spilled, reclaimed, now, expected) in rows {
            let before = memory(Some(2), spilled, reclaimed, None);
            let next = gpu(&blind(now), &before, seen(2, 0, false));
            assert_eq!(next.wanted == 3, expected, "{spilled:?} {reclaimed:?} {now}");
            assert_eq!(next.memory.reclaimed_at == Some(at(now)), expected);
        }
    }

    #[test]
    fn a_room_that_was_enough_for_an_hour_is_forgotten() {
        let rows = [
            // room, spilled, now, place, seen -> room
            (4, Some(0), HOUR, busy as fn(i64) -> Place, seen(4, 0, false), None),
            (4, Some(0), HOUR - 1, busy, seen(4, 0, false), Some(4)),
            (9, None, 10, busy, seen(4, 0, false), None),
            (3, Some(0), 2 * HOUR, busy, seen(3, 0, false), Some(3)),
            (4, None, 10, busy, seen(3, 1, false), Some(4)),
            (4, None, 10, busy, seen(3, 1, true), Some(3)),
            (4, None, 10, |now| Place { is_rolling: true, ..busy(now) }, seen(4, 0, false), Some(4)),
            (4, None, 10, |now| Place { supply: Some(offers(0, 0)), ..busy(now) }, seen(4, 0, false), Some(4)),
        ];
        for (room, spilled, now, place, seen, expected) in rows {
            let next = gpu(&place(now), &memory(Some(room), spilled, None, None), seen);
            assert_eq!(next.memory.room, expected, "{room} {spilled:?} {now} {seen:?}");
        }
    }

    #[test]
    fn a_second_strategy_gets_what_the_better_one_cannot_use() {
        let supply = |fp16: (i32, i32), int8: (i32, i32, i32)| {
            let second = Supply { offered: int8.0, free: int8.1, free_of_better: int8.2, ..Supply::default() };
            [offers(fp16.0, fp16.1), second, Supply::default()]
        };
        let rooms = |supply: Option<&[Supply]>, fp16: Option<i32>, int8: (Option<i32>, Seen)| {
            let turn = Turn { now: at(10), supply, is_rolling: false, is_complete: false };
            let strategies = [
                (Strategy::GpuFp16, memory(fp16, fp16.map(|_| 5), None, None), seen(fp16.unwrap_or(0), 0, false)),
                (Strategy::GpuInt8, memory(int8.0, None, None, None), int8.1),
                (Strategy::Cpu, Memory::default(), Seen::default()),
            ];
            let shares = share(&turn, 4, &strategies);
            (shares.iter().map(|share| share.wanted).collect::<Vec<_>>(), shares[1].memory.room)
        };
        let none = seen(0, 0, false);
        // All on the best: the second is not asked.
        assert_eq!(rooms(Some(&supply((4, 4), (4, 4, 0))), None, (None, none)), (vec![4, 0, 0], None));
        // The same nodes: no time is lost.
        assert_eq!(rooms(Some(&supply((4, 1), (4, 1, 0))), Some(1), (None, none)), (vec![1, 0, 3], Some(0)));
        // Two GPUs that are too small for the best.
        assert_eq!(rooms(Some(&supply((4, 0), (6, 2, 2))), Some(1), (None, none)), (vec![1, 2, 1], Some(2)));
        assert_eq!(
            rooms(Some(&supply((4, 0), (6, 1, 1))), Some(1), (None, seen(1, 0, false))),
            (vec![1, 2, 1], Some(2))
        );
        // Enough for all that are left: no bound is known.
        assert_eq!(rooms(Some(&supply((4, 0), (9, 3, 3))), Some(1), (None, none)), (vec![1, 3, 0], None));
        // What was learned before stays.
        assert_eq!(
            rooms(Some(&supply((4, 0), (9, 3, 3))), Some(1), (Some(1), seen(1, 0, false))),
            (vec![1, 1, 2], Some(1))
        );
        // The best is not offered at all: the second is the best, and is tried even though nothing looks free.
        assert_eq!(rooms(Some(&supply((0, 0), (2, 0, 0))), None, (None, none)), (vec![0, 4, 0], None));
        // Nothing can be seen: one after the other.
        assert_eq!(rooms(None, Some(1), (None, none)), (vec![1, 3, 0], None));
    }

    #[test]
    fn one_strategy_is_tried_at_a_time_the_better_first() {
        let supply = [offers(4, 1), offers(4, 1), Supply::default()];
        let turn = Turn { now: at(1000), supply: Some(&supply), is_rolling: false, is_complete: true };
        let spilled = |room| memory(Some(room), Some(0), None, Some(0));
        let strategies = [
            (Strategy::GpuFp16, spilled(1), seen(1, 0, false)),
            (Strategy::GpuInt8, spilled(1), seen(1, 0, false)),
            (Strategy::Cpu, Memory::default(), Seen::default()),
        ];
        let shares = share(&turn, 4, &strategies);
        assert_eq!(shares.iter().map(|share| share.wanted).collect::<Vec<_>>(), [2, 1, 1]);
        assert_eq!(shares[1].memory.reclaimed_at, None);
    }

    #[test]
    fn the_last_takes_whatever_is_left_and_remembers_no_room() {
        let turn = Turn { now: at(10), supply: None, is_rolling: false, is_complete: false };
        let before = memory(Some(0), Some(1), Some(2), Some(3));
        let alone = share(&turn, 3, &[(Strategy::GpuFp16, before.clone(), seen(0, 3, true))]);
        assert_eq!(alone[0].wanted, 3);
        assert_eq!(alone[0].memory, memory(None, Some(1), Some(2), None));
        let none = share(&turn, -1, &[(Strategy::Cpu, before, seen(0, 0, false))]);
        assert_eq!((none[0].asked, none[0].wanted), (0, 0));
        assert_eq!(share(&turn, 3, &[]), []);
    }

    #[test]
    fn a_strategy_of_the_cpu_has_room_too_where_it_is_not_the_last() {
        let supply = [Supply::default(), offers(4, 4)];
        let turn = Turn { now: at(10), supply: Some(&supply), is_rolling: false, is_complete: false };
        let rooms = |seen: Seen| {
            let cpu = (Strategy::Cpu, Memory::default(), seen);
            let shares = share(&turn, 3, &[cpu, (Strategy::GpuFp16, Memory::default(), Seen::default())]);
            shares.iter().map(|share| share.wanted).collect::<Vec<_>>()
        };
        assert_eq!(rooms(seen(0, 0, false)), [3, 0]);
        assert_eq!(rooms(seen(2, 1, true)), [2, 1]);
    }

    #[test]
    fn times_are_as_exact_as_the_api_server_keeps_them() {
        let exact = at(5) + SignedDuration::from_millis(678);
        assert_eq!(second(exact), at(5));
        assert!(passed(at(10), Some(at(5)), SignedDuration::from_secs(5)) && passed(at(10), None, QUIET));
        assert!(!passed(at(9), Some(at(5)), SignedDuration::from_secs(5)));
        // A clock that went back.
        assert!(!passed(at(0), Some(at(5)), SignedDuration::from_secs(5)));
    }
}
