//! A node that offers a GPU which it does not have: what a pod that was made for it says, and what becomes of it.

use std::{thread::sleep, time::Duration};

use anyhow::{Context, ensure};
use ocr_tests::{
    cluster::{Cluster, Pool, Watch, is_ready, small, until},
    suite::Suite,
};
use serde_json::{Value, json};

const NAMESPACE: &str = "mismatch";
/// Longest wait for a pod that reads a page.
const START: Duration = Duration::from_mins(2);
/// How long a pool is watched in which nothing may happen: twice as long as the operator lets pass between two looks.
const QUIET: Duration = Duration::from_mins(1);

pub fn cases(suite: &mut Suite, cluster: &'static Cluster) {
    suite.case_with(Cluster::own(), "a_pod_on_a_node_without_the_gpu_that_it_offers_serves_and_is_shown", move |()| {
        cluster.namespace(NAMESPACE)?;
        offer(cluster, "1", &json!("24576"))?;
        let outcome = mismatch(cluster);
        offer(cluster, "0", &Value::Null)?;
        outcome
    });
}

/// Lets the node say, as a device plugin and GPU feature discovery would, that it has so many GPUs of so many MiB. Neither
/// is there, nor a GPU.
fn offer(cluster: &Cluster, gpus: &str, memory: &Value) -> anyhow::Result<()> {
    let labels = json!({"metadata": {"labels": {"nvidia.com/gpu.memory": memory}}});
    cluster.merge("Node", "", "node-0", &labels)?;
    let change = json!({"capacity": {"nvidia.com/gpu": gpus}, "allocatable": {"nvidia.com/gpu": gpus}});
    cluster.merge_status("Node", "", "node-0", &change).map(drop)
}

fn mismatch(cluster: &'static Cluster) -> anyhow::Result<()> {
    let memory = json!({"requests": {"cpu": "100m"}, "limits": {"cpu": 1, "memory": "1Gi"}});
    let spec = |on_mismatch: &str| {
        small(&json!({
            "strategies": ["gpu-fp16", "cpu"], "placement": {"onMismatch": on_mismatch, "spillAfterSeconds": 10},
            "resources": {"cpu": memory, "gpu": memory},
        }))
    };
    let pool = Pool::apply(cluster, NAMESPACE, "liar", &spec("Serve"))?;
    pool.wait_ready(1, START)?;
    let message = pool.wait_condition("StrategyVerified", false, "StrategyMismatch", START)?;
    ensure!(message.contains("gpu-fp16: 1 of 1 ready pods run cpu instead; liar-"), "{message}");
    // The step that failed, in the pod's words.
    ensure!(message.contains(" says NoProvider: "), "{message}");
    ensure!(pool.wait_condition("Degraded", true, "StrategyMismatch", START)? == message, "another message");
    let answer = pool.read_example("senate-1871.jpg")?;
    ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
    let columns = cluster.kubectl(&["-n", NAMESPACE, "get", "ocrpool", "liar", "--no-headers"])?;
    for column in ["1/1", "cpu:1", "StrategyMismatch"] {
        ensure!(columns.split_whitespace().any(|text| text == column), "no {column} in {columns:?}");
    }

    let before = pool.pod_identities()?;
    let watch = Watch::start(cluster, "Pod", NAMESPACE)?;
    pool.set(&spec("Replace"))?;
    until(START, "the pod was replaced", || {
        let status = pool.get()?["status"].clone();
        let gpu = &status["strategies"][0];
        ensure!(gpu["replaced"]["count"] == 1 && gpu["ready"] == 1, "{status}");
        ensure!(pool.pod_identities()?.iter().all(|pod| !before.contains(pod)), "{before:?} is still there");
        ensure!(pool.pods()?.len() == 1, "what covered for it is still there");
        Ok(())
    })?;
    // The next one says the same: that is tried again, but not soon.
    let settled = pool.pod_identities()?;
    sleep(QUIET);
    ensure!(pool.pod_identities()? == settled, "pods are replaced again and again");
    pool.wait_condition("StrategyVerified", false, "StrategyMismatch", START)?;
    served_throughout(&watch, &before)?;
    pool.delete()
}

/// At every event at least one pod was ready.
fn served_throughout(watch: &Watch, before: &[(String, i64)]) -> anyhow::Result<()> {
    let mut ready: std::collections::BTreeSet<String> = before.iter().map(|(uid, _)| uid.clone()).collect();
    for event in watch.events(0)? {
        let pod = &event.object;
        let uid = pod["metadata"]["uid"].as_str().context("a pod without a UID")?;
        if is_ready(pod) && !event.is_gone {
            ready.insert(uid.to_owned());
        } else {
            ready.remove(uid);
        }
        ensure!(!ready.is_empty(), "no pod is ready any more: {pod}");
    }
    Ok(())
}
