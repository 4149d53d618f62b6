//! A real Kubernetes cluster under test: the one of `make cluster-up`, or another that is named.

mod audit;
mod definition;
mod install;
mod load;
mod nodes;
mod operator;
mod pool;
mod watch;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use http::Request;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

pub use audit::{Audit, AuditEvent};
pub use definition::{DEFINITION, with_loose_definition};
pub use install::{CHART, Installation, RELEASE, SYSTEM, digest};
pub use load::{Load, Sent, all_answered};
pub use operator::Operator;
pub use pool::{Pool, small};
pub use watch::{Event, Watch};

use crate::data::repository;

/// Longest wait for one call of the API server.
const CALL: Duration = Duration::from_secs(30);

/// A cluster, as its administrator sees it.
pub struct Cluster {
    runtime: Runtime,
    client: Client,
    kubeconfig: PathBuf,
    programs: PathBuf,
}

/// A kind of object, by where the API server has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// `v1`, or group and version.
    pub version: &'static str,
    /// In the plural, as in a path.
    pub plural: &'static str,
    pub name: &'static str,
}

/// A kind by its name, for the kinds that the suites use.
///
/// # Panics
/// Where a suite names a kind that is not in the table.
#[must_use]
pub fn kind(name: &str) -> Kind {
    const KINDS: [(&str, &str, &str); 16] = [
        ("v1", "configmaps", "ConfigMap"),
        ("v1", "events", "Event"),
        ("v1", "namespaces", "Namespace"),
        ("v1", "nodes", "Node"),
        ("v1", "pods", "Pod"),
        ("v1", "resourcequotas", "ResourceQuota"),
        ("v1", "serviceaccounts", "ServiceAccount"),
        ("v1", "services", "Service"),
        ("apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition"),
        ("apps/v1", "deployments", "Deployment"),
        ("apps/v1", "replicasets", "ReplicaSet"),
        ("coordination.k8s.io/v1", "leases", "Lease"),
        ("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy"),
        ("ocrpool.dev/v1alpha1", "ocrpools", "OcrPool"),
        ("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget"),
        ("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole"),
    ];
    let found = KINDS.iter().find(|(_, _, known)| *known == name);
    let Some((version, plural, name)) = found else { unreachable!("{name} is in no table of kinds") };
    Kind { version, plural, name }
}

impl Cluster {
    /// Finds it: `$KUBECONFIG_UNDER_TEST`, else the one of this checkout.
    ///
    /// # Errors
    /// If there is none that answers, with how to get one.
    pub fn find() -> anyhow::Result<Self> {
        let state = repository().join("target/cluster");
        let kubeconfig =
            std::env::var_os("KUBECONFIG_UNDER_TEST").map_or_else(|| state.join("kubeconfig"), PathBuf::from);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let client = runtime.block_on(connect(&kubeconfig))?;
        let cluster = Self { runtime, client, kubeconfig, programs: state.join("bin") };
        cluster.call(Request::get("/version"), None).context("the cluster does not answer: make cluster-up")?;
        Ok(cluster)
    }

    /// Nothing where the cluster is the one of this checkout, whose audit log can be read and whose nodes can be broken.
    ///
    /// # Errors
    /// With the reason why a case is left out.
    pub fn own() -> Result<(), String> {
        match std::env::var_os("KUBECONFIG_UNDER_TEST") {
            None => Ok(()),
            Some(_) => Err("the cluster of KUBECONFIG_UNDER_TEST keeps its audit log to itself".to_owned()),
        }
    }

    /// A client of the API server, and the runtime that it works on.
    #[must_use]
    pub fn client(&self) -> (&Client, &Runtime) {
        (&self.client, &self.runtime)
    }

