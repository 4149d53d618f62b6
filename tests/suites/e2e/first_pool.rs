//! The first five minutes: install, apply, read, look.

use std::time::Duration;

use anyhow::{Context, ensure};
use ocr_tests::{
    cluster::{Cluster, Installation, Pool, small, until},
    data::{self, PDF, PDF_PHRASE, SCAN, SCAN_PHRASE},
    suite::Suite,
};
use serde_json::json;

const NAMESPACE: &str = "first";
/// Name of the smallest example's pool. Service links would give its pods `OCR_PORT=tcp://…`, which the server would take
/// for its setting.
const POOL: &str = "ocr";

/// Longest wait for the first page of a pool of one pod.
const READY: Duration = Duration::from_mins(1);

/// One after the other, with one pool.
pub fn install(suite: &mut Suite, cluster: &'static Cluster) {
    suite.case("the_chart_is_installed_and_two_replicas_run", move || Installation::apply(cluster, &[])?.wait_ready(2));
    suite.case("the_smallest_pool_is_ready_and_reads", move || smallest(cluster));
    suite.case("the_calls_of_a_client_are_answered_through_the_service", move || calls(cluster));
    suite.case("a_pool_named_ocr_starts_again", move || again(cluster));
}

pub fn cases(suite: &mut Suite, cluster: &'static Cluster) {
    suite.case("kubectl_scale_sets_the_number_of_pods", move || scale(cluster));
    suite.case("kubectl_explain_describes_every_field", move || explain(cluster));
}

fn smallest(cluster: &'static Cluster) -> anyhow::Result<()> {
    cluster.namespace(NAMESPACE)?;
    let printed = cluster.kubectl(&["-n", NAMESPACE, "apply", "-f", "examples/pools/smallest.yaml"])?;
    ensure!(printed.contains("ocrpool.ocrpool.dev/ocr created"), "kubectl apply printed {printed}");
    let pool = Pool::named(cluster, NAMESPACE, POOL);
    let seconds = pool.wait_ready(1, READY)?.as_secs_f64();
    for (file, phrase) in [(SCAN, SCAN_PHRASE), (PDF, PDF_PHRASE)] {
        let text = pool.read_example(file)?.text();
        ensure!(text.contains(phrase), "{file} is read as {text}");
    }
    let table = cluster.kubectl(&["-n", NAMESPACE, "get", "ocrpools"])?;
    println!("ready after {seconds:.1} s\n{table}");
    let mut lines = table.lines();
    let heads: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    ensure!(heads == ["NAME", "READY", "STRATEGIES", "MODEL", "ROLLOUT", "REASON", "AGE"], "columns {heads:?}");
    let row = lines.next().context("no row")?;
    for cell in [POOL, "1/1", "cpu:1", "pp-ocrv6-small", "PageRead"] {
        ensure!(row.split_whitespace().any(|one| one == cell), "{cell} is missing in {row}");
    }
    Ok(())
}

/// The calls that services of this kind are tried with first: probes, and a page as a form.
fn calls(cluster: &'static Cluster) -> anyhow::Result<()> {
    let http = Pool::named(cluster, NAMESPACE, POOL).http()?;
    for path in ["/live", "/ready", "/health"] {
        let answer = http.get(path)?;
        ensure!(answer.status == 200, "{path}: {} {}", answer.status, answer.text());
    }
    let scan = data::read(data::example(SCAN))?;
    let form = http.post_form("/v1/ocr/receipt", "file", SCAN, scan.clone())?.document()?;
    let raw = http.read(scan)?;
    let texts = |document: &ocr_api::Document| -> Vec<String> {
        document.pages.iter().flat_map(|page| page.lines.iter().map(|line| line.text.clone())).collect()
    };
    ensure!(texts(&form) == texts(&raw) && !texts(&raw).is_empty(), "a form is read otherwise than a body");
    Ok(())
}

fn scale(cluster: &'static Cluster) -> anyhow::Result<()> {
    let spec = small(&json!({"replicas": 1, "scaling": {"mode": "Manual"}}));
    let pool = Pool::apply(cluster, NAMESPACE, "scaled", &spec)?;
    pool.wait_ready(1, READY)?;
    let scale = |to: &str| cluster.kubectl(&["-n", NAMESPACE, "scale", "ocrpool", "scaled", "--replicas", to]);
    scale("2")?;
    pool.wait_ready(2, READY)?;
    scale("0")?;
    pool.wait_condition("Ready", true, "ScaledToZero", READY)?;
    until(READY, "no pod is left", || {
        let pods = pool.pods()?;
        ensure!(pods.is_empty(), "{} pods", pods.len());
        Ok(())
    })?;
    scale("1")?;
    pool.wait_ready(1, READY)?;
    pool.leave()
}

/// The second start sees the Service that the first one did not.
fn again(cluster: &'static Cluster) -> anyhow::Result<()> {
    let pool = Pool::named(cluster, NAMESPACE, POOL);
    for pod in pool.pods()? {
        cluster.delete("Pod", NAMESPACE, pod["metadata"]["name"].as_str().unwrap_or_default())?;
    }
    pool.wait_condition("Progressing", true, "Scaling", READY)?;
    pool.wait_ready(1, READY)?;
    ensure!(pool.read_example(SCAN)?.status == 200, "no page is read");
    pool.leave()
}

fn explain(cluster: &'static Cluster) -> anyhow::Result<()> {
    for path in [
        "ocrpool",
        "ocrpool.spec",
        "ocrpool.spec.scaling",
        "ocrpool.spec.placement",
        "ocrpool.spec.limits",
        "ocrpool.status",
    ] {
        let text = cluster.kubectl(&["explain", path])?;
        ensure!(
            !text.contains("<no description>") && !text.contains("<empty>"),
            "{path} has fields without a description:\n{text}"
        );
    }
    print!("{}", cluster.kubectl(&["explain", "ocrpool.spec"])?);
    Ok(())
}
