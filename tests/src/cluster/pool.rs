//! A pool of a suite.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::{Cluster, until};
use crate::{
    data,
    http::{Answer, Http},
};

/// A spec for which every machine has room, with more in it or other.
#[must_use]
pub fn small(more: &Value) -> Value {
    let mut spec = json!({
        "model": {"name": "pp-ocrv6-tiny"},
        "resources": {"cpu": {"requests": {"cpu": "100m"}, "limits": {"cpu": 1, "memory": "1Gi"}}},
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        spec[name] = value.clone();
    }
    spec
}

/// A pool in a cluster, by name.
pub struct Pool<'a> {
    cluster: &'a Cluster,
    pub namespace: String,
    pub name: String,
}

impl<'a> Pool<'a> {
    /// A pool that is there, or will be.
    #[must_use]
    pub fn named(cluster: &'a Cluster, namespace: &str, name: &str) -> Self {
        Self { cluster, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// Applies a pool with this spec.
    ///
    /// # Errors
    /// If it is refused, with the API server's words.
    pub fn apply(cluster: &'a Cluster, namespace: &str, name: &str, spec: &Value) -> anyhow::Result<Self> {
        let pool = Self::named(cluster, namespace, name);
        pool.set(spec)?;
        Ok(pool)
    }

    /// Applies another spec.
    ///
    /// # Errors
    /// If it is refused, with the API server's words.
    pub fn set(&self, spec: &Value) -> anyhow::Result<()> {
        self.cluster.apply(&json!({
            "apiVersion": "ocrpool.dev/v1alpha1",
            "kind": "OcrPool",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": spec,
        }))?;
        Ok(())
    }

    /// The pool as the API server has it.
    ///
    /// # Errors
    /// If it is not there.
    pub fn get(&self) -> anyhow::Result<Value> {
        let pool = self.cluster.get("OcrPool", &self.namespace, &self.name)?;
        pool.with_context(|| format!("there is no pool {}", self.name))
    }

    /// A condition, once it speaks of the newest spec: whether it is true, its reason and its message.
    ///
    /// # Errors
    /// If there is none yet, or one of an older spec.
    pub fn condition(&self, type_: &str) -> anyhow::Result<(bool, String, String)> {
        let pool = self.get()?;
        let all = pool["status"]["conditions"].as_array();
        let found = all.into_iter().flatten().find(|condition| condition["type"] == type_);
        let condition = found.with_context(|| format!("{} has no condition {type_}", self.name))?;
        ensure!(condition["observedGeneration"] == pool["metadata"]["generation"], "{type_} is of an older spec");
        let text = |name: &str| condition[name].as_str().unwrap_or_default().to_owned();
        Ok((condition["status"] == "True", text("reason"), text("message")))
    }

    /// Waits until the pool is `Ready`, settled, and has so many ready pods; returns how long it took.
    ///
    /// # Errors
    /// If it is not within `limit`, with its status.
    pub fn wait_ready(&self, pods: u32, limit: Duration) -> anyhow::Result<Duration> {
        let started = Instant::now();
        until(limit, &format!("pool {} is Ready with {pods} pods", self.name), || {
            let (is_ready, reason, message) = self.condition("Ready")?;
            ensure!(is_ready, "{reason}: {message}");
            let (is_moving, _, message) = self.condition("Progressing")?;
            ensure!(!is_moving, "still moving: {message}");
            let status = self.get()?["status"].clone();
            ensure!(status["ready"] == format!("{pods}/{pods}"), "pods: {}", status["ready"]);
            Ok(())
        })
        .with_context(|| self.describe())?;
        Ok(started.elapsed())
    }

    /// Waits until a condition has this status and reason; returns its message.
    ///
    /// # Errors
    /// If it has not within `limit`, with what it has.
    pub fn wait_condition(&self, type_: &str, status: bool, reason: &str, limit: Duration) -> anyhow::Result<String> {
        until(limit, &format!("{type_} of pool {} is {status} for {reason}", self.name), || {
            let (is, why, message) = self.condition(type_)?;
            ensure!(is == status && why == reason, "{type_} is {is} for {why}: {message}");
            Ok(message)
        })
        .with_context(|| self.describe())
    }

    /// Its pods that are not on their way out.
    ///
    /// # Errors
    /// If the API server does not say.
    pub fn pods(&self) -> anyhow::Result<Vec<Value>> {
        let mut pods = self.cluster.list("Pod", &self.namespace, &format!("ocrpool.dev/pool={}", self.name))?;
        pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        Ok(pods)
    }

    /// Clients of its pods' admin ports.
    ///
    /// # Errors
    /// If a pod has no address yet.
    pub fn admin_ports(&self) -> anyhow::Result<Vec<Http>> {
        let admin = |pod: &Value| {
            let address = pod["status"]["podIP"].as_str().context("a pod without an address")?;
            Http::new(format!("http://{address}:8101"))
        };
        self.pods()?.iter().map(admin).collect()
    }

    /// UIDs and restarts of its pods, in order.
    ///
    /// # Errors
    /// If the API server does not say.
    pub fn pod_identities(&self) -> anyhow::Result<Vec<(String, i64)>> {
        let identity = |pod: &Value| {
            let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap_or(0);
            (pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned(), restarts)
        };
        let mut all: Vec<_> = self.pods()?.iter().map(identity).collect();
        all.sort();
        Ok(all)
    }

    /// `http://` and the address of its Service.
    ///
    /// # Errors
    /// If it has none yet.
    pub fn address(&self) -> anyhow::Result<String> {
        let service = self.cluster.get("Service", &self.namespace, &self.name)?.context("no Service yet")?;
        let address = service["spec"]["clusterIP"].as_str().context("the Service has no address")?;
        Ok(if address.contains(':') { format!("http://[{address}]") } else { format!("http://{address}") })
    }

    /// A client of its Service.
    ///
    /// # Errors
    /// If it has no address yet.
    pub fn http(&self) -> anyhow::Result<Http> {
        Http::new(self.address()?)
    }

    /// Reads a file of `examples/documents` through its Service, as text.
    ///
    /// # Errors
    /// If no answer comes.
    pub fn read_example(&self, name: &str) -> anyhow::Result<Answer> {
        self.http()?.post("/v1/ocr?format=text", data::read(data::example(name))?)
    }

    /// Deletes the pool; its pods take their time to end, for which nobody waits.
    ///
    /// # Errors
    /// If the API server refuses.
    pub fn leave(&self) -> anyhow::Result<()> {
        self.cluster.delete("OcrPool", &self.namespace, &self.name)
    }

    /// Deletes the pool and waits until it and its pods are gone.
    ///
    /// # Errors
    /// If they are not within two minutes.
    pub fn delete(&self) -> anyhow::Result<()> {
        self.leave()?;
        until(Duration::from_mins(2), &format!("pool {} is gone", self.name), || {
            ensure!(self.cluster.get("OcrPool", &self.namespace, &self.name)?.is_none(), "it is there");
            let pods = self.cluster.list("Pod", &self.namespace, &format!("ocrpool.dev/pool={}", self.name))?;
            ensure!(pods.is_empty(), "it has {} pods", pods.len());
            Ok(())
        })
    }

    /// What a person would look at.
    #[must_use]
    pub fn describe(&self) -> String {
        let status = self.get().map(|pool| pool["status"].clone()).unwrap_or_default();
        format!("pool {}/{}: {status}", self.namespace, self.name)
    }
}
