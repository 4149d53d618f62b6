//! CPU and memory of the pods.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::Quantity;

/// CPU and memory of a pool's pods, by what they compute on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// For pods of the strategy `cpu`. What is not given comes from what the model was measured to need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<PodResources>,
    /// For pods of the strategies `gpu-fp16` and `gpu-int8`, beside the GPU itself. What is not given comes from what the
    /// model was measured to need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<PodResources>,
}

/// What a pod asks for, and what it gets at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "!has(self.requests) || !has(self.limits) || !has(self.requests.memory) || !has(self.limits.memory) || \
         quantity(string(self.requests.memory)).compareTo(quantity(string(self.limits.memory))) == 0"
    )
    .message("requests.memory and limits.memory must be equal: give one of them")
)]
#[x_kube(
    validation = Rule::new(
        "!has(self.requests) || !has(self.limits) || !has(self.requests.cpu) || !has(self.limits.cpu) || \
         quantity(string(self.requests.cpu)).compareTo(quantity(string(self.limits.cpu))) <= 0"
    )
    .message("requests.cpu must not exceed limits.cpu")
)]
pub struct PodResources {
    /// What a pod is scheduled by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<ComputeResources>,
    /// What a pod gets at most. Its threads follow from the CPU limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ComputeResources>,
}

/// An amount of CPU and of memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComputeResources {
    /// Cores: `2`, or `500m` for half a core. From 100m to 256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = Rule::new(
            "quantity(string(self)).compareTo(quantity('100m')) >= 0 && quantity(string(self)).compareTo(quantity('256')) <= 0"
        )
        .message("cpu must be from 100m to 256 cores, such as 500m or 2")
    )]
    pub cpu: Option<Quantity>,
    /// Bytes: `2Gi`, `1536Mi`. From 128Mi to 4Ti. Requests and limits of memory are always equal, so that a pod is
    /// never promised what it cannot keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = Rule::new(
            "quantity(string(self)).compareTo(quantity('128Mi')) >= 0 && quantity(string(self)).compareTo(quantity('4Ti')) <= 0"
        )
        .message("memory must be from 128Mi to 4Ti, such as 1536Mi or 2Gi")
    )]
    pub memory: Option<Quantity>,
}
