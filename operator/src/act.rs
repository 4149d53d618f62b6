//! Makes things so.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, EvictParams, Patch, PatchParams, Preconditions},
    core::{ApiResource, DynamicObject, Status},
};
use ocrpool_core::{
    api::conditions::reason,
    build::{Child, is_controlled_by, names},
    compare,
    decide::Plan,
    report::Trouble,
    revision::short_hash,
};
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    client::{CALL, NotLeading},
    cluster::{Cluster, kinds},
    context::{Contested, Context, Unseen},
};

/// Annotation with the hash of what was last applied: what is not asked for any more shows by it.
const APPLIED: &str = "ocrpool.dev/applied";

/// Repairs of the same object in a row, each within [`QUIET`] of the last, until its other writer is named.
const FIGHT: u32 = 3;
/// An object that was left alone for so long is not contested any more.
const QUIET: std::time::Duration = std::time::Duration::from_mins(1);

/// What came of acting.
#[derive(Debug, Default)]
pub struct Outcome {
    pub troubles: Vec<Trouble>,
    /// The pool's address was not as it should be, and was put right if that was possible: it must be proven anew.
    pub repaired: bool,
    /// A pod that was to be evicted was.
    pub evicted: bool,
}

/// This replica does not lead any more: nothing else is worth saying.
#[derive(Debug, thiserror::Error)]
#[error("this replica does not lead any more")]
pub struct Deposed;

struct Act<'a> {
    context: &'a Context,
    cluster: &'a Cluster,
    namespace: &'a str,
    uid: &'a str,
    outcome: Outcome,
    /// The namespace goes: what the cache still shows may be gone already, and nothing can be made.
    is_over: bool,
}

/// Makes the cluster as the plan says, as far as it lets itself.
///
/// # Errors
/// Where this replica lost its lease meanwhile.
pub async fn act(
    context: &Context,
    cluster: &Cluster,
    namespace: &str,
    uid: &str,
    plan: &Plan,
) -> Result<Outcome, Deposed> {
    let mut act = Act { context, cluster, namespace, uid, outcome: Outcome::default(), is_over: false };
    for child in &plan.children {
        act.apply(child).await?;
        if act.is_over {
            return Ok(act.outcome);
        }
    }
    for name in &plan.remove {
        for resource in kinds().into_iter().filter(|one| one.kind == "Deployment" || one.kind == "ConfigMap") {
            act.remove(&resource, name).await?;
        }
    }
    if let Some(eviction) = &plan.evict {
        act.evict(&eviction.pod).await?;
    }
    Ok(act.outcome)
}

