//! A pod as the gateway knows it: what it said of itself, and what it was given.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::time::Instant;

/// Requests that a pod is given at once until it has said how many it takes.
const UNREPORTED_LIMIT: usize = 2;

/// Requests beyond those in work that a pod is given, so that it has the next one when one is done.
const AHEAD: usize = 1;

/// Units a second that are assumed where no pod has been measured. Only ratios count then, and all pods have the same.
const UNMEASURED_RATE: f64 = 1.0;

/// First and longest time that a pod which failed is left alone; doubled with each failure in a row.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// A pod that says twice that it has no request at all does not have one that it was given this long ago.
const LOST_AFTER: Duration = Duration::from_secs(5);

/// Times in a row that a pod does not say how it is, until it is taken for dead.
const SILENCES: u32 = 3;

/// Where a pod answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The pod's name; its address where it has none.
    pub name: Arc<str>,
    /// Where it reads documents.
    pub api: SocketAddr,
    /// Where it says how it is.
    pub admin: SocketAddr,
    /// Whether it takes requests: ready, and not about to end.
    pub takes_requests: bool,
}

/// What a pod said of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Revision of the pool that it belongs to.
    pub revision: Option<Arc<str>>,
    /// The model that it reads with.
    pub model: Option<ocr_api::ModelRef>,
    /// Units of work that it does in a second at work; `None` until it has worked for a while.
    pub rate: Option<f64>,
    /// Requests that it has, of all gateways, in work and waiting.
    pub requests: usize,
    /// Requests that it works on at once.
    pub concurrency: usize,
    /// Whether it will take nothing new.
    pub draining: bool,
}

/// A request that a pod was given.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub id: u64,
    /// Units of work that it was estimated at.
    pub cost: f64,
    pub since: Instant,
}

/// A pod, and what it was given.
#[derive(Clone, Debug)]
pub struct Pod {
    pub endpoint: Endpoint,
    pub report: Option<Report>,
    pub(super) jobs: Vec<Job>,
    /// Requests of other gateways, when it was last asked.
    foreign: usize,
    failures: u32,
    silences: u32,
    rest_until: Option<Instant>,
}

impl Pod {
    pub(super) const fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, report: None, jobs: Vec::new(), foreign: 0, failures: 0, silences: 0, rest_until: None }
    }

    /// The same pod with its newest endpoint.
    pub(super) fn at(self, endpoint: Endpoint) -> Self {
        Self { endpoint, ..self }
    }

    /// Takes over what the pod said. Returns the jobs that it has lost: it accepted them, and by its own word has nothing.
    pub(super) fn hear(&mut self, report: Report, now: Instant) -> Vec<u64> {
        self.foreign = report.requests.saturating_sub(self.jobs.len());
        self.silences = 0;
        let was_idle = self.report.as_ref().is_some_and(|before| before.requests == 0);
        let is_idle = was_idle && report.requests == 0;
        self.report = Some(report);
        let is_lost = |job: &&Job| is_idle && now.saturating_duration_since(job.since) >= LOST_AFTER;
        self.jobs.iter().filter(is_lost).map(|job| job.id).collect()
    }

    /// It did not say how it is. Returns the jobs that are lost with it, where it is taken for dead.
    pub(super) fn silent(&mut self, now: Instant) -> Vec<u64> {
        self.silences = self.silences.saturating_add(1);
        if self.silences < SILENCES {
            return Vec::new();
        }
        self.failed(now);
        self.jobs.iter().map(|job| job.id).collect()
    }

    /// Revision of the pool that the pod belongs to, where it said so.
    #[must_use]
    pub fn revision(&self) -> Option<&str> {
        self.report.as_ref()?.revision.as_deref()
    }

    /// Requests that it was given and has not answered.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.jobs.len()
    }

    /// Whether it may be given requests at all.
    #[must_use]
    pub fn takes_requests(&self, now: Instant) -> bool {
        self.endpoint.takes_requests
            && !self.report.as_ref().is_some_and(|report| report.draining)
            && self.rest_until.is_none_or(|until| until <= now)
    }

    /// Whether it has room for one more.
    pub(super) fn has_room(&self) -> bool {
        self.jobs.len() < self.limit()
    }

    /// Most requests of this gateway that it is given at once.
    #[must_use]
    pub fn limit(&self) -> usize {
        match &self.report {
            Some(report) if report.concurrency > 0 => report.concurrency.saturating_add(AHEAD),
            _ => UNREPORTED_LIMIT,
        }
    }

    /// Its own rate.
    pub(super) fn rate(&self) -> Option<f64> {
        self.report.as_ref().and_then(|report| report.rate).filter(|rate| rate.is_finite() && *rate > 0.0)
    }

    /// Seconds until it would be done with all it has and `cost` more. A job that takes longer than it was estimated at is
    /// taken for as large again as it has been until now: sizes of documents have a heavy tail.
    pub(super) fn wait(&self, cost: f64, mean_cost: f64, mean_rate: Option<f64>, now: Instant) -> f64 {
        let rate = self.rate().or(mean_rate).unwrap_or(UNMEASURED_RATE);
        let share = rate / count(self.jobs.len().max(1));
        let own: f64 = self
            .jobs
            .iter()
            .map(|job| job.cost.max(now.saturating_duration_since(job.since).as_secs_f64() * share))
            .sum();
        (own + count(self.foreign) * mean_cost + cost) / rate
    }

    /// It did not answer: it is left alone for a while, longer each time.
    pub(super) fn failed(&mut self, now: Instant) {
        let (first, longest) = BACK_OFF;
        let rest = first.saturating_mul(2_u32.saturating_pow(self.failures)).min(longest);
        self.failures = self.failures.saturating_add(1);
        self.rest_until = Some(now + rest);
    }

    /// It answered.
    pub(super) const fn answered(&mut self) {
        self.failures = 0;
        self.rest_until = None;
    }
}

/// A number of requests or pods as a factor.
pub(super) fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::from(u32::MAX), f64::from)
}
