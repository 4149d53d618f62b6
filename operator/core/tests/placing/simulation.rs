//! Random clusters, and what must hold in each at every step, whatever happens.
//!
//! 2,000 of them in `cargo test`, 100,000 with `OCR_TEST_LONG=1`; `OCR_PLACING_CLUSTERS` says another number,
//! `OCR_PLACING_SEED` the first of their seeds. A failure names its seed.

use std::{env, thread};

use ocrpool_core::{
    api::{OnMismatch, Strategy, StrategyStatus},
    place::Decision,
    rollout::{floor, surge},
};

use crate::{
    cluster::{Cluster, Pod},
    generate::{Random, Traits, happening, world},
};

const SHORT: u64 = 2_000;
const LONG: u64 = 100_000;

/// How much later than `spillAfterSeconds` a spill may be.
const GRACE: i64 = 10;
/// Longest pause between two decisions, as the operator has it.
const STEADY: i64 = 30;
/// The same where hours are simulated: it must not matter how often the operator looks.
const RARELY: i64 = 600;
/// How long after its time a pod that should end counts as one whose GPU is soon free.
const LATE: i64 = 31;
const HOUR: i64 = 3600;
/// Most decisions at one moment: each follows from what the one before has changed.
const MOST_AT_ONCE: usize = 40;

fn setting(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().unwrap())
}

#[test]
fn whatever_becomes_of_the_nodes_the_pool_serves() {
    let is_long = env::var_os("OCR_TEST_LONG").is_some_and(|value| value == "1");
    let count = setting("OCR_PLACING_CLUSTERS").unwrap_or(if is_long { LONG } else { SHORT });
    let first = setting("OCR_PLACING_SEED").unwrap_or(1);
    let threads = u64::try_from(thread::available_parallelism().map_or(1, usize::from)).unwrap();
    let figures = thread::scope(|scope| {
        let work = |from: u64| (first + from..first + count).step_by(usize::try_from(threads).unwrap());
        let all: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || work(thread).map(run).fold(Figures::default(), Figures::and)))
            .collect();
        all.into_iter().map(|one| one.join().unwrap()).fold(Figures::default(), Figures::and)
    });
    println!("{figures:?}");
    assert_eq!(figures.clusters, count);
    for (what, share) in [
        ("shortage", figures.shortage),
        ("taints", figures.taints),
        ("MIG", figures.mig),
        ("shared GPUs", figures.shared),
    ] {
        assert!(share * 10 >= count, "{share} of {count} clusters have {what}");
    }
    for (what, times) in [
        ("spills", figures.spills),
        ("reclaims", figures.reclaims),
        ("rollouts", figures.rollouts),
        ("evictions", figures.evictions),
        ("looks at the best", figures.looks_at_the_best),
        ("floor", figures.looks_at_the_floor),
    ] {
        assert!(times * 10 >= count, "{times} {what} in {count} clusters");
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    clusters: u64,
    shortage: u64,
    taints: u64,
    mig: u64,
    shared: u64,
    decisions: u64,
    spills: u64,
    reclaims: u64,
    rollouts: u64,
    evictions: u64,
    looks_at_the_floor: u64,
    looks_at_the_best: u64,
}

impl Figures {
    fn and(self, other: Self) -> Self {
        Self {
            clusters: self.clusters + other.clusters,
            shortage: self.shortage + other.shortage,
            taints: self.taints + other.taints,
            mig: self.mig + other.mig,
            shared: self.shared + other.shared,
            decisions: self.decisions + other.decisions,
            spills: self.spills + other.spills,
            reclaims: self.reclaims + other.reclaims,
            rollouts: self.rollouts + other.rollouts,
            evictions: self.evictions + other.evictions,
            looks_at_the_floor: self.looks_at_the_floor + other.looks_at_the_floor,
            looks_at_the_best: self.looks_at_the_best + other.looks_at_the_best,
        }
    }
}

/// A move of a strategy's pods: up, or back down.
#[derive(Clone, Copy, Debug)]
struct Move {
    strategy: Strategy,
    at: i64,
    is_reclaim: bool,
}

