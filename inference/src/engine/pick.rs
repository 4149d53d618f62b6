//! Which waiting items run together. Pure.
//!
//! Only items of equal shape share a batch, so a line's result cannot depend on its company. Nothing waits for company
//! either: a free thread takes what there is, since on a CPU a batch saves little over its items run alone.

/// An item that waits, oldest first in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Channels, height, width.
    pub shape: [usize; 3],
    /// Nobody waits for the result any more.
    pub abandoned: bool,
}

/// What a batch may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most items.
    pub items: usize,
    /// Most numbers of all items together. An item above it runs alone.
    pub elements: usize,
    /// Batches have 1, 2, 4, 8 ... items: few shapes of input, where each new one costs time.
    pub powers_of_two: bool,
}

impl BatchLimits {
    /// How many of so many items, which are within the limits, make a batch.
    #[must_use]
    pub const fn batch(&self, items: usize) -> usize {
        if self.powers_of_two && items > 0 { 1 << items.ilog2() } else { items }
    }
}

/// What a free thread does with the queue: the places of the items to run, and of those to drop. Both ascending; both
/// empty where there is nothing to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pick {
    pub run: Vec<usize>,
    pub drop: Vec<usize>,
}

/// Takes the oldest item that is still wanted, and with it the next ones of its shape within the limits. Drops the
/// abandoned ones that it passes.
#[must_use]
pub fn pick(queue: impl IntoIterator<Item = Waiting>, limits: BatchLimits) -> Pick {
    let mut picked = Pick::default();
    let mut chosen: Option<[usize; 3]> = None;
    let mut elements = 0_usize;
    for (place, item) in queue.into_iter().enumerate() {
        if item.abandoned {
            picked.drop.push(place);
            continue;
        }
        let size = item.shape.iter().product::<usize>();
        match chosen {
            None => chosen = Some(item.shape),
            Some(shape) if shape != item.shape => continue,
            Some(_) if elements.saturating_add(size) > limits.elements => break,
            Some(_) => {}
        }
        elements = elements.saturating_add(size);
        picked.run.push(place);
        if picked.run.len() >= limits.items {
            break;
        }
    }
    picked.run.truncate(limits.batch(picked.run.len()));
    picked
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: BatchLimits = BatchLimits { items: 3, elements: 100, powers_of_two: false };

    fn queue(items: &[(usize, bool)]) -> Vec<Waiting> {
        items.iter().map(|&(width, abandoned)| Waiting { shape: [1, 10, width], abandoned }).collect()
    }

    #[test]
    fn only_equal_shapes_run_together_and_the_oldest_leads() {
        let picked = pick(queue(&[(2, false), (3, false), (2, false), (2, false), (2, false)]), LIMITS);
        assert_eq!(picked.run, [0, 2, 3]);
    }

    #[test]
    fn of_three_two_run_where_batches_are_powers_of_two() {
        let limits = BatchLimits { powers_of_two: true, ..LIMITS };
        assert_eq!(
            pick(queue(&[(2, false), (2, true), (2, false), (2, false)]), limits),
            Pick { run: vec![0, 2], drop: vec![1] }
        );
        assert_eq!(pick(queue(&[(2, false)]), limits).run, [0]);
    }

    #[test]
    fn a_batch_is_a_power_of_two_where_it_is_to_be() {
        let rows = [(0, 0), (1, 1), (2, 2), (3, 2), (7, 4), (8, 8), (31, 16), (32, 32)];
        for (items, expected) in rows {
            assert_eq!(BatchLimits { powers_of_two: true, ..LIMITS }.batch(items), expected, "{items}");
            assert_eq!(LIMITS.batch(items), items);
        }
    }

    #[test]
    fn an_item_larger_than_the_limit_runs_alone() {
        assert_eq!(pick(queue(&[(20, false), (20, false)]), LIMITS).run, [0]);
    }

    #[test]
    fn a_batch_stays_within_the_elements() {
        assert_eq!(pick(queue(&[(4, false), (4, false), (4, false)]), LIMITS).run, [0, 1]);
    }

    #[test]
    fn abandoned_items_are_dropped_and_lead_nothing() {
        let picked = pick(queue(&[(2, true), (3, false), (2, false)]), LIMITS);
        assert_eq!(picked, Pick { run: vec![1], drop: vec![0] });
    }

    #[test]
    fn an_empty_queue_gives_nothing() {
        assert_eq!(pick(queue(&[]), LIMITS), Pick::default());
    }

    proptest! {
        #[test]
        fn nothing_wanted_is_dropped_and_nothing_runs_twice(
            items in prop::collection::vec((1_usize..12, any::<bool>()), 0..30),
        ) {
            let queue = queue(&items);
            let picked = pick(queue.clone(), LIMITS);
            prop_assert!(picked.drop.iter().all(|&place| queue[place].abandoned));
            prop_assert!(picked.run.iter().all(|&place| !queue[place].abandoned));
            prop_assert!(picked.run.is_sorted() && picked.run.len() <= LIMITS.items);
            prop_assert!(picked.run.windows(2).all(|pair| queue[pair[0]].shape == queue[pair[1]].shape));
            prop_assert_eq!(picked.run.is_empty(), queue.iter().all(|item| item.abandoned));
        }
    }
}
