//! Time as the decision counts it: only what has passed between two rounds, and of that no more than rounds can be apart.

use jiff::Timestamp;

/// Most seconds that pass between two rounds, however far apart the clock says they are. A step of minutes must not make a
/// window full that nobody has seen.
const LONGEST_STEP: f64 = 10.0;

/// Seconds since the first round.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clock {
    last: Option<Timestamp>,
    seconds: f64,
}

impl Clock {
    /// The time of this round. A clock that goes back stands still.
    pub fn tick(&mut self, now: Timestamp) -> f64 {
        if let Some(last) = self.last.replace(now) {
            self.seconds += now.duration_since(last).as_secs_f64().clamp(0.0, LONGEST_STEP);
        }
        self.seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_the_clock_are_no_time() {
        let mut clock = Clock::default();
        let at = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).unwrap();
        let seen = [0, 2, 302, 304, 4, 6].map(|seconds| clock.tick(at(seconds)));
        assert_eq!(seen, [0.0, 2.0, 12.0, 14.0, 14.0, 16.0]);
    }
}
