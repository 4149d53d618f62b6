//! Keeps memory below its limit: does more the nearer it comes, and undoes it when it falls.

use std::{sync::Arc, time::Duration};

use tokio::time::MissedTickBehavior;

use super::app::App;
use crate::hardware::{self, Pressure};

/// How often memory is compared with its limit.
const LOOK: Duration = Duration::from_millis(250);

/// Looks from one step down to the next, while memory stays critical: 5 s. Networks that were left give their memory back
/// when their last pages are read, which takes seconds.
const LOOKS_BETWEEN_STEPS: u32 = 20;

/// What was done last, and how long ago.
#[derive(Debug, Default)]
pub(super) struct Relief {
    pressure: Pressure,
    /// Looks since memory was found critical the last time that something was done against it.
    looks: u32,
}

impl Relief {
    /// What is to be done, of memory in use and its limit in bytes; `None` where it is done. Critical memory is an answer
    /// again and again while it stays there, since each step down gives back some.
    fn next(&mut self, used: u64, limit: u64) -> Option<Pressure> {
        let next = self.pressure.next(used, limit);
        self.looks = self.looks.saturating_add(1);
        // What has fallen below its share has had its effect, though it is not over yet.
        let is_still_critical = Pressure::None.next(used, limit) == Pressure::Critical;
        if next == self.pressure && !(is_still_critical && self.looks >= LOOKS_BETWEEN_STEPS) {
            return None;
        }
        if next == Pressure::Critical {
            self.looks = 0;
        }
        self.pressure = next;
        Some(next)
    }

    /// Looks at memory once: bytes in use and their limit, where there is one.
    pub async fn look(&mut self, app: &App, memory: Option<(u64, u64)>) {
        let (Some((used, limit)), Some(backend)) = (memory, app.load.backend()) else { return };
        let before = self.pressure;
        let Some(next) = self.next(used, limit) else { return };
        let (pressure, used_mb, limit_mb) = (next.as_str(), used >> 20, limit >> 20);
        if next > before {
            tracing::warn!(pressure, used_mb, limit_mb, "memory is near its limit");
        } else if next < before {
            tracing::info!(pressure, used_mb, limit_mb, "memory has fallen");
        }
        app.metrics.pressure(next);
        backend.relieve(next).await;
    }
}

/// Looks at memory for as long as the server lives. Without a limit there is nothing to keep.
pub(super) async fn relieve(app: Arc<App>) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut relief = Relief::default();
    loop {
        ticks.tick().await;
        relief.look(&app, hardware::memory_in_use()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn critical_memory_is_acted_on_again_after_a_pause_and_no_sooner() {
        let mut relief = Relief::default();
        assert_eq!(relief.next(96, 100), Some(Pressure::Critical));
        for look in 1..LOOKS_BETWEEN_STEPS {
            assert_eq!(relief.next(97, 100), None, "look {look}");
        }
        assert_eq!(relief.next(97, 100), Some(Pressure::Critical));
        assert_eq!(relief.next(97, 100), None, "the pause begins anew");
    }

    #[test]
    fn memory_that_fell_after_a_step_asks_for_no_other() {
        let mut relief = Relief::default();
        relief.next(96, 100);
        for look in 0..3 * LOOKS_BETWEEN_STEPS {
            assert_eq!(relief.next(94, 100), None, "look {look}: it is kept, and not below its slack yet");
        }
        assert_eq!(relief.next(95, 100), Some(Pressure::Critical), "it rose again, long after");
        assert_eq!(relief.next(84, 100), Some(Pressure::Highest));
        assert_eq!(relief.next(96, 100), Some(Pressure::Critical), "what is news is acted on at once");
    }
}
