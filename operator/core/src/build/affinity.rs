//! Which nodes pods go to, in the scheduler's terms.
//!
//! It follows from the pool and its bundle alone, never from the nodes that were seen: it is part of what a revision
//! was first rendered as. `place::nodes` says the same of single nodes, and a test compares the two.

use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PreferredSchedulingTerm,
};

use crate::{
    api::Strategy,
    place::labels::{MOST_SHARERS, UPGRADE_CLOSED, UPGRADE_LEAVING, UPGRADE_STATE, label, products},
    valid::ValidPool,
};

/// Label by which the GPU operator, and others, mark nodes with GPUs.
const GPU_PRESENT: &str = "nvidia.com/gpu.present";

/// Pods of a GPU strategy go only to GPUs that suit them; a pod for the CPU rather takes a place on a node without GPUs.
pub(super) fn affinity(pool: &ValidPool, strategy: Strategy) -> Affinity {
    let node_affinity = if strategy.needs_gpu() {
        let memory = label(&pool.revision.runs.placement.gpu_resource, "memory");
        NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                node_selector_terms: terms(pool, strategy),
            }),
            // Of what is allowed, rather what is known.
            preferred_during_scheduling_ignored_during_execution: Some(vec![preferred(requirement(
                &memory,
                "Exists",
                Vec::new(),
            ))]),
        }
    } else {
        NodeAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![preferred(requirement(
                GPU_PRESENT,
                "NotIn",
                vec!["true".to_owned()],
            ))]),
            ..NodeAffinity::default()
        }
    };
    Affinity { node_affinity: Some(node_affinity), ..Affinity::default() }
}

/// What a node must be, one of these: its GPUs are not shared and have more memory than the strategy needs; or they are
/// shared by up to [`MOST_SHARERS`] and each share is more than that; or nothing is said of their memory. A memory that
/// is no integer is in none of them, since `Gt` and `Lt` take integers only.
///
/// With 6144 MiB needed: more than 6144 unshared, more than 12288 shared by two, more than 18432 by three, and so on.
/// The need itself is not enough, because a card never has all of its memory free.
fn terms(pool: &ValidPool, strategy: Strategy) -> Vec<NodeSelectorTerm> {
    let placement = &pool.revision.runs.placement;
    let resource = &placement.gpu_resource;
    let (memory, replicas) = (label(resource, "memory"), label(resource, "replicas"));
    let need = i64::from(pool.gpu_memory_mib(strategy));
    // Shares are fair by arithmetic only: without MPS nothing keeps a neighbour from taking more. The pod looks at what
    // is free, and says so.
    let above = |shares: i64| requirement(&memory, "Gt", vec![(need * shares).to_string()]);
    let shared = (1..=MOST_SHARERS)
        .map(|shares| vec![above(shares), requirement(&replicas, "Lt", vec![(shares + 1).to_string()])]);
    // Older versions of GFD do not say that nothing is shared.
    let unsaid = vec![above(1), requirement(&replicas, "DoesNotExist", Vec::new())];
    let unknown = vec![requirement(&memory, "DoesNotExist", Vec::new())];

    let names = products(&placement.gpu_products);
    let product = (!names.is_empty()).then(|| requirement(&label(resource, "product"), "In", names));
    // A driver that is, or waits to be, upgraded: the GPU operator sends the pods away again.
    let upgrading = UPGRADE_LEAVING.iter().chain(&UPGRADE_CLOSED).map(|state| (*state).to_owned()).collect();
    let upgraded = requirement(UPGRADE_STATE, "NotIn", upgrading);
    let whole = |expressions: Vec<NodeSelectorRequirement>| NodeSelectorTerm {
        match_expressions: Some(
            product.clone().into_iter().chain(expressions).chain(std::iter::once(upgraded.clone())).collect(),
        ),
        ..NodeSelectorTerm::default()
    };
    shared.chain([unsaid, unknown]).map(whole).collect()
}

fn requirement(key: &str, operator: &str, values: Vec<String>) -> NodeSelectorRequirement {
    NodeSelectorRequirement {
        key: key.to_owned(),
        operator: operator.to_owned(),
        values: (!values.is_empty()).then_some(values),
    }
}

fn preferred(requirement: NodeSelectorRequirement) -> PreferredSchedulingTerm {
    let preference = NodeSelectorTerm { match_expressions: Some(vec![requirement]), ..NodeSelectorTerm::default() };
    PreferredSchedulingTerm { preference, weight: 100 }
}
