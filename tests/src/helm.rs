//! The chart, rendered by helm as a user's is.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::SystemTime,
};

use anyhow::{Context, bail, ensure};
use serde::Deserialize as _;
use serde_json::Value;
use tempfile::TempDir;

use crate::data::repository;

/// The chart, from the root of the checkout.
pub const CHART: &str = "charts/ocr-operator";
/// The release that is rendered.
pub const RELEASE: &str = "ocr-operator";
/// Its namespace.
pub const NAMESPACE: &str = "ocr-system";
/// The oldest Kubernetes that the chart is for. Always given: helm's own idea of it depends on how helm was built.
const KUBERNETES: &str = "1.33.0";

/// The real helm, with no settings of whoever runs the tests.
pub struct Helm {
    program: PathBuf,
    home: TempDir,
}

impl Helm {
    /// Finds it: `$OCR_HELM`, else that of the test cluster of this checkout, else the newest that a test cluster was
    /// built with.
    ///
    /// # Errors
    /// If there is none, with how to get one.
    pub fn find() -> anyhow::Result<Self> {
        let set = std::env::var_os("OCR_HELM").map(PathBuf::from);
        let own = Some(repository().join("target/cluster/bin/helm"));
        let found = set.or(own.filter(|path| path.exists())).or_else(newest_built);
        let program =
            found.context("no helm: make cluster-up builds one, or set OCR_HELM to a helm of version 3 or 4")?;
        Ok(Self { program, home: tempfile::tempdir().context("no temporary folder")? })
    }

    /// Runs it until it ends; returns what it wrote.
    ///
    /// # Errors
    /// If it cannot be started, or fails: with what it said.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(&self.program)
            .args(arguments)
            .current_dir(repository())
            .env("HELM_CACHE_HOME", self.home.path())
            .env("HELM_CONFIG_HOME", self.home.path())
            .env("HELM_DATA_HOME", self.home.path())
            .env("KUBECONFIG", "/dev/null")
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(
            output.status.success(),
            "helm {arguments:?} ended with {}: {}{}",
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        );
        Ok(text(&output.stdout))
    }

    /// The chart's objects with more arguments, such as `--set` or `--values`, as helm writes them.
    ///
    /// # Errors
    /// If helm refuses.
    pub fn template(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.template_for(KUBERNETES, arguments)
    }

    /// The same for a version of Kubernetes.
    ///
    /// # Errors
    /// If helm refuses.
    pub fn template_for(&self, kubernetes: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let chart = ["template", RELEASE, CHART, "--namespace", NAMESPACE, "--kube-version", kubernetes];
        self.run(&[&chart, arguments].concat())
    }

    /// The chart's objects.
    ///
    /// # Errors
    /// If helm refuses, or writes what is no YAML.
    pub fn objects(&self, arguments: &[&str]) -> anyhow::Result<Vec<Value>> {
        objects(&self.template(arguments)?)
    }

    /// What helm says when it refuses.
    ///
    /// # Errors
    /// If it does not refuse.
    pub fn refusal(&self, arguments: &[&str]) -> anyhow::Result<String> {
        match self.template(arguments) {
            Ok(_) => bail!("helm takes {arguments:?}"),
            Err(error) => Ok(format!("{error:#}")),
        }
    }

    /// Looks for mistakes in the chart; a warning is one.
    ///
    /// # Errors
    /// If there is one.
    pub fn lint(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.run(&[&["lint", "--strict", CHART, "--kube-version", KUBERNETES], arguments].concat())
    }
}

/// The documents of a YAML text.
///
/// # Errors
/// If it is none.
pub fn objects(text: &str) -> anyhow::Result<Vec<Value>> {
    let mut objects = Vec::new();
    for document in yaml_serde::Deserializer::from_str(text) {
        let value = Value::deserialize(document).with_context(|| format!("no YAML: {text}"))?;
        // What is between two separators and says nothing.
        if !value.is_null() {
            objects.push(value);
        }
    }
    Ok(objects)
}

/// The newest helm in the cache of the test clusters (tests/cluster/lib/common.sh).
fn newest_built() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let folders = std::fs::read_dir(cache.join("ocr-test-cluster")).ok()?;
    let programs = folders.filter_map(|folder| Some(folder.ok()?.path().join("helm")));
    let built = |path: &PathBuf| path.metadata().and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    programs.filter(|path| path.is_file()).max_by_key(built)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_is_read_and_empty_ones_are_none() {
        let text = "---\n# Source: a.yaml\nkind: A\n---\n# nothing\n---\nkind: B\nspec: {n: 1}\n";
        let kinds: Vec<Value> = objects(text).unwrap().iter().map(|object| object["kind"].clone()).collect();
        assert_eq!(kinds, ["A", "B"]);
        assert!(objects("kind: A\n---\n- : [\n").is_err());
    }
}
