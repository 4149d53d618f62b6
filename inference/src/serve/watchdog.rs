//! Tells a stuck engine from an idle or a busy one.

use std::time::Duration;

use tokio::time::Instant;

use crate::meter::EnginePulse;

/// What was seen last, and since when it has not changed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watchdog {
    limit: Duration,
    finished: u64,
    since: Instant,
}

impl Watchdog {
    pub const fn new(limit: Duration, now: Instant) -> Self {
        Self { limit, finished: 0, since: now }
    }

    /// True where the engine has had work, and finished none, for longer than the limit. Time without work does not
    /// count: only decoding has clocks of its own, so a document that is slow to decode is no reason either.
    pub fn is_stuck(&mut self, pulse: EnginePulse, now: Instant) -> bool {
        if pulse.jobs == 0 || pulse.finished != self.finished {
            self.finished = pulse.finished;
            self.since = now;
        }
        now.duration_since(self.since) > self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_work_without_progress_is_stuck() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut watchdog = Watchdog::new(Duration::from_mins(1), start);
        let steps = [
            // second, jobs, finished, stuck
            (100, 0, 0, false), // idle for long
            (110, 1, 0, false), // work arrives: the time starts at the last idle look
            (160, 1, 0, false),
            (161, 1, 0, true),
            (170, 3, 0, true),  // more work is no progress
            (171, 3, 1, false), // it went on
            (231, 3, 1, false),
            (232, 3, 1, true),
            (233, 0, 1, false), // the requests gave up
            (400, 0, 1, false),
        ];
        for (second, jobs, finished, stuck) in steps {
            assert_eq!(watchdog.is_stuck(EnginePulse { jobs, finished }, at(second)), stuck, "second {second}");
        }
    }
}
