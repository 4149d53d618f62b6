//! What becomes of a pool's pods, told in the pool's own status.

use std::time::Duration;

use anyhow::ensure;
use ocr_tests::{
    cluster::{Cluster, Pool, digest, small, until, with_loose_definition},
    data::{self, SCAN},
    pdf,
    suite::Suite,
};
use serde_json::json;

use crate::fake;

const NAMESPACE: &str = "fates";
const READY: Duration = Duration::from_mins(1);
const TOLD: Duration = Duration::from_secs(15);

pub fn cases(suite: &mut Suite, cluster: &'static Cluster) {
    suite.case("an_image_that_cannot_be_pulled_is_named_and_can_be_mended", move || image(cluster));
    suite.case("pods_that_no_node_has_room_for_are_named_and_can_be_mended", move || room(cluster));
    suite.case("pods_that_a_quota_refuses_are_named", move || quota(cluster));
    suite.case("a_crash_loop_is_told_with_its_last_words", move || crash(cluster));
    suite.case("a_pod_that_ran_out_of_memory_is_told", move || memory(cluster));
    suite.case("a_pdf_of_2_and_one_of_200_pages_are_read_in_2_gib", move || long_pdf(cluster));
}

/// Loosens the definition for a while.
pub fn definition(suite: &mut Suite, cluster: &'static Cluster) {
    suite.case("a_pool_that_cannot_be_read_does_not_stop_the_others", move || unreadable(cluster));
}

fn image(cluster: &'static Cluster) -> anyhow::Result<()> {
    cluster.namespace(NAMESPACE)?;
    let spec = small(&json!({"image": "localhost/not-there:1"}));
    let pool = Pool::apply(cluster, NAMESPACE, "image", &spec)?;
    let message = pool.wait_condition("Ready", false, "ImagePullBackOff", TOLD)?;
    ensure!(message.contains("localhost/not-there:1"), "{message}");
    println!("{message}");
    pool.set(&small(&json!({})))?;
    pool.wait_ready(1, READY)?;
    pool.leave()
}

fn room(cluster: &'static Cluster) -> anyhow::Result<()> {
    cluster.namespace(NAMESPACE)?;
    let spec = |cpu: &str| small(&json!({"resources": {"cpu": {"requests": {"cpu": cpu}}}}));
    let pool = Pool::apply(cluster, NAMESPACE, "room", &spec("200"))?;
    let message = pool.wait_condition("Ready", false, "Unschedulable", TOLD)?;
    ensure!(message.contains("Insufficient cpu"), "{message}");
    println!("{message}");
    pool.set(&spec("100m"))?;
    pool.wait_ready(1, READY)?;
    pool.leave()
}

fn quota(cluster: &'static Cluster) -> anyhow::Result<()> {
    let namespace = "quota";
    cluster.namespace(namespace)?;
    cluster.apply(&json!({
        "apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": namespace},
        "spec": {"hard": {"pods": "0"}},
    }))?;
    let pool = Pool::apply(cluster, namespace, "quota", &small(&json!({})))?;
    let message = pool.wait_condition("Ready", false, "PodRefused", TOLD)?;
    ensure!(message.contains("exceeded quota: none"), "{message}");
    println!("{message}");
    cluster.delete("Namespace", "", namespace)
}

/// The operator's program wants to be told what to do, and ends at once with its help.
fn crash(cluster: &'static Cluster) -> anyhow::Result<()> {
    cluster.namespace(NAMESPACE)?;
    let image = format!("localhost/ocr-operator@{}", digest("operator")?);
    let pool = Pool::apply(cluster, NAMESPACE, "crash", &small(&json!({"image": image})))?;
    let message = pool.wait_condition("Ready", false, "CrashLoopBackOff", Duration::from_secs(30))?;
    println!("{message}");
    ensure!(
        message.contains("exit code 2") && message.contains("Keeps pools"),
        "its last words are missing: {message}"
    );
    let reason = pool.get()?["status"]["reason"].clone();
    ensure!(reason == "CrashLoopBackOff", "the column says {reason}");
    pool.leave()
}

fn memory(cluster: &'static Cluster) -> anyhow::Result<()> {
    cluster.namespace(NAMESPACE)?;
    let pool = Pool::apply(cluster, NAMESPACE, "memory", &small(&json!({"image": fake::IMAGE})))?;
    pool.wait_ready(1, READY)?;
    // Ours keep below their limit; this one does not.
    fake::tell(&pool, &json!({"reads": "rightly", "ready": true, "eats": true}))?;
    let killed = until(Duration::from_mins(1), "the pod is killed", || {
        let pods = pool.get()?["status"]["pods"].clone();
        ensure!(pods[0]["reason"] == "OOMKilled", "{pods}");
        Ok(pods[0]["message"].to_string())
    })?;
    println!("{killed}");
    let reason = pool.get()?["status"]["reason"].clone();
    ensure!(reason == "OOMKilled", "the column says {reason}");
    pool.leave()
}

fn long_pdf(cluster: &'static Cluster) -> anyhow::Result<()> {
    cluster.namespace(NAMESPACE)?;
    let spec = small(&json!({"resources": {"cpu": {"requests": {"cpu": "100m"}, "limits": {"memory": "2Gi"}}}}));
    let pool = Pool::apply(cluster, NAMESPACE, "long", &spec)?;
    pool.wait_ready(1, READY)?;
    let scan = data::read(data::example(SCAN))?;
    let heavy = pdf::scan_pages(&scan, (1000, 1520), 2);
    let light = pdf::text_pages(&(1..=200).map(|page| vec![format!("This is sheet {page}")]).collect::<Vec<_>>());
    for (document, pages) in [(heavy, 2), (light, 200)] {
        let read = pool.http()?.read(document)?;
        ensure!(read.pages.len() == pages, "{} pages of {pages}", read.pages.len());
    }
    let restarts: i64 = pool.pod_identities()?.iter().map(|(_, restarts)| restarts).sum();
    ensure!(restarts == 0, "{restarts} restarts");
    pool.leave()
}

/// A pool that another version wrote: for a while the definition lets anything through.
fn unreadable(cluster: &'static Cluster) -> anyhow::Result<()> {
    cluster.namespace(NAMESPACE)?;
    let good = Pool::apply(cluster, NAMESPACE, "good", &small(&json!({})))?;
    good.wait_ready(1, READY)?;
    with_loose_definition(cluster, || told_of_the_unreadable(cluster, &good))?;
    cluster.delete("OcrPool", NAMESPACE, "odd")?;
    good.leave()
}

fn told_of_the_unreadable(cluster: &'static Cluster, good: &Pool) -> anyhow::Result<()> {
    let odd = until(TOLD, "the odd pool is taken", || {
        Pool::apply(cluster, NAMESPACE, "odd", &json!({"model": "one of another kind"}))
    })?;
    let message = odd.wait_condition("Ready", false, "Unreadable", TOLD)?;
    println!("{message}");
    // The others go on being kept.
    let before = good.pod_identities()?;
    for pod in good.pods()? {
        cluster.delete("Pod", NAMESPACE, pod["metadata"]["name"].as_str().unwrap_or_default())?;
    }
    until(READY, "another pod is there", || {
        let now = good.pod_identities()?;
        ensure!(!now.is_empty() && now != before, "{now:?}");
        Ok(())
    })?;
    good.wait_ready(1, READY).map(drop)
}
