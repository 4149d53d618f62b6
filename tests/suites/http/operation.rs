//! What an operator sees: probes, metrics, status, description, variables, log.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, ensure};
use ocr_api::{ErrorCode, HealthStatus, header, proof};
use ocr_tests::{
    http::{Answer, Http, send},
    pdf,
    server::{Options, Server},
};
use reqwest::Method;
use serde_json::Value;

use crate::text_pdf;

pub fn request_id(server: &Server) -> anyhow::Result<()> {
    let ask = |id: Option<&str>| -> anyhow::Result<(String, String)> {
        let mut request = server.api().request(Method::POST, "/v1/ocr").body(text_pdf(1));
        if let Some(id) = id {
            request = request.header(header::REQUEST_ID, id);
        }
        let answer = send(request)?;
        Ok((answer.header(header::REQUEST_ID).to_owned(), answer.document()?.request_id))
    };
    ensure!(ask(Some("abc-4711"))? == ("abc-4711".to_owned(), "abc-4711".to_owned()), "not taken over");
    let (first, second) = (ask(None)?, ask(None)?);
    ensure!(first.0 == first.1 && first.0.len() == 36 && first.0 != second.0, "{first:?} {second:?}");
    let long = "x".repeat(1_000);
    ensure!(ask(Some(&long))?.0.len() == 36, "a long id was taken over");
    Ok(())
}

