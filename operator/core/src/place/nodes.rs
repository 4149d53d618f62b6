//! From a node, as the API server has it, to what a pool must know of it.
//!
//! Every label and taint is somebody else's text. What each odd one means stands here, in the same words as in the
//! affinity of the pods (`build/affinity.rs`): what is open here is what the scheduler finds open.
//!
//! | found | means |
//! |---|---|
//! | no labels of GPU feature discovery | any GPU: the pod looks itself. With `gpuProducts`, none |
//! | `….memory` that is no integer | no GPU that suits: whoever wrote it is wrong on more than that |
//! | `….memory` negative, or beyond 64 bits | the same |
//! | `….replicas` of 2 to 8 | each pod has that part of the memory |
//! | `….replicas` above 8, or no integer | no GPU that suits |
//! | the resource absent, 0, negative, or no quantity | no GPUs |
//! | the resource in fractions (`1500m`) | whole GPUs, rounded down |
//! | a product, label or taint that is not known | nothing, unless the pool names it; a taint closes the node as any does |

use k8s_openapi::api::core::v1::{Node, Taint};

use super::labels::{
    LEAVING, MOST_SHARERS, UNSCHEDULABLE, UPGRADE_DONE, UPGRADE_LEAVING, UPGRADE_STATE, label, products,
};
use crate::{
    api::{Quantity, TolerationOperator},
    revision::PodPlacement,
};

/// What a pool must know of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    pub name: String,
    pub standing: Standing,
    /// GPUs that it offers to pods, whoever has them.
    pub gpus: i32,
    /// Whether they are among those that the pool names, or it names none.
    pub is_wanted: bool,
    pub memory: GpuMemory,
}

/// Whether pods may go to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// They may.
    Open,
    /// No new ones; those that are there stay.
    Closed(Closed),
    /// No new ones, and those that are there will have to go.
    Leaving,
}

/// Why no new pods go to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Closed {
    /// It lacks a label that the pool asks for.
    NotSelected,
    /// Its kubelet does not say that it is ready.
    NotReady,
    /// It has a taint that the pods do not tolerate.
    Tainted,
    /// Its GPU driver is, waits to be, or failed to be upgraded.
    DriverUpgrade,
}

/// Memory of a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GpuMemory {
    /// No label says.
    Unknown,
    /// In MiB, and among how many it is shared; 1 if it is not.
    Shared(i64, i64),
    /// Its labels are no numbers, or it is shared by too many.
    Unusable,
}

impl NodeFacts {
    /// Whether its GPUs have more memory for a pod than it needs, in MiB, as far as can be told.
    #[must_use]
    pub fn suits(&self, need: u32) -> bool {
        self.is_wanted
            && match self.memory {
                GpuMemory::Unknown => true,
                GpuMemory::Shared(memory, sharers) => memory > i64::from(need).saturating_mul(sharers),
                GpuMemory::Unusable => false,
            }
    }
}

/// Reads nodes for pods that are placed in one way. What is the same for all nodes is made once: there may be hundreds.
pub struct NodeReader<'a> {
    placement: &'a PodPlacement,
    /// Names of products that are wanted; any if there are none.
    products: Vec<String>,
    /// Names of labels.
    product: String,
    memory: String,
    replicas: String,
}

impl<'a> NodeReader<'a> {
    #[must_use]
    pub fn new(placement: &'a PodPlacement) -> Self {
        let label = |what| label(&placement.gpu_resource, what);
        Self {
            placement,
            products: products(&placement.gpu_products),
            product: label("product"),
            memory: label("memory"),
            replicas: label("replicas"),
        }
    }

    /// Reads a node for pods of GPU strategies. Whether it is [`Standing::Leaving`] is the same for pods of `cpu`.
    #[must_use]
    pub fn read(&self, node: &Node) -> NodeFacts {
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        let gpus = allocatable.and_then(|all| all.get(&self.placement.gpu_resource));
        let product = label_of(node, &self.product);
        let is_named = || product.is_some_and(|product| self.products.iter().any(|name| name == product));
        NodeFacts {
            name: node.metadata.name.clone().unwrap_or_default(),
            standing: standing(node, self.placement),
            gpus: gpus.map_or(0, |amount| whole(&amount.0)),
            is_wanted: self.products.is_empty() || is_named(),
            memory: self.memory(node),
        }
    }

