//! Which pod gets a request: the one that would be done with it first, by the work that it has and the rate at which it
//! works. Pure: every function has `now` as an argument.

mod cost;
mod pod;
mod split;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

pub use cost::{Costs, Kind};
pub use pod::{Endpoint, Pod, Report};
pub use split::{Split, Weight};

/// What a request needs of the pod that it is given to.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// Units of work that it is estimated at.
    pub cost: f64,
    /// The one revision that may read it.
    pub revision: Option<Arc<str>>,
    /// Requests with the same key go to the same revision.
    pub sticky: Option<u64>,
    /// A pod that has failed on it, to be avoided where there is another.
    pub not: Option<Arc<str>>,
}

/// A request that a pod was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    pub job: u64,
    pub endpoint: Endpoint,
    pub revision: Option<Arc<str>>,
}

/// Why no pod was given a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// No pod takes requests.
    NoPod,
    /// Each pod has as many as it takes.
    Full,
}

/// How a request ended, as far as it says something of its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered, well or not.
    Answered,
    /// The pod could not be reached, or its connection broke.
    Failed,
    /// The client left, or the pod said that it has no room: nothing is known.
    Unknown,
}

/// The pods, and what they were given.
#[derive(Debug, Default)]
pub struct Balance {
    pods: BTreeMap<Arc<str>, Pod>,
    split: Split,
    next_job: u64,
    mean_cost: f64,
}

impl Balance {
    /// Takes over which pods there are. Those that are gone are forgotten; what they were given may still be answered, since
    /// a pod that ends goes on with what it has.
    pub fn set_endpoints(&mut self, endpoints: Vec<Endpoint>) {
        let mut known = std::mem::take(&mut self.pods);
        for endpoint in endpoints {
            let pod = match known.remove(&endpoint.name) {
                // The same name at another address is another pod.
                Some(pod) if pod.endpoint.api == endpoint.api => pod.at(endpoint),
                _ => Pod::new(endpoint),
            };
            self.pods.insert(Arc::clone(&pod.endpoint.name), pod);
        }
    }

    /// Takes over how requests are split between revisions. None: they are not.
    pub fn set_weights(&mut self, weights: &[Weight]) {
        self.split.set(weights);
    }

    /// Takes over what a pod said of itself; `None` where it said nothing. Returns the jobs that it has lost.
    pub fn hear(&mut self, name: &str, report: Option<Report>, now: Instant) -> Vec<u64> {
        let Some(pod) = self.pods.get_mut(name) else { return Vec::new() };
        match report {
            Some(report) => pod.hear(report, now),
            None => pod.silent(now),
        }
    }

    /// All pods, by name.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values()
    }

    /// Units that all pods which take requests do in a second; `None` where none has been measured.
    #[must_use]
    pub fn rate(&self, now: Instant) -> Option<f64> {
        let rates: Vec<f64> = self.pods.values().filter(|pod| pod.takes_requests(now)).filter_map(Pod::rate).collect();
        (!rates.is_empty()).then(|| rates.iter().sum())
    }

    /// Gives a request to the pod that would be done with it first.
    ///
    /// # Errors
    /// Where no pod takes it now.
    pub fn give(&mut self, ask: &Ask, now: Instant) -> Result<Given, Wait> {
        let revision = self.revision_for(ask, now)?;
        let mean_rate = self.mean_rate();
        // Of equals the one that was not given the last request.
        let turn = usize::try_from(self.next_job).unwrap_or_default() % self.pods.len().max(1);
        let is_meant = |pod: &Pod| {
            revision.as_deref().is_none_or(|revision| pod.revision() == Some(revision)) && pod.takes_requests(now)
        };
        let is_excluded = |name: &Arc<str>| ask.not.as_ref() == Some(name);
        // A pod that has failed is better than none.
        let has_others = self.pods.iter().any(|(name, pod)| is_meant(pod) && !is_excluded(name));
        let (mut best, mut any) = (None::<(f64, usize, Arc<str>)>, false);
        for (place, (name, pod)) in self.pods.iter().enumerate() {
            if !is_meant(pod) || (has_others && is_excluded(name)) {
                continue;
            }
            any = true;
            if !pod.has_room() {
                continue;
            }
            let wait = pod.wait(ask.cost, self.mean_cost, mean_rate, now);
            let order = (place + self.pods.len() - turn) % self.pods.len();
            if best.as_ref().is_none_or(|(least, first, _)| (wait, order) < (*least, *first)) {
                best = Some((wait, order, Arc::clone(name)));
            }
        }
        let Some((_, _, name)) = best else { return Err(if any { Wait::Full } else { Wait::NoPod }) };
        if let Some(revision) = &revision
            && ask.revision.is_none()
            && ask.sticky.is_none()
        {
            self.split.took(revision, &self.revisions(now));
        }
        let Some(pod) = self.pods.get_mut(&name) else { return Err(Wait::NoPod) };
        self.next_job += 1;
        pod.jobs.push(pod::Job { id: self.next_job, cost: ask.cost, since: now });
        self.mean_cost += (ask.cost - self.mean_cost) * MEAN_WEIGHT;
        Ok(Given {
            job: self.next_job,
            endpoint: pod.endpoint.clone(),
            revision: pod.report.as_ref().and_then(|report| report.revision.clone()),
        })
    }

    /// Takes a request back from its pod.
    pub fn take_back(&mut self, name: &str, job: u64, outcome: Outcome, now: Instant) {
        let Some(pod) = self.pods.get_mut(name) else { return };
        pod.jobs.retain(|one| one.id != job);
        match outcome {
            Outcome::Answered => pod.answered(),
            Outcome::Failed => pod.failed(now),
            Outcome::Unknown => {}
        }
    }

    /// Revisions of which a pod takes requests.
    fn revisions(&self, now: Instant) -> Vec<Arc<str>> {
        let mut revisions: Vec<Arc<str>> = self
            .pods
            .values()
            .filter(|pod| pod.takes_requests(now))
            .filter_map(|pod| pod.report.as_ref()?.revision.clone())
            .collect();
        revisions.sort();
        revisions.dedup();
        revisions
    }

    /// The revision that reads a request; `None` where any may.
    fn revision_for(&self, ask: &Ask, now: Instant) -> Result<Option<Arc<str>>, Wait> {
        let there = self.revisions(now);
        if let Some(revision) = &ask.revision {
            return if there.contains(revision) { Ok(Some(Arc::clone(revision))) } else { Err(Wait::NoPod) };
        }
        Ok(match ask.sticky {
            Some(key) => self.split.sticky(key, &there),
            None => self.split.next(&there),
        })
    }

    /// Mean rate of the pods that were measured: what others are taken to do.
    fn mean_rate(&self) -> Option<f64> {
        let rates: Vec<f64> = self.pods.values().filter_map(Pod::rate).collect();
        (!rates.is_empty()).then(|| rates.iter().sum::<f64>() / pod::count(rates.len()))
    }
}

/// Weight of a request in the mean cost: the last hundred or so count.
const MEAN_WEIGHT: f64 = 0.02;
