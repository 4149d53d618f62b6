//! How a new revision is judged.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// How a new revision is judged before it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutPolicy {
    /// Pages whose text is known. Every pod reads them before any other page, in each way of computing that it tries, and
    /// uses none that reads them badly.
    #[serde(default)]
    pub golden: Golden,
}

/// Pages whose text is known. One page is built into the pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Golden {
    /// Further pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<ConfigMapRef>,
    /// Most of their characters that may be read wrongly, in percent: a decimal number as text, such as `3` or `0.5`.
    #[serde(default = "default_max_error")]
    #[schemars(length(max = 6), regex(pattern = r"^(100|[0-9]{1,2}(\.[0-9]{1,3})?)$"))]
    pub max_char_error_percent: String,
}

fn default_max_error() -> String {
    "3".to_owned()
}

impl Default for Golden {
    fn default() -> Self {
        Self { config_map_ref: None, max_char_error_percent: default_max_error() }
    }
}

impl Golden {
    /// Whether it is what a pod does of itself.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A ConfigMap in the pool's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapRef {
    /// Its name. Each page is an image or a PDF under `binaryData`, such as `scan.jpg`, and its text under `data`, as
    /// `scan.txt`: at most 32 pages. Pods that run do not notice a change; those that start later do.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
}
