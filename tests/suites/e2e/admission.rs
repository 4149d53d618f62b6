//! What is taken, and what cannot be: that is refused when it is applied, or named by a condition within 15 s.

use std::{fs, time::Duration};

use anyhow::{Context, bail, ensure};
use ocr_tests::{
    cluster::{Cluster, Pool, small, until},
    data::repository,
    suite::Suite,
};
use serde_json::{Value, json};

const NAMESPACE: &str = "admission";

/// Longest wait until a condition names the cause.
const TOLD: Duration = Duration::from_secs(15);

pub fn cases(suite: &mut Suite, cluster: &'static Cluster) {
    suite.case("what_cannot_be_is_refused_with_a_message_that_helps", move || refused(cluster));
    suite.case("what_this_installation_does_not_have_is_named_by_a_condition", move || named(cluster));
    suite.case("every_example_is_taken_and_becomes_a_deployment", move || examples(cluster));
    suite.case("names_of_63_letters_are_kept_apart", move || long_names(cluster));
}

/// Whether their pods find room depends on the cluster, and is no matter of the example.
fn examples(cluster: &'static Cluster) -> anyhow::Result<()> {
    let namespace = "examples";
    cluster.namespace(namespace)?;
    for entry in fs::read_dir(repository().join("examples/pools"))? {
        let file = entry?.path();
        let object: Value = yaml_serde::from_str(&fs::read_to_string(&file)?)?;
        let name = object["metadata"]["name"].as_str().with_context(|| format!("{} has no name", file.display()))?;
        cluster.kubectl(&["-n", namespace, "apply", "--validate=strict", "-f", &file.to_string_lossy()])?;
        let pool = Pool::named(cluster, namespace, name);
        until(TOLD, &format!("{} has a Deployment", file.display()), || {
            let made = cluster.list("Deployment", namespace, &format!("ocrpool.dev/pool={name}"))?;
            ensure!(!made.is_empty(), "{}", pool.describe());
            Ok(())
        })?;
        pool.leave()?;
    }
    Ok(())
}

