//! The highest wish of the last while: a pool shrinks to that, not to the wish of a moment.

use std::collections::VecDeque;

/// Wishes, each with the second of its round; falling from front to back, since a wish that came before a higher one cannot be
/// the highest any more. So it is short, however long the window is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window(VecDeque<(f64, i32)>);

impl Window {
    /// Adds a wish, and returns the highest of the last `seconds`, with this one.
    pub fn highest(&mut self, now: f64, wish: i32, seconds: f64) -> i32 {
        while self.0.back().is_some_and(|(_, earlier)| *earlier <= wish) {
            self.0.pop_back();
        }
        self.0.push_back((now, wish));
        while self.0.front().is_some_and(|(at, _)| now - at > seconds) {
            self.0.pop_front();
        }
        self.0.front().map_or(wish, |(_, highest)| *highest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_counts_until_it_is_too_old() {
        let mut window = Window::default();
        let mut highest = |now, wish| window.highest(now, wish, 10.0);
        assert_eq!([highest(0.0, 3), highest(1.0, 7), highest(2.0, 5), highest(5.0, 2)], [3, 7, 7, 7]);
        assert_eq!([highest(11.0, 1), highest(11.5, 1), highest(12.5, 1)], [7, 5, 2]);
        assert_eq!([highest(16.0, 1), highest(17.0, 4)], [1, 4]);
    }

    #[test]
    fn it_stays_short() {
        let mut window = Window::default();
        for second in 0..10_000 {
            window.highest(f64::from(second), second % 7, 1e9);
        }
        assert!(window.0.len() <= 7);
    }
}
