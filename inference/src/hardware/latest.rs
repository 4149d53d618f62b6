//! What was last seen of the GPUs.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::Gpus;

/// How old it may be before it is looked again, where somebody asks. The driver takes tens of milliseconds to answer.
const FRESH: Duration = Duration::from_mins(1);

/// The GPUs as they were last seen. Nobody waits for the driver but the first to ask: a look that takes long, or for ever,
/// goes on in a thread of its own, of which there is never more than one.
#[derive(Clone)]
pub struct LatestGpus {
    look: Arc<dyn Fn() -> Gpus + Send + Sync>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    seen: Option<(Gpus, Instant)>,
    is_looking: bool,
}

impl LatestGpus {
    /// Has seen nothing yet. `look` asks the driver.
    pub fn new(look: impl Fn() -> Gpus + Send + Sync + 'static) -> Self {
        Self { look: Arc::new(look), state: Arc::default() }
    }

    /// Takes note of what somebody else saw.
    pub fn note(&self, gpus: Gpus, now: Instant) {
        self.lock().seen = Some((gpus, now));
    }

    /// What was last seen, and how long ago. Looks again beside, where that is too long.
    #[must_use]
    pub fn get(&self, now: Instant) -> (Gpus, Duration) {
        let seen = self.lock().seen.clone();
        let Some((gpus, at)) = seen else {
            let gpus = (self.look)();
            self.note(gpus.clone(), now);
            return (gpus, Duration::ZERO);
        };
        let age = now.saturating_duration_since(at);
        if age >= FRESH {
            self.renew();
        }
        (gpus, age)
    }

    /// Looks again, beside whatever goes on; at once, if somebody is not at it.
    pub fn renew(&self) {
        if std::mem::replace(&mut self.lock().is_looking, true) {
            return;
        }
        let latest = self.clone();
        let begun = std::thread::Builder::new().name("gpus".to_owned()).spawn(move || {
            let gpus = (latest.look)();
            let mut state = latest.lock();
            *state = State { seen: Some((gpus, Instant::now())), is_looking: false };
        });
        if let Err(error) = begun {
            tracing::warn!(%error, "no thread to look at the GPUs: what was last seen of them stands");
            self.lock().is_looking = false;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn named(name: &str) -> Gpus {
        Gpus { problem: Some(name.to_owned()), ..Gpus::default() }
    }

    #[test]
    fn what_is_old_is_shown_until_the_driver_has_answered_again() {
        let (answer, answers) = mpsc::channel();
        let (answers, (asked, asks)) = (Mutex::new(answers), mpsc::channel());
        let latest = LatestGpus::new(move || {
            asked.send(()).unwrap();
            answers.lock().unwrap().recv().unwrap()
        });
        answer.send(named("first")).unwrap();
        let start = Instant::now();
        assert_eq!(latest.get(start), (named("first"), Duration::ZERO));
        let soon = Duration::from_secs(59);
        assert_eq!(latest.get(start + soon), (named("first"), soon));
        assert_eq!(asks.try_iter().count(), 1, "it was fresh");
        // The driver takes its time: whoever asks is not held up, and it is not asked a second time.
        for later in [60, 61, 200] {
            let later = Duration::from_secs(later);
            assert_eq!(latest.get(start + later), (named("first"), later));
        }
        asks.recv().unwrap();
        answer.send(named("second")).unwrap();
        while latest.lock().is_looking {
            std::thread::yield_now();
        }
        assert_eq!(latest.get(Instant::now()).0, named("second"));
        assert_eq!(asks.try_iter().count(), 0);
    }
}
