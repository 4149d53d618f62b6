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
