//! What administrators do to nodes, and drains to pods.

use anyhow::Context as _;
use http::Request;
use serde_json::{Value, json};

use super::{Cluster, path};

impl Cluster {
    /// Merges a change into an object's status, as the field manager `suite`.
    ///
    /// # Errors
    /// If it is refused, with the API server's words.
    pub fn merge_status(&self, kind: &str, namespace: &str, name: &str, change: &Value) -> anyhow::Result<Value> {
        let request = Request::patch(format!("{}/status?fieldManager=suite", path(kind, namespace, name)))
            .header("content-type", "application/merge-patch+json");
        let change = json!({"status": change});
        self.call(request, Some(&change)).with_context(|| format!("cannot change the status of {kind} {name}"))
    }

    /// Opens a node to pods, or closes it.
    ///
    /// # Errors
    /// If it is refused.
    pub fn cordon(&self, node: &str, is_closed: bool) -> anyhow::Result<()> {
        self.merge("Node", "", node, &json!({"spec": {"unschedulable": is_closed}})).map(drop)
    }

    /// Asks for the eviction of a pod, as a drain does. False where its disruption budget does not allow it now.
    ///
    /// # Errors
    /// If it is refused for another reason.
    pub fn evict(&self, namespace: &str, pod: &str) -> anyhow::Result<bool> {
        let body = json!({
            "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace},
        });
        let request = Request::post(format!("{}/eviction", path("Pod", namespace, pod)))
            .header("content-type", "application/json");
        match self.call(request, Some(&body)) {
            Ok(_) => Ok(true),
            Err(error) if error.to_string().starts_with("404") => Ok(true),
            Err(error) if error.to_string().starts_with("429") => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot evict {pod}")),
        }
    }
}