pub fn probes(server: &Server) -> anyhow::Result<()> {
    for (path, body) in [("/live", r#"{"status":"alive"}"#), ("/ready", r#"{"ready":true,"models_loaded":true}"#)] {
        let answer = server.api().get(path)?;
        ensure!(answer.status == 200 && answer.text() == body, "{path}: {}", answer.describe());
        ensure!(answer.header("content-type").starts_with("application/json"), "{path}");
    }
    let answer = server.api().get("/health")?;
    let raw = answer.json()?;
    for field in ["status", "models_loaded", "available_endpoints", "memory_mb", "uptime_seconds", "version", "load"] {
        ensure!(raw.get(field).is_some_and(|value| !value.is_null()), "no {field} in {raw}");
    }
    let health: ocr_api::Health = serde_json::from_value(raw)?;
    ensure!(health.status == HealthStatus::Healthy && health.models_loaded, "{health:?}");
    ensure!(health.memory_mb > 50 && health.load.stage_number == health.load.stages, "{health:?}");
    for endpoint in &health.available_endpoints {
        let (method, path) = endpoint.split_once(' ').context("an endpoint is METHOD path")?;
        let answer = send(server.api().request(method.parse()?, path))?;
        ensure!(![404, 405].contains(&answer.status), "{endpoint}: {}", answer.describe());
    }
    Ok(())
}

pub fn metrics(server: &Server) -> anyhow::Result<()> {
    let before = server.metrics()?;
    server.api().post_form("/v1/ocr", "file", "planted-name.pdf", text_pdf(2))?.document()?;
    server.api().post("/v1/ocr", "not a picture")?.error()?;
    let after = server.metrics()?;
    for name in [
        "ocr_requests_total",
        "ocr_processing_seconds",
        "ocr_pages_total",
        "ocr_lines_total",
        "ocr_rejected_total",
        "ocr_queue_depth",
        "ocr_in_flight",
        "ocr_units_total",
        "ocr_busy_seconds_total",
        "ocr_stage_seconds",
        "ocr_decode_process_deaths_total",
        "ocr_model_info",
        "ocr_model_load_stage",
        "ocr_build_info",
        "process_resident_memory_bytes",
    ] {
        ensure!(after.has(name), "no {name} among {:?}", after.names());
    }
    let requests = after.sum("ocr_requests_total")? - before.sum("ocr_requests_total")?;
    ensure!((requests - 2.0).abs() < 0.5, "{requests} requests were counted");
    let pages = after.sum("ocr_pages_total")? - before.sum("ocr_pages_total")?;
    ensure!((pages - 2.0).abs() < 0.5, "{pages} pages were counted");
    for name in ["ocr_units_total", "ocr_busy_seconds_total"] {
        ensure!(after.sum(name)? > before.sum(name)?, "{name} stands still");
    }
    ensure!(!after.label_values().any(|value| value.contains("planted")), "a label has the name of a file");
    let code = |code: &str| {
        after.named("ocr_requests_total").any(|sample| sample.labels.get("code").is_some_and(|have| have == code))
    };
    ensure!(ErrorCode::ALL.iter().all(|known| code(known.as_str())) && code("ok"), "a code has no counter");
    Ok(())
}

pub fn status(server: &Server) -> anyhow::Result<()> {
    let status = server.status()?;
    let model = status.model.context("no model")?;
    ensure!(model.model == server.api().read(text_pdf(1))?.model, "{model:?}");
    ensure!(status.sandbox.seccomp && status.sandbox.processes > 0, "{:?}", status.sandbox);
    ensure!(status.hardware.cpu_threads > 0 && status.hardware.cpu_ram_gb > 0.0, "{:?}", status.hardware);
    let engine = status.engine;
    ensure!(engine.execution_provider == "CPUExecutionProvider" && engine.device == "cpu", "{engine:?}");
    ensure!((engine.strategy.as_str(), engine.strategy_wanted.as_str()) == ("cpu", "auto"), "{engine:?}");
    ensure!(
        engine.profile.as_deref() == Some("full") && ["fp32", "int8"].contains(&engine.precision.as_str()),
        "{engine:?}"
    );
    ensure!((engine.provider_nodes, engine.provider_time) == (1.0, 1.0), "{engine:?}");
    ensure!(engine.detect_threads >= status.hardware.cpu_threads && engine.places > 0, "{engine:?}");
    let golden = engine.golden;
    ensure!(golden.pages > 0 && golden.characters > 100 && golden.max_error_percent > 0.0, "{golden:?}");
    ensure!(golden.error_percent <= golden.max_error_percent, "{golden:?}");
    let (load, warm_up) = (status.load.elapsed_seconds, status.load.warm_up_seconds.context("no seconds of warm-up")?);
    ensure!(warm_up > 0.0 && warm_up < load, "{warm_up} s of {load} s");
    let of_load = status.memory.load_peak_bytes;
    ensure!(of_load > 0 && of_load <= status.memory.peak_resident_bytes, "{:?}", status.memory);
    ensure!(status.memory.peak_resident_bytes >= status.memory.resident_bytes, "{:?}", status.memory);
    ensure!(!status.work.draining && status.work.pages > 0, "{:?}", status.work);
    Ok(())
}

pub fn ports(server: &Server) -> anyhow::Result<()> {
    for path in ["/metrics", "/status"] {
        let answer = server.api().get(path)?;
        ensure!(answer.error()?.error.code == ErrorCode::NotFound, "{path}: {}", answer.describe());
    }
    Ok(())
}

pub fn openapi(server: &Server) -> anyhow::Result<()> {
    let answer = server.api().get("/openapi.json")?;
    let description = answer.json()?;
    ensure!(description["openapi"].as_str().is_some_and(|version| version.starts_with("3.")), "{}", answer.describe());
    let health: ocr_api::Health = serde_json::from_slice(&server.api().get("/health")?.body)?;
    for endpoint in &health.available_endpoints {
        let (method, path) = endpoint.split_once(' ').context("an endpoint is METHOD path")?;
        let method = method.to_lowercase();
        // What a person looks at needs no description.
        let described = ["/", "/openapi.json"].contains(&path) || description["paths"][path][&method].is_object();
        ensure!(described, "{endpoint} is not described");
    }
    let text = answer.text();
    for reference in text.split("\"$ref\":\"").skip(1) {
        let pointer = reference.split('"').next().unwrap_or_default();
        let target = pointer.strip_prefix('#').and_then(|pointer| description.pointer(pointer));
        ensure!(target.is_some(), "{pointer} leads nowhere");
    }
    let codes = text.matches("too_many_pixels").count();
    ensure!(codes > 0, "the error codes are not described");
    Ok(())
}

pub fn unknown_variable() -> anyhow::Result<()> {
    let mut server = Server::launch(&Options::new().variable("OCR_MODLE", "pp-ocrv6-tiny"))?;
    let status = server.wait_exit(Duration::from_secs(10))?;
    ensure!(!status.success(), "ended with {status}");
    let log = server.log()?;
    ensure!(log.contains("OCR_MODLE") && log.contains("OCR_MODEL"), "{log}");
    Ok(())
}

pub fn injected_variables() -> anyhow::Result<()> {
    let mut options = Options::new();
    for service in ["OCR", "OCR_GATEWAY", "OCR_PORT"] {
        for (name, value) in [
            ("SERVICE_HOST", "10.0.0.1"),
            ("SERVICE_PORT", "8100"),
            ("SERVICE_PORT_HTTP", "8100"),
            ("PORT", "tcp://10.0.0.1:8100"),
            ("PORT_8100_TCP", "tcp://10.0.0.1:8100"),
            ("PORT_8100_TCP_PROTO", "tcp"),
            ("PORT_8100_TCP_PORT", "8100"),
            ("PORT_8100_TCP_ADDR", "10.0.0.1"),
        ] {
            options = options.variable(format!("{service}_{name}"), value);
        }
    }
    let server = Server::start(&options)?;
    ensure!(server.api().get("/ready")?.status == 200, "not ready");
    Ok(())
}

pub fn log() -> anyhow::Result<()> {
    let mut server = Server::start(&Options::new().arguments(["--log-level", "trace"]))?;
    let body = pdf::text_pages(&[vec!["PLANTEDTEXT 4711".into()]]);
    let read = server.api().post_form("/v1/ocr", "file", "planted-name.pdf", body.clone())?.document()?;
    ensure!(read.text.contains("PLANTEDTEXT"), "{}", read.text);
    let with_header = |path: &str, body: Vec<u8>| -> anyhow::Result<Answer> {
        let request: &Http = server.api();
        send(
            request
                .request(Method::POST, path)
                .header(header::DOCUMENT_PASSWORD, "planted-password")
                .header(header::REQUEST_ID, "known-request")
                .body(body),
        )
    };
    with_header("/v1/ocr", body)?;
    with_header("/v1/ocr?planted-parameter=planted-value", Vec::new())?;
    with_header("/planted-path", Vec::new())?;
    with_header("/v1/ocr", b"%PDF-1.7 planted-bytes".to_vec())?;
    server.terminate()?;
    server.wait_exit(Duration::from_secs(20))?;
    let log = server.log()?;
    for planted in ["PLANTED", "planted"] {
        ensure!(!log.contains(planted), "{}", log.lines().find(|line| line.contains(planted)).unwrap_or_default());
    }
    ensure!(log.contains("known-request"), "the request id is not in the log");
    for event in ["loading", "models loaded", "ocr processing time", "memory usage"] {
        ensure!(log.to_lowercase().contains(event), "no {event:?} in the log: {log}");
    }
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
        ensure!(line["timestamp"].is_string() && line["level"].is_string() && line["message"].is_string(), "{line}");
    }
    Ok(())
}

