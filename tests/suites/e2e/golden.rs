//! Pages of the user's own, by which every pod is judged before it is used.

use std::time::Duration;

use anyhow::ensure;
use ocr_tests::{
    cluster::{Cluster, Pool, small, until},
    data::{self, SCAN},
    program::is_long,
    suite::Suite,
};
use serde_json::json;

const NAMESPACE: &str = "golden";
const READY: Duration = Duration::from_mins(1);
/// Until the kubelet has brought a ConfigMap that came late, and the pod has tried again.
const NOTICED: Duration = Duration::from_mins(4);
/// What is printed on [`SCAN`].
const TRUTH: &str = "senate-1871.txt";

pub fn cases(suite: &mut Suite, cluster: &'static Cluster) {
    suite.case("pods_are_judged_by_the_golden_pages_of_their_pool", move || golden(cluster));
}

fn golden(cluster: &'static Cluster) -> anyhow::Result<()> {
    cluster.namespace(NAMESPACE)?;
    // As a user makes one.
    let pages = |name: &str, text: &str| {
        let scan = format!("--from-file={}", data::example(SCAN).display());
        cluster.kubectl(&["-n", NAMESPACE, "create", "configmap", name, &scan, text])
    };
    let pool = |name: &str| {
        let golden = json!({"configMapRef": {"name": name}, "maxCharErrorPercent": "5"});
        Pool::apply(cluster, NAMESPACE, name, &small(&json!({"rollout": {"golden": golden}})))
    };
    let truth = format!("--from-file={}", data::example(TRUTH).display());
    pages("right", &truth)?;
    pages("wrong", &format!("--from-literal={TRUTH}=quite another text"))?;
    let (right, wrong, missing) = (pool("right")?, pool("wrong")?, pool("missing")?);
    right.wait_ready(1, READY)?;
    told(&wrong, "of the golden pages' characters are read wrongly, 5.00 % are allowed (worst: senate-1871.jpg)")?;
    told(&missing, "there is no image and no PDF")?;
    if is_long() {
        pages("missing", &truth)?;
        missing.wait_ready(1, NOTICED)?;
    }
    for pool in [right, wrong, missing] {
        pool.leave()?;
    }
    Ok(())
}

fn told(pool: &Pool, expected: &str) -> anyhow::Result<()> {
    let message = until(READY, "the pool says what is wrong with its golden pages", || {
        let (is_ready, reason, message) = pool.condition("Ready")?;
        ensure!(!is_ready && message.contains(expected), "{reason}: {message}");
        Ok(message)
    })?;
    println!("{message}");
    Ok(())
}
