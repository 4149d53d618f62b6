//! The nodes: 30 with GPUs of 5 classes, and 6 without.

use std::time::Duration;

use anyhow::ensure;
use ocr_tests::cluster::{Cluster, is_ready, until};
use serde_json::{Value, json};

/// Label by which the case knows the class of a node again. The operator knows nothing of it.
pub const CLASS: &str = "suite/class";

/// Nodes alike.
struct Class {
    name: &'static str,
    nodes: usize,
    /// Resource by which they offer their GPUs, and how many each has.
    resource: &'static str,
    gpus: u32,
    /// What GPU feature discovery says of them: memory in MiB, how many share a GPU, product.
    memory: &'static str,
    replicas: &'static str,
    product: &'static str,
}

const CLASSES: [Class; 6] = [
    class("t4", 6, ("nvidia.com/gpu", 1), ("15360", "1", "Tesla-T4")),
    // The other two nodes of the class T4: each GPU is shared by four, which leaves each less than gpu-fp16 needs.
    class("t4-shared", 2, ("nvidia.com/gpu", 4), ("15360", "4", "Tesla-T4-SHARED")),
    class("l4", 8, ("nvidia.com/gpu", 1), ("23034", "1", "NVIDIA-L4")),
    class("a10g", 6, ("nvidia.com/gpu", 4), ("23028", "1", "NVIDIA-A10G")),
    class("a100", 4, ("nvidia.com/mig-1g.10gb", 7), ("9728", "1", "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb")),
    class("h100", 4, ("nvidia.com/gpu.shared", 16), ("81559", "2", "NVIDIA-H100-80GB-HBM3-SHARED")),
];

const CPU_NODES: usize = 6;

const fn class(
    name: &'static str,
    nodes: usize,
    (resource, gpus): (&'static str, u32),
    (memory, replicas, product): (&'static str, &'static str, &'static str),
) -> Class {
    Class { name, nodes, resource, gpus, memory, replicas, product }
}

/// All nodes, with what is odd of some.
pub fn all() -> Vec<Value> {
    let mut all: Vec<Value> =
        CLASSES.iter().flat_map(|class| (0..class.nodes).map(|number| gpu(class, number))).collect();
    all.extend((0..CPU_NODES).map(|number| node("cpu", number, &json!({}), &json!({}))));
    for node in &mut all {
        let taint = |key: &str, effect: &str| json!([{"key": key, "value": "training", "effect": effect}]);
        match node["metadata"]["name"].as_str().unwrap_or_default() {
            // The taint that GPU nodes have by custom, which is tolerated unasked.
            "t4-0" => node["spec"]["taints"] = taint("nvidia.com/gpu", "NoSchedule"),
            "t4-1" | "cpu-0" => node["spec"]["unschedulable"] = true.into(),
            "l4-0" | "l4-1" => {
                node["spec"]["taints"] = taint("team", "NoSchedule");
                node["metadata"]["labels"]["team"] = "training".into();
            }
            // Labels that nobody can read.
            "a10g-0" => node["metadata"]["labels"]["nvidia.com/gpu.memory"] = "lots".into(),
            "a10g-1" => node["metadata"]["labels"]["nvidia.com/gpu-driver-upgrade-state"] = "upgrade-required".into(),
            "a100-0" => node["spec"]["taints"] = taint("maintenance", "NoExecute"),
            "h100-0" => node["spec"]["taints"] = taint("ToBeDeletedByClusterAutoscaler", "NoSchedule"),
            // A sixteenth of a GPU is none.
            "h100-1" => node["metadata"]["labels"]["nvidia.com/gpu.replicas"] = "16".into(),
            _ => {}
        }
    }
    all
}

/// Takes away what other cases have left, makes these, and waits until they are ready.
///
/// # Errors
/// If the API server refuses.
pub fn make(cluster: &Cluster) -> anyhow::Result<()> {
    remove(cluster)?;
    all().iter().try_for_each(|node| cluster.apply(node).map(drop))?;
    until(Duration::from_mins(1), "every node is ready", || {
        let nodes = cluster.list("Node", "", "type=fake")?;
        let takes_pods = |node: &Value| {
            let mut taints = node["spec"]["taints"].as_array().into_iter().flatten();
            // The taint of a node that is not ready goes a moment later.
            is_ready(node) && !taints.any(|taint| taint["key"] == "node.kubernetes.io/not-ready")
        };
        let ready = nodes.iter().filter(|node| takes_pods(node)).count();
        ensure!(ready == all().len(), "{ready} are ready");
        Ok(())
    })
}

/// Takes all fake nodes away.
///
/// # Errors
/// If the API server refuses.
pub fn remove(cluster: &Cluster) -> anyhow::Result<()> {
    let all = cluster.list("Node", "", "type=fake")?;
    all.iter().try_for_each(|node| cluster.delete("Node", "", node["metadata"]["name"].as_str().unwrap_or_default()))
}

fn gpu(class: &Class, number: usize) -> Value {
    // Labels have the first name of a resource that was renamed because it is shared.
    let prefix = class.resource.trim_end_matches(".shared");
    let labels = json!({
        "nvidia.com/gpu.present": "true",
        format!("{prefix}.memory"): class.memory,
        format!("{prefix}.replicas"): class.replicas,
        format!("{prefix}.product"): class.product,
    });
    node(class.name, number, &labels, &json!({class.resource: class.gpus.to_string()}))
}

fn node(class: &str, number: usize, more_labels: &Value, more_resources: &Value) -> Value {
    let with = |mut object: Value, more: &Value| {
        for (name, value) in more.as_object().into_iter().flatten() {
            object[name] = value.clone();
        }
        object
    };
    let name = format!("{class}-{number}");
    let resources = json!({"cpu": "64", "memory": "512Gi", "ephemeral-storage": "100Gi", "pods": "110"});
    let resources = with(resources, more_resources);
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": with(json!({"type": "fake", CLASS: class, "kubernetes.io/hostname": name}), more_labels),
        },
        "spec": {},
        "status": {
            "allocatable": resources,
            "capacity": resources,
        },
    })
}
