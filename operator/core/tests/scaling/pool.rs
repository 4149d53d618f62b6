//! A pool in steps of a tenth of a second: requests wait in one row, pods take a while to start, and one that is given up ends
//! what it has.

use std::collections::VecDeque;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::load::Load;

/// Seconds of a step.
pub const STEP: f64 = 0.1;
/// Units that a pod does in a second.
pub const RATE: f64 = 2.0;
/// Seconds until a pod is ready.
pub const START: f64 = 20.0;
/// Most pods.
pub const MOST: usize = 50;

/// What a scaler may see.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub second: f64,
    /// Units that came since the beginning.
    pub arrived: f64,
    /// Units and requests that wait.
    pub held_units: f64,
    pub held: u64,
    pub in_flight: u64,
    /// Pods, those that are ready, and the share of their time in which these were at work since the last look.
    pub pods: usize,
    pub ready: usize,
    pub busy: f64,
    /// Units that ready pods have done since the beginning, and their seconds at work.
    pub units: f64,
    pub busy_seconds: f64,
}

/// Decides how many pods there are to be.
pub trait Scaler {
    /// Seconds between two looks.
    fn every(&self) -> f64;
    fn wanted(&mut self, seen: &Seen) -> usize;
}

/// What a load cost, and how long requests took.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub pod_seconds: f64,
    pub p95: f64,
    pub unanswered: usize,
}

struct Pod {
    ready_at: f64,
    /// Units that are left of its request, and when that came.
    work: Option<(f64, f64)>,
    is_leaving: bool,
}

/// Runs a load over a pool that begins with one ready pod.
pub fn run(load: &Load, seed: u64, scaler: &mut impl Scaler) -> Outcome {
    let mut random = StdRng::seed_from_u64(seed);
    let mut pods = vec![Pod { ready_at: 0.0, work: None, is_leaving: false }];
    let mut row: VecDeque<(f64, f64)> = VecDeque::new();
    let mut seen = Seen::default();
    let (mut took, mut pod_seconds, mut next_look) = (Vec::new(), 0.0, 0.0);
    let (mut busy_since, mut ready_since) = (0.0, 0.0);
    let mut second = 0.0;
    // After the load has ended the row is worked off, at most ten minutes.
    while second < load.seconds
        || (second < load.seconds + 600.0 && (!row.is_empty() || pods.iter().any(|pod| pod.work.is_some())))
    {
        if second < load.seconds {
            for cost in arrivals(&mut random, (load.rate)(second) * STEP) {
                seen.arrived += cost;
                row.push_back((cost, second));
            }
            pod_seconds += pods.len() as f64 * STEP;
        }
        for pod in &mut pods {
            if pod.ready_at > second {
                continue;
            }
            if pod.work.is_none() && !pod.is_leaving {
                pod.work = row.pop_front();
            }
            ready_since += STEP;
            if let Some((left, came)) = &mut pod.work {
                let done = left.min(RATE * STEP);
                *left -= done;
                seen.units += done;
                seen.busy_seconds += done / RATE;
                busy_since += done / RATE;
                if *left <= 1e-9 {
                    took.push(second + STEP - *came);
                    pod.work = None;
                }
            }
        }
        pods.retain(|pod| !pod.is_leaving || pod.work.is_some());
        second += STEP;
        if second >= next_look {
            next_look = second + scaler.every();
            let staying = || pods.iter().filter(|pod| !pod.is_leaving);
            seen.second = second;
            seen.held = row.len() as u64;
            seen.held_units = row.iter().map(|(cost, _)| cost).sum();
            seen.in_flight = pods.iter().filter(|pod| pod.work.is_some()).count() as u64;
            seen.pods = staying().count();
            seen.ready = staying().filter(|pod| pod.ready_at <= second).count();
            seen.busy = if ready_since > 0.0 { busy_since / ready_since } else { 0.0 };
            (busy_since, ready_since) = (0.0, 0.0);
            resize(&mut pods, scaler.wanted(&seen).min(MOST), second);
        }
    }
    took.sort_by(f64::total_cmp);
    let p95 = took.get(took.len() * 95 / 100).copied().unwrap_or(0.0);
    Outcome { pod_seconds, p95, unanswered: row.len() + pods.iter().filter(|pod| pod.work.is_some()).count() }
}

/// Requests that come in a step: pages of half a unit to one and a half.
fn arrivals(random: &mut StdRng, units: f64) -> Vec<f64> {
    // Few come in a step: as many as a row of exponential gaps has room for.
    let (mut costs, mut gap) = (Vec::new(), 0.0);
    loop {
        gap -= random.random::<f64>().max(1e-12).ln();
        if gap > units {
            return costs;
        }
        costs.push(random.random_range(0.5..1.5));
    }
}

/// Starts pods, or gives up those that are not ready, then those without work, then any.
fn resize(pods: &mut Vec<Pod>, wanted: usize, second: f64) {
    let staying = pods.iter().filter(|pod| !pod.is_leaving).count();
    for _ in staying..wanted {
        pods.push(Pod { ready_at: second + START, work: None, is_leaving: false });
    }
    let mut order: Vec<usize> = (0..pods.len()).filter(|index| !pods[*index].is_leaving).collect();
    order.sort_by_key(|index| (pods[*index].ready_at <= second, pods[*index].work.is_some()));
    for index in order.into_iter().take(staying.saturating_sub(wanted)) {
        pods[index].is_leaving = true;
    }
}
