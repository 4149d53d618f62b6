//! Loads over pools that are scaled by our decision and by Kubernetes' own, with equal pods and start times.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::unwrap_used,
    reason = "a simulation of a few pods and hours"
)]

mod hpa;
mod load;
mod ours;
mod pool;

use load::{LOADS, Load};
use pool::{Outcome, Scaler, run};

/// Each load comes in three rows of random requests.
const SEEDS: [u64; 3] = [7, 8, 9];

/// The mean over all rows.
fn mean(load: &Load, scaled: impl Fn(u64) -> Outcome) -> Outcome {
    let outcomes = SEEDS.map(scaled);
    let mean = |of: fn(&Outcome) -> f64| outcomes.iter().map(of).sum::<f64>() / SEEDS.len() as f64;
    let unanswered = outcomes.iter().map(|outcome| outcome.unanswered).sum();
    assert!(outcomes.iter().all(|outcome| outcome.pod_seconds > load.seconds));
    Outcome { pod_seconds: mean(|outcome| outcome.pod_seconds), p95: mean(|outcome| outcome.p95), unanswered }
}

/// Fewer pod-seconds at an equal or better 95th percentile, in each load.
#[test]
fn our_pools_cost_less_than_those_of_an_hpa_on_cpu_and_answer_sooner() {
    let mut failures = Vec::new();
    println!("{:8} {:>12} {:>8} {:>12} {:>8}", "load", "ours: pod s", "p95 s", "HPA: pod s", "p95 s");
    for load in &LOADS {
        let ours = mean(load, |seed| run(load, seed, &mut ours::Ours::default()));
        let theirs = mean(load, |seed| run(load, seed, &mut hpa::Hpa::default()));
        println!(
            "{:8} {:12.0} {:8.2} {:12.0} {:8.2}",
            load.name, ours.pod_seconds, ours.p95, theirs.pod_seconds, theirs.p95
        );
        assert_eq!(ours.unanswered, 0, "{}", load.name);
        if ours.pod_seconds >= theirs.pod_seconds || ours.p95 > theirs.p95 + 0.01 {
            failures.push(load.name);
        }
    }
    assert!(failures.is_empty(), "not better in {failures:?}");
}

#[test]
fn a_scaler_that_does_nothing_keeps_its_pod() {
    struct Nothing;
    impl Scaler for Nothing {
        fn every(&self) -> f64 {
            15.0
        }
        fn wanted(&mut self, _: &pool::Seen) -> usize {
            1
        }
    }
    let outcome = run(&LOADS[0], 7, &mut Nothing);
    assert!((outcome.pod_seconds - LOADS[0].seconds).abs() < 1.0, "{outcome:?}");
}
