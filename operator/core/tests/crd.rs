//! The rules of the CRD, tried without an API server. Bounds, patterns and required fields are tried against a real one.

use std::{fs, path::Path};

use kube::CustomResourceExt;
use kube_cel::Validator;
use ocrpool_core::{
    api::OcrPool,
    installation::{Allow, Installation, Scrape},
    valid::ValidPool,
};
use serde_json::{Value, json};

fn schema() -> Value {
    let crd = serde_json::to_value(OcrPool::crd()).unwrap_or_default();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

fn messages(name: &str, spec: &Value) -> Vec<String> {
    broken_rules(&json!({
        "apiVersion": "ocrpool.dev/v1alpha1", "kind": "OcrPool", "metadata": {"name": name}, "spec": spec,
    }))
}

fn broken_rules(object: &Value) -> Vec<String> {
    match Validator::new().validate_with_defaults(&schema(), object, None) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.iter().map(|error| error.message.clone()).collect(),
    }
}

#[test]
fn what_contradicts_itself_is_refused_with_a_message_that_helps() {
    let model = json!({"name": "pp-ocrv6-small"});
    let resources = |given: Value| json!({"model": model, "resources": {"cpu": given}});
    let rows = [
        (json!({"model": model, "scaling": {"min": 5, "max": 2}}), "scaling.min must not exceed scaling.max"),
        (json!({"model": model, "scaling": {"min": 11}}), "scaling.min must not exceed scaling.max"),
        (json!({"model": model, "strategies": ["cpu", "gpu-fp16", "cpu"]}), "a strategy is listed twice"),
        (
            resources(json!({"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi"}})),
            "requests.memory and limits.memory must be equal: give one of them",
        ),
        (
            resources(json!({"requests": {"cpu": 2}, "limits": {"cpu": "1500m"}})),
            "requests.cpu must not exceed limits.cpu",
        ),
        (resources(json!({"limits": {"cpu": 0}})), "cpu must be from 100m to 256 cores, such as 500m or 2"),
        (resources(json!({"limits": {"memory": "64Mi"}})), "memory must be from 128Mi to 4Ti, such as 1536Mi or 2Gi"),
        (json!({"model": model, "limits": {"bodyBytes": "2Gi"}}), "bodyBytes must be from 1Ki to 1Gi, such as 10Mi"),
        (
            json!({"model": model, "placement": {"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}}),
            "a toleration with the operator Exists has no value",
        ),
    ];
    for (spec, message) in rows {
        assert_eq!(messages("receipts", &spec), [message], "{spec}");
    }
}

/// What is no rule but a bound of the schema is found by reading it; that an API server holds to it is tried against one.
#[test]
fn a_strategy_list_and_a_placement_are_bounded_by_the_schema() {
    let schema = schema();
    let spec = &schema["properties"]["spec"]["properties"];
    let strategies = &spec["strategies"];
    assert_eq!((&strategies["minItems"], &strategies["maxItems"]), (&json!(1), &json!(3)));
    assert_eq!(strategies["items"]["enum"], json!(["gpu-fp16", "gpu-int8", "cpu"]));
    let placement = &spec["placement"]["properties"];
    let seconds = &placement["spillAfterSeconds"];
    assert_eq!(
        [&seconds["default"], &seconds["minimum"], &seconds["maximum"]].map(Value::as_f64),
        [30.0, 5.0, 3600.0].map(Some)
    );
    assert_eq!(placement["onMismatch"]["enum"], json!(["Serve", "Replace"]));
    assert_eq!(placement["onMismatch"]["default"], "Serve");
    let products = &placement["gpuProducts"];
    assert_eq!((&products["x-kubernetes-list-type"], &products["items"]["maxLength"]), (&json!("set"), &json!(63)));
}

#[test]
fn a_strategy_list_that_cannot_be_is_refused_by_whoever_reads_it() {
    let read = |strategies: Value| {
        serde_json::from_value::<ocrpool_core::api::OcrPoolSpec>(
            json!({"model": {"name": "a"}, "strategies": strategies}),
        )
        .map(|spec| spec.strategies.len())
        .map_err(|error| error.to_string())
    };
    assert_eq!(read(json!(["gpu-fp16", "gpu-int8", "cpu"])), Ok(3));
    let unknown = read(json!(["tpu"])).unwrap_err();
    assert!(unknown.contains("unknown variant `tpu`") && unknown.contains("`gpu-int8`"), "{unknown}");
}

#[test]
fn a_name_that_no_service_can_have_is_refused() {
    let spec = || json!({"model": {"name": "pp-ocrv6-small"}});
    let longest = "a".repeat(63);
    for name in ["ocr", "a", "receipts-2", longest.as_str()] {
        assert_eq!(messages(name, &spec()), Vec::<String>::new(), "{name}");
    }
    let too_long = "a".repeat(64);
    for name in ["2024", "a.b", "a-", too_long.as_str()] {
        assert!(messages(name, &spec())[0].contains("a pool's name is its Service's"), "{name}");
    }
}

#[test]
fn what_makes_sense_is_taken() {
    let model = json!({"name": "pp-ocrv6-small"});
    for spec in [
        json!({"model": model}),
        json!({"model": model, "scaling": {"min": 3, "max": 3}, "strategies": ["gpu-fp16", "gpu-int8", "cpu"]}),
        json!({"model": model, "resources": {"cpu": {"requests": {"cpu": 2, "memory": "2048Mi"}, "limits": {"cpu": "2", "memory": "2Gi"}}}}),
        json!({"model": model, "limits": {"bodyBytes": 1_048_576}}),
    ] {
        assert_eq!(messages("receipts", &spec), Vec::<String>::new(), "{spec}");
    }
}

/// The manual is `kubectl explain`: no field without a description.
#[test]
fn every_field_is_described() {
    fn walk(path: &str, schema: &Value, missing: &mut Vec<String>) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            if field["description"].as_str().is_none_or(str::is_empty) {
                missing.push(path.clone());
            }
            walk(&path, field, missing);
            walk(&path, &field["items"], missing);
        }
    }
    let mut missing = Vec::new();
    let schema = schema();
    walk("spec", &schema["properties"]["spec"], &mut missing);
    walk("status", &schema["properties"]["status"], &mut missing);
    assert_eq!(missing, ["spec", "status"].map(String::from)[..0]);
}

