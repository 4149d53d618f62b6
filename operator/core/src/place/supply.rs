//! What the nodes offer to each strategy of a pool.
//!
//! These are upper bounds: pods of others hold GPUs too, and are not seen. They say what is worth a try; what fits, the
//! scheduler says.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use super::nodes::{Closed, NodeFacts, Standing, whole};
use crate::{api::Strategy, build::CONTAINER};

/// What the nodes offer to a strategy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Supply {
    /// GPUs of the nodes that pods of it may go to, whoever has them.
    pub offered: i32,
    /// Those of them that no pod of ours has.
    pub free: i32,
    /// Those of the free ones that no better strategy of the pool could use: where that one found no place, this one
    /// finds none on the same nodes.
    pub free_of_better: i32,
    /// Why not more, in a sentence; empty where nothing was left out.
    pub left_out: String,
}

/// GPUs that pods of ours have, by node.
pub type Held = BTreeMap<String, i32>;

/// Counts the GPUs of a resource that pods have. One that was told to end has its GPU until it is gone.
pub fn held<'a>(pods: impl IntoIterator<Item = &'a Pod>, resource: &str) -> Held {
    let mut held = Held::new();
    for pod in pods {
        let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) else { continue };
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) {
            continue;
        }
        let count = gpus(pod, resource);
        if count > 0 {
            let sum = held.entry(node.clone()).or_default();
            *sum = sum.saturating_add(count);
        }
    }
    held
}

fn gpus(pod: &Pod, resource: &str) -> i32 {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let limits =
        containers.filter(|one| one.name == CONTAINER).filter_map(|one| one.resources.as_ref()?.limits.as_ref());
    limits.filter_map(|limits| limits.get(resource)).map(|amount| whole(&amount.0)).sum()
}

/// What the nodes offer to strategies, in order of preference, each with the GPU memory that it needs in MiB. Nothing
/// to one that needs no GPU: it is not counted.
#[must_use]
pub fn supply(nodes: &[NodeFacts], held: &Held, strategies: &[(Strategy, u32)]) -> Vec<Supply> {
    let gpu_nodes: Vec<&NodeFacts> = nodes.iter().filter(|node| node.gpus > 0).collect();
    let of = |index: usize, strategy: Strategy, need: u32| {
        let mut supply = Supply::default();
        if !strategy.needs_gpu() {
            return supply;
        }
        let mut left_out: BTreeMap<&'static str, usize> = BTreeMap::new();
        for node in &gpu_nodes {
            if let Some(why) = why_not(node, need) {
                *left_out.entry(why).or_default() += 1;
                continue;
            }
            let free = node.gpus.saturating_sub(held.get(&node.name).copied().unwrap_or(0)).max(0);
            supply.offered = supply.offered.saturating_add(node.gpus);
            supply.free = supply.free.saturating_add(free);
            let mut better = strategies[..index].iter().filter(|(better, _)| better.needs_gpu());
            if !better.any(|(_, need)| why_not(node, *need).is_none()) {
                supply.free_of_better = supply.free_of_better.saturating_add(free);
            }
        }
        let causes: Vec<String> = left_out.iter().map(|(why, count)| format!("{count} {why}")).collect();
        supply.left_out = causes.join(", ");
        supply
    };
    strategies.iter().enumerate().map(|(index, (strategy, need))| of(index, *strategy, *need)).collect()
}

