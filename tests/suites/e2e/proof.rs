//! `Ready` is proven: by a page through the pool's own address, and doubted as soon as its pods fail.

use std::time::Duration;

use anyhow::ensure;
use ocr_tests::{
    cluster::{Cluster, Pool, small, until},
    suite::Suite,
};
use serde_json::{Value, json};

use crate::fake;

const NAMESPACE: &str = "proof";
const READY: Duration = Duration::from_mins(1);

/// Longest time until a pool whose pods begin to fail is not `Ready` any more.
const FALLS: Duration = Duration::from_secs(30);
/// How long a pool is watched that must never become `Ready`.
const NEVER: Duration = Duration::from_secs(40);

pub fn cases(suite: &mut Suite, cluster: &'static Cluster) {
    suite.case("a_pool_whose_pods_read_wrongly_or_fail_falls_and_recovers", move || falls(cluster));
    suite.case("a_pool_whose_pods_never_read_rightly_never_becomes_ready", move || never(cluster));
    suite.case("pods_without_a_way_out_start_and_read", move || no_egress(cluster));
}

fn pool_of_fakes(cluster: &'static Cluster, name: &str) -> anyhow::Result<Pool<'static>> {
    cluster.namespace(NAMESPACE)?;
    Pool::apply(cluster, NAMESPACE, name, &small(&json!({"image": fake::IMAGE})))
}

fn tell(pool: &Pool, reads: &str, ready: bool) -> anyhow::Result<()> {
    fake::tell(pool, &json!({"reads": reads, "ready": ready}))
}

fn falls(cluster: &'static Cluster) -> anyhow::Result<()> {
    let pool = pool_of_fakes(cluster, "falls")?;
    pool.wait_ready(1, READY)?;
    for (reads, ready, reason) in [("rightly", false, "NotReady"), ("not", true, "ProofFailed")] {
        let told = std::time::Instant::now();
        tell(&pool, reads, ready)?;
        if reads == "not" {
            // Traffic: what a pod answers with errors of its own shows in its status.
            let _ = pool.http()?.post("/v1/ocr", "x")?;
        }
        let message = pool.wait_condition("Ready", false, reason, FALLS)?;
        println!("{reads}, ready {ready}: not Ready after {:.1} s: {message}", told.elapsed().as_secs_f64());
        tell(&pool, "rightly", true)?;
        pool.wait_ready(1, READY)?;
    }
    pool.leave()
}

fn never(cluster: &'static Cluster) -> anyhow::Result<()> {
    let told = [("wrong", "wrongly"), ("failing", "not")];
    let pools: Vec<Pool> = told.iter().map(|(name, _)| pool_of_fakes(cluster, name)).collect::<anyhow::Result<_>>()?;
    for (pool, (_, reads)) in pools.iter().zip(told) {
        // Before its first page: the pod is told while it is not ready yet.
        until(READY, "its pod does as it is told", || {
            ensure!(!pool.pods()?.is_empty(), "no pod");
            tell(pool, reads, true)
        })?;
    }
    let deadline = std::time::Instant::now() + NEVER;
    let mut reasons = [Value::Null, Value::Null];
    while std::time::Instant::now() < deadline {
        for (pool, seen) in pools.iter().zip(&mut reasons) {
            let status = pool.get()?["status"].clone();
            let ready = status["conditions"].as_array().into_iter().flatten().find(|one| one["type"] == "Ready");
            ensure!(ready.is_none_or(|ready| ready["status"] != "True"), "{} became Ready: {status}", pool.name);
            *seen = status["reason"].clone();
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    ensure!(reasons.iter().all(|seen| seen == "ProofFailed"), "{reasons:?}");
    pools.iter().try_for_each(Pool::leave)
}

/// The node has no way out of the cluster at all; this also cuts what is inside, names included.
fn no_egress(cluster: &'static Cluster) -> anyhow::Result<()> {
    let namespace = "shut";
    cluster.namespace(namespace)?;
    cluster.apply(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "no-egress", "namespace": namespace},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"]},
    }))?;
    let pool = Pool::apply(cluster, namespace, "shut", &small(&json!({})))?;
    pool.wait_ready(1, READY)?;
    cluster.delete("Namespace", "", namespace)
}
