//! What the chart has in common with the programs: files that they make, configuration that they read, metrics that they
//! show.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::{Context, ensure};
use ocr_tests::{
    data::{files, read, repository},
    helm::{CHART, Helm, objects},
    program,
    suite::Suite,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{DEFINITION, RENDERINGS};

/// Cases for which helm renders the chart.
pub fn rendered(suite: &mut Suite, helm: &'static Helm) {
    suite.case("the_operator_reads_the_configuration", || configuration(helm));
    suite.case("the_dashboard_is_whole", || dashboard(helm));
}

pub fn cases(suite: &mut Suite) {
    suite.case("the_definition_and_the_catalogue_are_as_the_operator_makes_them", generated_by_the_operator);
    suite.case("the_schema_and_the_readme_are_made_of_these_values", generated_from_values);
    suite.case("every_value_is_described_and_the_schema_leaves_no_object_open", schema_is_strict);
    suite.case("alerts_and_dashboard_name_metrics_that_there_are", metrics_exist);
}

/// The operator, as built for the tests.
fn operator(arguments: &[&str]) -> anyhow::Result<program::Run> {
    let mut command = Command::new(repository().join("target/checked/ocr-operator"));
    command.args(arguments).current_dir(repository());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("OCR_") || name.starts_with("KUBE") {
            command.env_remove(name.as_ref());
        }
    }
    // Neither a kubeconfig nor a cluster: it reads its configuration and goes no further.
    command.env("HOME", "/nonexistent");
    program::run_with(command, None)
}

fn configuration(helm: &Helm) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("config.yaml");
    let path = file.display().to_string();
    let run = |text: &str| -> anyhow::Result<String> {
        fs::write(&file, text)?;
        let run = operator(&["run", "--config", &path])?;
        ensure!(run.code == Some(1), "ended with {:?}: {}", run.code, run.stderr);
        Ok(run.stderr)
    };
    for (rendering, arguments) in RENDERINGS {
        let objects = helm.objects(arguments)?;
        let text =
            objects.iter().find_map(|object| object["data"]["config.yaml"].as_str()).context("no configuration")?;
        ensure!(text.contains("pp-ocrv6-small"), "{rendering}: no catalogue in {text}");
        let said = run(text)?;
        ensure!(said.contains("neither in a cluster nor with a kubeconfig"), "{rendering}: {said}");
    }
    let said = run("image: a\nbundles: {}\nallowed: {}\n")?;
    ensure!(said.contains("no configuration of the operator") && said.contains("allowed"), "{said}");
    Ok(())
}

fn dashboard(helm: &Helm) -> anyhow::Result<()> {
    let objects = helm.objects(RENDERINGS[1].1)?;
    let map = objects.iter().find(|object| object["metadata"]["labels"]["grafana_dashboard"] == "1");
    let text = map.and_then(|map| map["data"]["ocr-operator.json"].as_str()).context("no dashboard")?;
    let dashboard: Value = serde_json::from_str(text)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let ids: BTreeSet<String> = panels.iter().map(|panel| panel["id"].to_string()).collect();
    ensure!(ids.len() == panels.len(), "two panels have one id");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().map_or(0, Vec::len);
        ensure!(targets > 0, "{} shows nothing", panel["title"]);
    }
    Ok(())
}

/// The text without the comment that says who makes it.
fn without_comments(path: &Path) -> anyhow::Result<String> {
    let text = String::from_utf8(read(path)?)?;
    Ok(text.lines().filter(|line| !line.starts_with('#')).flat_map(|line| [line, "\n"]).collect())
}

fn generated_by_the_operator() -> anyhow::Result<()> {
    let chart = repository().join(CHART).join("files");
    let definition = operator(&["crd"])?.stdout;
    let bundles: Vec<String> = bundles()?;
    let catalogue =
        operator(&[&["catalogue"], bundles.iter().map(String::as_str).collect::<Vec<_>>().as_slice()].concat())?;
    for (path, made) in [
        (repository().join("crds").join(DEFINITION), &definition),
        (chart.join(DEFINITION), &definition),
        (chart.join("bundles.yaml"), &catalogue.stdout),
    ] {
        ensure!(objects(made)?.len() == 1, "the operator prints no document: {made}");
        ensure!(without_comments(&path)? == *made, "{} is out of date: make crds", path.display());
    }
    Ok(())
}

