//! What the tests of this crate begin with; each test changes one thing.

use serde_json::{Value, json};

use crate::{
    api::OcrPool,
    installation::{Installation, Scrape},
    valid::ValidPool,
};

/// An installation with two bundles. Its numbers are none of the defaults, so that a swap shows.
pub fn installation() -> Installation {
    serde_json::from_value(json!({
        "image": "registry.example.com/ocr-inference@sha256:1111",
        "bundles": {
            "small": {"version": "1", "languages": ["de", "en"], "bytes": 50_000_000,
                "memory": {"cpu": {"idleMib": 150, "peakMib": 290, "perPageMib": 20},
                    "gpu-fp16": {"idleMib": 150, "peakMib": 290, "perPageMib": 20, "gpuMib": 2500}}},
            "large": {"version": "2", "languages": ["en", "ja"], "bytes": 900_000_000,
                "memory": {"cpu": {"idleMib": 1500, "peakMib": 3000, "perPageMib": 100}},
                "gpuLanguages": {"gpu-fp16": ["en", "ja"]}},
        },
        "allow": {"images": ["registry.example.com/ours/"], "priorityClasses": ["batch"], "tolerations": ["ocr"]},
        "scrape": {"operatorNamespace": "ocr-system", "operatorLabels": {"app": "operator"}},
    }))
    .map(|installation: Installation| Installation {
        scrape: Scrape { prometheus_namespace: "monitoring".to_owned(), ..installation.scrape },
        ..installation
    })
    .unwrap()
}

/// A pool of this spec, as an API server has it.
pub fn pool(spec: &Value) -> OcrPool {
    let mut whole = json!({"model": {"name": "small"}});
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    serde_json::from_value(json!({
        "apiVersion": "ocrpool.dev/v1alpha1",
        "kind": "OcrPool",
        "metadata": {"name": "receipts", "namespace": "shop", "uid": "0000-1111", "generation": 3},
        "spec": whole,
    }))
    .unwrap()
}

/// The same, read.
pub fn valid(spec: &Value) -> ValidPool {
    ValidPool::read(&pool(spec), &installation()).unwrap()
}
