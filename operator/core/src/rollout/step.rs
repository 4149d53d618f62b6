//! How many pods each revision has next.

/// Pods of a revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Asked for.
    pub replicas: i32,
    /// Of these, ready.
    pub ready: i32,
}

/// Pods to ask for next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Of the revision that is wanted.
    pub new: i32,
    /// Of the others, in the order in which they came.
    pub old: Vec<i32>,
}

/// The next step towards `wanted` pods of the new revision and none of the old ones.
///
/// Never more than `wanted + surge` pods are asked for beyond what is there already, and no ready pod is given up
/// while fewer than `wanted` would remain: with 3 wanted, a surge of 1 and 3 old pods ready, the new revision gets 1;
/// when that is ready, the old one goes to 2, and so on. A pod that is not ready gives no capacity and goes first, so a
/// second change in the middle of a first does not wait for pods that nobody wants any more.
#[must_use]
pub fn step(wanted: i32, surge: i32, new: Count, old: &[Count]) -> Step {
    let wanted = wanted.max(0);
    let ready: i32 = new.ready.min(new.replicas) + old.iter().map(|count| count.ready.min(count.replicas)).sum::<i32>();
    let mut spare = (ready - wanted).max(0);
    let old_next: Vec<i32> = old
        .iter()
        .map(|count| {
            let serving = count.ready.clamp(0, count.replicas.max(0));
            let given_up = serving.min(spare);
            spare -= given_up;
            serving - given_up
        })
        .collect();
    let old_total: i32 = old_next.iter().sum();
    let new_next = if new.replicas >= wanted {
        // Fewer of its own: only as many ready ones go as the others leave to spare.
        let serving = new.ready.clamp(0, new.replicas);
        new.replicas.min(wanted.max(serving - spare))
    } else {
        let room = (wanted + surge.max(1) - old_total).max(new.replicas);
        wanted.min(room)
    };
    Step { new: new_next, old: old_next }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn count(replicas: i32, ready: i32) -> Count {
        Count { replicas, ready }
    }

    #[test]
    fn a_rollout_goes_one_by_one() {
        let rows: [(Count, Count, i32, i32); 8] = [
            // new, old -> new, old; 3 wanted, a surge of 1
            (count(0, 0), count(3, 3), 1, 3),
            (count(1, 0), count(3, 3), 1, 3),
            (count(1, 1), count(3, 3), 2, 2),
            (count(2, 1), count(2, 2), 2, 2),
            (count(2, 2), count(2, 2), 3, 1),
            (count(3, 3), count(1, 1), 3, 0),
            // An old revision that never became ready is in nobody's way.
            (count(0, 0), count(3, 0), 3, 0),
            (count(0, 0), count(3, 1), 3, 1),
        ];
        for (new, old, new_next, old_next) in rows {
            assert_eq!(step(3, 1, new, &[old]), Step { new: new_next, old: vec![old_next] }, "{new:?} {old:?}");
        }
    }

    #[test]
    fn without_another_revision_it_is_plain_scaling() {
        assert_eq!(step(3, 1, count(0, 0), &[]).new, 3);
        assert_eq!(step(3, 1, count(5, 5), &[]).new, 3);
        assert_eq!(step(0, 1, count(5, 5), &[]).new, 0);
        assert_eq!(step(2, 1, count(5, 0), &[]).new, 2);
    }

    #[test]
    fn a_change_in_the_middle_drops_what_is_not_ready() {
        let next = step(3, 1, count(0, 0), &[count(2, 1), count(2, 2)]);
        assert_eq!(next, Step { new: 1, old: vec![1, 2] });
    }

    fn counts() -> impl Strategy<Value = Count> {
        (0..8_i32)
            .prop_flat_map(|replicas| (Just(replicas), 0..=replicas))
            .prop_map(|(replicas, ready)| count(replicas, ready))
    }

    proptest! {
        #[test]
        fn capacity_never_falls_below_what_is_wanted(
            wanted in 0..8_i32, surge in 1..3_i32, new in counts(), old in prop::collection::vec(counts(), 0..4)
        ) {
            let next = step(wanted, surge, new, &old);
            let ready = new.ready + old.iter().map(|count| count.ready).sum::<i32>();
            let kept = new.ready.min(next.new) + old.iter().zip(&next.old).map(|(count, next)| count.ready.min(*next)).sum::<i32>();
            prop_assert!(kept >= ready.min(wanted));
            let total = next.new + next.old.iter().sum::<i32>();
            prop_assert!(total <= (wanted + surge).max(new.replicas + old.iter().map(|count| count.replicas).sum::<i32>()));
            prop_assert!(next.new >= 0 && next.old.iter().zip(&old).all(|(next, count)| (0..=count.replicas).contains(next)));
        }

        /// Where every pod becomes ready, the wanted revision has all pods in the end, and the steps stop.
        #[test]
        fn it_arrives(wanted in 0..8_i32, surge in 1..3_i32, new in counts(), old in prop::collection::vec(counts(), 0..4)) {
            let (mut new, mut old) = (new, old);
            for _ in 0..40 {
                let next = step(wanted, surge, new, &old);
                new = count(next.new, next.new);
                old = next.old.iter().zip(&old).map(|(next, count)| Count { replicas: *next, ready: count.ready.min(*next) }).collect();
            }
            prop_assert_eq!(new, count(wanted, wanted));
            prop_assert!(old.iter().all(|count| count.replicas == 0));
            let next = step(wanted, surge, new, &old);
            prop_assert_eq!(next.new, wanted);
        }
    }
}
