//! Which nodes a pod may go to, as the scheduler finds them: kube-scheduler's `NodeAffinity`, `TaintToleration` and
//! `NodeUnschedulable` (pkg/scheduler/framework/plugins), and `nodeaffinity` of k8s.io/component-helpers. Written from
//! what these say, and with nothing of the planner.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration};

/// Whether a pod may go to a node, as far as labels and taints say. Resources are counted elsewhere.
pub fn may_go(pod: &PodSpec, node: &Node) -> bool {
    let labels = node.metadata.labels.clone().unwrap_or_default();
    let selected = pod.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    selected && affine(pod, &labels) && untainted(pod, node)
}

/// Whether one of the required terms holds; a pod without them goes anywhere.
pub fn affine(pod: &PodSpec, labels: &BTreeMap<String, String>) -> bool {
    let affinity = pod.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    required.is_none_or(|required| required.node_selector_terms.iter().any(|term| holds(term, labels)))
}

fn holds(term: &NodeSelectorTerm, labels: &BTreeMap<String, String>) -> bool {
    assert!(term.match_fields.is_none(), "fields are not read here");
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    // A term that says nothing matches nothing.
    !expressions.is_empty() && expressions.iter().all(|one| matches(one, labels.get(&one.key)))
}

fn matches(requirement: &NodeSelectorRequirement, label: Option<&String>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    // As Go's ParseInt of base 10 and 64 bits: a label that is no integer never matches.
    let compare = |is: fn(&i64, &i64) -> bool| {
        assert_eq!(values.len(), 1, "Gt and Lt take one value");
        let wanted: i64 = values[0].parse().unwrap();
        label.and_then(|label| label.parse().ok()).is_some_and(|label| is(&label, &wanted))
    };
    match requirement.operator.as_str() {
        "In" => label.is_some_and(|label| values.contains(label)),
        "NotIn" => label.is_none_or(|label| !values.contains(label)),
        "Exists" => label.is_some(),
        "DoesNotExist" => label.is_none(),
        "Gt" => compare(i64::gt),
        "Lt" => compare(i64::lt),
        other => panic!("{other} is no operator"),
    }
}

fn untainted(pod: &PodSpec, node: &Node) -> bool {
    let spec = node.spec.clone().unwrap_or_default();
    let cordon = Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    let mut taints = spec.taints.unwrap_or_default();
    taints.extend((spec.unschedulable == Some(true)).then_some(cordon));
    // The node controller's taint of a node that is not ready.
    let conditions = node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let is_ready = conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True");
    let unready =
        Taint { key: "node.kubernetes.io/not-ready".to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
    taints.extend((!is_ready).then_some(unready));
    let tolerations = pod.tolerations.as_deref().unwrap_or_default();
    taints
        .iter()
        .filter(|taint| taint.effect != "PreferNoSchedule")
        .all(|taint| tolerations.iter().any(|one| tolerates(one, taint)))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let is_any = |text: &Option<String>| text.as_ref().is_none_or(String::is_empty);
    let key = is_any(&toleration.key) || toleration.key.as_ref() == Some(&taint.key);
    let effect = is_any(&toleration.effect) || toleration.effect.as_ref() == Some(&taint.effect);
    let value = toleration.operator.as_deref() == Some("Exists")
        || toleration.value.clone().unwrap_or_default() == taint.value.clone().unwrap_or_default();
    key && effect && value
}
