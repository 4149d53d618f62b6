//! How many pods a pool needs for the work that comes: demand in units of work over what a pod of each strategy does of
//! them, so that a pod with a GPU and one without count for what they are.
//!
//! Up at once; down only to the highest wish of a window, by steps, and never because nothing was heard. Pure: the memory of
//! a pool goes in and comes out, and time is an argument.

mod clock;
mod signals;
mod track;
mod window;

use jiff::Timestamp;

use crate::api::Strategy;
use clock::Clock;
pub use signals::{GatewayFigures, Picture, PodFigures, Round, Signals};
pub use track::Freshness;
use window::Window;

/// A wish within this share of what the pods there do is no wish for another number.
const TOLERANCE: f64 = 0.1;

/// The short window's demand at which a spike is met without waiting for the long one: this many times what the pods do.
const SPIKE: f64 = 2.0;

/// Fewest pods that may be added in a round, where doubling would be less.
const LEAST_STEP_UP: i32 = 4;

/// A rising demand is taken for at most this many times of what it is now.
const MOST_RISE: f64 = 2.0;

/// What a pool asks of its scaling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spec {
    pub min: i32,
    pub max: i32,
    /// Share of the pods' time that is to be work, above 0 and at most 1.
    pub utilization: f64,
    /// Seconds in which what waits is to be done.
    pub queue_seconds: f64,
    /// Seconds for which less must have been needed until the pool shrinks.
    pub down_after: f64,
}

/// What a strategy can do, in the pool's order of preference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capacity {
    pub strategy: Strategy,
    /// Units in a second that the bundle's manifest expects of a pod.
    pub expected_rate: f64,
    /// Most pods that find room; `None` where that is not known.
    pub room: Option<i32>,
    /// Seconds from the wish for a pod until it is ready, as measured.
    pub start_seconds: f64,
}

/// What is remembered of a pool between two rounds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    clock: Clock,
    signals: Signals,
    wishes: Window,
    /// Second until which a spike is met.
    spike_until: f64,
}

/// Why a pool needs as many pods as it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nothing has come for a whole window, and the pool may have none.
    Idle,
    /// Requests wait and there is no pod.
    Woken,
    /// For what comes.
    Demand,
    /// For what comes in the short window: it is far more than the pods do.
    Spike,
    /// For what will come by the time that a pod has started.
    Rising,
    /// For what waits.
    Backlog,
    /// As many as there are do, within the tolerance.
    Enough,
}

/// Why a pool does not have as many pods as it needs, or has more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldBack {
    Min,
    Max,
    /// More were needed within the window.
    Window,
    /// No whole window has been seen since the operator started.
    FirstWindow,
    /// A spike is being met.
    Spike,
    /// Not every gateway says what came.
    Silence,
    /// One step at a time.
    Step,
}

/// What is decided, with what it was decided by.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub replicas: i32,
    /// Pods that the load alone asks for.
    pub wish: i32,
    pub why: Why,
    pub held_back: Option<HeldBack>,
    /// Units a second that are to be had.
    pub needed: f64,
    pub picture: Picture,
}

/// Decides how many pods a pool is to have that has `current` now.
#[must_use]
pub fn decide(
    spec: &Spec,
    strategies: &[Capacity],
    current: i32,
    memory: Memory,
    (round, now): (&Round, Timestamp),
) -> (Memory, Verdict) {
    let Memory { mut clock, mut signals, mut wishes, mut spike_until } = memory;
    let seconds = clock.tick(now);
    signals.hear(seconds, round);
    let picture = signals.picture(seconds);
    let row = Row::new(strategies, &signals);
    let load = Load::of(spec, &picture, &row, current);
    if load.is_spike {
        spike_until = seconds + signals::LONG;
    }
    let turn = Turn { spec, picture: &picture, current, seconds, load, is_spike: seconds < spike_until };
    let (wish, why) = turn.wish(&row);
    let highest = wishes.highest(seconds, wish, spec.down_after);
    let (replicas, mut held_back) = turn.step(wish, highest);
    let needed = turn.needed().0;
    let bounded = replicas.clamp(spec.min.min(spec.max), spec.max);
    if bounded != replicas {
        held_back = Some(if bounded < replicas { HeldBack::Max } else { HeldBack::Min });
    }
    let verdict = Verdict { replicas: bounded, wish, why, held_back, needed, picture };
    (Memory { clock, signals, wishes, spike_until }, verdict)
}

/// Units a second that are needed, by what they are needed for.
struct Load {
    steady: f64,
    short: f64,
    rising: f64,
    waiting: f64,
    is_spike: bool,
}

impl Load {
    fn of(spec: &Spec, picture: &Picture, row: &Row, current: i32) -> Self {
        let utilization = spec.utilization.clamp(0.01, 1.0);
        // A pod that is added helps from when it is ready: what waits until then is no reason for more of them.
        let start = row.start_seconds(current);
        // The mean of a window is the demand of its middle. Half of that is made up for: with all of it pods were kept for
        // rises that had ended (tests/scaling).
        let rise = picture.growth * (start + signals::LONG / 4.0);
        let rising = (picture.demand + rise).min(picture.demand_short * MOST_RISE);
        let short = picture.demand_short / utilization;
        Self {
            steady: picture.demand / utilization,
            short,
            rising: rising / utilization,
            waiting: picture.demand + picture.backlog / spec.queue_seconds.max(start).max(1.0),
            is_spike: current > 0 && short >= row.capacity(current) * SPIKE,
        }
    }
}

