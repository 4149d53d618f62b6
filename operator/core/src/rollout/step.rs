//! How many pods each Deployment has next.
//!
//! A pool's pods are of cells: a revision and a strategy each, with one Deployment. The cells of the revision that is
//! wanted are to have so many pods, all others none. Each step is safe by itself, whatever comes of it:
//!
//! - Never more than `wanted + surge` pods are asked for beyond what is there already.
//! - A pod that is not ready gives no capacity and goes first, where it is one too many.
//! - No ready pod is given up while fewer than `wanted` would remain.
//!
//! A new pod may need a GPU that an old one has. It is not asked for before there is one. Until then one of a later
//! strategy *covers* it, as part of the surge; when that is ready an old GPU pod is given up, the new one takes its
//! place, and when all of them are ready the cover goes. Where nothing can cover, one pod after the other is replaced
//! *in place*, above a floor of one pod less than is wanted.

/// Pods of a Deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Asked for.
    pub replicas: i32,
    /// Of these, ready.
    pub ready: i32,
}

impl Count {
    /// Ready, and no more than asked for: what a Deployment's status says may be older than its spec.
    fn serving(self) -> i32 {
        self.ready.clamp(0, self.replicas.max(0))
    }
}

/// A cell of the revision that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct New {
    pub count: Count,
    /// Pods that it is to have in the end.
    pub wanted: i32,
    /// Most that there is a GPU for now; no limit where none is needed or nobody else is to give one up.
    pub most: i32,
    /// Whether it may have more than its own to cover for others.
    pub may_cover: bool,
}

impl New {
    /// Where only `wanted` counts.
    #[must_use]
    pub const fn unlimited(count: Count, wanted: i32) -> Self {
        Self { count, wanted, most: i32::MAX, may_cover: true }
    }

    fn lacking(&self) -> i32 {
        (self.wanted - self.most.min(self.wanted)).max(0)
    }
}

/// A cell of another revision, or of a strategy that is not wanted any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Old {
    pub count: Count,
    /// Whether its pods have GPUs.
    pub has_gpu: bool,
}

/// What there is, and what it is to become.
#[derive(Clone, Debug)]
pub struct Rollout<'a> {
    /// Pods that the pool is to have.
    pub wanted: i32,
    /// Pods beyond them on the way there.
    pub surge: i32,
    /// Fewest ready pods while they are replaced in place.
    pub floor: i32,
    /// Best strategy first.
    pub new: &'a [New],
    pub old: &'a [Old],
    /// A new pod has its node and is on its way to be ready.
    pub is_starting: bool,
    /// GPUs of pods that are ending: new ones will take them.
    pub coming: i32,
}

/// Pods to ask for next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Of the new cells, in their order.
    pub new: Vec<i32>,
    /// Of the old ones, in theirs.
    pub old: Vec<i32>,
    /// New pods need GPUs that old ones have, nothing can cover for them, and no more can be given up.
    pub is_blocked: bool,
}

/// Pods beyond the wanted ones while pods are replaced: a quarter, and one at least.
#[must_use]
pub const fn surge(wanted: i32) -> i32 {
    if wanted <= 4 { 1 } else { wanted / 4 }
}

/// Fewest ready pods while they are replaced in place: what the disruption budget leaves, and one at least.
#[must_use]
pub const fn floor(wanted: i32) -> i32 {
    if wanted <= 2 { 1 } else { wanted - 1 }
}

