//! The chart, installed.

use std::{fs, time::Duration};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{Cluster, until};
use crate::data::repository;

/// Namespace of the operator.
pub const SYSTEM: &str = "ocr-system";
/// Name of the release, and so of what it installs.
pub const RELEASE: &str = "ocr-operator";
/// The chart.
pub const CHART: &str = "charts/ocr-operator";

/// Longest wait for the operator's pods.
const OPERATOR: Duration = Duration::from_mins(2);

/// The operator's release in a cluster.
pub struct Installation<'a> {
    cluster: &'a Cluster,
}

impl<'a> Installation<'a> {
    /// Installs or upgrades the release with more values (`--set` of helm), in a namespace of the level `restricted`. Pools
    /// may name any image that is loaded into the cluster.
    ///
    /// # Errors
    /// If helm fails.
    pub fn apply(cluster: &'a Cluster, values: &[&str]) -> anyhow::Result<Self> {
        Self::chart(cluster, CHART, values)
    }

    /// The same with another chart, which may be a packed one.
    ///
    /// # Errors
    /// If helm fails.
    pub fn chart(cluster: &'a Cluster, chart: &str, values: &[&str]) -> anyhow::Result<Self> {
        cluster.namespace(SYSTEM)?;
        let own = [
            "image.registry=localhost".to_owned(),
            "allow.images={localhost/}".to_owned(),
            format!("image.digest={}", digest("operator")?),
            format!("inference.image.digest={}", digest("inference")?),
        ];
        let mut arguments = vec!["upgrade", "--install", RELEASE, chart, "--namespace", SYSTEM];
        for value in own.iter().map(String::as_str).chain(values.iter().copied()) {
            arguments.extend(["--set", value]);
        }
        cluster.helm(&arguments)?;
        Ok(Self { cluster })
    }

    /// Waits until so many replicas are ready.
    ///
    /// # Errors
    /// If they are not within two minutes.
    pub fn wait_ready(&self, replicas: i64) -> anyhow::Result<()> {
        until(OPERATOR, "the operator runs", || {
            let deployment = self.cluster.get("Deployment", SYSTEM, RELEASE)?.context("no Deployment")?;
            let status = &deployment["status"];
            ensure!(deployment["metadata"]["generation"] == status["observedGeneration"], "not looked at yet");
            for count in ["replicas", "updatedReplicas", "readyReplicas"] {
                ensure!(status[count] == replicas, "{count}: {}", status[count]);
            }
            Ok(())
        })
        .with_context(|| self.log())
    }

    /// The operator's pods.
    ///
    /// # Errors
    /// If the API server does not say.
    pub fn pods(&self) -> anyhow::Result<Vec<Value>> {
        self.cluster.list("Pod", SYSTEM, &format!("app.kubernetes.io/instance={RELEASE}"))
    }

    /// The last lines of what the operator wrote.
    #[must_use]
    pub fn log(&self) -> String {
        let selector = format!("app.kubernetes.io/instance={RELEASE}");
        self.cluster
            .kubectl(&["-n", SYSTEM, "logs", "-l", &selector, "--tail", "20", "--prefix"])
            .unwrap_or_else(|error| format!("no log: {error}"))
    }
}

/// Digest of an image that `make images` built.
///
/// # Errors
/// If there is none.
pub fn digest(image: &str) -> anyhow::Result<String> {
    let file = repository().join(format!("target/images/{image}.digest"));
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}: make images", file.display()))?;
    Ok(text.trim().to_owned())
}