    fn memory(&self, node: &Node) -> GpuMemory {
        let Some(memory) = label_of(node, &self.memory) else { return GpuMemory::Unknown };
        // Both numbers as the scheduler reads them: decimal, 64 bits.
        let replicas = label_of(node, &self.replicas).map_or(Ok(1), str::parse::<i64>);
        match (memory.parse::<i64>(), replicas) {
            // 0: a resource that cannot be shared, such as a MIG device that is no whole one.
            (Ok(memory), Ok(replicas)) if replicas <= MOST_SHARERS => GpuMemory::Shared(memory, replicas.max(1)),
            _ => GpuMemory::Unusable,
        }
    }
}

fn label_of<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// A quantity in whole units, rounded down; 0 of what is none, or is none of ours.
pub(super) fn whole(quantity: &str) -> i32 {
    let units = quantity.parse::<Quantity>().map_or(0, |quantity| quantity.thousandths() / 1000);
    i32::try_from(units).unwrap_or(i32::MAX)
}

fn standing(node: &Node, placement: &PodPlacement) -> Standing {
    let spec = node.spec.as_ref();
    let taints = spec.and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let cordon = Taint { key: UNSCHEDULABLE.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
    let is_cordoned = spec.and_then(|spec| spec.unschedulable) == Some(true) && !tolerates(placement, &cordon);
    // A cordon is the first step of every drain. Where it is none, the pool has some pods too many until it is lifted.
    let goes = |taint: &Taint| {
        LEAVING.contains(&taint.key.as_str())
            || (!tolerates(placement, taint) && (taint.effect == "NoExecute" || taint.key == UNSCHEDULABLE))
    };
    let upgrade = label_of(node, UPGRADE_STATE).unwrap_or_default();
    let is_deleted = node.metadata.deletion_timestamp.is_some();
    if is_deleted || is_cordoned || taints.iter().any(goes) || UPGRADE_LEAVING.contains(&upgrade) {
        return Standing::Leaving;
    }
    let selected = placement.node_selector.iter().all(|(key, value)| label_of(node, key) == Some(value.as_str()));
    let keeps_off = |taint: &Taint| taint.effect == "NoSchedule" && !tolerates(placement, taint);
    if !selected {
        Standing::Closed(Closed::NotSelected)
    } else if !is_ready(node) {
        Standing::Closed(Closed::NotReady)
    } else if taints.iter().any(keeps_off) {
        Standing::Closed(Closed::Tainted)
    } else if !["", UPGRADE_DONE].contains(&upgrade) {
        Standing::Closed(Closed::DriverUpgrade)
    } else {
        Standing::Open
    }
}

fn is_ready(node: &Node) -> bool {
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Whether the pods stand a taint, as the scheduler compares: with the pool's tolerations, and the one for the taint
/// that by custom has the name of the GPUs' resource (`build/template.rs`).
fn tolerates(placement: &PodPlacement, taint: &Taint) -> bool {
    let own = placement.tolerations.iter().any(|toleration| {
        let value = |value: &Option<String>| value.clone().unwrap_or_default();
        toleration.key == taint.key
            && toleration.effect.is_none_or(|effect| effect.as_str() == taint.effect)
            && (toleration.operator == TolerationOperator::Exists || value(&toleration.value) == value(&taint.value))
    });
    own || (taint.key == placement.gpu_resource && taint.effect == "NoSchedule")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fixture::valid;

    /// A ready node with one GPU of 24 GB, changed by `patch` (JSON merge patch).
    fn node(patch: &Value) -> Node {
        fn merge(into: &mut Value, patch: &Value) {
            let Some(fields) = patch.as_object() else {
                *into = patch.clone();
                return;
            };
            for (name, value) in fields {
                if value.is_null() {
                    into.as_object_mut().unwrap().remove(name);
                } else {
                    merge(&mut into[name.as_str()], value);
                }
            }
        }
        let mut whole = json!({
            "metadata": {"name": "n", "labels": {
                "nvidia.com/gpu.memory": "23034", "nvidia.com/gpu.product": "NVIDIA-L4", "nvidia.com/gpu.replicas": "1",
            }},
            "spec": {},
            "status": {
                "allocatable": {"cpu": "8", "nvidia.com/gpu": "1"},
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        });
        merge(&mut whole, patch);
        serde_json::from_value(whole).unwrap()
    }

    fn read(node: &Node, placement: &PodPlacement) -> NodeFacts {
        NodeReader::new(placement).read(node)
    }

    fn facts_for(placement: &Value, patch: &Value) -> NodeFacts {
        read(&node(patch), &valid(&json!({"placement": placement})).revision.runs.placement)
    }

    fn facts(patch: &Value) -> NodeFacts {
        facts_for(&json!({}), patch)
    }

    #[test]
    fn a_node_is_what_its_labels_and_taints_say() {
        let plain = facts(&json!({}));
        let expected = NodeFacts {
            name: "n".to_owned(),
            standing: Standing::Open,
            gpus: 1,
            is_wanted: true,
            memory: GpuMemory::Shared(23034, 1),
        };
        assert_eq!(plain, expected);
        assert_eq!(read(&Node::default(), &PodPlacement::default()).standing, Standing::Closed(Closed::NotReady));
    }

    #[test]
    fn memory_that_is_odd_has_an_answer() {
        use GpuMemory::{Shared, Unknown, Unusable};
        let labels = |memory: Value, replicas: Value| json!({"metadata": {"labels": {"nvidia.com/gpu.memory": memory, "nvidia.com/gpu.replicas": replicas}}});
        let rows = [
            (json!("15360"), Value::Null, Shared(15360, 1)),
            (json!("15360"), json!("0"), Shared(15360, 1)),
            (json!("15360"), json!("2"), Shared(15360, 2)),
            (json!("15360"), json!("8"), Shared(15360, 8)),
            (json!("15360"), json!("9"), Unusable),
            (json!("15360"), json!("many"), Unusable),
            (json!("15360"), json!(""), Unusable),
            (json!("lots"), json!("1"), Unusable),
            (json!(""), json!("1"), Unusable),
            (json!("15360Mi"), json!("1"), Unusable),
            (json!("-5"), json!("1"), Shared(-5, 1)),
            (json!("0"), json!("1"), Shared(0, 1)),
            (json!("9223372036854775807"), json!("8"), Shared(i64::MAX, 8)),
            (json!("9223372036854775808"), json!("1"), Unusable),
            (Value::Null, json!("4"), Unknown),
        ];
        for (memory, replicas, expected) in rows {
            assert_eq!(facts(&labels(memory.clone(), replicas.clone())).memory, expected, "{memory} {replicas}");
        }
        assert_eq!(facts(&json!({"metadata": {"labels": null}})).memory, Unknown);
    }

    #[test]
    fn a_gpu_suits_from_one_mebibyte_more_than_is_needed() {
        let suits = |memory: &str, replicas: &str, need: u32| {
            let labels = json!({"nvidia.com/gpu.memory": memory, "nvidia.com/gpu.replicas": replicas});
            facts(&json!({"metadata": {"labels": labels}})).suits(need)
        };
        for (memory, replicas, need, expected) in [
            ("6143", "1", 6144, false),
            ("6144", "1", 6144, false),
            ("6145", "1", 6144, true),
            ("12288", "2", 6144, false),
            ("12289", "2", 6144, true),
            ("24577", "8", 3072, true),
            ("24576", "8", 3072, false),
            ("81920", "9", 3072, false),
            ("-5", "1", 0, false),
            ("lots", "1", 0, false),
            ("9223372036854775807", "8", u32::MAX, true),
        ] {
            assert_eq!(suits(memory, replicas, need), expected, "{memory} {replicas} {need}");
        }
        // Nothing is said of its memory: the pod looks.
        assert!(facts(&json!({"metadata": {"labels": null}})).suits(u32::MAX));
    }

    #[test]
    fn gpus_are_counted_in_whole_ones() {
        let rows = [
            (json!("1"), 1),
            (json!("2"), 2),
            (json!("0"), 0),
            (json!("1k"), 1000),
            (json!("2500m"), 2),
            (json!("-1"), 0),
            (json!("lots"), 0),
            (json!(""), 0),
            (json!("999999999999"), i32::MAX),
            (Value::Null, 0),
        ];
        for (amount, expected) in rows {
            assert_eq!(
                facts(&json!({"status": {"allocatable": {"nvidia.com/gpu": amount}}})).gpus,
                expected,
                "{amount}"
            );
        }
        assert_eq!(facts(&json!({"status": {"allocatable": null}})).gpus, 0);
        assert_eq!(facts(&json!({"status": null})).gpus, 0);
    }

    #[test]
    fn a_resource_of_another_name_has_labels_of_its_own() {
        let mig = json!({
            "metadata": {"labels": {"nvidia.com/mig-1g.5gb.memory": "4864", "nvidia.com/mig-1g.5gb.replicas": "0"}},
            "status": {"allocatable": {"nvidia.com/mig-1g.5gb": "7"}},
        });
        let facts = facts_for(&json!({"gpuResource": "nvidia.com/mig-1g.5gb"}), &mig);
        assert_eq!((facts.gpus, facts.memory), (7, GpuMemory::Shared(4864, 1)));
        let shared = json!({
            "metadata": {"labels": {"nvidia.com/gpu.replicas": "4"}},
            "status": {"allocatable": {"nvidia.com/gpu": "0", "nvidia.com/gpu.shared": "4"}},
        });
        let facts = facts_for(&json!({"gpuResource": "nvidia.com/gpu.shared"}), &shared);
        assert_eq!((facts.gpus, facts.memory), (4, GpuMemory::Shared(23034, 4)));
    }

    #[test]
    fn only_gpus_that_are_named_are_wanted() {
        let named = |products: Value, label: Value| {
            let patch = json!({"metadata": {"labels": {"nvidia.com/gpu.product": label}}});
            facts_for(&json!({"gpuProducts": products}), &patch).is_wanted
        };
        for (products, label, expected) in [
            (json!(["NVIDIA-L4"]), json!("NVIDIA-L4"), true),
            (json!(["NVIDIA-L4"]), json!("NVIDIA-L4-SHARED"), true),
            (json!(["NVIDIA-L4-SHARED"]), json!("NVIDIA-L4"), false),
            (json!(["NVIDIA-L4"]), json!("NVIDIA-L40S"), false),
            (json!(["NVIDIA-L4"]), json!("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb"), false),
            (json!(["Tesla-T4", "NVIDIA-L4"]), json!("NVIDIA-L4"), true),
            (json!(["NVIDIA-L4"]), Value::Null, false),
            (json!([]), Value::Null, true),
            (json!([]), json!("Quantum-9000"), true),
        ] {
            assert_eq!(named(products.clone(), label.clone()), expected, "{products} {label}");
        }
    }

    #[test]
    fn pods_go_only_where_nothing_keeps_them_off() {
        use super::Closed::{DriverUpgrade, NotReady, NotSelected, Tainted};
        use Standing::{Closed, Leaving, Open};
        let taint =
            |key: &str, effect: &str| json!({"spec": {"taints": [{"key": key, "value": "v", "effect": effect}]}});
        let upgrade = |state: &str| json!({"metadata": {"labels": {"nvidia.com/gpu-driver-upgrade-state": state}}});
        let ready = |status: &str| json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
        let rows = [
            (json!({"spec": {"unschedulable": true}}), Leaving),
            (json!({"spec": {"unschedulable": false}}), Open),
            (json!({"spec": null}), Open),
            (taint("node.kubernetes.io/unschedulable", "NoSchedule"), Leaving),
            (taint("ToBeDeletedByClusterAutoscaler", "NoSchedule"), Leaving),
            (taint("DeletionCandidateOfClusterAutoscaler", "PreferNoSchedule"), Open),
            (taint("karpenter.sh/disrupted", "NoSchedule"), Leaving),
            (taint("karpenter.sh/disruption", "NoSchedule"), Leaving),
            (taint("cloud.google.com/impending-node-termination", "NoSchedule"), Leaving),
            (taint("aws-node-termination-handler/spot-itn", "NoSchedule"), Leaving),
            (taint("node.kubernetes.io/not-ready", "NoExecute"), Leaving),
            (taint("anything.example.com/at-all", "NoExecute"), Leaving),
            (taint("anything.example.com/at-all", "NoSchedule"), Closed(Tainted)),
            (taint("anything.example.com/at-all", "PreferNoSchedule"), Open),
            // GPU pods tolerate the taint of their GPUs.
            (taint("nvidia.com/gpu", "NoSchedule"), Open),
            (taint("nvidia.com/gpu", "NoExecute"), Leaving),
            (taint("nvidia.com/mig-1g.5gb", "NoSchedule"), Closed(Tainted)),
            (ready("False"), Closed(NotReady)),
            (ready("Unknown"), Closed(NotReady)),
            (json!({"status": {"conditions": null}}), Closed(NotReady)),
            (json!({"status": {"conditions": [{"type": "DiskPressure", "status": "True"}]}}), Closed(NotReady)),
            (upgrade(""), Open),
            (upgrade("upgrade-done"), Open),
            (upgrade("upgrade-required"), Closed(DriverUpgrade)),
            (upgrade("upgrade-failed"), Closed(DriverUpgrade)),
            (upgrade("validation-required"), Closed(DriverUpgrade)),
            (upgrade("a-state-of-tomorrow"), Closed(DriverUpgrade)),
            (upgrade("cordon-required"), Leaving),
            (upgrade("wait-for-jobs-required"), Leaving),
            (upgrade("pod-deletion-required"), Leaving),
            (upgrade("drain-required"), Leaving),
            (upgrade("node-maintenance-required"), Leaving),
            (json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}), Leaving),
        ];
        for (patch, expected) in rows {
            assert_eq!(facts(&patch).standing, expected, "{patch}");
        }
        let selector = json!({"nodeSelector": {"zone": "a"}});
        for (labels, expected) in [
            (json!({"zone": "a"}), Open),
            (json!({"zone": "b"}), Closed(NotSelected)),
            (json!({}), Closed(NotSelected)),
        ] {
            let patch = json!({"metadata": {"labels": labels}});
            assert_eq!(facts_for(&selector, &patch).standing, expected, "{labels}");
        }
    }

    #[test]
    fn what_is_tolerated_keeps_nobody_off() {
        let taint = |key: &str, value: &str, effect: &str| json!({"spec": {"taints": [{"key": key, "value": value, "effect": effect}]}});
        let standing =
            |toleration: Value, taint: Value| facts_for(&json!({"tolerations": [toleration]}), &taint).standing;
        let tainted = Standing::Closed(Closed::Tainted);
        for (toleration, taint, expected) in [
            (json!({"key": "ocr", "value": "only"}), taint("ocr", "only", "NoSchedule"), Standing::Open),
            (json!({"key": "ocr", "value": "only"}), taint("ocr", "other", "NoSchedule"), tainted),
            (json!({"key": "ocr"}), taint("ocr", "", "NoSchedule"), Standing::Open),
            (json!({"key": "ocr"}), taint("ocr", "other", "NoSchedule"), tainted),
            (json!({"key": "ocr", "operator": "Exists"}), taint("ocr", "other", "NoSchedule"), Standing::Open),
            (json!({"key": "ocr", "operator": "Exists"}), taint("ocr", "other", "NoExecute"), Standing::Open),
            (
                json!({"key": "ocr", "operator": "Exists", "effect": "NoSchedule"}),
                taint("ocr", "", "NoSchedule"),
                Standing::Open,
            ),
            (
                json!({"key": "ocr", "operator": "Exists", "effect": "NoSchedule"}),
                taint("ocr", "", "NoExecute"),
                Standing::Leaving,
            ),
            (
                json!({"key": "ocr", "operator": "Exists", "effect": "NoExecute"}),
                taint("ocr", "", "NoSchedule"),
                tainted,
            ),
        ] {
            assert_eq!(standing(toleration.clone(), taint.clone()), expected, "{toleration} {taint}");
        }
        let mut all = crate::fixture::installation();
        all.allow.tolerations = vec!["*".to_owned()];
        let tolerant = |key: &str| {
            let spec = json!({"placement": {"tolerations": [{"key": key, "operator": "Exists"}]}});
            let pool = crate::valid::ValidPool::read(&crate::fixture::pool(&spec), &all).unwrap();
            pool.revision.runs.placement
        };
        // A cordon may be tolerated, like any taint; a node that goes cannot.
        let cordoned = node(&json!({"spec": {"unschedulable": true}}));
        assert_eq!(read(&cordoned, &tolerant("node.kubernetes.io/unschedulable")).standing, Standing::Open);
        let of_effect = |effect: &str| {
            let toleration = json!({"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": effect});
            let spec = json!({"placement": {"tolerations": [toleration]}});
            read(
                &cordoned,
                &crate::valid::ValidPool::read(&crate::fixture::pool(&spec), &all).unwrap().revision.runs.placement,
            )
        };
        assert_eq!(
            ["NoSchedule", "NoExecute"].map(|effect| of_effect(effect).standing),
            [Standing::Open, Standing::Leaving]
        );
        let doomed = node(&taint("karpenter.sh/disrupted", "", "NoSchedule"));
        assert_eq!(read(&doomed, &tolerant("karpenter.sh/disrupted")).standing, Standing::Leaving);
    }
}
