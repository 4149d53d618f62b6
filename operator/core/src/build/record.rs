//! The record of a revision: its Deployment for a strategy as it was first rendered, in an immutable ConfigMap.
//!
//! A later version of the operator may render another Deployment for the same revision. It must not apply that: pods
//! would be replaced because the operator was upgraded. So it is rendered once, kept, and taken from here ever after,
//! with no more changed than the number of its pods.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::ConfigMap},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

/// Key of the Deployment in the record.
const KEY: &str = "deployment.json";

/// The record of a Deployment. It has the Deployment's name and labels.
#[must_use]
pub fn record(deployment: &Deployment) -> ConfigMap {
    let mut kept = as_rendered(deployment);
    if let Some(spec) = &mut kept.spec {
        spec.replicas = None;
    }
    ConfigMap {
        // Plain data that came from our own builder or from JSON: writing it as JSON cannot fail.
        data: Some(BTreeMap::from([(KEY.to_owned(), serde_json::to_string(&kept).unwrap_or_default())])),
        immutable: Some(true),
        metadata: kept.metadata,
        ..ConfigMap::default()
    }
}

/// The Deployment of a record, with so many pods; none if it holds none of the record's own name.
#[must_use]
pub fn recorded(record: &ConfigMap, replicas: i32) -> Option<Deployment> {
    let mut deployment: Deployment = serde_json::from_str(record.data.as_ref()?.get(KEY)?).ok()?;
    if deployment.metadata.name != record.metadata.name || deployment.metadata.namespace != record.metadata.namespace {
        return None;
    }
    deployment.spec.as_mut()?.replicas = Some(replicas);
    Some(deployment)
}

/// A Deployment without what the API server and others put into its metadata.
#[must_use]
pub fn as_rendered(deployment: &Deployment) -> Deployment {
    let metadata = &deployment.metadata;
    let ours = |key: &String| key.starts_with(crate::api::GROUP) || key.starts_with("app.kubernetes.io/");
    let labels = metadata.labels.iter().flatten().filter(|(key, _)| ours(key));
    Deployment {
        metadata: ObjectMeta {
            labels: Some(labels.map(|(key, value)| (key.clone(), value.clone())).collect()),
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            owner_references: metadata.owner_references.clone(),
            ..ObjectMeta::default()
        },
        spec: deployment.spec.clone(),
        status: None,
    }
}
