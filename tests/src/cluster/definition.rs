//! The definition of `OcrPool` in a cluster.

use anyhow::Context;
use serde_json::{Value, json};

use super::Cluster;

/// Name of the definition.
pub const DEFINITION: &str = "ocrpools.ocrpool.dev";

/// Does `work` while the definition lets any pool through, as that of another version could.
///
/// # Errors
/// Of `work`, or if the definition cannot be changed or put back.
pub fn with_loose_definition(cluster: &Cluster, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let whole = cluster.get("CustomResourceDefinition", "", DEFINITION)?.context("no definition")?;
    let set = |versions: &Value| {
        cluster.merge("CustomResourceDefinition", "", DEFINITION, &json!({"spec": {"versions": versions}}))
    };
    set(&json!([{
        "name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
    }]))?;
    let outcome = work();
    set(&whole["spec"]["versions"])?;
    outcome
}