/// Whoever leaves a list or a text unbounded pays for rules that the API server finds too costly.
#[test]
fn every_text_and_list_of_the_spec_is_bounded() {
    fn walk(path: &str, schema: &Value, unbounded: &mut Vec<String>) {
        let has = |key: &str| !schema[key].is_null();
        let bounded = match schema["type"].as_str() {
            Some("string") => has("maxLength") || has("enum"),
            Some("array") => has("maxItems"),
            Some("integer") => has("minimum") && has("maximum"),
            Some("object") => has("properties") || has("maxProperties"),
            _ => has("x-kubernetes-int-or-string"),
        };
        if !bounded {
            unbounded.push(path.to_owned());
        }
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            walk(&format!("{path}.{name}"), field, unbounded);
        }
        if schema["items"].is_object() {
            walk(&format!("{path}[]"), &schema["items"], unbounded);
        }
    }
    let mut unbounded = Vec::new();
    walk("spec", &schema()["properties"]["spec"], &mut unbounded);
    assert_eq!(unbounded, Vec::<String>::new());
}

/// Fields of an object that its schema does not have. The API server would drop them, or refuse them.
fn unknown_fields(path: &str, object: &Value, schema: &Value) -> Vec<String> {
    let mut unknown = Vec::new();
    for (name, value) in object.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        match schema["properties"].get(name) {
            Some(field) => unknown.extend(unknown_fields(&path, value, field)),
            None if schema["additionalProperties"].is_object() => {}
            None => unknown.push(path),
        }
    }
    for item in object.as_array().into_iter().flatten() {
        unknown.extend(unknown_fields(path, item, &schema["items"]));
    }
    unknown
}

/// By whoever takes an example and the chart as they are.
#[test]
fn the_pools_of_the_examples_are_taken_by_a_chart_with_its_defaults() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let bundles = fs::read_to_string(root.join("charts/ocr-operator/files/bundles.yaml")).unwrap();
    let installation = Installation {
        image: "ocr-inference:1".to_owned(),
        bundles: yaml_serde::from_str(&bundles).unwrap(),
        allow: Allow::default(),
        scrape: Scrape::default(),
        nodes: false,
    };
    let mut looked_at = 0;
    for entry in fs::read_dir(root.join("examples/pools")).unwrap() {
        let path = entry.unwrap().path();
        let file = path.display();
        let mut object: Value = yaml_serde::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(broken_rules(&object), Vec::<String>::new(), "{file}");
        assert_eq!(
            unknown_fields("spec", &object["spec"], &schema()["properties"]["spec"]),
            Vec::<String>::new(),
            "{file}"
        );
        // What an API server adds.
        object["metadata"]["namespace"] = "default".into();
        object["metadata"]["uid"] = "0000-1111".into();
        let pool: OcrPool = serde_json::from_value(object).unwrap_or_else(|error| panic!("{file}: {error}"));
        ValidPool::read(&pool, &installation).unwrap_or_else(|error| panic!("{file}: {error}"));
        looked_at += 1;
    }
    assert!(looked_at >= 3, "only {looked_at} examples");
}

#[test]
fn a_field_that_the_schema_does_not_have_is_found() {
    let spec = json!({"scaling": {"minimum": 1, "max": 2}, "placement": {"nodeSelector": {"a": "b"}, "tolerations": [{"kee": "a"}]}});
    let unknown = unknown_fields("spec", &spec, &schema()["properties"]["spec"]);
    assert_eq!(unknown, ["spec.placement.tolerations.kee", "spec.scaling.minimum"]);
}
