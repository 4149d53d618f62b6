//! How requests are split between revisions: exactly by their weights, in any row of requests.

use std::sync::Arc;

/// Share of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weight {
    pub revision: Arc<str>,
    /// Of the sum of all weights.
    pub weight: u32,
}

#[derive(Clone, Debug)]
struct Share {
    revision: Arc<str>,
    weight: u32,
    /// What it is owed: grows by its weight with every request, falls by the sum of weights with each that it gets.
    owed: i64,
}

/// Smooth weighted round robin, as nginx has it: among 5, 1 and 1 the order is a a b a c a a, and after seven requests each
/// had its share.
#[derive(Clone, Debug, Default)]
pub struct Split {
    shares: Vec<Share>,
}

impl Split {
    /// Takes over the weights. What revisions are owed stays, so that a rollout's steps start from where it was.
    pub fn set(&mut self, weights: &[Weight]) {
        let owed = |revision: &str| {
            self.shares.iter().find(|share| &*share.revision == revision).map_or(0, |share| share.owed)
        };
        self.shares = weights
            .iter()
            .map(|one| Share { revision: Arc::clone(&one.revision), weight: one.weight, owed: owed(&one.revision) })
            .collect();
    }

    /// The revision of the next request, of those with a weight that are `there`. `None` where any revision may read it: none
    /// has a weight, or none of those is there and a wrong share is better than no answer.
    #[must_use]
    pub fn next(&self, there: &[Arc<str>]) -> Option<Arc<str>> {
        let owed = |share: &&Share| share.owed + i64::from(share.weight);
        // Of equals the first.
        let mut best: Option<&Share> = None;
        for share in self.of(there) {
            if best.is_none_or(|best| owed(&share) > owed(&best)) {
                best = Some(share);
            }
        }
        best.map(|share| Arc::clone(&share.revision))
    }

    /// Notes that a revision got the request.
    pub fn took(&mut self, revision: &str, there: &[Arc<str>]) {
        let total: i64 = self.of(there).map(|share| i64::from(share.weight)).sum();
        for share in &mut self.shares {
            if !is_there(share, there) {
                continue;
            }
            share.owed += i64::from(share.weight);
            if &*share.revision == revision {
                share.owed -= total;
            }
        }
    }

    /// The revision of all requests with a key, as long as weights and revisions stay; a change moves as few keys as it must
    /// where there are two revisions.
    #[must_use]
    pub fn sticky(&self, key: u64, there: &[Arc<str>]) -> Option<Arc<str>> {
        let total: u64 = self.of(there).map(|share| u64::from(share.weight)).sum();
        let mut point = key.checked_rem(total)?;
        for share in self.of(there) {
            let weight = u64::from(share.weight);
            if point < weight {
                return Some(Arc::clone(&share.revision));
            }
            point -= weight;
        }
        None
    }

    fn of<'a>(&'a self, there: &'a [Arc<str>]) -> impl Iterator<Item = &'a Share> {
        self.shares.iter().filter(|share| is_there(share, there))
    }
}

fn is_there(share: &Share, there: &[Arc<str>]) -> bool {
    share.weight > 0 && there.contains(&share.revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(weights: &[(&str, u32)]) -> Split {
        let mut split = Split::default();
        let weights: Vec<_> =
            weights.iter().map(|(revision, weight)| Weight { revision: (*revision).into(), weight: *weight }).collect();
        split.set(&weights);
        split
    }

    fn there(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|name| (*name).into()).collect()
    }

    fn row(split: &mut Split, there: &[Arc<str>], count: usize) -> String {
        (0..count)
            .map(|_| {
                let revision = split.next(there).unwrap();
                split.took(&revision, there);
                revision.to_string()
            })
            .collect()
    }

    #[test]
    fn every_round_is_exact_and_smooth() {
        let mut split = split(&[("a", 5), ("b", 1), ("c", 1)]);
        let there = there(&["a", "b", "c"]);
        assert_eq!(row(&mut split, &there, 7), "aabacaa");
        assert_eq!(row(&mut split, &there, 7), "aabacaa");
    }

    #[test]
    fn five_of_a_hundred_are_five_of_every_hundred() {
        let mut split = split(&[("old", 95), ("new", 5)]);
        let there = there(&["new", "old"]);
        for _ in 0..3 {
            let row = row(&mut split, &there, 100);
            assert_eq!(row.matches("new").count(), 5);
        }
    }

    #[test]
    fn a_revision_without_pods_leaves_its_share_to_the_others() {
        let mut split = split(&[("a", 50), ("gone", 40), ("b", 10)]);
        let there = there(&["a", "b"]);
        assert_eq!(row(&mut split, &there, 12).matches('a').count(), 10);
        assert_eq!(split.next(&[]), None);
        assert_eq!(split.sticky(7, &[]), None);
    }

    #[test]
    fn a_weight_of_nothing_gets_nothing() {
        let mut split = split(&[("a", 1), ("b", 0)]);
        assert_eq!(row(&mut split, &there(&["a", "b"]), 20), "a".repeat(20));
    }

    #[test]
    fn a_key_stays_with_its_revision_and_keys_are_split_by_weight() {
        let split = split(&[("a", 75), ("b", 25)]);
        let there = there(&["a", "b"]);
        let of = |key| split.sticky(key, &there).unwrap();
        assert_eq!(of(1234), of(1234));
        assert_eq!((0..1000).filter(|key| &*of(*key) == "b").count(), 250);
    }
}
