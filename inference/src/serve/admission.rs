//! Who may come in: a bounded number of requests waits, a smaller one is worked on, and their bodies share a budget.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Counts requests in and out.
pub(super) struct Admission {
    concurrency: usize,
    queue: usize,
    /// Requests that hold a place, waiting or in work.
    inside: AtomicUsize,
    work: Arc<Semaphore>,
    max_bodies: u64,
    bodies: AtomicU64,
    /// Running mean of the time in work, in milliseconds.
    mean_ms: AtomicU64,
    empty: Notify,
}

impl Admission {
    pub fn new(concurrency: usize, queue: usize, max_bodies: u64) -> Arc<Self> {
        Arc::new(Self {
            concurrency,
            queue,
            inside: AtomicUsize::new(0),
            work: Arc::new(Semaphore::new(concurrency)),
            max_bodies,
            bodies: AtomicU64::new(0),
            mean_ms: AtomicU64::new(0),
            empty: Notify::new(),
        })
    }

    /// Takes a place, or none where all are taken. Never waits.
    pub fn enter(self: &Arc<Self>) -> Option<Place> {
        let places = self.concurrency + self.queue;
        self.inside
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |inside| (inside < places).then_some(inside + 1))
            .ok()
            .map(|_| Place { admission: Arc::clone(self), bytes: 0 })
    }

    /// Requests in work.
    pub fn in_flight(&self) -> usize {
        self.concurrency.saturating_sub(self.work.available_permits())
    }

    /// Requests that wait: for their body or for their turn.
    pub fn queued(&self) -> usize {
        self.inside.load(Ordering::SeqCst).saturating_sub(self.in_flight())
    }

    /// Requests that may wait.
    pub const fn queue(&self) -> usize {
        self.queue
    }

    /// Requests that may be in work.
    pub const fn concurrency(&self) -> usize {
        self.concurrency
    }

    /// Returns when no request holds a place.
    pub async fn emptied(&self) {
        loop {
            let notified = self.empty.notified();
            if self.inside.load(Ordering::SeqCst) == 0 {
                return;
            }
            notified.await;
        }
    }

    /// Notes how long a request was in work.
    pub fn note(&self, took: Duration) {
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let _ = self.mean_ms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |mean| {
            // A quarter of the new one: follows a change within some ten requests.
            Some(if mean == 0 { took } else { mean - mean / 4 + took / 4 })
        });
    }

    /// Seconds after which a refused request may find a place.
    pub fn retry_after(&self) -> u32 {
        retry_after(self.queued(), self.concurrency, Duration::from_millis(self.mean_ms.load(Ordering::Relaxed)))
    }
}

/// Seconds until about half of what waits is done: 64 waiting, 4 at a time, 0.5 s each: 4 s.
fn retry_after(queued: usize, concurrency: usize, mean: Duration) -> u32 {
    let rounds = u32::try_from(queued.div_ceil(2 * concurrency.max(1))).unwrap_or(u32::MAX);
    let seconds = mean.saturating_mul(rounds).as_secs_f64().ceil().clamp(1.0, 60.0);
    // In range by the clamp.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let seconds = seconds as u32;
    seconds
}

/// A request's place. Dropping it lets the next one in.
pub(super) struct Place {
    admission: Arc<Admission>,
    bytes: u64,
}

impl Place {
    /// Takes memory for a body from the budget; false where there is none left.
    pub fn take_bytes(&mut self, bytes: u64) -> bool {
        let max = self.admission.max_bodies;
        let took = self.admission.bodies.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| {
            used.checked_add(bytes).filter(|used| *used <= max)
        });
        if took.is_ok() {
            self.bytes += bytes;
        }
        took.is_ok()
    }

    /// Waits for its turn, in the order of arrival. `None` never comes while the server runs.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.admission.work).acquire_owned().await.ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.bodies.fetch_sub(self.bytes, Ordering::SeqCst);
        if self.admission.inside.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.admission.empty.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_after_the_last_is_refused_until_one_is_free() {
        let admission = Admission::new(1, 2, 100);
        let mut places: Vec<_> = (0..3).map(|_| admission.enter().unwrap()).collect();
        assert!(admission.enter().is_none());
        assert_eq!((admission.in_flight(), admission.queued()), (0, 3));
        places.pop();
        assert!(admission.enter().is_some());
    }

    #[tokio::test]
    async fn a_turn_moves_a_request_from_the_queue_to_work() {
        let admission = Admission::new(1, 2, 100);
        let (first, second) = (admission.enter().unwrap(), admission.enter().unwrap());
        let turn = first.turn().await.unwrap();
        assert_eq!((admission.in_flight(), admission.queued()), (1, 1));
        assert!(tokio::time::timeout(Duration::ZERO, second.turn()).await.is_err());
        drop(turn);
        assert!(second.turn().await.is_some());
    }

    #[test]
    fn bodies_share_a_budget_that_comes_back() {
        let admission = Admission::new(1, 2, 100);
        let (mut first, mut second) = (admission.enter().unwrap(), admission.enter().unwrap());
        assert!(first.take_bytes(60));
        assert!(!second.take_bytes(41));
        assert!(second.take_bytes(40));
        drop(first);
        assert!(second.take_bytes(60));
        assert!(!second.take_bytes(u64::MAX));
    }

    #[tokio::test]
    async fn emptied_waits_for_the_last_place() {
        let admission = Admission::new(1, 2, 100);
        let place = admission.enter().unwrap();
        let waiting = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.emptied().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(place);
        waiting.await.unwrap();
    }

    #[test]
    fn the_wait_asked_for_grows_with_the_queue_within_bounds() {
        let half = Duration::from_millis(500);
        assert_eq!(retry_after(0, 4, half), 1);
        assert_eq!(retry_after(64, 4, half), 4);
        assert_eq!(retry_after(10_000, 1, Duration::from_mins(5)), 60);
        assert_eq!(retry_after(5, 0, Duration::ZERO), 1);
    }
}