/// Why a node with GPUs is none for a strategy, in words that go with a number.
fn why_not(node: &NodeFacts, need: u32) -> Option<&'static str> {
    match node.standing {
        Standing::Leaving => Some("cordoned or leaving"),
        Standing::Closed(Closed::NotSelected) => Some("without a label of nodeSelector"),
        Standing::Closed(Closed::NotReady) => Some("not ready"),
        Standing::Closed(Closed::Tainted) => Some("with a taint that is not tolerated"),
        Standing::Closed(Closed::DriverUpgrade) => Some("in an upgrade of their driver"),
        Standing::Open if !node.is_wanted => Some("with another GPU than gpuProducts"),
        Standing::Open if !node.suits(need) => Some("with too little GPU memory"),
        Standing::Open => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::place::nodes::GpuMemory;

    const BOTH: [(Strategy, u32); 3] = [(Strategy::GpuFp16, 6000), (Strategy::GpuInt8, 3000), (Strategy::Cpu, 0)];

    fn node(name: &str, standing: Standing, gpus: i32, memory: i64) -> NodeFacts {
        NodeFacts { name: name.to_owned(), standing, gpus, is_wanted: true, memory: GpuMemory::Shared(memory, 1) }
    }

    fn pod(node: &Value, limits: &Value, phase: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p"},
            "spec": {"nodeName": node, "containers": [{"name": "ocr", "resources": {"limits": limits}}]},
            "status": {"phase": phase},
        }))
        .unwrap()
    }

    fn figures(supply: &[Supply]) -> Vec<(i32, i32, i32)> {
        supply.iter().map(|one| (one.offered, one.free, one.free_of_better)).collect()
    }

    #[test]
    fn gpus_are_had_by_pods_that_have_a_node_and_run() {
        let gpu = |count: &str| json!({"nvidia.com/gpu": count});
        let mut ending = pod(&json!("a"), &gpu("1"), "Running");
        ending.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
        let mut other = pod(&json!("a"), &gpu("1"), "Running");
        other.spec.as_mut().unwrap().containers[0].name = "another".to_owned();
        let pods = vec![
            pod(&json!("a"), &gpu("1"), "Running"),
            ending,
            pod(&json!("b"), &gpu("2"), "Pending"),
            pod(&json!("b"), &gpu("1"), "Failed"),
            pod(&json!("b"), &gpu("1"), "Succeeded"),
            pod(&Value::Null, &gpu("1"), "Pending"),
            pod(&json!("c"), &json!({"cpu": "1"}), "Running"),
            pod(&json!("c"), &json!({"nvidia.com/mig-1g.5gb": "1"}), "Running"),
            other,
            Pod::default(),
        ];
        let expected = [("a".to_owned(), 2), ("b".to_owned(), 2)];
        assert_eq!(held(&pods, "nvidia.com/gpu"), Held::from(expected));
        assert_eq!(held(&pods, "nvidia.com/mig-1g.5gb"), Held::from([("c".to_owned(), 1)]));
    }

    #[test]
    fn free_is_what_suits_and_is_not_had() {
        use Standing::Open;
        let nodes = [node("large", Open, 4, 24000), node("small", Open, 2, 4000), node("tiny", Open, 8, 2000)];
        assert_eq!(figures(&supply(&nodes, &Held::new(), &BOTH)), [(4, 4, 4), (6, 6, 2), (0, 0, 0)]);
        let held = Held::from([("large".to_owned(), 3), ("small".to_owned(), 5), ("gone".to_owned(), 9)]);
        // A node has no fewer than none free, and takes none of another's.
        assert_eq!(figures(&supply(&nodes, &held, &BOTH)), [(4, 1, 1), (6, 1, 0), (0, 0, 0)]);
        // In another order the second has nothing of its own, since whatever suits it suits the first.
        let reversed = [BOTH[1], BOTH[0]];
        assert_eq!(figures(&supply(&nodes, &Held::new(), &reversed)), [(6, 6, 6), (4, 4, 0)]);
        // A better strategy without a GPU uses none.
        let cpu_first = [BOTH[2], BOTH[0]];
        assert_eq!(figures(&supply(&nodes, &Held::new(), &cpu_first)), [(0, 0, 0), (4, 4, 4)]);
        assert_eq!(figures(&supply(&[], &Held::new(), &BOTH)), [(0, 0, 0); 3]);
    }

    #[test]
    fn what_is_left_out_is_told_with_its_cause() {
        use Standing::{Closed as Shut, Leaving, Open};
        let mut other = node("h", Open, 1, 24000);
        other.is_wanted = false;
        let nodes = [
            node("a", Leaving, 1, 24000),
            node("b", Leaving, 1, 24000),
            node("c", Shut(Closed::NotSelected), 1, 24000),
            node("d", Shut(Closed::NotReady), 1, 24000),
            node("e", Shut(Closed::Tainted), 1, 24000),
            node("f", Shut(Closed::DriverUpgrade), 1, 24000),
            node("g", Open, 1, 6000),
            other,
            node("i", Open, 0, 24000),
            node("j", Leaving, 0, 0),
        ];
        let supply = supply(&nodes, &Held::new(), &BOTH);
        assert_eq!(
            supply[0].left_out,
            "2 cordoned or leaving, 1 in an upgrade of their driver, 1 not ready, 1 with a taint that is not tolerated, \
             1 with another GPU than gpuProducts, 1 with too little GPU memory, 1 without a label of nodeSelector"
        );
        assert_eq!((supply[0].offered, supply[1].offered), (0, 1));
        assert_eq!(supply[2], Supply::default());
    }
}
