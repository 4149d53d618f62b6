//! Pools and installations to place.

use ocrpool_core::{api::OcrPool, installation::Installation, valid::ValidPool};
use serde_json::{Value, json};

/// An installation with a bundle that was measured to take 6000 and 3008 MiB of a GPU.
pub fn installation() -> Installation {
    let memory = |gpu: Value| json!({"idleMib": 100, "peakMib": 200, "perPageMib": 10, "gpuMib": gpu});
    serde_json::from_value(json!({
        "image": "registry.example.com/ocr:1",
        "bundles": {"small": {
            "version": "1", "languages": ["en"], "bytes": 1000,
            "memory": {"cpu": memory(Value::Null), "gpu-fp16": memory(json!(6000)), "gpu-int8": memory(json!(3008))},
        }},
        "allow": {"tolerations": ["*"]},
    }))
    .unwrap()
}

/// A pool of this spec.
pub fn pool(spec: &Value) -> OcrPool {
    let mut whole = json!({"model": {"name": "small"}, "scaling": {"mode": "Manual"}});
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    serde_json::from_value(json!({
        "apiVersion": "ocrpool.dev/v1alpha1", "kind": "OcrPool",
        "metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": whole,
    }))
    .unwrap()
}

/// The same, read.
pub fn valid(spec: &Value) -> ValidPool {
    ValidPool::read(&pool(spec), &installation()).unwrap()
}