/// The next step.
///
/// With 3 wanted, a surge of 1 and 3 old pods ready, the new cell gets 1; when that is ready, the old one goes to 2,
/// and so on.
#[must_use]
pub fn step(rollout: &Rollout<'_>) -> Step {
    let wanted = rollout.wanted.max(0);
    let surge = rollout.surge.max(1);
    let is_lacking = rollout.new.iter().any(|cell| cell.lacking() > 0);
    let covers = covers(rollout.new, surge + missing(rollout));
    let in_place = is_lacking && covers.iter().all(|cover| *cover == 0);
    let aims: Vec<i32> = rollout
        .new
        .iter()
        .zip(&covers)
        .map(|(cell, cover)| if in_place { cell.wanted } else { cell.wanted.min(cell.most) + cover })
        .collect();

    let ready: i32 = rollout.new.iter().map(|cell| cell.count.serving()).sum::<i32>()
        + rollout.old.iter().map(|cell| cell.count.serving()).sum::<i32>();
    let mut spare = (ready - wanted).max(0);
    let mut old: Vec<i32> = rollout.old.iter().map(|cell| cell.count.serving()).collect();
    // First the pods that have what is lacking; for the rest, in the order in which they came.
    let mut order: Vec<usize> = (0..old.len()).collect();
    order.sort_by_key(|index| !(is_lacking && rollout.old[*index].has_gpu));
    for index in order {
        let given_up = old[index].min(spare);
        spare -= given_up;
        old[index] -= given_up;
    }
    let holder = rollout.old.iter().position(|cell| cell.has_gpu && cell.count.serving() > 0);
    let mut is_blocked = false;
    // Nothing was to spare, and nothing is on its way.
    if let Some(index) = holder.filter(|_| in_place && ready <= wanted && !rollout.is_starting) {
        if ready > rollout.floor.max(1) {
            old[index] -= 1;
        } else {
            // Of more pods, one is on its way out, and its GPU will be free.
            is_blocked = rollout.floor.max(1) >= wanted;
        }
    }

    let mut new: Vec<i32> = rollout.new.iter().map(|cell| cell.count.replicas.max(0)).collect();
    // Fewer of its own, the worst strategy first: only as many ready ones go as the others leave to spare.
    for (index, cell) in rollout.new.iter().enumerate().rev() {
        if new[index] > aims[index] {
            let serving = cell.count.serving();
            let given_up = (serving - aims[index]).clamp(0, spare);
            spare -= given_up;
            new[index] = new[index].min(aims[index].max(serving - given_up));
        }
    }
    let mut room = wanted.saturating_add(surge) - new.iter().sum::<i32>() - old.iter().sum::<i32>();
    for (next, aim) in new.iter_mut().zip(&aims) {
        let more = (aim - *next).clamp(0, room.max(0));
        *next += more;
        room -= more;
    }
    Step { new, old, is_blocked }
}

/// Pods that would be missing if only those with a place were asked for: old ones were lost, or more are wanted. With 8
/// wanted, GPUs for 2 new pods and 1 old pod that serves, 5 are.
fn missing(rollout: &Rollout<'_>) -> i32 {
    let new: i32 = rollout.new.iter().map(|cell| cell.wanted.min(cell.most)).sum();
    let old: i32 = rollout.old.iter().map(|cell| cell.count.serving()).sum();
    (rollout.wanted - new - old - rollout.coming).max(0)
}

