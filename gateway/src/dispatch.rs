//! Gives requests to pods, and lets them wait where none has room. The decisions are those of [`Balance`] and [`Hold`].

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{Notify, oneshot},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

use crate::{
    balance::{Ask, Balance, Given, Outcome, Report, Wait},
    hold::{Bounds, Hold},
};

/// Requests of the row that are looked at when there is room: those in front may be for a revision that has none.
const LOOK_AHEAD: usize = 64;

/// Why a request was given to no pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    pub why: Why,
    /// Seconds after which it may be sent again.
    pub retry_after: u32,
}

/// Why a request was given to no pod, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No pod is ready, and as many wait as may.
    NoPod,
    /// Every pod has as many requests as it takes, and as many wait as may.
    Full,
    /// It has waited as long as it may, for a pod to be ready.
    TooLateNoPod,
    /// It has waited as long as it may, for a pod to have room.
    TooLateFull,
}

/// Gives requests to pods.
#[derive(Debug)]
pub struct Dispatcher {
    state: Mutex<State>,
    /// The number of requests that wait has changed.
    held_changed: Notify,
}

#[derive(Debug)]
struct State {
    balance: Balance,
    hold: Hold<Held>,
    /// Ends the wait for an answer, by job.
    lost: HashMap<u64, CancellationToken>,
    /// Seconds from the wish for a first pod until it is ready, as measured before.
    start_seconds: u32,
    refused: u64,
}

#[derive(Debug)]
struct Held {
    ask: Ask,
    reply: oneshot::Sender<Given>,
}

/// What is held now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Holding {
    pub requests: usize,
    pub bytes: u64,
    /// Units of work that they are estimated at.
    pub units: f64,
    pub oldest: Option<Duration>,
    /// Requests that were refused since the start.
    pub refused: u64,
}

impl Dispatcher {
    /// Knows no pods.
    #[must_use]
    pub fn new(bounds: Bounds, start_seconds: u32) -> Arc<Self> {
        let state = State {
            balance: Balance::default(),
            hold: Hold::new(bounds),
            lost: HashMap::new(),
            start_seconds,
            refused: 0,
        };
        Arc::new(Self { state: Mutex::new(state), held_changed: Notify::new() })
    }

    /// Changes what is known of the pods, and gives them what waits and now may go.
    pub fn change(self: &Arc<Self>, change: impl FnOnce(&mut Balance)) {
        change(&mut self.state().balance);
        self.give_held();
    }

    /// Takes over what a pod said of itself. What it has lost is given to another.
    pub fn hear(self: &Arc<Self>, name: &str, report: Option<Report>) {
        {
            let mut state = self.state();
            for job in state.balance.hear(name, report, Instant::now()) {
                if let Some(token) = state.lost.get(&job) {
                    token.cancel();
                }
            }
        }
        self.give_held();
    }

    /// Looks at what is known of the pods.
    pub fn look<T>(&self, look: impl FnOnce(&Balance) -> T) -> T {
        look(&self.state().balance)
    }

    /// Changes what may wait, and what a start is known to take.
    pub fn set_bounds(&self, bounds: Bounds, start_seconds: u32) {
        let mut state = self.state();
        state.hold.set_bounds(bounds);
        state.start_seconds = start_seconds;
    }

    /// What is held now.
    #[must_use]
    pub fn holding(&self, now: Instant) -> Holding {
        let state = self.state();
        Holding {
            requests: state.hold.len(),
            bytes: state.hold.bytes(),
            units: state.held_units(),
            oldest: state.hold.oldest(now),
            refused: state.refused,
        }
    }

    /// Returns when another number of requests is held than `known`.
    pub async fn held_is_not(&self, known: usize) {
        loop {
            let changed = self.held_changed.notified();
            if self.state().hold.len() != known {
                return;
            }
            changed.await;
        }
    }

    /// A pod for a request: at once, or when one has room. A caller that is dropped meanwhile frees its place.
    ///
    /// # Errors
    /// Where as many wait as may, or the request has waited as long as it may.
    pub async fn lease(self: &Arc<Self>, ask: Ask, bytes: u64, until: Instant) -> Result<Lease, Refused> {
        let now = Instant::now();
        let (wait, mut place, until) = {
            let mut state = self.state();
            // Who waits already comes first.
            let given = if state.hold.is_empty() { state.balance.give(&ask, now) } else { state.would_wait(&ask, now) };
            let wait = match given {
                Ok(given) => {
                    drop(state);
                    return Ok(self.lease_of(given, Duration::ZERO, false));
                }
                Err(wait) => wait,
            };
            let (reply, receive) = oneshot::channel();
            let until = until.min(now + state.hold.bounds().time);
            match state.hold.push(bytes, Held { ask, reply }, now) {
                Ok(id) => (wait, Place { dispatcher: Arc::clone(self), id, receive: Some(receive) }, until),
                Err(_) => return Err(state.refuse(wait, false, now)),
            }
        };
        self.held_changed.notify_waiters();
        if let Ok(Some(given)) = tokio::time::timeout_at(until, place.given()).await {
            return Ok(self.lease_of(given, now.elapsed(), wait == Wait::NoPod));
        }
        drop(place);
        let mut state = self.state();
        let now = Instant::now();
        // What it waits for may have changed meanwhile.
        let wait = if state.balance.pods().any(|pod| pod.takes_requests(now)) { Wait::Full } else { wait };
        Err(state.refuse(wait, true, now))
    }