/// Specs, and what the refusal says.
fn impossible() -> Vec<(Value, &'static [&'static str])> {
    let model = json!({"name": "pp-ocrv6-small"});
    let with = |field: &str, value: Value| json!({"model": model, field: value});
    vec![
        (json!({}), &["spec.model", "Required"]),
        (json!({"model": {}}), &["spec.model.name", "Required"]),
        (with("replica", json!(2)), &["replica", "field not declared"]),
        (with("scaling", json!({"minimum": 2})), &["minimum", "field not declared"]),
        (with("scaling", json!({"min": 5, "max": 2})), &["scaling.min must not exceed scaling.max"]),
        (with("scaling", json!({"min": 0})), &["spec.scaling.min", "greater than or equal to 1"]),
        (with("scaling", json!({"mode": "Sometimes"})), &["spec.scaling.mode", "\"Auto\", \"Manual\""]),
        (with("replicas", json!(-1)), &["spec.replicas", "greater than or equal to 0"]),
        (with("replicas", json!(4_000_000_000_u32)), &["spec.replicas"]),
        (with("strategies", json!([])), &["spec.strategies", "at least 1"]),
        (with("strategies", json!(["cpu", "cpu"])), &["a strategy is listed twice"]),
        (with("strategies", json!(["tpu"])), &["spec.strategies[0]", "\"gpu-fp16\", \"gpu-int8\", \"cpu\""]),
        (with("languages", json!([])), &["spec.languages"]),
        (with("languages", json!(["english please"])), &["spec.languages[0]"]),
        (with("limits", json!({"bodyBytes": "much"})), &["spec.limits.bodyBytes"]),
        (with("limits", json!({"bodyBytes": "2Gi"})), &["bodyBytes must be from 1Ki to 1Gi"]),
        (with("limits", json!({"pagesPerDocument": 0})), &["spec.limits.pagesPerDocument"]),
        (with("limits", json!({"requestSeconds": 100_000})), &["spec.limits.requestSeconds"]),
        (with("resources", json!({"cpu": {"limits": {"memory": "-1Gi"}}})), &["spec.resources.cpu.limits.memory"]),
        (with("resources", json!({"cpu": {"limits": {"cpu": "two"}}})), &["spec.resources.cpu.limits.cpu"]),
        (with("resources", json!({"cpu": {"requests": {"cpu": 4}, "limits": {"cpu": 2}}})), &["cpu"]),
        (with("placement", json!({"gpuResource": "gpu"})), &["spec.placement.gpuResource"]),
        (
            with("placement", json!({"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]})),
            &["Exists has no value"],
        ),
        (with("image", json!("")), &["spec.image"]),
        (with("logLevel", json!("loud")), &["spec.logLevel"]),
    ]
}

fn refused(cluster: &'static Cluster) -> anyhow::Result<()> {
    cluster.namespace(NAMESPACE)?;
    let mut wrong = Vec::new();
    for (spec, words) in impossible() {
        match Pool::apply(cluster, NAMESPACE, "impossible", &spec) {
            Ok(_) => wrong.push(format!("{spec} was accepted")),
            Err(error) => {
                let message = format!("{error:#}");
                if !words.iter().all(|word| message.contains(word)) {
                    wrong.push(format!("{spec}: {message}"));
                }
            }
        }
    }
    for name in ["-a", "1a", "a.b", &"a".repeat(64)] {
        match Pool::apply(cluster, NAMESPACE, name, &json!({"model": {"name": "pp-ocrv6-small"}})) {
            Ok(_) => wrong.push(format!("the name {name} was accepted")),
            Err(error) => println!("{name}: {error:#}"),
        }
    }
    ensure!(wrong.is_empty(), "{} of them: {}", wrong.len(), wrong.join("\n"));
    Ok(())
}

fn named(cluster: &'static Cluster) -> anyhow::Result<()> {
    let model = json!({"name": "pp-ocrv6-small"});
    let rows: [(&str, Value, &[&str]); 7] = [
        ("model", json!({"model": {"name": "pp-ocrv9"}}), &["pp-ocrv9", "pp-ocrv6-small"]),
        ("language", json!({"model": model, "languages": ["en", "tlh"]}), &["tlh", "it reads"]),
        ("image", json!({"model": model, "image": "elsewhere.test/ocr:1"}), &["elsewhere.test/ocr:1", "allowed are"]),
        (
            "class",
            json!({"model": model, "placement": {"priorityClassName": "system-node-critical"}}),
            &["system-node-critical"],
        ),
        (
            "taint",
            json!({"model": model, "placement": {"tolerations": [{"key": "any", "operator": "Exists"}]}}),
            &["any", "allowed are"],
        ),
        (
            "network",
            json!({"model": {"name": "pp-ocrv5-mobile"}, "strategies": ["gpu-fp16"]}),
            &["no networks for gpu-fp16", "add cpu"],
        ),
        ("memory", json!({"model": model, "resources": {"cpu": {"limits": {"memory": "200Mi"}}}}), &["200Mi", "needs"]),
    ];
    let pools = rows.map(|(name, spec, words)| (Pool::apply(cluster, NAMESPACE, name, &spec), words));
    for (pool, words) in pools {
        let pool = pool?;
        let message = pool.wait_condition("Ready", false, "InvalidSpec", TOLD)?;
        println!("{}: {message}", pool.name);
        ensure!(words.iter().all(|word| message.contains(word)), "{}: {message}", pool.name);
        ensure!(pool.pods()?.is_empty(), "{} has pods", pool.name);
        pool.leave()?;
    }
    Ok(())
}

/// A long name is cut where it becomes a Deployment's, and its hash is put in: another pool may have just that name.
fn long_names(cluster: &'static Cluster) -> anyhow::Result<()> {
    let spec = small(&json!({"replicas": 1, "scaling": {"mode": "Manual"}}));
    let long = Pool::apply(cluster, NAMESPACE, &format!("a{}", "b".repeat(62)), &spec)?;
    long.wait_ready(1, Duration::from_mins(1))?;
    let deployments = cluster.list("Deployment", NAMESPACE, &format!("ocrpool.dev/pool={}", long.name))?;
    let Some(name) = deployments.first().and_then(|one| one["metadata"]["name"].as_str()) else {
        bail!("{} has no Deployment", long.name)
    };
    let Some(cut) = name.strip_suffix("-cpu").and_then(|name| name.rsplit_once('-')).map(|(cut, _)| cut) else {
        bail!("a Deployment named {name}")
    };
    let same = Pool::apply(cluster, NAMESPACE, cut, &spec)?;
    let message = same.wait_condition("Ready", false, "NameTaken", TOLD)?;
    ensure!(message.contains(name), "{message}");
    long.leave()?;
    same.wait_ready(1, Duration::from_mins(1))?;
    same.leave()
}
