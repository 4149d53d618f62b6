//! From a pod, as the API server has it and as it says itself, to what the planner must know of it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use ocr_api::PodStatus;

use crate::{api::Strategy, build::names};

/// What is known of a pod.
#[expect(clippy::struct_excessive_bools, reason = "each stands for itself")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFacts {
    pub name: String,
    /// What it was made for.
    pub strategy: Strategy,
    /// Whether it is of the revision that is wanted.
    pub is_new: bool,
    /// A node was found for it.
    pub scheduled: bool,
    /// It takes requests.
    pub ready: bool,
    /// It was told to end. Until it is gone it keeps its GPU.
    pub ending: bool,
    /// Since when no node is found for it; none if one was, or if that is not known.
    pub unscheduled_since: Option<Timestamp>,
    /// Its node will go, or takes no pods any more; or nobody there ends it though it was told to.
    pub leaving: bool,
    /// What it computes on by its own word; none if it has not said, or said something that is no strategy.
    pub runs: Option<Strategy>,
    /// Why it does not run what it was made for, by its own word.
    pub passed_over: Option<String>,
}

/// Most characters of what a pod says that go into a status.
const MOST: usize = 300;

impl PodFacts {
    /// Whether it runs something lower than it was made for.
    #[must_use]
    pub fn is_mismatched(&self) -> bool {
        self.ready && self.runs.is_some_and(|runs| runs > self.strategy)
    }

    /// Whether it runs what it was made for, or better, by its own word.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.ready && self.runs.is_some_and(|runs| runs <= self.strategy)
    }
}

/// How much later than it should a pod may end: a kubelet that is silent for longer ends nothing, and the pod's GPU is not
/// soon free.
const LATE: SignedDuration = SignedDuration::from_secs(30);

/// Reads a pool's pods. `attested` is what they say of themselves, by name; `leaving` are the names of nodes that go.
/// A pod without the label of a strategy is none of ours, and one that has ended is none at all: they are left out.
#[must_use]
pub fn read(
    pods: &[Pod],
    attested: &BTreeMap<String, PodStatus>,
    leaving: &BTreeSet<&str>,
    revision: &str,
    now: Timestamp,
) -> Vec<PodFacts> {
    pods.iter().filter_map(|pod| one(pod, attested, leaving, revision, now)).collect()
}

/// Whether it takes requests: one that was told to end takes no new ones.
#[must_use]
pub fn is_ready(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|one| one.type_ == "Ready" && one.status == "True") && pod.metadata.deletion_timestamp.is_none()
}

fn one(
    pod: &Pod,
    attested: &BTreeMap<String, PodStatus>,
    leaving: &BTreeSet<&str>,
    revision: &str,
    now: Timestamp,
) -> Option<PodFacts> {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return None;
    }
    let labels = pod.metadata.labels.as_ref()?;
    let strategy = Strategy::named(labels.get(names::STRATEGY)?)?;
    let name = pod.metadata.name.clone().unwrap_or_default();
    let conditions = || pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let is_true = |type_: &str| conditions().any(|one| one.type_ == type_ && one.status == "True");
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let scheduled = is_true("PodScheduled") || node.is_some();
    // When its time to end is over.
    let end = pod.metadata.deletion_timestamp.as_ref().map(|time| time.0);
    let is_late = end.is_some_and(|end| now.duration_since(end) > LATE);
    // A pod never loses its node: it is without one since it was created.
    let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let refused = || {
        let condition = conditions().find(|one| one.type_ == "PodScheduled" && one.status == "False");
        condition.and_then(|one| one.last_transition_time.as_ref()).map(|time| time.0)
    };
    let said = attested.get(&name);
    Some(PodFacts {
        strategy,
        is_new: labels.get(names::REVISION).is_some_and(|one| one == revision),
        scheduled,
        ready: is_ready(pod),
        ending: end.is_some(),
        unscheduled_since: if scheduled { None } else { created.or_else(refused) },
        leaving: is_late || node.is_some_and(|node| leaving.contains(node)),
        runs: said.and_then(|said| Strategy::named(&said.engine.strategy)),
        passed_over: said.and_then(|said| passed_over(said, strategy)),
        name,
    })
}

fn passed_over(said: &PodStatus, strategy: Strategy) -> Option<String> {
    let found = said.engine.passed_over.iter().find(|one| one.strategy == strategy.as_str())?;
    Some(format!("{}: {}", found.reason, found.message).chars().take(MOST).collect())
}