/// What the stand-in for pods answers (`src/bin/fake-pod.rs`) is what a real server was recorded to answer.
pub fn recorded(server: &Server) -> anyhow::Result<()> {
    let recorded: Value = serde_json::from_str(include_str!("../../recorded/status.json"))?;
    let real = server.admin().get("/status")?.json()?;
    let (recorded, real) = (fields("", &recorded), fields("", &real));
    // Where there is a limit of memory depends on the machine.
    let of_limit =
        |field: &str| ["/memory/limit_bytes", "/memory/cgroup_peak_bytes"].iter().any(|one| field.starts_with(one));
    let differ: Vec<&String> = recorded.symmetric_difference(&real).filter(|field| !of_limit(field)).collect();
    ensure!(differ.is_empty(), "only one of the recording and the server has {differ:?}");
    Ok(())
}

/// The page of the operator's proof is read like any other, and counts in no metric.
pub fn proof_page(server: &Server) -> anyhow::Result<()> {
    let figures = || -> anyhow::Result<Vec<f64>> {
        let metrics = server.metrics()?;
        let names = ["ocr_answers_total", "ocr_pages_total", "ocr_units_total", "ocr_busy_seconds_total"];
        let stages = ["ocr_stage_seconds_count", "ocr_batch_size_count", "ocr_processing_seconds_count"];
        names.into_iter().chain(stages).map(|name| metrics.sum(name)).collect()
    };
    let before = figures()?;
    let page = server.api().request(Method::POST, "/v1/ocr?format=text").header(header::PROOF, "1");
    let read = send(page.body(proof::page()))?;
    ensure!(read.status == 200, "{}", read.text());
    proof::check(&read.text()).map_err(anyhow::Error::msg)?;
    ensure!(figures()? == before, "{:?} before the proof, {:?} after it", before, figures()?);
    server.api().post("/v1/ocr", proof::page())?;
    ensure!(figures()?.iter().zip(&before).all(|(now, before)| now > before), "a client's page did not count");
    Ok(())
}

/// Paths of all fields, with the type of their values.
fn fields(path: &str, value: &Value) -> BTreeSet<String> {
    let kind = match value {
        Value::Object(object) => {
            return object.iter().flat_map(|(name, value)| fields(&format!("{path}/{name}"), value)).collect();
        }
        Value::Array(_) => "array",
        Value::String(_) => "text",
        Value::Number(_) => "number",
        Value::Bool(_) => "bool",
        Value::Null => "null",
    };
    BTreeSet::from([format!("{path}: {kind}")])
}