    fn call(&self, request: http::request::Builder, body: Option<&Value>) -> anyhow::Result<Value> {
        let body = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let request = request.body(body).context("no request")?;
        self.runtime.block_on(async {
            match tokio::time::timeout(CALL, self.client.request::<Value>(request)).await {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(kube::Error::Api(status))) => bail!("{}: {}", status.code, status.message),
                Ok(Err(error)) => Err(error.into()),
                Err(_) => bail!("no answer within {} s", CALL.as_secs()),
            }
        })
    }

    /// An object; `None` where it is not there.
    ///
    /// # Errors
    /// If the API server does not say.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> anyhow::Result<Option<Value>> {
        match self.call(Request::get(path(kind, namespace, name)), None) {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.to_string().starts_with("404") => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot get {kind} {name}")),
        }
    }

    /// The objects of a kind with these labels (`a=b,c=d`; empty: all).
    ///
    /// # Errors
    /// If the API server does not say.
    pub fn list(&self, kind: &str, namespace: &str, labels: &str) -> anyhow::Result<Vec<Value>> {
        let path =
            format!("{}?labelSelector={}", path(kind, namespace, ""), labels.replace('=', "%3D").replace(',', "%2C"));
        let mut list = self.call(Request::get(path), None).with_context(|| format!("cannot list {kind}"))?;
        match list["items"].take() {
            Value::Array(items) => Ok(items),
            other => bail!("a list of {kind} without items: {other}"),
        }
    }

    /// Applies an object as the field manager `suite`, as kubectl does on the server's side.
    ///
    /// # Errors
    /// If it is refused, with the API server's words.
    pub fn apply(&self, object: &Value) -> anyhow::Result<Value> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        let path = path(kind, text("/metadata/namespace"), name);
        let request = Request::patch(format!("{path}?fieldManager=suite&force=true&fieldValidation=Strict"))
            .header("content-type", "application/apply-patch+yaml");
        self.call(request, Some(object)).with_context(|| format!("cannot apply {kind} {name}"))
    }

    /// Merges a change into an object, as the field manager `suite`.
    ///
    /// # Errors
    /// If it is refused, with the API server's words.
    pub fn merge(&self, kind: &str, namespace: &str, name: &str, change: &Value) -> anyhow::Result<Value> {
        let request = Request::patch(format!("{}?fieldManager=suite", path(kind, namespace, name)))
            .header("content-type", "application/merge-patch+json");
        self.call(request, Some(change)).with_context(|| format!("cannot change {kind} {name}"))
    }

    /// Deletes an object, and what it owns after it. Nothing happens where it is not there.
    ///
    /// # Errors
    /// If the API server refuses.
    pub fn delete(&self, kind: &str, namespace: &str, name: &str) -> anyhow::Result<()> {
        let body = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
        let request = Request::delete(path(kind, namespace, name)).header("content-type", "application/json");
        match self.call(request, Some(&body)) {
            Err(error) if !error.to_string().starts_with("404") => {
                Err(error).with_context(|| format!("cannot delete {kind} {name}"))
            }
            _ => Ok(()),
        }
    }

    /// A token of an account, as the kubelet would give it to a pod.
    ///
    /// # Errors
    /// If the API server refuses.
    pub fn token(&self, namespace: &str, account: &str) -> anyhow::Result<String> {
        let path = format!("{}/token", path("ServiceAccount", namespace, account));
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}});
        let request = Request::post(path).header("content-type", "application/json");
        let answer = self.call(request, Some(&body)).with_context(|| format!("no token of {account}"))?;
        Ok(answer["status"]["token"].as_str().context("an answer without a token")?.to_owned())
    }

    /// Where its kubeconfig is.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Makes a namespace that admits only pods of the level `restricted`.
    ///
    /// # Errors
    /// If the API server refuses.
    pub fn namespace(&self, name: &str) -> anyhow::Result<()> {
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        self.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}))?;
        Ok(())
    }

    /// What kubectl prints, as a user calls it.
    ///
    /// # Errors
    /// If it fails, with what it wrote.
    pub fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.program("kubectl", arguments)
    }

    /// What helm prints.
    ///
    /// # Errors
    /// If it fails, with what it wrote.
    pub fn helm(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.program("helm", arguments)
    }

    fn program(&self, name: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let own = self.programs.join(name);
        let program = if own.is_file() { own } else { PathBuf::from(name) };
        let output = Command::new(&program)
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .current_dir(repository())
            .output()
            .with_context(|| format!("cannot run {}: make cluster-up brings it", program.display()))?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{name} {}: {errors}", arguments.join(" "));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// `kind`'s collection, or one object of it.
fn path(kind: &str, namespace: &str, name: &str) -> String {
    let Kind { version, plural, .. } = self::kind(kind);
    let root = if version == "v1" { "/api" } else { "/apis" };
    let scope = if namespace.is_empty() { String::new() } else { format!("/namespaces/{namespace}") };
    let object = if name.is_empty() { String::new() } else { format!("/{name}") };
    format!("{root}/{version}{scope}/{plural}{object}")
}

async fn connect(kubeconfig: &Path) -> anyhow::Result<Client> {
    let file = Kubeconfig::read_from(kubeconfig)
        .with_context(|| format!("no cluster: {} cannot be read; make cluster-up", kubeconfig.display()))?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// Whether an object says that it is ready, and is not on its way out.
#[must_use]
pub fn is_ready(object: &Value) -> bool {
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let is_ready = conditions.any(|one| one["type"] == "Ready" && one["status"] == "True");
    is_ready && object["metadata"]["deletionTimestamp"].is_null()
}

/// Asks again and again until there is an answer.
///
/// # Errors
/// If there is none within `limit`, with the last reason why.
pub fn until<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() >= deadline => {
                return Err(error.context(format!("not within {} s: {what}", limit.as_secs())));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}
