//! The operator is upgraded, put back, removed and installed again, and no pod of a pool notices.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, ensure};
use ocr_tests::{
    cluster::{CHART, Cluster, DEFINITION, Installation, Pool, RELEASE, SYSTEM, digest, small, until},
    data::{SCAN, repository},
    suite::Suite,
};
use serde_json::{Value, json};

const NAMESPACE: &str = "upgrade";
const READY: Duration = Duration::from_mins(1);

pub fn cases(suite: &mut Suite, cluster: &'static Cluster) {
    suite.case("an_upgrade_and_the_way_back_restart_no_pod", move || upgrade(cluster));
}

/// Takes the operator's rights away while it still gives its lease back, which is refused.
pub fn removal(suite: &mut Suite, cluster: &'static Cluster) {
    suite.case("pools_outlive_the_operator_and_are_taken_up_again", move || reinstall(cluster));
}

/// What must not change: each pod with its restarts, and every object of the pool by UID.
#[derive(Debug, PartialEq)]
struct Identities {
    pods: Vec<(String, i64)>,
    objects: Vec<String>,
}

fn identities(cluster: &Cluster, pool: &Pool) -> anyhow::Result<Identities> {
    let mut objects = Vec::new();
    for kind in ["ServiceAccount", "NetworkPolicy", "PodDisruptionBudget", "ConfigMap", "Service", "Deployment"] {
        for object in cluster.list(kind, NAMESPACE, &format!("ocrpool.dev/pool={}", pool.name))? {
            objects.push(format!("{kind} {}", object["metadata"]["uid"]));
        }
    }
    objects.sort();
    Ok(Identities { pods: pool.pod_identities()?, objects })
}

fn has_field(cluster: &Cluster) -> anyhow::Result<bool> {
    let definition = cluster.get("CustomResourceDefinition", "", DEFINITION)?.context("no definition")?;
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/future";
    Ok(definition.pointer(spec).is_some())
}

/// The chart as a later version could be: another number, and a field more.
fn later_chart(folder: &Path) -> anyhow::Result<String> {
    let chart = folder.join("chart");
    let copied = Command::new("cp").arg("-r").arg(repository().join(CHART)).arg(&chart).status()?;
    ensure!(copied.success(), "the chart cannot be copied");
    let change = |file: &str, from: &str, to: &str| -> anyhow::Result<()> {
        let file = chart.join(file);
        let text = fs::read_to_string(&file)?;
        ensure!(text.contains(from), "{} has no {from:?}", file.display());
        Ok(fs::write(&file, text.replacen(from, to, 1))?)
    };
    change("Chart.yaml", "\nappVersion: 0.1.0", "\nappVersion: 0.2.0")?;
    change("Chart.yaml", "\nversion: 0.1.0", "\nversion: 0.2.0")?;
    let file = chart.join("files").join(DEFINITION).with_added_extension("yaml");
    let mut definition: Value = yaml_serde::from_str(&fs::read_to_string(&file)?)?;
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let fields = definition.pointer_mut(spec).context("no fields")?;
    fields["future"] = json!({"type": "string", "maxLength": 10});
    fs::write(file, yaml_serde::to_string(&definition)?)?;
    Ok(chart.to_string_lossy().into_owned())
}

fn upgrade(cluster: &'static Cluster) -> anyhow::Result<()> {
    cluster.namespace(NAMESPACE)?;
    let pool = Pool::apply(cluster, NAMESPACE, "kept", &small(&json!({"scaling": {"min": 2}})))?;
    pool.wait_ready(2, READY)?;
    let (before, image) = (identities(cluster, &pool)?, pool.get()?["status"]["image"].clone());
    let folder = tempfile::tempdir()?;
    let later = later_chart(folder.path())?;
    // Its pools would be made of another image, were they made now.
    let other = format!("inference.image.digest={}", digest("operator")?);
    Installation::chart(cluster, &later, &[&other])?.wait_ready(2)?;
    ensure!(has_field(cluster)?, "the definition was not upgraded");
    pool.set(&small(&json!({"scaling": {"min": 2}, "future": "now"})))?;
    same(cluster, &pool, &before, "after the upgrade")?;
    ensure!(pool.get()?["status"]["image"] == image, "the image changed");

    pool.set(&small(&json!({"scaling": {"min": 2}})))?;
    Installation::apply(cluster, &[])?.wait_ready(2)?;
    ensure!(!has_field(cluster)?, "the definition was not put back");
    same(cluster, &pool, &before, "after the way back")
}

fn reinstall(cluster: &'static Cluster) -> anyhow::Result<()> {
    let pool = Pool::named(cluster, NAMESPACE, "kept");
    let before = identities(cluster, &pool)?;
    cluster.helm(&["uninstall", RELEASE, "--namespace", SYSTEM, "--wait"])?;
    until(READY, "the operator is gone", || {
        let pods = cluster.list("Pod", SYSTEM, &format!("app.kubernetes.io/instance={RELEASE}"))?;
        ensure!(pods.is_empty(), "{} pods", pods.len());
        Ok(())
    })?;
    ensure!(identities(cluster, &pool)? == before, "the pool is not as it was");
    ensure!(pool.read_example(SCAN)?.status == 200, "it does not read without the operator");
    Installation::apply(cluster, &[])?.wait_ready(2)?;
    same(cluster, &pool, &before, "after the installation")?;
    pool.delete()?;
    until(READY, "nothing of the pool is left", || {
        let left = identities(cluster, &pool)?;
        ensure!(left.pods.is_empty() && left.objects.is_empty(), "{left:?}");
        Ok(())
    })
}

/// Waits until the operator has looked at the pool, and compares.
fn same(cluster: &Cluster, pool: &Pool, before: &Identities, when: &str) -> anyhow::Result<()> {
    pool.wait_ready(2, READY)?;
    // A rollout would have begun by now.
    std::thread::sleep(Duration::from_secs(5));
    pool.wait_ready(2, READY)?;
    let now = identities(cluster, pool)?;
    ensure!(now == *before, "{when}: {now:?}, before it {before:?}");
    Ok(())
}
