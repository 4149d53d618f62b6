//! Node drains take one pod at a time, and never wait for a pod that does not work anyway.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::{metadata, names};
use crate::valid::ValidPool;

pub(super) fn disruption_budget(pool: &ValidPool) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata(pool, pool.name.clone(), names::labels(&pool.name)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(names::selector(&pool.name)),
                ..LabelSelector::default()
            }),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}