impl Act<'_> {
    fn api(&self, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.context.clients.fenced.clone(), self.namespace, resource)
    }

    async fn apply(&mut self, child: &Child) -> Result<(), Deposed> {
        let Some(resource) = kinds().into_iter().find(|one| one.kind == child.kind()) else { return Ok(()) };
        let name = child.metadata().name.clone().unwrap_or_default();
        let mut wanted = json(child);
        wanted["apiVersion"] = resource.api_version.clone().into();
        wanted["kind"] = resource.kind.clone().into();
        let hash = short_hash(wanted.to_string().as_bytes());
        wanted["metadata"]["annotations"][APPLIED] = hash.clone().into();

        let api = self.api(&resource);
        let live = match self.cluster.child(&resource, self.namespace, &name) {
            Some(live) => Some(live.as_ref().clone()),
            // Not there, or without our label: the cache cannot tell.
            None => match call(api.get_opt(&name)).await {
                Ok(live) => live,
                Err(error) => return self.failed("get", &resource, &name, &error),
            },
        };
        match &live {
            Some(live) if !is_controlled_by(&live.metadata, self.uid) => {
                self.taken(&resource, &name);
                return Ok(());
            }
            Some(live) => {
                let same = compare::has(&serde_json::to_value(live).unwrap_or_default(), &wanted);
                if same {
                    return Ok(());
                }
                if live.annotations().get(APPLIED) == Some(&hash) && !self.may_repair(&api, &resource, &name).await {
                    return Ok(());
                }
            }
            None if is_going(self.context, self.namespace).await => {
                self.is_over = true;
                return Ok(());
            }
            None => {}
        }
        self.outcome.repaired |= live.is_some() && resource.kind == "Service";
        // What is not there yet is not taken from anybody: whoever was faster keeps it.
        let parameters = PatchParams::apply(names::MANAGER).validation_strict();
        let parameters = if live.is_some() { parameters.force() } else { parameters };
        match call(api.patch(&name, &parameters, &Patch::Apply(&wanted))).await {
            Ok(written) => {
                tracing::info!(kind = resource.kind, name, created = live.is_none(), "applied");
                if resource.kind == "Deployment" {
                    let version = written.resource_version().unwrap_or_default();
                    let since = self.context.clients.fence.clock();
                    self.context.with(self.uid, |pool| pool.unseen.insert(name, Unseen { version, since }));
                }
                Ok(())
            }
            Err(Failure::Api(error)) if error.code == 409 && live.is_none() => {
                self.taken(&resource, &name);
                Ok(())
            }
            Err(error) => self.failed("patch", &resource, &name, &error),
        }
    }

    /// Whether to put right again what somebody else has changed: at once a few times, then ever more rarely, and its
    /// other writer is named.
    async fn may_repair(&mut self, api: &Api<DynamicObject>, resource: &ApiResource, name: &str) -> bool {
        let now = self.context.clients.fence.clock();
        let key = format!("{} {name}", resource.kind);
        let contested = self.context.with(self.uid, |pool| {
            let contested = pool.contested.entry(key.clone()).or_default();
            if now.saturating_sub(contested.at) > QUIET * (1 + contested.times / FIGHT) {
                *contested = Contested { at: now, ..Contested::default() };
            }
            contested.clone()
        });
        let again = contested.times < FIGHT || now.saturating_sub(contested.at) > QUIET;
        if again {
            self.context.with(self.uid, |pool| {
                let contested = pool.contested.entry(key.clone()).or_default();
                contested.times += 1;
                contested.at = now;
            });
        }
        if contested.times + 1 < FIGHT {
            return again;
        }
        let by = match contested.by {
            Some(by) => by,
            None => call(api.get_metadata(name)).await.map(|live| last_writer(&live.metadata)).unwrap_or_default(),
        };
        self.context.with(self.uid, |pool| pool.contested.entry(key).or_default().by = Some(by.clone()));
        let message = format!(
            "{} {name} is changed by {by:?} whenever it was put right: take it from there, or change the pool instead",
            resource.kind
        );
        self.outcome.troubles.push(Trouble { reason: reason::FIELD_CONFLICT, message });
        again
    }

    async fn remove(&mut self, resource: &ApiResource, name: &str) -> Result<(), Deposed> {
        let Some(live) = self.cluster.child(resource, self.namespace, name) else { return Ok(()) };
        if !is_controlled_by(&live.metadata, self.uid) {
            return Ok(());
        }
        let only_this = Preconditions { uid: live.uid(), resource_version: None };
        let parameters = DeleteParams::background().preconditions(only_this);
        match call(self.api(resource).delete(name, &parameters)).await {
            Ok(_) => {
                tracing::info!(kind = resource.kind, name, "deleted");
                Ok(())
            }
            Err(Failure::Api(error)) if error.code == 404 || error.code == 409 => Ok(()),
            Err(error) => self.failed("delete", resource, name, &error),
        }
    }

    /// Evicts a pod, if it is still there and the disruption budget allows it: if not, that is as good an answer.
    async fn evict(&mut self, name: &str) -> Result<(), Deposed> {
        let api: Api<Pod> = Api::namespaced(self.context.clients.fenced.clone(), self.namespace);
        match call(api.evict(name, &EvictParams::default())).await {
            Ok(_) => {
                self.outcome.evicted = true;
                tracing::info!(name, "evicted a pod that runs a lower strategy than it was made for");
                Ok(())
            }
            Err(Failure::Api(error)) if error.code == 404 || error.code == 429 => Ok(()),
            Err(error) => self.failed("evict", &ApiResource::erase::<Pod>(&()), name, &error),
        }
    }

    fn taken(&mut self, resource: &ApiResource, name: &str) {
        let message = format!(
            "{} {name} exists and is not the pool's: delete or rename it, or name the pool otherwise",
            resource.kind
        );
        self.outcome.troubles.push(Trouble { reason: reason::NAME_TAKEN, message });
    }

    fn failed(&mut self, verb: &str, resource: &ApiResource, name: &str, error: &Failure) -> Result<(), Deposed> {
        let (reason, message) = match error {
            Failure::NotLeading => return Err(Deposed),
            // The namespace goes, and the pool with it.
            Failure::Api(error) if error.message.contains("because it is being terminated") => return Ok(()),
            Failure::Api(error) if error.code == 403 => (
                reason::FORBIDDEN,
                format!("the operator may not {verb} {}: {}; see the chart's roles", resource.plural, error.message),
            ),
            Failure::Api(error) => {
                (reason::API_ERROR, format!("failed to {verb} {} {name}: {}", resource.kind, error.message))
            }
            Failure::Other(error) => (reason::API_ERROR, format!("failed to {verb} {} {name}: {error}", resource.kind)),
        };
        tracing::warn!(reason, message, "an object is not as planned");
        self.outcome.troubles.push(Trouble { reason, message });
        Ok(())
    }
}

