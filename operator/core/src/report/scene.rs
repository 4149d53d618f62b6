//! A pool with pods, for tests of what is told of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};
use ocr_api::PodStatus;
use serde_json::{Value, json};

use super::{Trouble, status};
use crate::{
    api::{OcrPool, OcrPoolStatus, Proof, conditions::READY},
    build::{self, names},
    decide::{World, decide},
    fixture::{installation, pool, valid},
    prove::Memory,
};

pub fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

pub fn proven(revision: &str, passed: bool) -> Memory {
    let message = (!passed).then(|| "500 Internal Server Error".to_owned());
    let last = Proof { time: Time(now()), revision: revision.to_owned(), passed, message };
    Memory { last: Some(last), ..Memory::default() }
}

/// A pool of `spec` whose Deployment has so many pods, all in this state.
pub struct Scene {
    pub pool: OcrPool,
    pub deployments: Vec<Deployment>,
    pub pods: Vec<Pod>,
    pub attested: BTreeMap<String, PodStatus>,
    pub memory: Memory,
    pub troubles: Vec<Trouble>,
}

impl Scene {
    pub fn new(spec: &Value, ready: i32, pods: i32) -> Self {
        let valid = valid(spec);
        let mut deployment = build::deployment(&valid, valid.strategies[0], pods);
        deployment.status = serde_json::from_value(json!({"replicas": pods, "readyReplicas": ready})).ok();
        let labels = names::revision_labels(&valid.name, &valid.revision.name, valid.strategies[0]);
        let pod = |number: i32| {
            serde_json::from_value(json!({
                "metadata": {"name": format!("pod-{number}"), "labels": labels},
                "status": {"conditions": [
                    {"type": "PodScheduled", "status": "True"},
                    {"type": "Ready", "status": if number < ready { "True" } else { "False" }},
                ]},
            }))
            .unwrap()
        };
        Self {
            pool: pool(spec),
            deployments: vec![deployment],
            pods: (0..pods).map(pod).collect(),
            attested: BTreeMap::new(),
            memory: proven(&valid.revision.name, true),
            troubles: Vec::new(),
        }
    }

    pub fn status(&self) -> OcrPoolStatus {
        let installation = installation();
        let world = World {
            now: now(),
            pool: &self.pool,
            installation: &installation,
            deployments: &self.deployments,
            records: &[],
            pods: &self.pods,
            attested: &self.attested,
            nodes: None,
            all_pods: &[],
            memory: &self.memory,
        };
        status(&world, &decide(&world), self.troubles.clone())
    }
}

pub fn condition(status: &OcrPoolStatus, type_: &str) -> (bool, String, String) {
    let found = status.conditions.iter().find(|condition| condition.type_ == type_).unwrap();
    (found.status == "True", found.reason.clone(), found.message.clone())
}

pub fn ready(status: &OcrPoolStatus) -> (bool, String) {
    let (is, reason, _) = condition(status, READY);
    (is, reason)
}
