//! Pods are replaced and removed, and no request notices.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use ocr_api::proof;
use ocr_tests::{
    cluster::{Cluster, Load, Pool, all_answered, until},
    program::is_long,
    suite::Suite,
};
use serde_json::{Value, json};

const NAMESPACE: &str = "rollout";
const READY: Duration = Duration::from_mins(4);

/// Requests at the same time: half over connections that are kept, half over new ones.
const CLIENTS: usize = 6;
/// Requests of each round.
const LEAST: usize = 500;
/// How long the load goes on after the last pod has changed.
const AFTER: Duration = Duration::from_secs(10);

pub fn cases(suite: &mut Suite, cluster: &'static Cluster) {
    suite.case("a_new_revision_replaces_every_pod_and_no_request_notices", move || new_revision(cluster));
    suite.case("three_pods_become_one_and_no_request_notices", move || fewer(cluster));
}

fn rounds() -> u32 {
    if is_long() { 5 } else { 1 }
}

fn spec(pods: u32, level: &str) -> Value {
    json!({
        "model": {"name": "pp-ocrv6-tiny"},
        "replicas": pods,
        "scaling": {"mode": "Manual"},
        "resources": {"cpu": {"requests": {"cpu": "200m"}, "limits": {"cpu": "1", "memory": "700Mi"}}},
        "limits": {"requestSeconds": 60},
        "logLevel": level,
    })
}

fn new_revision(cluster: &'static Cluster) -> anyhow::Result<()> {
    cluster.namespace(NAMESPACE)?;
    let pool = Pool::apply(cluster, NAMESPACE, "rolled", &spec(2, "info"))?;
    pool.wait_ready(2, READY)?;
    for round in 1..=rounds() {
        let level = if round % 2 == 1 { "warn" } else { "info" };
        let before = uids(&pool)?;
        under_load(&pool, &format!("new revision {round}"), || {
            pool.set(&spec(2, level))?;
            pool.wait_ready(2, READY)?;
            let after = uids(&pool)?;
            ensure!(after.is_disjoint(&before) && after.len() == 2, "{after:?} after {before:?}");
            Ok(())
        })?;
    }
    pool.delete()
}

fn fewer(cluster: &'static Cluster) -> anyhow::Result<()> {
    cluster.namespace(NAMESPACE)?;
    let pool = Pool::apply(cluster, NAMESPACE, "scaled", &spec(3, "info"))?;
    for round in 1..=rounds() {
        pool.set(&spec(3, "info"))?;
        pool.wait_ready(3, READY)?;
        under_load(&pool, &format!("scale 3 to 1, {round}"), || {
            pool.set(&spec(1, "info"))?;
            pool.wait_ready(1, READY).map(drop)
        })?;
    }
    pool.delete()
}

fn uids(pool: &Pool) -> anyhow::Result<BTreeSet<String>> {
    Ok(pool.pod_identities()?.into_iter().map(|(uid, _)| uid).collect())
}

/// Does something while pages are read, and checks that each was read as if nothing had happened.
fn under_load(pool: &Pool, what: &str, change: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    // A small page: what counts is how many there are.
    let page = proof::page();
    let alone = pool.http()?.post("/v1/ocr?format=text", page.clone())?.text();
    let address = pool.address()?;
    let authority = format!("{}:80", address.trim_start_matches("http://"));
    let load = Load::start(&authority, "/v1/ocr?format=text", &page, CLIENTS, Duration::from_millis(20))?;
    until(Duration::from_secs(30), "the load has begun", || {
        ensure!(load.count() > CLIENTS * 2, "{} requests", load.count());
        Ok(())
    })?;
    let started = Instant::now();
    let changed = change();
    let took = started.elapsed();
    std::thread::sleep(AFTER);
    // A busy machine reads a fourth as fast, and is no fault of a rollout.
    let enough = until(Duration::from_mins(8), "enough requests are sent", || {
        ensure!(load.count() >= LEAST, "{} requests", load.count());
        Ok(())
    });
    let sent = load.stop();
    changed?;
    enough?;
    let slowest = sent.iter().map(|one| one.elapsed).max().unwrap_or_default();
    println!("{what}: {:.1} s, {} requests, slowest {:.2} s", took.as_secs_f64(), sent.len(), slowest.as_secs_f64());
    all_answered(&sent, &alone, LEAST).context(what.to_owned())
}