/// Whether a namespace is on its way out: then nothing can be made in it, and the pool goes too. Asked for before anything
/// is made, which is rare, so that what a namespace's deletion takes away is not made again.
pub async fn is_going(context: &Context, namespace: &str) -> bool {
    let api: Api<Namespace> = Api::all(context.clients.fenced.clone());
    match call(api.get_metadata_opt(namespace)).await {
        Ok(found) => found.is_none_or(|found| found.metadata.deletion_timestamp.is_some()),
        // Whatever is wrong, the write itself tells it better.
        Err(_) => false,
    }
}

/// The manager, other than us, that wrote last.
fn last_writer(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> String {
    let entries = metadata.managed_fields.iter().flatten();
    let others =
        entries.filter(|entry| entry.manager.as_deref() != Some(names::MANAGER) && entry.subresource.is_none());
    let last = others.max_by_key(|entry| entry.time.as_ref().map(|time| time.0));
    last.and_then(|entry| entry.manager.clone()).unwrap_or_else(|| "unknown".to_owned())
}

fn json(child: &Child) -> Value {
    let json = match child {
        Child::ServiceAccount(object) => serde_json::to_value(object),
        Child::NetworkPolicy(object) => serde_json::to_value(object),
        Child::DisruptionBudget(object) => serde_json::to_value(object),
        Child::Record(object) => serde_json::to_value::<&ConfigMap>(object),
        Child::Service(object) => serde_json::to_value(object),
        Child::Deployment(object) => serde_json::to_value(object),
    };
    // Plain data of our own builders: writing it as JSON cannot fail.
    json.unwrap_or_default()
}

/// Why a call failed.
#[derive(Debug)]
pub enum Failure {
    NotLeading,
    Api(Box<Status>),
    Other(String),
}

/// Calls the API server, for at most [`CALL`].
pub async fn call<T>(calling: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match timeout(CALL, calling).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status))) => Err(Failure::Api(status)),
        Ok(Err(kube::Error::Service(error))) if error.is::<NotLeading>() => Err(Failure::NotLeading),
        Ok(Err(error)) => Err(Failure::Other(error.to_string())),
        Err(_) => Err(Failure::Other(format!("no answer within {} s", CALL.as_secs()))),
    }
}
