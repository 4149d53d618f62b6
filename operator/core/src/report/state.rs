//! How a pool is, in one word of four: what the metrics count.

use crate::api::{
    OcrPoolStatus,
    conditions::{DEGRADED, PROGRESSING, READY},
};

/// How a pool is. A pool is in exactly one state, the most pressing that applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Something is not as it was asked for.
    Degraded,
    /// Pods are being started, replaced or removed.
    Progressing,
    /// A page was read through its address, and nothing moves.
    Ready,
    /// None of these: it waits for the page that proves it.
    NotReady,
}

impl State {
    /// Every state, the most pressing first.
    pub const ALL: [Self; 4] = [Self::Degraded, Self::Progressing, Self::Ready, Self::NotReady];

    /// The state that a status tells of.
    #[must_use]
    pub fn of(status: &OcrPoolStatus) -> Self {
        if is_true(status, DEGRADED) {
            Self::Degraded
        } else if is_true(status, PROGRESSING) {
            Self::Progressing
        } else if is_true(status, READY) {
            Self::Ready
        } else {
            Self::NotReady
        }
    }

    /// The metric's label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Degraded => "degraded",
            Self::Progressing => "progressing",
            Self::Ready => "ready",
            Self::NotReady => "not_ready",
        }
    }
}

/// Whether the pool's condition `Ready` is true; a pool in the state [`State::Progressing`] or [`State::Degraded`] may be.
#[must_use]
pub fn is_ready(status: &OcrPoolStatus) -> bool {
    is_true(status, READY)
}

/// Whether a condition is there and true.
#[must_use]
pub(super) fn is_true(status: &OcrPoolStatus, type_: &str) -> bool {
    status.conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::api::conditions::{NewCondition, set};

    fn state(ready: bool, progressing: bool, degraded: bool) -> State {
        let mut status = OcrPoolStatus::default();
        for (type_, is) in [(READY, ready), (PROGRESSING, progressing), (DEGRADED, degraded)] {
            let new = NewCondition { type_, status: is, reason: "Any", message: String::new() };
            set(&mut status.conditions, new, None, Timestamp::UNIX_EPOCH);
        }
        State::of(&status)
    }

    #[test]
    fn the_most_pressing_state_is_the_pool_s() {
        let rows = [
            ((true, false, false), State::Ready),
            ((true, true, false), State::Progressing),
            ((false, true, false), State::Progressing),
            ((true, false, true), State::Degraded),
            ((false, true, true), State::Degraded),
            ((false, false, false), State::NotReady),
        ];
        for ((ready, progressing, degraded), expected) in rows {
            assert_eq!(state(ready, progressing, degraded), expected, "{ready} {progressing} {degraded}");
        }
        assert_eq!(State::of(&OcrPoolStatus::default()), State::NotReady);
    }
}