struct Run {
    seed: u64,
    random: Random,
    cluster: Cluster,
    figures: Figures,
    /// Since when nothing has taken pods away or asked for more.
    undisturbed_since: i64,
    /// Longest pause between two decisions.
    pause: i64,
    moves: Vec<Move>,
}

/// Whatever fails says in which cluster, and when.
macro_rules! holds {
    ($run:expr, $what:expr, $($more:tt)*) => {
        assert!($what, "seed {}, second {}: {}\n{:?}\npods {:?}\ndeployments {:?}\nstatus {:?}",
            $run.seed, $run.cluster.now, format!($($more)*), $run.cluster.world, $run.cluster.pods,
            $run.cluster.deployments, $run.cluster.status)
    };
}

fn run(seed: u64) -> Figures {
    let mut random = Random::new(seed);
    let cluster = Cluster::new(world(&mut random));
    let Traits { shortage, taints, mig, shared } = cluster.world.traits();
    let figures = Figures {
        clusters: 1,
        shortage: shortage.into(),
        taints: taints.into(),
        mig: mig.into(),
        shared: shared.into(),
        ..Figures::default()
    };
    let mut run = Run { seed, random, cluster, figures, undisturbed_since: 0, pause: STEADY, moves: Vec::new() };
    run.until(300);
    let noise = 300 + i64::from(run.random.between(300, 900));
    while run.cluster.now < noise {
        let next = run.cluster.now + i64::from(run.random.between(5, 90));
        run.until(next);
        let happening = happening(&mut run.random, &run.cluster.world);
        run.figures.rollouts += u64::from(happening == crate::generate::Happening::NewRevision);
        if run.cluster.happen(happening) {
            run.undisturbed_since = run.cluster.now;
        }
    }
    if run.random.chance(75) {
        for node in 0..run.cluster.world.nodes.len() {
            run.cluster.happen(crate::generate::Happening::Heal(node));
        }
    }
    let is_long = run.random.chance(60);
    run.until(noise + 1200);
    if is_long {
        run.pause = RARELY;
        run.until(noise + 4 * HOUR);
        run.settled();
        run.best();
    }
    run.moved_rarely();
    run.figures.evictions = run.cluster.evictions;
    run.figures
}

impl Run {
    /// Lets time pass, and decides as the operator would: when something happens, when it said so, and now and then.
    fn until(&mut self, end: i64) {
        loop {
            let next_check = self.decide();
            let next = [
                self.cluster.now + next_check.unwrap_or(self.pause).min(self.pause),
                self.cluster.next_event().unwrap_or(i64::MAX),
                end,
            ];
            let next = next.into_iter().min().unwrap();
            for pod in self.cluster.pods.iter().filter(|pod| pod.node.is_none()) {
                let due = pod.created + self.cluster.world.spill_after;
                let is_slept_over = due > self.cluster.now && next > due + GRACE && pod.cell.0 == self.cluster.revision;
                holds!(self, !is_slept_over, "nobody looks until {next} at a pod that has to spill at {due}");
            }
            self.cluster.now = next;
            if self.cluster.now >= end {
                return;
            }
        }
    }

    /// Decides, until nothing follows from it at this moment. Returns when to look again.
    fn decide(&mut self) -> Option<i64> {
        for _ in 0..MOST_AT_ONCE {
            self.cluster.settle();
            let decision = self.cluster.decide(&self.cluster.status);
            self.figures.decisions += 1;
            self.check(&decision);
            let before = self.cluster.status.clone();
            let has_changed = self.cluster.act(&decision);
            self.note_moves(&before);
            if !has_changed && before == self.cluster.status {
                self.check_floor();
                return decision.next_check.map(|check| i64::try_from(check.as_secs()).unwrap().max(1));
            }
        }
        holds!(self, false, "it goes on and on");
        None
    }

