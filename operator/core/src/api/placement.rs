//! Where the pods may run.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Where the pods may run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Name of the resource by which a node offers its GPUs; a pod of a GPU strategy asks for one of it.
    #[serde(default = "default_gpu_resource")]
    #[schemars(
        length(min = 3, max = 308),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]{0,52}[A-Za-z0-9])?$")
    )]
    pub gpu_resource: String,
    /// GPUs that pods may compute on, by name, as the label `nvidia.com/gpu.product` of a node has it: `NVIDIA-L4`.
    /// A shared one (`NVIDIA-L4-SHARED`) is meant too. Not given: every GPU with enough memory, and GPUs of nodes whose
    /// labels say nothing of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        inner(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub gpu_products: Vec<String>,
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(
        validation = Rule::new("self.all(key, size(key) <= 317 && size(self[key]) <= 63)")
            .message("nodeSelector: a label's name has at most 317 characters, its value at most 63")
    )]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pods tolerate, beside those of GPU nodes. The installation may allow only some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,
    /// Priority class of the pods. The installation may allow only some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub priority_class_name: Option<String>,
    /// How long a pod may find no node, in seconds, until the next strategy takes its place. Pods are not replaced when
    /// this changes.
    #[serde(default = "default_spill_after_seconds")]
    #[schemars(range(min = 5, max = 3600))]
    pub spill_after_seconds: i32,
    /// What becomes of a pod that runs a lower strategy than it was made for, such as `cpu` where its GPU does not
    /// work: `Serve` keeps it, `Replace` makes another in its place, at most five times a revision and ever more
    /// rarely. Pods are not replaced when this changes.
    #[serde(default)]
    pub on_mismatch: OnMismatch,
}

fn default_gpu_resource() -> String {
    "nvidia.com/gpu".to_owned()
}

const fn default_spill_after_seconds() -> i32 {
    30
}

impl Default for Placement {
    fn default() -> Self {
        Self {
            gpu_resource: default_gpu_resource(),
            gpu_products: Vec::new(),
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            priority_class_name: None,
            spill_after_seconds: default_spill_after_seconds(),
            on_mismatch: OnMismatch::default(),
        }
    }
}

/// What becomes of a pod that runs a lower strategy than it was made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum OnMismatch {
    #[default]
    Serve,
    Replace,
}

/// A taint that the pods tolerate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.operator == 'Equal' || !has(self.value)")
        .message("a toleration with the operator Exists has no value")
)]
pub struct Toleration {
    /// Key of the taint.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// `Equal` compares the value, `Exists` tolerates every value.
    #[serde(default)]
    pub operator: TolerationOperator,
    /// Value of the taint, with the operator `Equal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// Effect of the taint. Not given: every effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
}

/// How a toleration compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum TolerationOperator {
    #[default]
    Equal,
    Exists,
}

/// What a taint does to pods that do not tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum TaintEffect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

impl TaintEffect {
    /// As Kubernetes writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }
}
