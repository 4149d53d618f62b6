//! What a user would ask about, from the status before and the next one. The same two always tell the same.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::state::is_true;
use crate::api::{
    OcrPoolStatus, RevisionState, StrategyStatus,
    conditions::{DEGRADED, READY, STRATEGY_VERIFIED, reason},
};

/// Something that happened to a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// Somebody should look at it.
    pub is_warning: bool,
    /// In a word: a reason of [`reason`].
    pub reason: String,
    /// In a sentence.
    pub message: String,
    /// What was done, in a word that differs where the message must. Events that agree in reason, action and pod within
    /// some minutes are counted as one, with the message of the first.
    pub action: String,
    /// Name of the pod that it happened to.
    pub pod: Option<String>,
}

/// Longest message, in bytes: the API server refuses an event with a note of more than 1024.
const LONGEST: usize = 1000;

/// Tells what happened between two statuses.
#[must_use]
pub fn happenings(before: &OcrPoolStatus, next: &OcrPoolStatus) -> Vec<Happening> {
    let mut all: Vec<Happening> =
        [created(before, next), scaled(before, next), rollout(before, next), proof(before, next)]
            .into_iter()
            .flatten()
            .collect();
    all.extend(out_of_memory(before, next));
    all.extend(next.strategies.iter().flat_map(|strategy| moved(before, strategy)));
    // What the pool's reason says anew, unless it was just said in more words.
    all.extend(changed(before, next).filter(|change| all.iter().all(|one| one.reason != change.reason)));
    for happening in &mut all {
        happening.message.truncate(happening.message.floor_char_boundary(LONGEST));
    }
    all
}

fn normal(reason: &str, action: String, message: String) -> Happening {
    Happening { is_warning: false, reason: reason.to_owned(), message, action, pod: None }
}

fn created(before: &OcrPoolStatus, next: &OcrPoolStatus) -> Option<Happening> {
    let first = next.revisions.first()?;
    before.revisions.is_empty().then(|| {
        let message = format!("revision {} (model {}) is begun with {} pods", first.name, first.model, wanted(next));
        normal(reason::CREATED, "Create".to_owned(), message)
    })
}

fn scaled(before: &OcrPoolStatus, next: &OcrPoolStatus) -> Option<Happening> {
    let (from, to) = (wanted(before), wanted(next));
    (!before.strategies.is_empty() && !next.strategies.is_empty() && from != to)
        .then(|| normal(reason::SCALED, format!("ScaleTo{to}"), format!("from {from} to {to} pods")))
}

/// Pods of the pool, without those that are wanted because others are about to end: as many, and no more than the pool's
/// own.
fn wanted(status: &OcrPoolStatus) -> i32 {
    let all: i32 = status.strategies.iter().map(|strategy| strategy.wanted).sum();
    let leaving: i32 = status.strategies.iter().map(|strategy| strategy.leaving).sum();
    all - leaving.min(all / 2)
}

/// Pods of a strategy went to the next one, one more of it is tried, or one was replaced.
fn moved(before: &OcrPoolStatus, next: &StrategyStatus) -> Vec<Happening> {
    let name = next.name;
    let none = StrategyStatus::new(name);
    let before = before.strategies.iter().find(|strategy| strategy.name == name).unwrap_or(&none);
    let room = next.room.unwrap_or_default();
    let mut all = Vec::new();
    if next.spilled_at > before.spilled_at {
        // What pods run instead of it is another matter, though the status puts that first.
        let is_of_spill = next.reason.as_deref() != Some(reason::STRATEGY_MISMATCH);
        let cause = next.message.clone().filter(|_| is_of_spill);
        let cause = cause.unwrap_or_else(|| format!("no node was found for more pods than {room}"));
        all.push(normal(reason::SPILLED, format!("Spill.{name}.{room}"), format!("{name}: {cause}")));
    }
    if next.reclaimed_at > before.reclaimed_at {
        let message = format!("{name}: a pod more is tried, which makes {room}");
        all.push(normal(reason::RECLAIMING, format!("Reclaim.{name}.{room}"), message));
    }
    if let Some(replaced) =
        next.replaced.as_ref().filter(|now| before.replaced.as_ref().is_none_or(|past| past.last < now.last))
    {
        let message =
            format!("{name}: a pod that ran a lower strategy is replaced, number {} of this revision", replaced.count);
        all.push(Happening {
            is_warning: true,
            ..normal(reason::REPLACED, format!("Replace.{name}.{}", replaced.count), message)
        });
    }
    all
}

