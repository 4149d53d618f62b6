//! Why a strategy has fewer pods than were to be had of it, in a word and in a sentence.

use super::{
    Situation,
    mismatch::{MOST, Replacements},
    spill::{Seen, Share},
};
use crate::api::conditions::reason::{NO_GPU_FREE, NO_GPU_OFFERED, RECLAIMING, SPILLED, STRATEGY_MISMATCH};

/// Why a strategy is as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// In a word: a reason of `api::conditions`.
    pub reason: &'static str,
    /// In a sentence.
    pub message: String,
}

/// The most pressing reason of the strategy of this index; none if it is as it should be.
pub(super) fn why(
    situation: &Situation<'_>,
    index: usize,
    replacements: Option<&Replacements>,
    share: &Share,
    seen: Seen,
) -> Option<Why> {
    mismatch(situation, index, replacements).or_else(|| shortage(situation, index, share, seen))
}

/// Pods that run something lower.
fn mismatch(situation: &Situation<'_>, index: usize, replacements: Option<&Replacements>) -> Option<Why> {
    let known = situation.strategies.get(index)?;
    let ready: Vec<_> = situation.pods.iter().filter(|pod| pod.ready && pod.strategy == known.strategy).collect();
    let mismatched: Vec<_> = ready.iter().filter(|pod| pod.is_mismatched()).collect();
    let lowest = mismatched.iter().filter_map(|pod| pod.runs).max()?;
    let attempts = match replacements {
        Some(past) if past.count >= MOST => {
            format!("; {} were replaced in vain, and no more are until the pool changes", past.count)
        }
        Some(past) => format!("; {} were replaced", past.count),
        None => String::new(),
    };
    // In the words of the first by name, so that they do not change from look to look.
    let first = mismatched.iter().min_by(|one, other| one.name.cmp(&other.name));
    let words = first.and_then(|pod| Some(format!("; {} says {}", pod.name, pod.passed_over.as_ref()?)));
    let message = format!(
        "{} of {} ready pods run {lowest} instead{attempts}{}",
        mismatched.len(),
        ready.len(),
        words.unwrap_or_default()
    );
    Some(Why { reason: STRATEGY_MISMATCH, message })
}

