//! What those who run the operator look at.

use std::process::Command;

use anyhow::{Context, ensure};
use ocr_tests::{
    cluster::{Cluster, Installation, RELEASE, SYSTEM},
    metrics::Metrics,
    suite::Suite,
};
use serde_json::json;

pub fn cases(suite: &mut Suite, cluster: &'static Cluster) {
    suite.case("metrics_are_for_those_who_may_read_them", move || metrics(cluster));
}

fn metrics(cluster: &'static Cluster) -> anyhow::Result<()> {
    let reader = "metrics-reader";
    cluster.apply(
        &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": reader, "namespace": SYSTEM}}),
    )?;
    let token = cluster.token(SYSTEM, reader)?;
    let installation = Installation::apply(cluster, &[])?;
    let mut leaders = 0.0;
    for pod in installation.pods()? {
        let address = pod["status"]["podIP"].as_str().context("a pod without an address")?;
        let url = format!("https://{address}:8443/metrics");
        for (token, status) in [(None, "401"), (Some("nonsense"), "401"), (Some(token.as_str()), "403")] {
            let refusal = scrape(&url, token).err().map(|error| error.to_string()).unwrap_or_default();
            ensure!(refusal.contains(status), "{status} is expected, not {refusal:?}");
        }
    }
    let role = format!("{RELEASE}-metrics-reader");
    cluster.kubectl(&[
        "create",
        "clusterrolebinding",
        reader,
        "--clusterrole",
        &role,
        "--serviceaccount",
        &format!("{SYSTEM}:{reader}"),
    ])?;
    // Another account: what was refused is remembered for a while.
    let other = "second-metrics-reader";
    cluster.apply(
        &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": other, "namespace": SYSTEM}}),
    )?;
    cluster.kubectl(&[
        "create",
        "clusterrolebinding",
        other,
        "--clusterrole",
        &role,
        "--serviceaccount",
        &format!("{SYSTEM}:{other}"),
    ])?;
    let token = cluster.token(SYSTEM, other)?;
    for pod in installation.pods()? {
        let address = pod["status"]["podIP"].as_str().context("a pod without an address")?;
        let metrics = Metrics::parse(&scrape(&format!("https://{address}:8443/metrics"), Some(&token))?)?;
        leaders += metrics.sum("ocr_operator_leader")?;
    }
    ensure!(leaders == 1.0, "{leaders} replicas lead");
    for binding in [reader, other] {
        cluster.kubectl(&["delete", "clusterrolebinding", binding])?;
    }
    Ok(())
}

/// Its certificate is its own, made at its start.
fn scrape(url: &str, token: Option<&str>) -> anyhow::Result<String> {
    let mut command = Command::new("busybox");
    command.args(["wget", "-q", "-O", "-", "--no-check-certificate"]);
    if let Some(token) = token {
        command.arg("--header").arg(format!("Authorization: Bearer {token}"));
    }
    let output = command.arg(url).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