/// A new revision begins to replace another, or has done so.
fn rollout(before: &OcrPoolStatus, next: &OcrPoolStatus) -> Option<Happening> {
    let in_state = |status: &OcrPoolStatus, state: RevisionState| {
        status.revisions.iter().find(|revision| revision.state == state).cloned()
    };
    let of = |status: &OcrPoolStatus, state| in_state(status, state).map(|revision| revision.name);
    if let Some(starting) = in_state(next, RevisionState::Starting) {
        let is_new = of(before, RevisionState::Starting).as_ref() != Some(&starting.name);
        let message = format!(
            "revision {} (model {}, image {}) replaces the pods of {}",
            starting.name,
            starting.model,
            starting.image,
            of(next, RevisionState::Retiring).unwrap_or_default()
        );
        return is_new.then(|| normal(reason::ROLLING_OUT, format!("RollOut.{}", starting.name), message));
    }
    let current = in_state(next, RevisionState::Current)?;
    (before.revisions.len() > 1).then(|| {
        let message = format!("all pods run revision {} (model {})", current.name, current.model);
        normal(reason::ROLLED_OUT, format!("RolledOut.{}", current.name), message)
    })
}

/// The page that proves the pool was not read, and was read before, or never sent.
fn proof(before: &OcrPoolStatus, next: &OcrPoolStatus) -> Option<Happening> {
    let failed = next.proof.as_ref().filter(|proof| !proof.passed)?;
    let said = before.proof.as_ref().is_some_and(|proof| !proof.passed && proof.revision == failed.revision);
    (!said).then(|| Happening {
        is_warning: true,
        reason: reason::PROOF_FAILED.to_owned(),
        message: format!(
            "a page sent through the pool's address to revision {}: {}",
            failed.revision,
            failed.message.as_deref().unwrap_or("no reason given")
        ),
        action: format!("Prove.{}", failed.revision),
        pod: None,
    })
}

/// Pods that were ended for their memory; each end is told of once.
fn out_of_memory<'a>(before: &'a OcrPoolStatus, next: &'a OcrPoolStatus) -> impl Iterator<Item = Happening> + 'a {
    let ended = |status: &'a OcrPoolStatus| status.pods.iter().filter(|pod| pod.reason == reason::OOM_KILLED);
    let is_new = move |name: &str, restarts: i32| ended(before).all(|pod| pod.name != name || pod.restarts < restarts);
    ended(next).filter(move |pod| is_new(&pod.name, pod.restarts)).map(|pod| Happening {
        is_warning: true,
        reason: reason::OOM_KILLED.to_owned(),
        message: format!("pod {}: {}", pod.name, pod.message),
        action: "Reconcile".to_owned(),
        pod: Some(pod.name.clone()),
    })
}

/// The pool's reason has changed: told by the condition that it comes from.
fn changed(before: &OcrPoolStatus, next: &OcrPoolStatus) -> Option<Happening> {
    if before.reason == next.reason {
        return None;
    }
    let is_warning = is_true(next, DEGRADED);
    let is_spilled = next.reason.as_deref().is_some_and(|one| reason::OTHER_HARDWARE.contains(&one));
    let told = find(
        next,
        if is_warning {
            DEGRADED
        } else if is_spilled {
            STRATEGY_VERIFIED
        } else {
            READY
        },
    )?;
    Some(Happening {
        is_warning,
        reason: told.reason.clone(),
        message: told.message.clone(),
        action: "Reconcile".to_owned(),
        pod: None,
    })
}