#[cfg(test)]
impl PodFacts {
    /// A ready pod of the wanted revision, that was made for the one and runs the other.
    pub(super) fn of_ready(name: &str, strategy: Strategy, runs: Option<Strategy>) -> Self {
        Self {
            name: name.to_owned(),
            strategy,
            is_new: true,
            scheduled: true,
            ready: true,
            ending: false,
            unscheduled_since: None,
            leaving: false,
            runs,
            passed_over: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn facts(change: &Value) -> Option<PodFacts> {
        let mut pod = json!({
            "metadata": {
                "name": "p", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"ocrpool.dev/strategy": "gpu-fp16", "ocrpool.dev/revision": "new"},
            },
            "spec": {"nodeName": "n", "containers": []},
            "status": {"phase": "Running", "conditions": [
                {"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}]},
        });
        for (name, value) in change.as_object().unwrap() {
            *pod.pointer_mut(name).unwrap() = value.clone();
        }
        let mut attested: PodStatus =
            serde_json::from_str(include_str!("../../../../tests/recorded/status.json")).unwrap();
        attested.engine.strategy = "gpu-int8".to_owned();
        attested.engine.passed_over = vec![ocr_api::status::PassedOver {
            strategy: "gpu-fp16".to_owned(),
            reason: "GpuMemory".to_owned(),
            message: "too little".to_owned(),
        }];
        let attested = BTreeMap::from([("p".to_owned(), attested)]);
        let now = "2026-01-01T00:10:00Z".parse().unwrap();
        read(&[serde_json::from_value(pod).unwrap()], &attested, &BTreeSet::from(["drained"]), "new", now).pop()
    }

    #[test]
    fn a_pod_is_what_its_status_and_its_own_word_say() {
        let plain = PodFacts {
            name: "p".to_owned(),
            strategy: Strategy::GpuFp16,
            is_new: true,
            scheduled: true,
            ready: true,
            ending: false,
            unscheduled_since: None,
            leaving: false,
            runs: Some(Strategy::GpuInt8),
            passed_over: Some("GpuMemory: too little".to_owned()),
        };
        assert_eq!(facts(&json!({})).as_ref(), Some(&plain));
        let waiting = json!({
            "/spec/nodeName": null,
            "/status/conditions": [{"type": "PodScheduled", "status": "False", "lastTransitionTime": "2026-01-01T00:00:07Z"}],
        });
        let since = Some("2026-01-01T00:00:00Z".parse().unwrap());
        let waits = PodFacts { scheduled: false, ready: false, unscheduled_since: since, ..plain.clone() };
        assert_eq!(facts(&waiting), Some(waits.clone()));
        // The scheduler has not looked at it yet, or there is none.
        let mut unseen = waiting.clone();
        unseen["/status/conditions"] = json!([]);
        assert_eq!(facts(&unseen), Some(waits.clone()));
        let mut dateless = waiting;
        dateless["/metadata/creationTimestamp"] = Value::Null;
        let since = Some("2026-01-01T00:00:07Z".parse().unwrap());
        assert_eq!(facts(&dateless), Some(PodFacts { unscheduled_since: since, ..waits.clone() }));
        dateless["/status/conditions"] = json!([]);
        assert_eq!(facts(&dateless), Some(PodFacts { unscheduled_since: None, ..waits }));

        let rows = [
            // Not refused for want of a node, whatever else is not so.
            (
                json!({"/spec/nodeName": null, "/metadata/creationTimestamp": null, "/status/conditions": [
                    {"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:07Z"},
                    {"type": "PodScheduled", "status": "Unknown", "lastTransitionTime": "2026-01-01T00:00:08Z"}]}),
                PodFacts { scheduled: false, ready: false, unscheduled_since: None, ..plain.clone() },
            ),
            (json!({"/metadata/labels/ocrpool.dev~1revision": "old"}), PodFacts { is_new: false, ..plain.clone() }),
            (
                json!({"/metadata/labels/ocrpool.dev~1strategy": "cpu"}),
                PodFacts { strategy: Strategy::Cpu, passed_over: None, ..plain.clone() },
            ),
            (json!({"/spec/nodeName": "drained"}), PodFacts { leaving: true, ..plain.clone() }),
            (
                json!({"/metadata/name": "q"}),
                PodFacts { name: "q".to_owned(), runs: None, passed_over: None, ..plain.clone() },
            ),
            // Bound to a node a moment ago.
            (json!({"/status/conditions": []}), PodFacts { ready: false, ..plain.clone() }),
            // Where the cache has no node, the condition says that there is one.
            (json!({"/spec/nodeName": null}), plain),
        ];
        for (change, expected) in rows {
            assert_eq!(facts(&change), Some(expected), "{change}");
        }
    }

    #[test]
    fn a_pod_that_ends_serves_no_more() {
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "labels": {"ocrpool.dev/strategy": "cpu"}, "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "status": {"conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}]},
        }))
        .unwrap();
        let at = |pod: &Pod, second: i64| {
            let now = Timestamp::from_second(1_767_225_600 + second).unwrap();
            read(std::slice::from_ref(pod), &BTreeMap::new(), &BTreeSet::new(), "new", now).pop().unwrap()
        };
        let read = |pod: &Pod| at(pod, 0);
        // Nobody ends it.
        assert!(!at(&pod, -5).leaving && !at(&pod, 30).leaving && at(&pod, 31).leaving);
        assert!(read(&pod).ending && !read(&pod).ready && read(&pod).scheduled && !read(&pod).is_new);
        pod.metadata.deletion_timestamp = None;
        assert!(!read(&pod).ending && read(&pod).ready);
    }

    #[test]
    fn what_has_ended_or_is_no_pod_of_a_strategy_is_left_out() {
        for change in [
            json!({"/status/phase": "Failed"}),
            json!({"/status/phase": "Succeeded"}),
            json!({"/metadata/labels/ocrpool.dev~1strategy": "tpu"}),
            json!({"/metadata/labels": {}}),
            json!({"/metadata/labels": null}),
        ] {
            assert_eq!(facts(&change), None, "{change}");
        }
    }

    #[test]
    fn a_pod_keeps_its_word_if_it_runs_what_it_was_made_for_or_better() {
        use Strategy::{Cpu, GpuFp16, GpuInt8};
        for (made_for, runs, ready, verified, mismatched) in [
            (GpuFp16, Some(GpuFp16), true, true, false),
            (GpuFp16, Some(GpuInt8), true, false, true),
            (GpuFp16, Some(Cpu), true, false, true),
            (GpuFp16, Some(Cpu), false, false, false),
            (GpuFp16, Some(GpuFp16), false, false, false),
            (GpuFp16, None, true, false, false),
            (Cpu, Some(GpuInt8), true, true, false),
            (Cpu, Some(Cpu), true, true, false),
        ] {
            let pod = PodFacts { ready, ..PodFacts::of_ready("p", made_for, runs) };
            assert_eq!((pod.is_verified(), pod.is_mismatched()), (verified, mismatched), "{made_for} {runs:?} {ready}");
        }
    }
}
