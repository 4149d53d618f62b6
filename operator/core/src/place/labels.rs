//! Labels and taints of nodes that say something of their GPUs, and where they come from.
//!
//! GPU feature discovery (GFD, part of NVIDIA's k8s-device-plugin, `internal/lm/resource.go`) labels a node for each
//! resource that it offers: `nvidia.com/gpu.memory`, `nvidia.com/mig-1g.5gb.memory`. A resource that was renamed
//! because it is shared (`renameByDefault`: `nvidia.com/gpu.shared`) is labelled under its first name.

/// Ending that the device plugin gives to the name of a shared resource.
const SHARED: &str = ".shared";

/// Ending that GFD gives to the product of a GPU that is shared under its own name.
const SHARED_PRODUCT: &str = "-SHARED";

/// Longest value of a label.
const LONGEST_VALUE: usize = 63;

/// Most pods that may share a GPU on which a pod of ours is placed: beyond that a share of any GPU that is sold is
/// smaller than what a model needs, or as slow as a CPU. A bound is needed, because the scheduler knows no arithmetic:
/// each number is a term of its own.
pub const MOST_SHARERS: i64 = 8;

/// State of a driver's upgrade (NVIDIA's k8s-operator-libs, `pkg/upgrade/consts.go`; kept by the GPU operator).
pub const UPGRADE_STATE: &str = "nvidia.com/gpu-driver-upgrade-state";

/// The one state in which nothing is to be done; a node that was never looked at has no state.
pub const UPGRADE_DONE: &str = "upgrade-done";

/// States in which a node's GPU pods are being sent away, or are about to be.
pub const UPGRADE_LEAVING: [&str; 5] = [
    "cordon-required",
    "wait-for-jobs-required",
    "pod-deletion-required",
    "drain-required",
    "node-maintenance-required",
];

/// All other states that are known: the upgrade waits for its turn, is past its pods, or has failed.
pub const UPGRADE_CLOSED: [&str; 6] = [
    "upgrade-required",
    "post-maintenance-required",
    "pod-restart-required",
    "validation-required",
    "uncordon-required",
    "upgrade-failed",
];

/// A node that takes no new pods; also the taint by which Kubernetes says so.
pub const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Taints that announce that a node goes, whatever their effect and whoever tolerates them: nobody stays on a node that
/// is gone.
pub const LEAVING: [&str; 10] = [
    // Cluster Autoscaler (cluster-autoscaler/utils/taints). Its `DeletionCandidateOfClusterAutoscaler` is only a
    // thought.
    "ToBeDeletedByClusterAutoscaler",
    // Karpenter, now and in v1beta1.
    "karpenter.sh/disrupted",
    "karpenter.sh/disruption",
    // Google's and Amazon's notices of interruption.
    "cloud.google.com/impending-node-termination",
    "aws-node-termination-handler/spot-itn",
    "aws-node-termination-handler/scheduled-maintenance",
    "aws-node-termination-handler/asg-lifecycle-termination",
    "aws-node-termination-handler/rebalance-recommendation",
    // Kubernetes itself: shut down, by the cloud's word; out of service, by its administrator's.
    "node.cloudprovider.kubernetes.io/shutdown",
    "node.kubernetes.io/out-of-service",
];

/// Name of the label `what` of a resource: `memory`, `product` or `replicas`.
#[must_use]
pub fn label(resource: &str, what: &str) -> String {
    format!("{}.{what}", resource.strip_suffix(SHARED).unwrap_or(resource))
}

/// Products as labels name them: each also as it is named when it is shared.
#[must_use]
pub fn products(names: &[String]) -> Vec<String> {
    let shared = names.iter().map(|name| format!("{name}{SHARED_PRODUCT}"));
    let mut all: Vec<String> = names.iter().cloned().chain(shared.filter(|name| name.len() <= LONGEST_VALUE)).collect();
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_the_name_of_their_resource() {
        for (resource, memory) in [
            ("nvidia.com/gpu", "nvidia.com/gpu.memory"),
            ("nvidia.com/gpu.shared", "nvidia.com/gpu.memory"),
            ("nvidia.com/mig-1g.5gb", "nvidia.com/mig-1g.5gb.memory"),
            ("nvidia.com/mig-1g.5gb.shared", "nvidia.com/mig-1g.5gb.memory"),
            ("amd.com/gpu", "amd.com/gpu.memory"),
        ] {
            assert_eq!(label(resource, "memory"), memory);
        }
    }

    #[test]
    fn a_product_is_meant_shared_too_where_that_can_be_a_label() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(products(&names(&["Tesla-T4"])), ["Tesla-T4", "Tesla-T4-SHARED"]);
        assert_eq!(products(&names(&["Tesla-T4-SHARED", "Tesla-T4"]))[..2], ["Tesla-T4", "Tesla-T4-SHARED"]);
        let fits = "a".repeat(56);
        assert_eq!(products(std::slice::from_ref(&fits)), [fits.clone(), format!("{fits}-SHARED")]);
        let long = "a".repeat(57);
        assert_eq!(products(std::slice::from_ref(&long)), [long]);
        assert_eq!(products(&[]), Vec::<String>::new());
    }
}