/// Pods that were to be had of it and went to the next strategy.
fn shortage(situation: &Situation<'_>, index: usize, share: &Share, seen: Seen) -> Option<Why> {
    let room = share.memory.room.filter(|room| *room < share.asked)?;
    let supply = situation.supply.and_then(|all| all.get(index));
    let needs_gpu = situation.strategies.get(index)?.strategy.needs_gpu();
    let reason = match supply.filter(|_| needs_gpu) {
        _ if seen.waiting > 0 && share.memory.reclaimed_at > share.memory.spilled_at => RECLAIMING,
        Some(supply) if supply.offered == 0 => NO_GPU_OFFERED,
        Some(supply) if supply.free_of_better == 0 => NO_GPU_FREE,
        _ => SPILLED,
    };
    let left_out = supply.map(|supply| supply.left_out.as_str()).filter(|text| !text.is_empty());
    let left_out = left_out.map(|text| format!("; nodes with GPUs left out: {text}")).unwrap_or_default();
    let cause = match reason {
        RECLAIMING => "a GPU seems free: one more is tried".to_owned(),
        NO_GPU_OFFERED => format!("no node that pods may go to offers a GPU for it{left_out}"),
        NO_GPU_FREE => format!("no GPU is free for it{left_out}"),
        _ => format!("the scheduler found no node for more within {} s", situation.spill_after.as_secs()),
    };
    Some(Why { reason, message: format!("room for {room} of {} pods: {cause}", share.asked) })
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::{
        api::{OnMismatch, Strategy},
        place::{Known, pods::PodFacts, spill::Memory, supply::Supply},
        rollout::Count,
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    /// Why the first strategy is as it is.
    fn why_of(
        strategy: Strategy,
        (pods, past): (&[PodFacts], Option<&Replacements>),
        supply: Option<&[Supply]>,
        (share, seen): (&Share, Seen),
    ) -> Option<(&'static str, String)> {
        let count = Count { replicas: 0, ready: 0 };
        let known = [Known { strategy, count, memory: Memory::default(), replacements: None }];
        let situation = Situation {
            now: at(0),
            revision: "new",
            replicas: 4,
            spill_after: SignedDuration::from_secs(30),
            on_mismatch: OnMismatch::Serve,
            strategies: &known,
            old: &[],
            pods,
            supply,
        };
        why(&situation, 0, past, share, seen).map(|why| (why.reason, why.message))
    }

    fn share(room: Option<i32>, reclaimed: Option<i64>, spilled: Option<i64>) -> Share {
        let (reclaimed_at, spilled_at) = (reclaimed.map(at), spilled.map(at));
        Share { asked: 4, wanted: 2, memory: Memory { room, reclaimed_at, spilled_at, free_since: None } }
    }

    #[test]
    fn a_shortage_has_its_reason() {
        use Strategy::{Cpu, GpuFp16};
        let supply = |offered, free_of_better, left_out: &str| {
            Some(Supply { offered, free: 1, free_of_better, left_out: left_out.to_owned() })
        };
        let waits = |waiting| Seen { waiting, ..Seen::default() };
        let cordoned = "; nodes with GPUs left out: 2 cordoned";
        let spilled = share(Some(2), None, Some(5));
        let nobody = "no node that pods may go to offers a GPU for it";
        let not_found = "the scheduler found no node for more within 30 s";
        for (strategy, supply, share, seen, expected) in [
            (GpuFp16, supply(0, 0, ""), &spilled, waits(0), Some(("NoGpuOffered", nobody.to_owned()))),
            (
                GpuFp16,
                supply(0, 3, "2 cordoned"),
                &spilled,
                waits(3),
                Some(("NoGpuOffered", format!("{nobody}{cordoned}"))),
            ),
            (GpuFp16, supply(3, 0, ""), &spilled, waits(0), Some(("NoGpuFree", "no GPU is free for it".to_owned()))),
            (
                GpuFp16,
                supply(3, 0, "2 cordoned"),
                &spilled,
                waits(0),
                Some(("NoGpuFree", format!("no GPU is free for it{cordoned}"))),
            ),
            (GpuFp16, supply(3, 1, "2 cordoned"), &spilled, waits(0), Some(("Spilled", not_found.to_owned()))),
            (GpuFp16, None, &spilled, waits(0), Some(("Spilled", not_found.to_owned()))),
            (Cpu, supply(0, 0, ""), &spilled, waits(0), Some(("Spilled", not_found.to_owned()))),
            // As much room as was asked for, or no limit.
            (GpuFp16, supply(0, 0, ""), &share(Some(4), None, None), waits(0), None),
            (GpuFp16, supply(0, 0, ""), &share(None, None, None), waits(0), None),
        ] {
            let expected = expected.map(|(reason, cause)| (reason, format!("room for 2 of 4 pods: {cause}")));
            let supply: Option<Vec<Supply>> = supply.map(|supply| vec![supply]);
            assert_eq!(
                why_of(strategy, (&[], None), supply.as_deref(), (share, seen)),
                expected,
                "{supply:?} {share:?}"
            );
        }
    }

    #[test]
    fn a_reclaim_is_one_while_its_pod_waits_and_until_it_is_undone() {
        let tried = "room for 2 of 4 pods: a GPU seems free: one more is tried";
        let supply = [Supply { offered: 3, free: 0, free_of_better: 0, left_out: String::new() }];
        for (reclaimed, spilled, waiting, is_reclaim) in [
            (Some(9), Some(5), 1, true),
            (Some(9), None, 1, true),
            (Some(5), Some(5), 1, false),
            (Some(4), Some(5), 1, false),
            (None, Some(5), 1, false),
            (Some(9), Some(5), 0, false),
        ] {
            let (share, seen) = (share(Some(2), reclaimed, spilled), Seen { waiting, ..Seen::default() });
            let (reason, message) = why_of(Strategy::GpuFp16, (&[], None), Some(&supply), (&share, seen)).unwrap();
            let seen = (reason == "Reclaiming", message == tried);
            assert_eq!(seen, (is_reclaim, is_reclaim), "{reclaimed:?} {spilled:?} {waiting}: {reason} {message}");
        }
    }

    #[test]
    fn a_mismatch_comes_before_a_shortage_and_tells_what_was_tried() {
        use Strategy::{Cpu, GpuFp16, GpuInt8};
        let mut pods = ["c", "b", "a"].map(|name| PodFacts::of_ready(name, GpuFp16, Some(GpuInt8)));
        (pods[1].runs, pods[2].runs) = (Some(Cpu), Some(GpuFp16));
        pods[1].passed_over = Some("gpu-fp16: NoGpu".to_owned());
        let past = |count| Replacements { revision: "new".to_owned(), count, last: at(0) };
        let short = share(Some(2), None, None);
        let told = |past: Option<&Replacements>| {
            let (reason, message) = why_of(GpuFp16, (&pods, past), None, (&short, Seen::default())).unwrap();
            assert_eq!(reason, "StrategyMismatch");
            message
        };
        let says = "; b says gpu-fp16: NoGpu";
        assert_eq!(told(None), format!("2 of 3 ready pods run cpu instead{says}"));
        assert_eq!(told(Some(&past(4))), format!("2 of 3 ready pods run cpu instead; 4 were replaced{says}"));
        let in_vain = "; 5 were replaced in vain, and no more are until the pool changes";
        assert_eq!(told(Some(&past(MOST))), format!("2 of 3 ready pods run cpu instead{in_vain}{says}"));
        pods[0].ready = false;
        pods[1].strategy = Cpu;
        let (reason, _) = why_of(GpuFp16, (&pods, None), None, (&short, Seen::default())).unwrap();
        assert_eq!(reason, "Spilled", "only pods that are ready and were made for it count");
    }
}