/// Pods that each cell has beyond its own to cover for better ones that lack a GPU; no more than `most` in all.
fn covers(new: &[New], most: i32) -> Vec<i32> {
    let (mut lacking, mut left) = (0_i32, most);
    let cover = |cell: &New| {
        let own = cell.wanted.min(cell.most);
        let room = if cell.may_cover { cell.most.saturating_sub(own).max(0) } else { 0 };
        let cover = room.min(lacking).min(left);
        left -= cover;
        lacking = lacking.saturating_add(cell.lacking()) - cover;
        cover
    };
    new.iter().map(cover).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn count(replicas: i32, ready: i32) -> Count {
        Count { replicas, ready }
    }

    /// A pool of one strategy that needs no GPU.
    fn plain(wanted: i32, surge: i32, new: Count, old: &[Count]) -> (i32, Vec<i32>) {
        let old: Vec<Old> = old.iter().map(|count| Old { count: *count, has_gpu: false }).collect();
        let new = [New::unlimited(new, wanted.max(0))];
        let next =
            step(&Rollout { wanted, surge, floor: floor(wanted), new: &new, old: &old, is_starting: false, coming: 0 });
        assert!(!next.is_blocked);
        (next.new[0], next.old)
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
            assert_eq!(plain(3, 1, new, &[old]), (new_next, vec![old_next]), "{new:?} {old:?}");
        }
    }

    #[test]
    fn without_another_revision_it_is_plain_scaling() {
        assert_eq!(plain(3, 1, count(0, 0), &[]).0, 3);
        assert_eq!(plain(3, 1, count(5, 5), &[]).0, 3);
        assert_eq!(plain(0, 1, count(5, 5), &[]).0, 0);
        assert_eq!(plain(2, 1, count(5, 0), &[]).0, 2);
    }

    #[test]
    fn a_change_in_the_middle_drops_what_is_not_ready() {
        let next = plain(3, 1, count(0, 0), &[count(2, 1), count(2, 2)]);
        assert_eq!(next, (1, vec![1, 2]));
    }

    #[test]
    fn a_surge_is_a_quarter_and_the_floor_is_one_less() {
        for (wanted, more, least) in
            [(0, 1, 1), (1, 1, 1), (2, 1, 1), (3, 1, 2), (4, 1, 3), (7, 1, 6), (8, 2, 7), (40, 10, 39)]
        {
            assert_eq!((surge(wanted), floor(wanted)), (more, least), "{wanted}");
        }
    }

    /// The cells of a pool of `gpu-fp16` and `cpu`, as (replicas, ready, wanted) and the GPU's most; the old GPU pods;
    /// then what is next. 2 pods are wanted, with a surge of 1.
    #[test]
    fn a_new_pod_never_waits_for_a_gpu_that_an_old_one_has() {
        type Row = ((i32, i32), i32, (i32, i32), (i32, i32), i32, [i32; 3]);
        let rows: [Row; 10] = [
            // GPU, its most, CPU, old GPU, ending -> GPU, CPU, old
            ((0, 0), 0, (0, 0), (2, 2), 0, [0, 1, 2]),
            ((0, 0), 0, (1, 0), (2, 2), 0, [0, 1, 2]),
            // The cover is ready: a GPU is given up, and waited for.
            ((0, 0), 0, (1, 1), (2, 2), 0, [0, 1, 1]),
            ((0, 0), 0, (1, 1), (1, 1), 1, [0, 1, 1]),
            ((0, 0), 1, (1, 1), (1, 1), 0, [1, 1, 1]),
            ((1, 0), 1, (1, 1), (1, 1), 0, [1, 1, 1]),
            ((1, 1), 1, (1, 1), (1, 1), 0, [1, 1, 0]),
            ((1, 1), 2, (1, 1), (0, 0), 0, [2, 1, 0]),
            // All are there: the cover goes.
            ((2, 2), 2, (1, 1), (0, 0), 0, [2, 0, 0]),
            // An old pod was lost with its GPU: another covers for it too.
            ((0, 0), 0, (1, 1), (1, 1), 0, [0, 2, 1]),
        ];
        for (gpu, most, cpu, old, coming, expected) in rows {
            let new = [
                New { count: count(gpu.0, gpu.1), wanted: 2, most, may_cover: true },
                New::unlimited(count(cpu.0, cpu.1), 0),
            ];
            let old = [Old { count: count(old.0, old.1), has_gpu: true }];
            let next =
                step(&Rollout { wanted: 2, surge: 1, floor: 1, new: &new, old: &old, is_starting: false, coming });
            assert_eq!([next.new[0], next.new[1], next.old[0]], expected, "{gpu:?} {most} {cpu:?} {old:?}");
            assert!(!next.is_blocked);
        }
    }

    /// One strategy, which needs a GPU; (replicas, ready) of the new and the old pods, and whether one is starting;
    /// then new, old and whether nothing more can be done.
    #[test]
    fn without_a_cover_pods_are_replaced_in_place_above_the_floor() {
        type Row = (i32, (i32, i32), i32, (i32, i32), bool, (i32, i32, bool));
        let rows: [Row; 10] = [
            // wanted, new, its most, old, starting -> new, old, blocked
            (2, (0, 0), 0, (2, 2), false, (2, 1, false)),
            (2, (2, 0), 0, (1, 1), false, (2, 1, false)),
            (2, (2, 0), 1, (1, 1), true, (2, 1, false)),
            (2, (2, 1), 1, (1, 1), false, (2, 0, false)),
            (2, (2, 1), 1, (1, 1), true, (2, 1, false)),
            (4, (0, 0), 0, (4, 4), false, (2, 3, false)),
            (2, (0, 0), 0, (1, 1), false, (2, 1, false)),
            // One pod, one GPU: it is kept.
            (1, (0, 0), 0, (1, 1), false, (1, 1, true)),
            (1, (1, 0), 0, (1, 1), false, (1, 1, true)),
            (1, (1, 0), 0, (1, 0), false, (1, 0, false)),
        ];
        for (wanted, new, most, old, is_starting, expected) in rows {
            let cells = [New { count: count(new.0, new.1), wanted, most, may_cover: true }];
            let old_cells = [Old { count: count(old.0, old.1), has_gpu: true }];
            let rollout = Rollout {
                wanted,
                surge: surge(wanted),
                floor: floor(wanted),
                new: &cells,
                old: &old_cells,
                is_starting,
                coming: 0,
            };
            let next = step(&rollout);
            assert_eq!(
                (next.new[0], next.old[0], next.is_blocked),
                expected,
                "{wanted} {new:?} {most} {old:?} {is_starting}"
            );
        }
    }

    #[test]
    fn what_a_new_gpu_pod_lacks_is_given_up_first() {
        let new = [New { count: count(0, 0), wanted: 1, most: 0, may_cover: true }, New::unlimited(count(2, 2), 1)];
        let old = [Old { count: count(1, 1), has_gpu: false }, Old { count: count(1, 1), has_gpu: true }];
        let rollout = Rollout { wanted: 3, surge: 1, floor: 2, new: &new, old: &old, is_starting: false, coming: 0 };
        assert_eq!(step(&rollout), Step { new: vec![0, 2], old: vec![1, 0], is_blocked: false });
        // With a GPU for it, in the order in which they came.
        let new = [New { most: 1, ..new[0] }, new[1]];
        assert_eq!(step(&Rollout { new: &new, ..rollout }).old, [0, 1]);
    }

    #[test]
    fn missing_are_pods_that_neither_a_place_nor_an_old_pod_gives_nor_one_that_ends_will() {
        let new = [New { count: count(0, 0), wanted: 6, most: 2, may_cover: true }];
        let old = [Old { count: count(3, 1), has_gpu: true }];
        let rollout = Rollout { wanted: 8, surge: 1, floor: 7, new: &new, old: &old, is_starting: false, coming: 0 };
        assert_eq!(missing(&rollout), 5);
        assert_eq!([1, 4, 9].map(|coming| missing(&Rollout { coming, ..rollout })), [4, 1, 0]);
    }

    /// A cover is one of a later strategy, where it may, and no more than the surge.
    #[test]
    fn who_covers() {
        let lacking = |wanted: i32| New { count: count(0, 0), wanted, most: 0, may_cover: true };
        let cover = |wanted: i32, most: i32, may_cover: bool| New { count: count(0, 0), wanted, most, may_cover };
        let rows: [(Vec<New>, i32, Vec<i32>); 8] = [
            (vec![lacking(2), cover(0, i32::MAX, true)], 1, vec![0, 1]),
            (vec![lacking(2), cover(0, i32::MAX, true)], 3, vec![0, 2]),
            (vec![lacking(2), cover(0, i32::MAX, false)], 1, vec![0, 0]),
            (vec![lacking(2), cover(1, 1, true), cover(0, i32::MAX, true)], 2, vec![0, 0, 2]),
            (vec![lacking(2), cover(1, 2, true), cover(0, i32::MAX, true)], 2, vec![0, 1, 1]),
            (vec![lacking(1), lacking(1), cover(0, i32::MAX, true)], 2, vec![0, 0, 2]),
            (vec![cover(0, i32::MAX, true), lacking(1)], 1, vec![0, 0]),
            (vec![cover(1, i32::MAX, true), cover(1, 1, true)], 1, vec![0, 0]),
        ];
        for (new, surge, expected) in rows {
            assert_eq!(covers(&new, surge), expected, "{new:?} {surge}");
        }
        // What one has covered, the next does not cover again; and the surge is one for all.
        let two = [lacking(3), cover(0, 1, true), cover(0, i32::MAX, true)];
        assert_eq!([covers(&two, 9), covers(&two, 2)], [[0, 1, 2], [0, 1, 1]]);
    }

    fn counts() -> impl Strategy<Value = Count> {
        (0..8_i32)
            .prop_flat_map(|replicas| (Just(replicas), 0..=replicas))
            .prop_map(|(replicas, ready)| count(replicas, ready))
    }

    /// Cells of three strategies; the last has no bound.
    fn cells() -> impl Strategy<Value = [New; 3]> {
        let cell = || (counts(), 0..4_i32, 0..6_i32, any::<bool>());
        [cell(), cell(), cell()].prop_map(|cells| {
            let mut new = cells.map(|(count, wanted, most, may_cover)| New {
                count,
                wanted,
                most: most.max(count.ready),
                may_cover,
            });
            new[2].most = i32::MAX;
            new
        })
    }

    fn old_cells() -> impl Strategy<Value = Vec<Old>> {
        prop::collection::vec((counts(), any::<bool>()).prop_map(|(count, has_gpu)| Old { count, has_gpu }), 0..4)
    }

    proptest! {
        #[test]
        fn capacity_never_falls_below_what_is_wanted(
            wanted in 0..8_i32, surge in 1..3_i32, new in counts(), old in prop::collection::vec(counts(), 0..4)
        ) {
            let (new_next, old_next) = plain(wanted, surge, new, &old);
            let ready = new.ready + old.iter().map(|count| count.ready).sum::<i32>();
            let kept = new.ready.min(new_next) + old.iter().zip(&old_next).map(|(count, next)| count.ready.min(*next)).sum::<i32>();
            prop_assert!(kept >= ready.min(wanted));
            let total = new_next + old_next.iter().sum::<i32>();
            prop_assert!(total <= (wanted + surge).max(new.replicas + old.iter().map(|count| count.replicas).sum::<i32>()));
            prop_assert!(new_next >= 0 && old_next.iter().zip(&old).all(|(next, count)| (0..=count.replicas).contains(next)));
        }

        /// The same of several strategies, with GPUs that are lacking: only in place it goes below what is wanted, by
        /// one, and never below the floor.
        #[test]
        fn capacity_never_falls_below_the_floor(
            new in cells(), old in old_cells(), surge in 1..3_i32, is_starting in any::<bool>(), coming in 0..4_i32
        ) {
            let wanted: i32 = new.iter().map(|cell| cell.wanted).sum();
            let rollout = Rollout { wanted, surge, floor: floor(wanted), new: &new, old: &old, is_starting, coming };
            let next = step(&rollout);
            let ready = new.iter().map(|cell| cell.count.ready).sum::<i32>() + old.iter().map(|cell| cell.count.ready).sum::<i32>();
            let kept = new.iter().zip(&next.new).map(|(cell, next)| cell.count.ready.min(*next)).sum::<i32>()
                + old.iter().zip(&next.old).map(|(cell, next)| cell.count.ready.min(*next)).sum::<i32>();
            let may_lack = new.iter().any(|cell| cell.lacking() > 0) && !is_starting && covers(&new, surge).iter().all(|cover| *cover == 0);
            let least = if may_lack { ready.min(floor(wanted)).max(ready.min(wanted) - 1) } else { ready.min(wanted) };
            prop_assert!(kept >= least, "{kept} of {ready}: {next:?}");
            let before = new.iter().map(|cell| cell.count.replicas).sum::<i32>() + old.iter().map(|cell| cell.count.replicas).sum::<i32>();
            let total = next.new.iter().sum::<i32>() + next.old.iter().sum::<i32>();
            prop_assert!(total <= (wanted + surge).max(before));
            prop_assert!(next.old.iter().zip(&old).all(|(next, cell)| (0..=cell.count.replicas).contains(next)));
            prop_assert!(next.new.iter().all(|next| *next >= 0));
        }

        /// Where every pod becomes ready, the wanted revision has all pods in the end, and the steps stop.
        #[test]
        fn it_arrives(wanted in 0..8_i32, surge in 1..3_i32, new in counts(), old in prop::collection::vec(counts(), 0..4)) {
            let (mut new, mut old) = (new, old);
            for _ in 0..40 {
                let next = plain(wanted, surge, new, &old);
                new = count(next.0, next.0);
                old = next.1.iter().zip(&old).map(|(next, count)| Count { replicas: *next, ready: count.ready.min(*next) }).collect();
            }
            prop_assert_eq!(new, count(wanted, wanted));
            prop_assert!(old.iter().all(|count| count.replicas == 0));
            let next = plain(wanted, surge, new, &old);
            prop_assert_eq!(next.0, wanted);
        }
    }
}