/// The folders of the bundles, by name.
fn bundles() -> anyhow::Result<Vec<String>> {
    let folder = "inference/bundles";
    let entries = fs::read_dir(repository().join(folder)).context("cannot list the bundles")?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(format!("{folder}/{}", entry?.file_name().to_string_lossy()));
    }
    names.sort();
    Ok(names)
}

/// Their tools are built from Go modules and not needed here: what they made is compared by digest, and so is of what.
fn generated_from_values() -> anyhow::Result<()> {
    let text = String::from_utf8(read(repository().join("scripts/chart/generated.sha256"))?)?;
    let mut named = BTreeSet::new();
    for line in text.lines() {
        let (digest, path) = line.split_once("  ").context("no digest and path")?;
        let now = format!("{:x}", Sha256::digest(read(repository().join(path))?));
        ensure!(now == digest, "{path} has changed since values.schema.json and README.md were made: scripts/chart.sh");
        named.insert(path.to_owned());
    }
    for file in ["Chart.yaml", "values.yaml", "README.md.gotmpl", "README.md", "values.schema.json"] {
        ensure!(named.contains(&format!("{CHART}/{file}")), "{file} is not compared");
    }
    Ok(())
}

fn schema_is_strict() -> anyhow::Result<()> {
    fn walk(path: &str, schema: &Value, readme: &str, wrong: &mut Vec<String>) {
        let fields = schema["properties"].as_object();
        if schema["type"] == "object" && schema["additionalProperties"].is_null() {
            wrong.push(format!("{path} takes anything"));
        }
        // What has no fields is given as a whole.
        if fields.is_none() {
            if schema["description"].as_str().is_none_or(str::is_empty) {
                wrong.push(format!("{path} is not described in the schema"));
            }
            let row = readme.lines().find(|line| line.starts_with(&format!("| {path} |")));
            if row.is_none_or(|row| row.ends_with("|  |")) {
                wrong.push(format!("{path} is not described in the README"));
            }
        }
        for (name, field) in fields.into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            walk(&path, field, readme, wrong);
        }
    }
    let chart = repository().join(CHART);
    let mut schema: Value = serde_json::from_slice(&read(chart.join("values.schema.json"))?)?;
    // Helm's own, for charts that hold this one.
    schema["properties"].as_object_mut().context("no properties")?.remove("global");
    let readme = String::from_utf8(read(chart.join("README.md"))?)?;
    let mut wrong = Vec::new();
    walk("", &schema, &readme, &mut wrong);
    ensure!(wrong.is_empty(), "{wrong:?}");
    Ok(())
}

/// Every metric that a text names, without what Prometheus adds to those of a histogram.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let ours = words.filter(|word| word.starts_with("ocr_") && !word.contains("ocrpool"));
    let histogram =
        |word: &str| ["_bucket", "_sum", "_count"].iter().find_map(|end| Some(word.strip_suffix(end)?.to_owned()));
    ours.map(|word| histogram(word).unwrap_or_else(|| word.to_owned())).collect()
}

fn metrics_exist() -> anyhow::Result<()> {
    let chart = repository().join(CHART);
    let mut sources = String::new();
    for folder in ["inference/src", "inference/src/serve", "operator/src/metrics"] {
        for file in files(repository().join(folder))? {
            sources.push_str(&String::from_utf8_lossy(&read(file)?));
        }
    }
    for file in ["templates/prometheusrule.yaml", "files/dashboard.json"] {
        let named = metrics(&String::from_utf8(read(chart.join(file))?)?);
        ensure!(named.len() > 5, "{file} names only {named:?}");
        for metric in named {
            ensure!(sources.contains(&format!("\"{metric}\"")), "{file}: no program has a metric {metric}");
        }
    }
    Ok(())
}
