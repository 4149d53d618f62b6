//! What whoever installed the operator decided: the images and bundles it knows, and what a pool may ask for.

use std::collections::BTreeMap;

use ocr_api::manifest::{Manifest, Memory, Precision};
use serde::{Deserialize, Serialize};

use crate::api::Strategy;

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
    /// Which of the languages it has networks for on a GPU, by strategy. Not given: nothing is known, as in the catalogues
    /// of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_languages: Option<BTreeMap<String, Vec<String>>>,
}

impl Bundle {
    /// Whether it has the networks that a strategy computes with, for these languages.
    #[must_use]
    pub fn computes(&self, strategy: Strategy, languages: &[String]) -> bool {
        let Some(known) = self.gpu_languages.as_ref().filter(|_| strategy.needs_gpu()) else { return true };
        let reads = |all: &Vec<String>| languages.iter().all(|language| all.contains(language));
        known.get(strategy.as_str()).is_some_and(reads)
    }
}

impl From<&Manifest> for Bundle {
    fn from(manifest: &Manifest) -> Self {
        let mut languages: Vec<_> = manifest.recognisers.iter().flat_map(|one| one.languages.clone()).collect();
        languages.sort();
        languages.dedup();
        let on_gpu = [(Strategy::GpuFp16, Precision::Fp16), (Strategy::GpuInt8, Precision::Int8Qdq)];
        let gpu_languages = on_gpu
            .into_iter()
            .map(|(strategy, precision)| (strategy.as_str().to_owned(), read_in(manifest, &languages, precision)))
            .filter(|(_, languages)| !languages.is_empty())
            .collect();
        Self {
            version: manifest.version.clone(),
            languages,
            bytes: manifest.bytes(),
            memory: manifest.memory.clone(),
            gpu_languages: Some(gpu_languages),
        }
    }
}

/// The languages that are read in a precision: those whose recogniser, the first that reads them, has such a network.
fn read_in(manifest: &Manifest, languages: &[String], precision: Precision) -> Vec<String> {
    if manifest.detector.file_in(precision.of_detector()).is_none() {
        return Vec::new();
    }
    let reads = |language: &&String| {
        let first = manifest.recognisers.iter().find(|one| one.languages.contains(language));
        first.is_some_and(|one| one.file_in(precision).is_some())
    };
    languages.iter().filter(reads).cloned().collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(manifest: &str) -> Bundle {
        Bundle::from(&yaml_serde::from_str::<Manifest>(manifest).unwrap())
    }

    #[test]
    fn what_a_bundle_computes_on_a_gpu_follows_from_its_networks() {
        use Strategy::{Cpu, GpuFp16, GpuInt8};
        let small = bundle(include_str!("../../../inference/bundles/pp-ocrv6-small/model.yaml"));
        let tiny = bundle(include_str!("../../../inference/bundles/pp-ocrv6-tiny/model.yaml"));
        let older = bundle(include_str!("../../../inference/bundles/pp-ocrv5-mobile/model.yaml"));
        let [english, chinese] = ["en", "zh"].map(|language| vec![language.to_owned()]);
        for (bundle, languages, expected) in [
            (&small, &english, [true, true, true]),
            // The full vocabulary has no such network.
            (&small, &chinese, [true, false, true]),
            (&small, &Vec::new(), [true, true, true]),
            (&tiny, &english, [true, false, true]),
            (&older, &english, [false, false, true]),
            (&older, &Vec::new(), [false, false, true]),
        ] {
            let found = [GpuFp16, GpuInt8, Cpu].map(|strategy| bundle.computes(strategy, languages));
            assert_eq!(found, expected, "{languages:?}");
        }
        let unknown = Bundle { gpu_languages: None, ..older };
        assert!(unknown.computes(GpuInt8, &english));
    }
}