fn find<'a>(status: &'a OcrPoolStatus, type_: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.type_ == type_)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::api::{
        PodReport, Proof, RevisionStatus, Strategy, StrategyStatus,
        conditions::{NewCondition, set},
    };

    fn revision(name: &str, state: RevisionState) -> RevisionStatus {
        RevisionStatus {
            name: name.to_owned(),
            model: "small".to_owned(),
            image: "registry.example.com/ocr:7".to_owned(),
            state,
            replicas: 2,
            ready: 2,
        }
    }

    /// A pool of two pods that reads pages.
    fn steady() -> OcrPoolStatus {
        let mut status = OcrPoolStatus {
            observed_generation: Some(1),
            strategies: vec![StrategyStatus {
                wanted: 2,
                scheduled: 2,
                ready: 2,
                ..StrategyStatus::new(Strategy::Cpu)
            }],
            revisions: vec![revision("aaa", RevisionState::Current)],
            reason: Some(reason::PAGE_READ.to_owned()),
            proof: Some(proof_of("aaa", true)),
            ..OcrPoolStatus::default()
        };
        condition(&mut status, READY, true, reason::PAGE_READ, "a page was read");
        status
    }

    fn condition(status: &mut OcrPoolStatus, type_: &'static str, is: bool, reason: &'static str, message: &str) {
        let new = NewCondition { type_, status: is, reason, message: message.to_owned() };
        set(&mut status.conditions, new, None, Timestamp::UNIX_EPOCH);
    }

    fn proof_of(revision: &str, passed: bool) -> Proof {
        let message = (!passed).then(|| "500 Internal Server Error".to_owned());
        Proof { time: Time(Timestamp::UNIX_EPOCH), revision: revision.to_owned(), passed, message }
    }

    fn pod(name: &str, restarts: i32) -> PodReport {
        PodReport {
            name: name.to_owned(),
            reason: reason::OOM_KILLED.to_owned(),
            message: "it used more memory than its limit".to_owned(),
            restarts,
        }
    }

    fn told(before: &OcrPoolStatus, next: &OcrPoolStatus) -> Vec<(bool, String, String)> {
        let all = happenings(before, next).into_iter();
        all.map(|happening| (happening.is_warning, happening.reason, happening.message)).collect()
    }

    fn one(is_warning: bool, reason: &str, message: &str) -> Vec<(bool, String, String)> {
        vec![(is_warning, reason.to_owned(), message.to_owned())]
    }

    #[test]
    fn nothing_is_told_of_a_pool_to_which_nothing_happens() {
        assert_eq!(happenings(&steady(), &steady()), []);
    }

    #[test]
    fn a_pool_s_first_pods_are_told_of_when_they_are_seen() {
        // The first status is of the world before anything was applied.
        let mut first = steady();
        first.revisions.clear();
        assert_eq!(told(&first, &steady()), one(false, "Created", "revision aaa (model small) is begun with 2 pods"));
        assert_eq!(told(&OcrPoolStatus::default(), &first), one(false, "PageRead", "a page was read"));
    }

    #[test]
    fn another_number_of_pods_is_told_of_with_an_action_of_its_own() {
        let mut next = steady();
        next.strategies[0].wanted = 5;
        assert_eq!(told(&steady(), &next), one(false, "Scaled", "from 2 to 5 pods"));
        assert_eq!(happenings(&steady(), &next)[0].action, "ScaleTo5");
        // A spec that cannot be has no strategies: nothing was scaled.
        next.strategies.clear();
        assert_eq!(told(&steady(), &next), []);
    }

    #[test]
    fn a_rollout_is_told_of_when_it_begins_and_when_it_is_done() {
        let mut rolling = steady();
        rolling.revisions = vec![revision("bbb", RevisionState::Starting), revision("aaa", RevisionState::Retiring)];
        let begun = "revision bbb (model small, image registry.example.com/ocr:7) replaces the pods of aaa";
        assert_eq!(told(&steady(), &rolling), one(false, "RollingOut", begun));
        assert_eq!(told(&rolling, &rolling), []);

        let mut changed_again = rolling.clone();
        changed_again.revisions[0].name = "ccc".to_owned();
        assert_eq!(told(&rolling, &changed_again).len(), 1);

        let mut done = steady();
        done.revisions = vec![revision("bbb", RevisionState::Current)];
        assert_eq!(told(&rolling, &done), one(false, "RolledOut", "all pods run revision bbb (model small)"));
    }

    #[test]
    fn a_page_that_was_not_read_is_told_of_once_and_not_again_as_the_reason() {
        let mut next = steady();
        next.proof = Some(proof_of("aaa", false));
        next.reason = Some(reason::PROOF_FAILED.to_owned());
        condition(&mut next, DEGRADED, true, reason::PROOF_FAILED, "a page: 500");
        let message = "a page sent through the pool's address to revision aaa: 500 Internal Server Error";
        assert_eq!(told(&steady(), &next), one(true, "ProofFailed", message));
        assert_eq!(told(&next, &next), []);
    }

    #[test]
    fn each_end_for_memory_is_told_of_with_its_pod() {
        let mut before = steady();
        before.pods = vec![pod("one", 1)];
        let mut next = steady();
        next.pods = vec![pod("one", 2), pod("two", 1)];
        let pods: Vec<Option<String>> = happenings(&before, &next).into_iter().map(|happening| happening.pod).collect();
        assert_eq!(pods, [Some("one".to_owned()), Some("two".to_owned())]);
        assert_eq!(told(&next, &before), []);
    }

    #[test]
    fn a_changed_reason_is_told_of_as_its_condition_says_and_is_no_longer_than_an_event_may_be() {
        let mut next = steady();
        next.reason = Some(reason::NAME_TAKEN.to_owned());
        condition(&mut next, DEGRADED, true, reason::NAME_TAKEN, &"é".repeat(700));
        let happenings = happenings(&steady(), &next);
        assert_eq!((happenings.len(), happenings[0].is_warning, happenings[0].reason.as_str()), (1, true, "NameTaken"));
        assert_eq!(happenings[0].message, "é".repeat(500));
        assert_eq!(told(&next, &steady()), one(false, "PageRead", "a page was read"));
    }

    #[test]
    fn pods_that_are_wanted_because_others_leave_are_no_other_number_of_pods() {
        let mut draining = steady();
        draining.strategies[0].wanted = 3;
        draining.strategies[0].leaving = 1;
        assert_eq!(told(&steady(), &draining), []);
        // All of them and more: as many again are wanted at most.
        draining.strategies[0].wanted = 4;
        draining.strategies[0].leaving = 3;
        assert_eq!(told(&steady(), &draining), []);
        draining.strategies[0].wanted = 6;
        assert_eq!(told(&steady(), &draining), one(false, "Scaled", "from 2 to 3 pods"));
    }

    #[test]
    fn a_spill_a_reclaim_and_a_replacement_are_told_of_once() {
        let time = |second: i64| Some(Time(Timestamp::from_second(second).unwrap()));
        let gpu = |room: Option<i32>, spilled: i64, reclaimed: i64| {
            let mut status = steady();
            let gpu = StrategyStatus {
                room,
                spilled_at: time(spilled),
                reclaimed_at: time(reclaimed),
                message: Some("room for 1 of 2 pods: no GPU is free for it".to_owned()),
                ..StrategyStatus::new(Strategy::GpuFp16)
            };
            status.strategies.insert(0, gpu);
            status
        };
        let before = gpu(Some(2), 10, 20);
        let spilled = gpu(Some(1), 30, 20);
        let message = "gpu-fp16: room for 1 of 2 pods: no GPU is free for it";
        assert_eq!(told(&before, &spilled), one(false, "Spilled", message));
        assert_eq!(happenings(&before, &spilled)[0].action, "Spill.gpu-fp16.1");
        assert_eq!(told(&steady(), &spilled)[0], one(false, "Spilled", message)[0]);
        assert_eq!(told(&spilled, &spilled), []);
        let mut lying = spilled.clone();
        lying.strategies[0].reason = Some(reason::STRATEGY_MISMATCH.to_owned());
        lying.strategies[0].message = Some("1 of 1 ready pods run cpu instead".to_owned());
        assert_eq!(told(&before, &lying)[0].2, "gpu-fp16: no node was found for more pods than 1");
        let reclaimed = gpu(Some(2), 30, 40);
        let message = "gpu-fp16: a pod more is tried, which makes 2";
        assert_eq!(told(&spilled, &reclaimed), one(false, "Reclaiming", message));
        // Forgotten in a status that was lost: nothing happened.
        assert_eq!(told(&reclaimed, &steady()), []);

        let mut replaced = steady();
        let past = |count: i32| crate::api::ReplacedStatus {
            revision: "aaa".to_owned(),
            count,
            last: Time(Timestamp::from_second(i64::from(count)).unwrap()),
        };
        replaced.strategies[0].replaced = Some(past(1));
        let message = "cpu: a pod that ran a lower strategy is replaced, number 1 of this revision";
        assert_eq!(told(&steady(), &replaced), one(true, "Replaced", message));
        let mut again = replaced.clone();
        again.strategies[0].replaced = Some(past(2));
        assert_eq!(told(&replaced, &again).len(), 1);
        assert_eq!(told(&again, &again), []);
    }

    #[test]
    fn that_a_pool_is_on_other_hardware_is_told_as_its_condition_says() {
        let mut next = steady();
        next.reason = Some(reason::SPILLED.to_owned());
        condition(&mut next, STRATEGY_VERIFIED, true, reason::SPILLED, "gpu-fp16: no GPU is free for it");
        assert_eq!(told(&steady(), &next), one(false, "Spilled", "gpu-fp16: no GPU is free for it"));
    }
}
