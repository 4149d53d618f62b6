//! What whoever installed the operator decided: the images and bundles it knows, and what a pool may ask for.

use std::collections::BTreeMap;

use ocr_api::manifest::{Manifest, Memory};
use serde::{Deserialize, Serialize};

/// The operator's configuration file, which the chart writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Installation {
    /// Image that a pool is given when it names none; with a digest, so that every pod of a revision is the same.
    pub image: String,
    /// The bundles in that image, by name.
    pub bundles: BTreeMap<String, Bundle>,
    /// What a pool may ask for.
    #[serde(default)]
    pub allow: Allow,
    /// Who may reach the pods' metrics, beside the operator.
    #[serde(default)]
    pub scrape: Scrape,
    /// Whether the operator may list and watch nodes, and does. Without them it learns from its pods alone what fits.
    #[serde(default)]
    pub nodes: bool,
}

/// What is known of a bundle without opening it. Made from its manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bundle {
    /// Version of the bundle.
    pub version: String,
    /// BCP 47 tags of the languages that it reads.
    pub languages: Vec<String>,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Memory that a pod needs, by strategy, as measured.
    pub memory: BTreeMap<String, Memory>,
}

impl From<&Manifest> for Bundle {
    fn from(manifest: &Manifest) -> Self {
        let mut languages: Vec<_> = manifest.recognisers.iter().flat_map(|one| one.languages.clone()).collect();
        languages.sort();
        languages.dedup();
        Self { version: manifest.version.clone(), languages, bytes: manifest.bytes(), memory: manifest.memory.clone() }
    }
}

/// What a pool may ask for. An empty list allows nothing of its kind, except where it says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Allow {
    /// Prefixes of images, such as `registry.example.com/ocr/`. Empty: only the installation's own image.
    #[serde(default)]
    pub images: Vec<String>,
    /// Priority classes.
    #[serde(default)]
    pub priority_classes: Vec<String>,
    /// Keys of taints that may be tolerated. `*` allows all.
    #[serde(default)]
    pub tolerations: Vec<String>,
}

/// Who may reach the pods' metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scrape {
    /// Namespace of the operator itself.
    #[serde(default)]
    pub operator_namespace: String,
    /// Labels of the operator's pods.
    #[serde(default)]
    pub operator_labels: BTreeMap<String, String>,
    /// Namespace of Prometheus; empty: none.
    #[serde(default)]
    pub prometheus_namespace: String,
}
