//! When to read a page through a pool's address, and what came of it.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::Proof;

/// How often a pool that works is proven anew.
const EVERY: Duration = Duration::from_mins(5);

/// First pause after a page that was not read; doubled up to [`LONGEST`].
const AGAIN: Duration = Duration::from_secs(2);

/// Longest pause after pages that were not read: well below the 30 s in which a pool that fails must be told as failing.
const LONGEST: Duration = Duration::from_secs(15);

/// What is remembered of proofs between two decisions. It begins with what the pool's status says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// The last proof.
    pub last: Option<Proof>,
    /// Proofs that failed since the last that passed.
    pub failures: u32,
    /// Something was repaired, or pods have answered with errors of their own, since the last proof.
    pub doubted: bool,
    /// No pod was ready at some time since the last proof that passed: what it said of the address holds no more, until the
    /// next. (Between a pod's readiness and the nodes' knowing of it lies a second.)
    pub lapsed: bool,
}

impl Memory {
    /// Notes what came of a page. Its time is kept in whole seconds, as the API server keeps it: a status that says it more
    /// exactly than was written would be written again for ever.
    pub fn note(&mut self, revision: &str, outcome: Result<(), String>, now: Timestamp) {
        let passed = outcome.is_ok();
        self.failures = if passed { 0 } else { self.failures.saturating_add(1) };
        self.lapsed &= !passed;
        self.doubted = false;
        let second = Timestamp::from_second(now.as_second()).unwrap_or(now);
        self.last = Some(Proof { time: Time(second), revision: revision.to_owned(), passed, message: outcome.err() });
    }
}

/// Whether to prove now, and when to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When {
    pub now: bool,
    pub next_check: Duration,
}

/// Decides whether to read a page now: a new revision, a recovery, a doubt, a failure whose pause is over, or five
/// minutes since the last. Never with no pod ready: there is nobody to read it.
#[must_use]
pub fn plan(memory: &Memory, revision: &str, ready: i32, now: Timestamp) -> When {
    if ready == 0 {
        return When { now: false, next_check: EVERY };
    }
    let Some(last) = memory.last.as_ref().filter(|last| last.revision == revision) else {
        return When { now: true, next_check: AGAIN };
    };
    let pause = match (last.passed, memory.doubted || memory.lapsed) {
        (true, false) => EVERY,
        (true, true) => Duration::ZERO,
        (false, _) => (AGAIN * 2_u32.saturating_pow(memory.failures.saturating_sub(1).min(8))).min(LONGEST),
    };
    // A clock that went back counts as no time passed.
    let passed = Duration::try_from(now.duration_since(last.time.0)).unwrap_or(Duration::ZERO);
    match pause.checked_sub(passed) {
        None | Some(Duration::ZERO) => When { now: true, next_check: AGAIN },
        Some(left) => When { now: false, next_check: left },
    }
}

/// Whether the pool's address works, as far as is known.
#[must_use]
pub fn holds(memory: &Memory, revision: &str) -> bool {
    has_passed(memory, revision) && !memory.lapsed
}

/// Whether the last page was read by this revision: what is left to go by where there are no pods.
#[must_use]
pub fn has_passed(memory: &Memory, revision: &str) -> bool {
    memory.last.as_ref().is_some_and(|last| last.passed && last.revision == revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_700_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(START + second).unwrap()
    }

    fn memory(passed: bool, failures: u32) -> Memory {
        let last = Proof { time: Time(at(0)), revision: "a".to_owned(), passed, message: None };
        Memory { last: Some(last), failures, doubted: false, lapsed: false }
    }

    #[test]
    fn a_page_is_read_when_there_is_something_to_learn() {
        let rows: [(&str, Memory, &str, i32, i64, bool); 11] = [
            ("never before", Memory::default(), "a", 1, 0, true),
            ("nobody to read it", Memory::default(), "a", 0, 0, false),
            ("another revision", memory(true, 0), "b", 1, 1, true),
            ("just proven", memory(true, 0), "a", 1, 1, false),
            ("four minutes ago", memory(true, 0), "a", 1, 299, false),
            ("five minutes ago", memory(true, 0), "a", 1, 300, true),
            ("doubted", Memory { doubted: true, ..memory(true, 0) }, "a", 1, 1, true),
            ("ready again", Memory { lapsed: true, ..memory(true, 0) }, "a", 1, 1, true),
            ("failed just now", memory(false, 1), "a", 1, 1, false),
            ("failed two seconds ago", memory(false, 1), "a", 1, 2, true),
            ("failed often", memory(false, 9), "a", 1, 14, false),
        ];
        for (what, memory, revision, ready, second, expected) in rows {
            assert_eq!(plan(&memory, revision, ready, at(second)).now, expected, "{what}");
        }
        assert!(plan(&memory(false, 9), "a", 1, at(15)).now);
    }

    #[test]
    fn a_clock_that_goes_back_proves_nothing_early_and_waits_no_longer() {
        let when = plan(&memory(true, 0), "a", 1, at(-3600));
        assert_eq!(when, When { now: false, next_check: EVERY });
    }

    #[test]
    fn only_a_proof_of_this_revision_holds() {
        assert!(holds(&memory(true, 0), "a"));
        let mut lapsed = Memory { lapsed: true, ..memory(true, 0) };
        assert!(!holds(&lapsed, "a") && has_passed(&lapsed, "a"));
        lapsed.note("a", Ok(()), at(1));
        assert!(holds(&lapsed, "a"));
        assert!(!holds(&memory(true, 0), "b") && !holds(&memory(false, 1), "a") && !holds(&Memory::default(), "a"));
    }

    #[test]
    fn what_is_noted_is_as_exact_as_what_the_api_server_keeps() {
        let mut memory = Memory { doubted: true, ..Memory::default() };
        let now = at(5) + jiff::SignedDuration::from_millis(678);
        memory.note("a", Err("500".to_owned()), now);
        memory.note("a", Err("500".to_owned()), now);
        assert_eq!((memory.failures, memory.doubted), (2, false));
        let last = memory.last.clone().unwrap();
        let kept: Proof = serde_json::from_str(&serde_json::to_string(&last).unwrap()).unwrap();
        assert_eq!(kept, last);
        memory.note("a", Ok(()), now);
        assert_eq!((memory.failures, holds(&memory, "a")), (0, true));
    }
}
