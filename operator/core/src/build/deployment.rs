//! The Deployment of a revision and a strategy.

use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::{
    metadata, names,
    template::{start_seconds, template},
};
use crate::{api::Strategy, valid::ValidPool};

/// Time for a node to pull the image, beyond the time to start.
const PULL_SECONDS: i32 = 600;

/// The Deployment of the pool's revision for a strategy, with so many pods.
#[must_use]
pub fn deployment(pool: &ValidPool, strategy: Strategy, replicas: i32) -> Deployment {
    let revision = &pool.revision.name;
    Deployment {
        metadata: metadata(
            pool,
            names::deployment(&pool.name, revision, strategy),
            names::revision_labels(&pool.name, revision, strategy),
        ),
        spec: Some(DeploymentSpec {
            progress_deadline_seconds: Some(start_seconds(pool, strategy) + PULL_SECONDS),
            replicas: Some(replicas),
            // A template never changes: there is nothing to go back to.
            revision_history_limit: Some(0),
            selector: LabelSelector {
                match_labels: Some(names::revision_selector(&pool.name, revision, strategy)),
                ..LabelSelector::default()
            },
            strategy: Some(DeploymentStrategy {
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
                type_: Some("RollingUpdate".to_owned()),
            }),
            template: template(pool, strategy),
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}
