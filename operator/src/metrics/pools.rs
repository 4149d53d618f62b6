//! Figures of the pools: gauges that come and go with them.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use kube::ResourceExt;
use ocrpool_core::{
    api::OcrPoolStatus,
    report::{PROBLEMS, State, is_ready},
};
use prometheus::{IntGaugeVec, Opts, Registry};

/// Name of a pool in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolName {
    pub namespace: String,
    pub name: String,
}

impl PoolName {
    /// The name of a pool.
    pub fn of(pool: &impl ResourceExt) -> Self {
        Self { namespace: pool.namespace().unwrap_or_default(), name: pool.name_any() }
    }
}

/// How every pool is.
pub struct Pools {
    states: IntGaugeVec,
    ready: IntGaugeVec,
    troubled_pods: IntGaugeVec,
    known: Mutex<HashMap<PoolName, Known>>,
}

struct Known {
    state: State,
    /// One for each pod that has a problem.
    problems: Vec<String>,
}

impl Pools {
    /// Puts the figures into a registry.
    ///
    /// # Errors
    /// Where a definition is not valid; the definitions are constants, so a test would have met it.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let pools = Self {
            states: IntGaugeVec::new(
                Opts::new(
                    "ocr_operator_pools",
                    "Pools, each in one state, by what is most pressing: degraded, progressing, ready, not_ready; 0 on \
                     replicas that do not lead",
                ),
                &["state"],
            )?,
            ready: IntGaugeVec::new(
                Opts::new(
                    "ocr_operator_pool_ready",
                    "1 where a page was read through the pool's address by the revision that is wanted; only on the \
                     replica that leads",
                ),
                &["namespace", "pool"],
            )?,
            troubled_pods: IntGaugeVec::new(
                Opts::new(
                    "ocr_operator_troubled_pods",
                    "Pods that have a problem, by its reason, the 10 worst of each pool; status.pods names them",
                ),
                &["reason"],
            )?,
            known: Mutex::default(),
        };
        registry.register(Box::new(pools.states.clone()))?;
        registry.register(Box::new(pools.ready.clone()))?;
        registry.register(Box::new(pools.troubled_pods.clone()))?;
        Ok(pools)
    }

    /// Notes how a pool is.
    pub fn note(&self, pool: PoolName, status: &OcrPoolStatus) {
        let problems = status.pods.iter().map(|pod| pod.reason.clone()).collect();
        self.keep(pool, is_ready(status), Known { state: State::of(status), problems });
    }

    /// Notes that a pool cannot be read.
    pub fn note_unreadable(&self, pool: PoolName) {
        self.keep(pool, false, Known { state: State::Degraded, problems: Vec::new() });
    }

    fn keep(&self, pool: PoolName, is_ready: bool, known: Known) {
        self.ready.with_label_values(&[&pool.namespace, &pool.name]).set(i64::from(is_ready));
        self.known().insert(pool, known);
    }

    /// Forgets the pools that are no more.
    pub fn keep_only(&self, stays: impl Fn(&PoolName) -> bool) {
        self.known().retain(|pool, _| {
            let stays = stays(pool);
            if !stays {
                // It fails only for a series that is not there, which is what is wanted.
                let _ = self.ready.remove_label_values(&[&pool.namespace, &pool.name]);
            }
            stays
        });
    }

    /// Sets the figures that are sums over all pools.
    pub fn count(&self) {
        let known = self.known();
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        for state in State::ALL {
            let of_state = known.values().filter(|one| one.state == state).count();
            self.states.with_label_values(&[state.as_str()]).set(count(of_state));
        }
        for problem in PROBLEMS {
            let troubled = known.values().flat_map(|one| &one.problems).filter(|one| *one == problem).count();
            self.troubled_pods.with_label_values(&[problem]).set(count(troubled));
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<PoolName, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use ocrpool_core::api::PodReport;
    use serde_json::json;

    use super::*;

    fn name(namespace: &str, name: &str) -> PoolName {
        PoolName { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// A status in which these conditions are true.
    fn status(conditions: &[&str]) -> OcrPoolStatus {
        let condition = |type_: &&str| json!({"type": type_, "status": "True", "reason": "Any", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let conditions: Vec<_> = conditions.iter().map(condition).collect();
        serde_json::from_value(json!({"conditions": conditions})).unwrap()
    }

    #[test]
    fn a_pool_is_in_one_state_and_goes_with_all_its_series() {
        let pools = Pools::register(&Registry::new()).unwrap();
        let in_state = |state: State| {
            pools.count();
            pools.states.with_label_values(&[state.as_str()]).get()
        };
        pools.note(name("shop", "receipts"), &status(&["Progressing"]));
        pools.note(name("shop", "receipts"), &status(&["Ready"]));
        pools.note(name("bank", "letters"), &status(&["Ready", "Degraded"]));
        assert_eq!([State::Ready, State::Progressing, State::Degraded].map(in_state), [1, 0, 1]);
        assert_eq!(pools.ready.with_label_values(&["bank", "letters"]).get(), 1);
        pools.keep_only(|pool| pool.namespace == "shop");
        assert_eq!([State::Ready, State::Degraded].map(in_state), [1, 0]);
        assert!(pools.ready.remove_label_values(&["bank", "letters"]).is_err(), "its series is gone");
    }

    #[test]
    fn pods_are_counted_by_what_is_wrong_with_them() {
        let pools = Pools::register(&Registry::new()).unwrap();
        let with = |reasons: &[&str]| {
            let report = |reason: &&str| PodReport {
                name: String::new(),
                reason: (*reason).to_owned(),
                message: String::new(),
                restarts: 0,
            };
            OcrPoolStatus { pods: reasons.iter().map(report).collect(), ..OcrPoolStatus::default() }
        };
        let counts = || {
            pools.count();
            ["OOMKilled", "Loading"].map(|reason| pools.troubled_pods.with_label_values(&[reason]).get())
        };
        pools.note(name("shop", "receipts"), &with(&["OOMKilled", "OOMKilled", "Loading"]));
        pools.note(name("bank", "letters"), &with(&["OOMKilled"]));
        assert_eq!(counts(), [3, 1]);
        pools.note(name("shop", "receipts"), &with(&[]));
        assert_eq!(counts(), [1, 0]);
    }
}