    fn check(&self, decision: &Decision) {
        let cluster = &self.cluster;
        let status: Vec<StrategyStatus> =
            decision.strategies.iter().map(ocrpool_core::place::remember::status).collect();

        // The same world, the same plan; and what was remembered of it changes nothing.
        holds!(self, cluster.decide(&cluster.status) == *decision, "another plan for the same world");
        if decision.evict.is_none() {
            let again = cluster.decide(&status);
            holds!(self, again == *decision, "it plans otherwise once it has planned: {decision:?}\nthen {again:?}");
        }

        // No ready pod is given up below what is wanted, or in place below the floor.
        let cells = cluster.old_cells().into_iter().zip(decision.old.iter().copied());
        let new = decision.strategies.iter().map(|placed| ((cluster.revision, placed.strategy), placed.replicas));
        let next: Vec<_> = cells.chain(new).collect();
        let ready_of = |cell| {
            let ready = cluster.pods.iter().filter(|pod| pod.cell == cell && cluster.is_ready(pod)).count();
            i32::try_from(ready).unwrap()
        };
        let kept: i32 = next.iter().map(|(cell, replicas)| ready_of(*cell).min(*replicas)).sum();
        let kept = kept - i32::from(decision.evict.is_some());
        let is_gpu_only = cluster.world.strategies.iter().all(|strategy| strategy.needs_gpu());
        let least = if cluster.world.has_room && !is_gpu_only { cluster.replicas } else { floor(cluster.replicas) };
        let least = least.min(cluster.replicas).min(cluster.ready());
        holds!(self, kept >= least, "{kept} of {} ready pods are kept, {least} must be: {decision:?}", cluster.ready());

        // Never many more than are wanted: twice while nodes go, and the surge, and the cover of a pod that is
        // replaced.
        let asked: i32 = next.iter().map(|(_, replicas)| replicas).sum();
        let before: i32 = cluster.deployments.values().sum();
        let most = cluster.replicas * 2 + surge(cluster.replicas * 2) + 1;
        holds!(self, asked <= most.max(before), "{asked} pods are asked for, {before} before");
        let leaving: i32 = decision.strategies.iter().map(|placed| placed.leaving).sum();
        let total = cluster.replicas + leaving.min(cluster.replicas);
        let cover = i32::from(cluster.world.on_mismatch == OnMismatch::Replace);
        holds!(self, asked <= (total + surge(total) + cover).max(before), "{asked} pods are asked for, for {total}");

        self.check_spill(&next);

        // What is not offered is not tried.
        for (placed, supply) in decision.strategies.iter().zip(cluster.supply().unwrap_or_default()) {
            let is_last = Some(&placed.strategy) == cluster.world.strategies.last();
            let scheduled =
                cluster.pods.iter().filter(|pod| pod.cell.1 == placed.strategy && pod.node.is_some()).count();
            let is_tried = placed.wanted > i32::try_from(scheduled).unwrap();
            let is_futile = placed.strategy.needs_gpu() && !is_last && supply.offered == 0 && is_tried;
            holds!(
                self,
                !is_futile,
                "{} pods of {} are wanted that nobody offers a GPU for",
                placed.wanted,
                placed.strategy
            );
        }
    }

    /// No pod is wanted any longer that has found no node in time, but of the last strategy.
    fn check_spill(&self, next: &[((u32, Strategy), i32)]) {
        let cluster = &self.cluster;
        let last = *cluster.world.strategies.last().unwrap();
        let waiting = |cell| cluster.pods.iter().filter(move |pod| pod.cell == cell && pod.node.is_none());
        // Where even the last strategy finds none, pods of another revision are replaced in place.
        let is_coverless = last.needs_gpu() || waiting((cluster.revision, last)).next().is_some();
        if is_coverless && !cluster.old_cells().is_empty() {
            return;
        }
        for (cell, replicas) in next.iter().filter(|(cell, _)| cell.0 == cluster.revision && cell.1 != last) {
            let longest = waiting(*cell).map(|pod| cluster.now - pod.created).max().unwrap_or(0);
            let has_node = |pod: &&Pod| pod.cell == *cell && pod.node.is_some() && pod.gone_at.is_none();
            let scheduled = i32::try_from(cluster.pods.iter().filter(has_node).count()).unwrap();
            let is_late = longest >= cluster.world.spill_after && *replicas > scheduled;
            holds!(self, !is_late, "{replicas} of {} are wanted, and one has waited for {longest} s", cell.1);
        }
    }

