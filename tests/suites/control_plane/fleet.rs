//! Nodes, pools and their pods, in numbers.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use ocr_tests::{
    cluster::{Cluster, Installation, Pool, until},
    program::of_the_suites,
    work::in_parallel,
};
use serde_json::{Value, json};

/// Namespace of the pools.
pub const NAMESPACE: &str = "fleet";

/// Calls of the API server at the same time.
const AT_ONCE: usize = 8;

/// A cluster with nodes, the chart, and a process that answers for all pods.
pub struct Fleet {
    pub cluster: &'static Cluster,
    pub pools: Vec<String>,
    _answers: Answers,
}

/// The process that answers for all pods; it ends with this.
pub struct Answers(Child);

impl Answers {
    /// Starts it.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start() -> anyhow::Result<Self> {
        Ok(Self(Command::new(of_the_suites("fake-pod")?).stdin(Stdio::null()).spawn().context("no fake pods")?))
    }
}

impl Fleet {
    /// Makes nodes and pools of `pods` pods each. No operator runs yet.
    ///
    /// # Errors
    /// If the API server refuses.
    pub fn new(cluster: &'static Cluster, nodes: usize, pools: u32, pods: usize) -> anyhow::Result<Self> {
        let answers = Answers::start()?;
        let names = (0..pools).map(|number| format!("pool-{number}")).collect();
        let fleet = Self { cluster, pools: names, _answers: answers };
        Installation::apply(cluster, &[])?;
        cluster.namespace(NAMESPACE)?;
        let nodes: Vec<usize> = (0..nodes).collect();
        all(in_parallel(&nodes, AT_ONCE, |_, number| cluster.apply(&node(*number)).map(drop)))?;
        all(in_parallel(&fleet.pools, AT_ONCE, |_, name| fleet.set(name, pods)))?;
        Ok(fleet)
    }

    /// Asks for so many pods of a pool.
    ///
    /// # Errors
    /// If the API server refuses.
    pub fn set(&self, pool: &str, pods: usize) -> anyhow::Result<()> {
        let spec = json!({
            "model": {"name": "pp-ocrv6-tiny"},
            "image": "localhost/fake-pod:1",
            "replicas": pods,
            "scaling": {"mode": "Manual"},
            "resources": {"cpu": {"limits": {"cpu": 1, "memory": "1Gi"}}},
        });
        Pool::apply(self.cluster, NAMESPACE, pool, &spec).map(drop)
    }

    /// Waits until every pool of the fleet is `Ready` with the pods that its spec asks for.
    ///
    /// # Errors
    /// If they are not within `limit`, with one that is not.
    pub fn wait_settled(&self, limit: Duration) -> anyhow::Result<()> {
        until(limit, "every pool is Ready and settled", || {
            let all = self.cluster.list("OcrPool", NAMESPACE, "")?;
            let ours = |name: &Value| self.pools.iter().any(|pool| name == pool);
            for pool in all.iter().filter(|pool| ours(&pool["metadata"]["name"])) {
                let (name, status) = (&pool["metadata"]["name"], &pool["status"]);
                let wanted = &pool["spec"]["replicas"];
                ensure!(status["ready"] == format!("{wanted}/{wanted}"), "{name}: {status}");
                ensure!(status["observedGeneration"] == pool["metadata"]["generation"], "{name} was not looked at");
                let is = |type_: &str, value: &str| {
                    let mut all = status["conditions"].as_array().into_iter().flatten();
                    all.any(|condition| condition["type"] == type_ && condition["status"] == value)
                };
                ensure!(is("Ready", "True") && is("Progressing", "False"), "{name}: {status}");
            }
            Ok(())
        })
    }

    /// Deletes the pools and waits until all that they were made of is gone, so that the next case begins with nothing.
    ///
    /// # Errors
    /// If something is left.
    pub fn remove(self) -> anyhow::Result<()> {
        remove(self.cluster)
    }
}

/// Deletes the namespace of the pools, and waits until it is gone.
///
/// # Errors
/// If something is left.
pub fn remove(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.delete("Namespace", "", NAMESPACE)?;
    until(Duration::from_mins(3), "the namespace is gone", || {
        ensure!(cluster.get("Namespace", "", NAMESPACE)?.is_none(), "it is there");
        Ok(())
    })
}

impl Drop for Answers {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn node(number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": format!("fake-{number}"), "annotations": {"kwok.x-k8s.io/node": "fake"}, "labels": {"type": "fake"}},
        "status": {"allocatable": {"cpu": "32", "memory": "256Gi", "ephemeral-storage": "100Gi", "pods": "110"}},
    })
}

/// The first that failed.
fn all(results: Vec<anyhow::Result<()>>) -> anyhow::Result<()> {
    results.into_iter().collect()
}
