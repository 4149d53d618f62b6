//! What one source said over time: a counter that may begin anew, and whether it says anything at all.

use std::collections::VecDeque;

/// Seconds after which what a source said is stale, and after which it is lost.
const STALE_AFTER: f64 = 6.0;
const LOST_AFTER: f64 = 30.0;

/// Readings that are kept: a minute of rounds, with room.
const MOST_READINGS: usize = 64;

/// How far what a source said can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Freshness {
    Fresh,
    /// It was silent for some rounds: nothing is lowered by what it said.
    Stale,
    /// It has been silent for long, or has said nothing yet.
    Lost,
}

/// A counter over time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Track {
    /// When, and the sum of all increases until then.
    readings: VecDeque<(f64, f64)>,
    last: Option<f64>,
}

impl Track {
    /// Takes over what the counter stands at. What is no number of things is as if nothing had been said.
    pub fn read(&mut self, now: f64, value: f64) {
        if !value.is_finite() || value < 0.0 {
            return;
        }
        let increase = match self.last.replace(value) {
            None => 0.0,
            // A counter that fell has begun anew: what it stands at came since.
            Some(last) if value < last => value,
            Some(last) => value - last,
        };
        let sum = self.readings.back().map_or(0.0, |(_, sum)| *sum) + increase;
        // Two readings of one moment are one.
        if self.readings.back().is_some_and(|(at, _)| *at >= now) {
            self.readings.pop_back();
        }
        self.readings.push_back((now, sum));
        if self.readings.len() > MOST_READINGS {
            self.readings.pop_front();
        }
    }

    /// How far it can be relied on.
    #[must_use]
    pub fn freshness(&self, now: f64) -> Freshness {
        match self.readings.back().map(|(at, _)| now - at) {
            Some(age) if age < STALE_AFTER => Freshness::Fresh,
            Some(age) if age < LOST_AFTER => Freshness::Stale,
            _ => Freshness::Lost,
        }
    }

    /// Increase in a second over the seconds from `from` to `to` before the last reading; 0 where there are no two readings.
    #[must_use]
    pub fn rate(&self, from: f64, to: f64) -> f64 {
        let Some((newest, _)) = self.readings.back() else { return 0.0 };
        let (begin, end) = (self.at(newest - from), self.at(newest - to));
        match (begin, end) {
            (Some((begin, first)), Some((end, last))) if end > begin => (last - first) / (end - begin),
            _ => 0.0,
        }
    }

    /// Seconds from the first reading that is kept to the last.
    #[must_use]
    pub fn span(&self) -> f64 {
        match (self.readings.front(), self.readings.back()) {
            (Some((first, _)), Some((last, _))) => last - first,
            _ => 0.0,
        }
    }

    /// The last reading at or before a time; the first one where all are later.
    fn at(&self, time: f64) -> Option<(f64, f64)> {
        self.readings.iter().rev().find(|(at, _)| *at <= time).or_else(|| self.readings.front()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(readings: &[(f64, f64)]) -> Track {
        let mut track = Track::default();
        for (at, value) in readings {
            track.read(*at, *value);
        }
        track
    }

    #[test]
    fn a_rate_is_over_what_was_read() {
        let steady = track(&[(0.0, 100.0), (2.0, 110.0), (4.0, 120.0), (6.0, 150.0)]);
        assert_eq!([steady.rate(6.0, 0.0), steady.rate(2.0, 0.0), steady.rate(6.0, 2.0)], [50.0 / 6.0, 15.0, 5.0]);
        assert_eq!(steady.rate(600.0, 0.0), 50.0 / 6.0, "no longer than it is known");
        assert_eq!((steady.span(), Track::default().span()), (6.0, 0.0));
        assert_eq!([track(&[]).rate(6.0, 0.0), track(&[(0.0, 9.0)]).rate(6.0, 0.0)], [0.0, 0.0]);
    }

    #[test]
    fn a_counter_that_begins_anew_goes_on() {
        assert_eq!(track(&[(0.0, 1000.0), (2.0, 1010.0), (4.0, 6.0)]).rate(4.0, 0.0), 4.0);
    }

    #[test]
    fn what_is_no_number_of_things_was_not_said() {
        let track = track(&[(0.0, 10.0), (2.0, f64::NAN), (4.0, -5.0), (5.0, f64::INFINITY)]);
        assert_eq!((track.freshness(5.9), track.freshness(6.0)), (Freshness::Fresh, Freshness::Stale));
        assert_eq!(track.rate(10.0, 0.0), 0.0);
    }

    #[test]
    fn a_source_is_fresh_stale_or_lost() {
        let track = track(&[(10.0, 1.0)]);
        let seen = [10.0, 15.9, 16.0, 39.9, 40.0].map(|now| track.freshness(now));
        assert_eq!(seen, [Freshness::Fresh, Freshness::Fresh, Freshness::Stale, Freshness::Stale, Freshness::Lost]);
        assert_eq!(Track::default().freshness(0.0), Freshness::Lost);
    }

    #[test]
    fn readings_are_bounded_and_one_moment_is_one_reading() {
        let mut many = Track::default();
        for second in 0..1000 {
            many.read(f64::from(second), f64::from(second) * 3.0);
        }
        assert_eq!((many.readings.len(), many.rate(60.0, 0.0)), (MOST_READINGS, 3.0));
        let again = track(&[(0.0, 0.0), (2.0, 4.0), (2.0, 6.0)]);
        assert_eq!((again.readings.len(), again.rate(2.0, 0.0)), (2, 3.0));
    }
}
