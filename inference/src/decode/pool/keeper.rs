//! Keeps as many processes ready as the settings ask for.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{Process, Shared, lock};

/// Wait after the first start that failed; doubled after each further one.
const FIRST_BACK_OFF: Duration = Duration::from_millis(100);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(10);

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Start,
    /// Nothing, until something changes or until then.
    Wait(Option<Instant>),
}

/// Runs until the pool is shut down, and then sends home what is idle.
pub(super) async fn keep(shared: Arc<Shared>) {
    let mut failures = 0;
    while !shared.shutdown.is_cancelled() {
        let now = Instant::now();
        let oldest = tidy(&shared, now);
        let step = decide(
            shared.stats.idle() + shared.returning.load(Ordering::Relaxed),
            shared.stats.alive(),
            shared.settings.ready,
            shared.settings.open,
            oldest.and_then(|since| since.checked_add(shared.settings.idle_timeout)),
        );
        match step {
            Step::Start => {
                failures = if start(&shared).await { 0 } else { pause(&shared, failures).await };
            }
            Step::Wait(until) => wait(&shared, until).await,
        }
    }
    for process in lock(&shared.idle).drain(..) {
        process.retire();
    }
    shared.stats.idle.store(0, Ordering::Relaxed);
}

/// Decides by the numbers of processes: idle (or nearly) and alive now, to be kept ready, and documents that may be open.
fn decide(idle: usize, alive: usize, ready: usize, open: usize, oldest_ends: Option<Instant>) -> Step {
    if idle < ready && alive < ready.saturating_add(open) {
        Step::Start
    } else if idle > ready {
        Step::Wait(oldest_ends)
    } else {
        Step::Wait(None)
    }
}

/// Forgets processes that have ended, and sends home those that nobody needed for long. Returns since when the oldest
/// one left has been idle.
fn tidy(shared: &Shared, now: Instant) -> Option<Instant> {
    let mut idle = lock(&shared.idle);
    idle.retain(Process::is_alive);
    // The list is in the order of their coming: the first one has waited longest.
    while idle.len() > shared.settings.ready
        && idle.first().is_some_and(|first| now.duration_since(first.idle_since) >= shared.settings.idle_timeout)
    {
        idle.remove(0).retire();
    }
    shared.stats.idle.store(idle.len(), Ordering::Relaxed);
    idle.first().map(|first| first.idle_since)
}

/// Starts a process; false where it did not become ready.
async fn start(shared: &Arc<Shared>) -> bool {
    let started = tokio::select! {
        biased;
        () = shared.shutdown.cancelled() => return true,
        started = Process::start(shared) => started,
    };
    match started {
        Ok((process, _)) => {
            shared.put_back(process);
            *lock(&shared.start_error) = None;
            true
        }
        Err(error) => {
            shared.stats.failed_starts.fetch_add(1, Ordering::Relaxed);
            tracing::error!(error = &error as &dyn std::error::Error, "decode process did not start");
            *lock(&shared.start_error) = Some(Arc::new(error));
            false
        }
    }
}

/// Waits before the next try; returns the number of failures so far.
async fn pause(shared: &Shared, failures: u32) -> u32 {
    tokio::select! {
        () = shared.shutdown.cancelled() => {}
        () = tokio::time::sleep(back_off(failures)) => {}
    }
    failures.saturating_add(1)
}

fn back_off(failures: u32) -> Duration {
    FIRST_BACK_OFF.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_BACK_OFF)
}

async fn wait(shared: &Shared, until: Option<Instant>) {
    let expiry = async {
        match until {
            Some(until) => tokio::time::sleep_until(until.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = shared.shutdown.cancelled() => {}
        () = shared.changed.notified() => {}
        () = expiry => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_started_while_too_few_are_ready_and_there_is_room() {
        let later = Some(Instant::now());
        let cases = [
            // idle, alive, ready, open → step
            ((0, 0, 1, 4), Step::Start),
            ((1, 1, 1, 4), Step::Wait(None)),
            ((0, 4, 1, 4), Step::Start),
            ((0, 5, 1, 4), Step::Wait(None)),
            ((1, 3, 2, 4), Step::Start),
            ((3, 5, 2, 4), Step::Wait(later)),
            ((2, 2, 2, 4), Step::Wait(None)),
        ];
        for ((idle, alive, ready, open), expected) in cases {
            assert_eq!(decide(idle, alive, ready, open, later), expected, "{idle} idle, {alive} alive");
        }
    }

    #[test]
    fn failed_starts_are_tried_again_ever_later() {
        let waits: Vec<u128> = (0..9).map(|failures| back_off(failures).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(back_off(u32::MAX), LONGEST_BACK_OFF);
    }
}
