//! Which pod reads which pages of a long document. Pure.
//!
//! One pod reads from the front. The others take parts from the back, each half of what would be its fair share of what is
//! left, so that parts grow small towards the end and all are done at about the same time. Where the two meet, the first
//! stops.

use std::ops::RangeInclusive;

/// Pages of the first pod that are in work or on their way: they are not worth taking from it.
const IN_WORK: u32 = 2;

/// The pages that are not given to anybody but the first pod.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The first pod reads up to the page before.
    end: u32,
    /// Parts that a pod failed on.
    returned: Vec<RangeInclusive<u32>>,
}

impl Parts {
    /// A document of so many pages.
    #[must_use]
    pub const fn new(pages: u32) -> Self {
        Self { end: pages.saturating_add(1), returned: Vec::new() }
    }

    /// The page before which the first pod stops.
    #[must_use]
    pub const fn end(&self) -> u32 {
        self.end
    }

    /// A part for one of `others` pods, while the first is at `page`. `None` where nothing is left that is worth it.
    pub fn take(&mut self, page: u32, others: u32) -> Option<RangeInclusive<u32>> {
        if let Some(part) = self.returned.pop() {
            return Some(part);
        }
        let left = self.end.saturating_sub(page.saturating_add(IN_WORK));
        if left == 0 {
            return None;
        }
        let size = (left / (2 * others.saturating_add(1))).max(1);
        let part = self.end - size..=self.end - 1;
        self.end -= size;
        Some(part)
    }

    /// Gives a part back that was not read, or the rest of one.
    pub fn give_back(&mut self, part: RangeInclusive<u32>) {
        if !part.is_empty() {
            self.returned.push(part);
        }
    }

    /// The first pod failed at a page: what it had left is a part like any other.
    pub fn first_failed(&mut self, page: u32) {
        self.give_back(page..=self.end.saturating_sub(1));
        self.end = self.end.min(page);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_come_from_the_back_and_grow_small() {
        let mut parts = Parts::new(60);
        let taken: Vec<_> = (0..4).map(|_| parts.take(1, 2).unwrap()).collect();
        assert_eq!(taken, [52..=60, 44..=51, 38..=43, 33..=37]);
        assert_eq!(parts.end(), 33);
        let last: Vec<_> = std::iter::from_fn(|| parts.take(28, 2)).collect();
        assert_eq!(last, [32..=32, 31..=31, 30..=30]);
    }

    #[test]
    fn what_a_pod_failed_on_comes_first() {
        let mut parts = Parts::new(20);
        let part = parts.take(1, 1).unwrap();
        parts.give_back(*part.start() + 1..=*part.end());
        assert_eq!(parts.take(1, 1), Some(18..=20));
        parts.first_failed(7);
        assert_eq!((parts.take(7, 1), parts.end()), (Some(7..=16), 7));
        assert_eq!(parts.take(7, 1), None);
    }

    proptest! {
        /// Every page is read by the first pod or in one part, and by nobody twice.
        #[test]
        fn every_page_is_given_once(pages in 1_u32..300, others in 1_u32..8, steps in prop::collection::vec(0_u8..3, 0..600)) {
            let mut parts = Parts::new(pages);
            let mut page = 1;
            let mut given = vec![0; pages as usize + 2];
            for step in steps {
                if step == 0 {
                    if let Some(part) = parts.take(page, others) {
                        part.for_each(|page| given[page as usize] += 1);
                    }
                } else if page < parts.end() {
                    given[page as usize] += 1;
                    page += 1;
                }
            }
            (page..parts.end()).for_each(|page| given[page as usize] += 1);
            prop_assert!(given[1..=pages as usize].iter().all(|count| *count == 1), "{given:?}");
        }
    }
}
