//! Pods that run a lower strategy than they were made for, and how often that is tried to be mended.
//!
//! A pod may be right in what it says: a driver that is broken stays broken, and the next pod on that node says the
//! same. So pods are replaced a few times, ever more rarely, and then left as they are until another revision comes or
//! all is well for a long time.

use jiff::{SignedDuration, Timestamp};

use super::{
    pods::PodFacts,
    spill::{passed, second},
};

/// Most pods of a strategy and a revision that are replaced.
pub const MOST: i32 = 5;

/// Pause after the first; doubled after each: 5, 10, 20 and 40 minutes.
pub const FIRST: SignedDuration = SignedDuration::from_mins(5);

/// How long what covers for a pod stays at least once that was evicted: longer than a cache takes to show its end.
pub const COVERED: SignedDuration = SignedDuration::from_mins(1);

/// How long every pod must have kept its word since the last replacement until they count from nothing again.
pub const FORGIVEN: SignedDuration = SignedDuration::from_hours(6);

/// Replacements so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacements {
    /// Of this revision.
    pub revision: String,
    pub count: i32,
    pub last: Timestamp,
}

impl Replacements {
    /// One more.
    #[must_use]
    pub fn and_one(before: Option<Self>, revision: &str, now: Timestamp) -> Self {
        let count = before.map_or(0, |before| before.count).saturating_add(1);
        Self { revision: revision.to_owned(), count, last: second(now) }
    }
}

/// What is still remembered: nothing of another revision, and nothing once all pods are as they should be for long.
#[must_use]
pub fn remembered(
    before: Option<&Replacements>,
    revision: &str,
    pods: &[&PodFacts],
    now: Timestamp,
) -> Option<Replacements> {
    let before = before.filter(|before| before.revision == revision)?;
    let all_well = pods.iter().any(|pod| pod.ready) && pods.iter().all(|pod| pod.is_verified());
    (!all_well || !passed(now, Some(before.last), FORGIVEN)).then(|| before.clone())
}

/// Whether another pod may be replaced now.
#[must_use]
pub fn is_due(before: Option<&Replacements>, now: Timestamp) -> bool {
    let Some(before) = before else { return true };
    let pause = FIRST * 2_i32.saturating_pow(u32::try_from(before.count.saturating_sub(1)).unwrap_or(0).min(8));
    before.count < MOST && passed(now, Some(before.last), pause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Strategy;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn past(count: i32) -> Replacements {
        Replacements { revision: "new".to_owned(), count, last: at(0) }
    }

    fn pod(runs: Option<Strategy>, ready: bool) -> PodFacts {
        PodFacts { ready, ..PodFacts::of_ready("p", Strategy::GpuFp16, runs) }
    }

    #[test]
    fn the_pauses_grow_and_there_is_an_end() {
        assert!(is_due(None, at(0)));
        for (count, pause) in [(1, 300), (2, 600), (3, 1200), (4, 2400)] {
            assert!(!is_due(Some(&past(count)), at(pause - 1)), "{count}");
            assert!(is_due(Some(&past(count)), at(pause)), "{count}");
        }
        assert!(!is_due(Some(&past(5)), at(1_000_000)));
        // What nobody wrote.
        assert!(!is_due(Some(&past(i32::MAX)), at(1_000_000)) && is_due(Some(&past(i32::MIN)), at(300)));
    }

    #[test]
    fn they_are_counted_for_a_revision_until_all_is_well_for_long() {
        let (good, bad) = (pod(Some(Strategy::GpuFp16), true), pod(Some(Strategy::Cpu), true));
        let (silent, starting) = (pod(None, true), pod(Some(Strategy::GpuFp16), false));
        let long = 6 * 3600;
        for (pods, now, is_remembered) in [
            (vec![&good], long - 1, true),
            (vec![&good], long, false),
            (vec![&good, &good], long, false),
            (vec![&good, &bad], long, true),
            (vec![&good, &silent], long, true),
            (vec![&starting], long, true),
            (vec![], long, true),
        ] {
            let left = remembered(Some(&past(3)), "new", &pods, at(now));
            assert_eq!(left, is_remembered.then(|| past(3)), "{pods:?} {now}");
        }
        assert_eq!(remembered(Some(&past(3)), "newer", &[&bad], at(1)), None);
        assert_eq!(remembered(None, "new", &[&bad], at(1)), None);
    }

    #[test]
    fn one_more_is_counted() {
        let exact = at(7) + SignedDuration::from_millis(5);
        let first = Replacements::and_one(None, "new", exact);
        assert_eq!(first, Replacements { revision: "new".to_owned(), count: 1, last: at(7) });
        assert_eq!(Replacements::and_one(Some(first), "new", at(9)).count, 2);
    }
}
