//! The highest wish of the last while that lasted: a pool shrinks to that, not to the wish of a moment, and the wish of a
//! short spike does not keep it large for the whole window.

use std::collections::VecDeque;

/// Seconds for which a wish must have been there to count for the window: half as much again as the window in which demand is
/// measured, in which a spike of a minute lasts for two.
const LASTS: f64 = 90.0;

/// Wishes, each with the second of its round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    /// Rising from front to back: a wish that came before a lower one cannot be the lowest of what follows.
    lowest: VecDeque<(f64, i32)>,
    /// What lasted; falling from front to back, for the same reason.
    highest: VecDeque<(f64, i32)>,
}

impl Window {
    /// Adds a wish, and returns the highest of the last `seconds` that lasted, or this one where that is higher.
    pub fn highest(&mut self, now: f64, wish: i32, seconds: f64) -> i32 {
        while self.lowest.back().is_some_and(|(_, earlier)| *earlier >= wish) {
            self.lowest.pop_back();
        }
        self.lowest.push_back((now, wish));
        while self.lowest.front().is_some_and(|(at, _)| now - at > LASTS) {
            self.lowest.pop_front();
        }
        let lasting = self.lowest.front().map_or(wish, |(_, lowest)| *lowest);
        while self.highest.back().is_some_and(|(_, earlier)| *earlier <= lasting) {
            self.highest.pop_back();
        }
        self.highest.push_back((now, lasting));
        while self.highest.front().is_some_and(|(at, _)| now - at > seconds) {
            self.highest.pop_front();
        }
        self.highest.front().map_or(wish, |(_, highest)| *highest).max(wish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The highest of a window of 100 seconds after a wish every ten seconds.
    fn highest(window: &mut Window, from: i32, to: i32, wish: i32) -> i32 {
        let mut highest = 0;
        for second in (from..=to).step_by(10) {
            highest = window.highest(f64::from(second), wish, 100.0);
        }
        highest
    }

    #[test]
    fn a_wish_that_lasted_counts_until_it_is_too_old() {
        let mut window = Window::default();
        assert_eq!(highest(&mut window, 0, 100, 7), 7);
        assert_eq!([highest(&mut window, 110, 200, 2), highest(&mut window, 210, 210, 2)], [7, 2]);
    }

    #[test]
    fn a_wish_of_a_moment_counts_for_the_moment() {
        let mut window = Window::default();
        highest(&mut window, 0, 200, 2);
        assert_eq!([highest(&mut window, 210, 250, 9), highest(&mut window, 260, 260, 3)], [9, 3]);
        assert_eq!(highest(&mut window, 270, 400, 2), 2);
        assert_eq!([highest(&mut window, 410, 500, 9), highest(&mut window, 510, 510, 2)], [9, 9], "now it has lasted");
    }

    #[test]
    fn it_stays_short() {
        let mut window = Window::default();
        for second in 0..10_000 {
            window.highest(f64::from(second), second % 7, 1e9);
        }
        assert!(window.highest.len() + window.lowest.len() <= 14);
    }
}