/// A pool in a round.
struct Turn<'a> {
    spec: &'a Spec,
    picture: &'a Picture,
    current: i32,
    seconds: f64,
    load: Load,
    is_spike: bool,
}

impl Turn<'_> {
    /// Units a second that are to be had, and what they are needed for most.
    fn needed(&self) -> (f64, Why) {
        let Load { steady, short, rising, waiting, is_spike: _ } = self.load;
        let short = if self.is_spike { short } else { 0.0 };
        let mut needed = (steady, Why::Demand);
        for (units, why) in [(rising, Why::Rising), (waiting, Why::Backlog), (short, Why::Spike)] {
            if units > needed.0 {
                needed = (units, why);
            }
        }
        needed
    }

    /// Pods that the load asks for, within no bounds but that of nothing.
    fn wish(&self, row: &Row) -> (i32, Why) {
        let Self { spec, picture, current, .. } = *self;
        let has_work = picture.held > 0 || picture.in_flight > 0 || picture.demand_short > 0.0;
        if !has_work && spec.min == 0 && (current == 0 || picture.idle >= spec.down_after) {
            return (0, Why::Idle);
        }
        let (needed, why) = self.needed();
        let capacity = row.capacity(current);
        if current > 0 && capacity > 0.0 && (needed / capacity - 1.0).abs() <= TOLERANCE {
            return (current, Why::Enough);
        }
        let pods = row.pods(needed);
        if current == 0 && pods <= 1 {
            return (1, Why::Woken);
        }
        (pods.max(1), why)
    }

    /// How far the pool goes towards its wish now.
    fn step(&self, wish: i32, highest: i32) -> (i32, Option<HeldBack>) {
        let Self { spec, current, .. } = *self;
        if wish >= current {
            let most = current.saturating_mul(2).max(current.saturating_add(LEAST_STEP_UP));
            return if wish > most { (most, Some(HeldBack::Step)) } else { (wish, None) };
        }
        if self.picture.freshness != Freshness::Fresh {
            return (current, Some(HeldBack::Silence));
        }
        if self.seconds < spec.down_after {
            return (current, Some(HeldBack::FirstWindow));
        }
        if self.is_spike {
            return (current, Some(HeldBack::Spike));
        }
        // The time without work is the window of a pool that goes to nothing.
        if wish == 0 {
            return (0, None);
        }
        let to = highest.max(current - current / 2).min(current);
        let held_back = match to {
            to if to == wish => None,
            to if to == highest => Some(HeldBack::Window),
            _ => Some(HeldBack::Step),
        };
        (to, held_back)
    }
}

/// What pods can do, filled in the order of preference: as placement fills them.
struct Row(Vec<(f64, Option<i32>, f64)>);

impl Row {
    fn new(strategies: &[Capacity], signals: &Signals) -> Self {
        let rate = |one: &Capacity| signals.rate(one.strategy, one.expected_rate.max(f64::MIN_POSITIVE));
        Self(strategies.iter().map(|one| (rate(one), one.room, one.start_seconds.max(0.0))).collect())
    }

    /// Units a second that so many pods do.
    fn capacity(&self, pods: i32) -> f64 {
        let (mut left, mut units) = (pods, 0.0);
        for (place, (rate, room, _)) in self.0.iter().enumerate() {
            let is_last = place + 1 == self.0.len();
            let here = if is_last { left } else { room.map_or(left, |room| left.min(room.max(0))) };
            units += rate * f64::from(here);
            left -= here;
        }
        units
    }

    /// Fewest pods that do so many units a second. Where room is not known the last strategy takes what is left.
    fn pods(&self, units: f64) -> i32 {
        let (mut left, mut pods) = (units, 0_i32);
        for (place, (rate, room, _)) in self.0.iter().enumerate() {
            let is_last = place + 1 == self.0.len();
            let enough = whole((left / rate - 1e-9).ceil());
            let here = if is_last { enough } else { room.map_or(enough, |room| enough.min(room.max(0))) };
            pods = pods.saturating_add(here);
            left -= rate * f64::from(here);
        }
        pods
    }

    /// Seconds until one pod more would be ready.
    fn start_seconds(&self, current: i32) -> f64 {
        let mut left = current;
        for (_, room, start) in &self.0 {
            match room {
                Some(room) if left >= (*room).max(0) => left -= (*room).max(0),
                _ => return *start,
            }
        }
        self.0.last().map_or(0.0, |(_, _, start)| *start)
    }
}

/// A number of pods: not below 0, and not more than can be counted.
fn whole(pods: f64) -> i32 {
    // In range by the clamp; NaN is 0.
    #[expect(clippy::cast_possible_truncation)]
    let pods = pods.clamp(0.0, 1e6) as i32;
    pods
}

#[cfg(test)]
mod tests;