    /// Where there is room for all pods on the CPU, so many are ready a while after the last disturbance.
    fn check_floor(&mut self) {
        let cluster = &self.cluster;
        let has_cpu = cluster.world.strategies.last() == Some(&Strategy::Cpu);
        if !has_cpu || !cluster.world.has_room {
            return;
        }
        // Where not all can be seen, every GPU strategy is tried in turn.
        let gpu_strategies = cluster.world.strategies.iter().filter(|strategy| strategy.needs_gpu()).count();
        let is_known = cluster.world.is_visible && !cluster.world.has_others;
        let tries = if is_known { 1 } else { i64::try_from(gpu_strategies).unwrap() };
        // That a pod does not end, and its GPU is not to be waited for, falls due by itself nowhere: the next look sees it.
        let never_ends = LATE + STEADY;
        let time = tries * (cluster.world.spill_after + GRACE) + cluster.world.start + cluster.world.end + never_ends;
        if cluster.now - self.undisturbed_since > time {
            let (ready, wanted) = (cluster.ready(), cluster.replicas);
            holds!(
                self,
                ready >= wanted,
                "{ready} of {wanted} pods are ready, undisturbed since {}",
                self.undisturbed_since
            );
            self.figures.looks_at_the_floor += 1;
        }
    }

    fn note_moves(&mut self, before: &[StrategyStatus]) {
        let at = self.cluster.now;
        for now in &self.cluster.status {
            let past =
                before.iter().find(|past| past.name == now.name).cloned().unwrap_or(StrategyStatus::new(now.name));
            if past.spilled_at != now.spilled_at {
                self.figures.spills += 1;
                self.moves.push(Move { strategy: now.name, at, is_reclaim: false });
            }
            if past.reclaimed_at != now.reclaimed_at {
                self.figures.reclaims += 1;
                self.moves.push(Move { strategy: now.name, at, is_reclaim: true });
            }
        }
    }

    /// No two moves up of a strategy within an hour that were both taken back within it.
    fn moved_rarely(&self) {
        for strategy in Strategy::ALL {
            let moves: Vec<&Move> = self.moves.iter().filter(|one| one.strategy == strategy).collect();
            let undone: Vec<(i64, i64)> = moves
                .windows(2)
                .filter(|pair| pair[0].is_reclaim && !pair[1].is_reclaim)
                .map(|pair| (pair[0].at, pair[1].at))
                .collect();
            for pair in undone.windows(2) {
                let within = pair[1].1 - pair[0].0;
                holds!(self, within >= HOUR, "{strategy} went to and fro twice within {within} s: {undone:?}");
            }
        }
    }

    /// In a world that stands still nothing moves, but for a try each hour where the counts cannot know better.
    fn settled(&mut self) {
        let begin = self.cluster.now;
        let moves = self.moves.len();
        let before = self.cluster.deployments.clone();
        self.until(begin + 2 * HOUR);
        let moved = self.moves.len() - moves;
        let world = &self.cluster.world;
        // A pod that is replaced may keep its GPU for longer than the next one waits.
        let is_replacing = world.on_mismatch == OnMismatch::Replace;
        let is_known = world.is_visible && !world.has_others && world.has_room && !is_replacing;
        let most = if is_known { 0 } else { 2 * 2 * world.strategies.len() };
        holds!(self, moved <= most, "{moved} moves in two hours in which nothing happened");
        if moved == 0 && !is_replacing {
            holds!(self, before == self.cluster.deployments, "it was {before:?}");
        }
    }

    /// Hours after the last happening every GPU that the counts know of is used.
    fn best(&mut self) {
        let cluster = &self.cluster;
        let is_known = cluster.world.is_visible && !cluster.world.has_others && !cluster.is_any_leaving();
        // See `settled`.
        let is_replacing = cluster.status.iter().any(|one| one.replaced.is_some());
        let is_known = is_known && !is_replacing;
        let has_cpu = cluster.world.strategies.last() == Some(&Strategy::Cpu);
        if is_known && cluster.world.has_room && has_cpu && cluster.world.strategies.len() > 1 {
            let (used, usable) = (cluster.gpu_pods(), cluster.usable_gpus().min(cluster.replicas));
            holds!(self, used >= usable, "{used} pods are on GPUs, and {usable} could be");
            self.figures.looks_at_the_best += 1;
        }
    }
}