    fn lease_of(self: &Arc<Self>, given: Given, waited: Duration, cold: bool) -> Lease {
        let lost = CancellationToken::new();
        self.state().lost.insert(given.job, lost.clone());
        Lease { dispatcher: Arc::clone(self), given, waited, cold, lost, outcome: Outcome::Unknown }
    }

    fn take_back(self: &Arc<Self>, given: &Given, outcome: Outcome) {
        self.state().lost.remove(&given.job);
        self.state().balance.take_back(&given.endpoint.name, given.job, outcome, Instant::now());
        self.give_held();
    }

    /// Gives what waits to pods, in order, as far as they have room.
    fn give_held(self: &Arc<Self>) {
        let mut changed = false;
        {
            let mut state = self.state();
            let now = Instant::now();
            let mut place = 0;
            while place < LOOK_AHEAD {
                let Some(waiting) = state.hold.get(place) else { break };
                let ask = waiting.item.ask.clone();
                let Ok(given) = state.balance.give(&ask, now) else {
                    // Without a revision of its own no other request fares better.
                    if ask.revision.is_none() && ask.sticky.is_none() && ask.not.is_none() {
                        break;
                    }
                    place += 1;
                    continue;
                };
                let Some(waiting) = state.hold.take(place) else { break };
                changed = true;
                // Whoever waited has left in this moment.
                if let Err(given) = waiting.item.reply.send(given) {
                    state.balance.take_back(&given.endpoint.name, given.job, Outcome::Unknown, now);
                }
            }
        }
        if changed {
            self.held_changed.notify_waiters();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done by a panic: each change is one call.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Where others wait: only a request for a revision of its own may go before them.
    fn would_wait(&mut self, ask: &Ask, now: Instant) -> Result<Given, Wait> {
        if ask.revision.is_some() {
            return self.balance.give(ask, now);
        }
        Err(if self.balance.pods().any(|pod| pod.takes_requests(now)) { Wait::Full } else { Wait::NoPod })
    }

    fn refuse(&mut self, wait: Wait, late: bool, now: Instant) -> Refused {
        self.refused += 1;
        let why = match (wait, late) {
            (Wait::NoPod, false) => Why::NoPod,
            (Wait::NoPod, true) => Why::TooLateNoPod,
            (Wait::Full, false) => Why::Full,
            (Wait::Full, true) => Why::TooLateFull,
        };
        Refused { why, retry_after: self.retry_after(wait, now) }
    }

    fn held_units(&self) -> f64 {
        self.hold.iter().map(|waiting| waiting.item.ask.cost).sum()
    }

    /// Seconds until it is worth another try: what is left of a start, or until the row has gone down by a half.
    fn retry_after(&self, wait: Wait, now: Instant) -> u32 {
        let seconds = match wait {
            Wait::NoPod => {
                let waited = self.hold.oldest(now).unwrap_or_default().as_secs();
                u64::from(self.start_seconds).saturating_sub(waited)
            }
            Wait::Full => {
                let seconds = self.balance.rate(now).map_or(1.0, |rate| self.held_units() / rate / 2.0);
                Duration::try_from_secs_f64(seconds.ceil()).map_or(LONGEST_RETRY, |wait| wait.as_secs())
            }
        };
        u32::try_from(seconds.clamp(1, LONGEST_RETRY)).unwrap_or(1)
    }
}

/// Most seconds that a client is told to wait.
const LONGEST_RETRY: u64 = 300;

/// A place in the row, given back when it is dropped.
struct Place {
    dispatcher: Arc<Dispatcher>,
    id: u64,
    receive: Option<oneshot::Receiver<Given>>,
}

impl Place {
    async fn given(&mut self) -> Option<Given> {
        let given = self.receive.as_mut()?.await.ok();
        self.receive = None;
        given
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(mut receive) = self.receive.take() else { return };
        let removed = self.dispatcher.state().hold.remove(self.id).is_some();
        if removed {
            self.dispatcher.held_changed.notify_waiters();
        } else if let Ok(given) = receive.try_recv() {
            // It was given to a pod in the same moment.
            self.dispatcher.take_back(&given, Outcome::Unknown);
        }
    }
}

/// A request that a pod was given; taken back when it is dropped.
#[derive(Debug)]
pub struct Lease {
    dispatcher: Arc<Dispatcher>,
    given: Given,
    waited: Duration,
    cold: bool,
    lost: CancellationToken,
    outcome: Outcome,
}

impl Lease {
    /// How long the request waited for it.
    #[must_use]
    pub const fn waited(&self) -> Duration {
        self.waited
    }

    /// Whether no pod took requests when it began to wait.
    #[must_use]
    pub const fn is_cold(&self) -> bool {
        self.cold
    }

    /// The pod.
    #[must_use]
    pub const fn given(&self) -> &Given {
        &self.given
    }

    /// Returns when the pod has lost the request, or is dead.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Notes how it ended.
    pub const fn ended(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.dispatcher.take_back(&self.given, self.outcome);
    }
}
