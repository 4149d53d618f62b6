//! Reconciles pools: observe, decide, act, report.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _, future};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod},
};
use kube::{
    Resource as _, ResourceExt as _,
    runtime::{
        applier,
        controller::{self, Action},
        reflector::ObjectRef,
    },
};
use ocrpool_core::{
    api::{OcrPool, conditions::reason},
    decide::{World, decide},
    prove::Memory,
    report::{is_ready, status},
};
use tokio::task::JoinSet;
use tracing::Instrument as _;

use crate::{
    act::{self, Deposed, Outcome},
    cluster::{AnyPool, Cluster},
    context::Context,
    metrics::{Ended, PoolName},
    nodes::Nodes,
    prove, report, scrape,
};

/// A write of our own that the cache has not seen for so long was undone meanwhile.
const UNSEEN: Duration = Duration::from_secs(10);

/// First pause after an error; doubled up to [`LONGEST`].
const AGAIN: Duration = Duration::from_secs(1);
/// Longest pause after errors in a row.
const LONGEST: Duration = Duration::from_mins(1);

/// Reconciles until it is dropped: all pools, or those of the namespaces that are watched.
pub async fn run(context: Arc<Context>) {
    let namespaces = &context.settings.watch_namespaces;
    let scopes: Vec<Option<String>> =
        if namespaces.is_empty() { vec![None] } else { namespaces.iter().cloned().map(Some).collect() };
    let clusters: Clusters = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = JoinSet::new();
    let nodes = context.installation.nodes.then(|| {
        let clusters = Arc::clone(&clusters);
        Arc::new(Nodes::watch(&context.clients.fenced, &mut tasks, move || trigger_all(&clusters)))
    });
    let scopes = scopes.into_iter().map(|namespace| scope(Arc::clone(&context), namespace, &clusters, nodes.clone()));
    // Each begins when its own caches are filled: a namespace that may not be watched holds up no other.
    future::join(scrape::run(Arc::clone(&context), Arc::clone(&clusters)), future::join_all(scopes)).await;
}

/// The caches of all scopes, as they are filled.
pub type Clusters = Arc<Mutex<Vec<Arc<Cluster>>>>;

/// A node has changed: every pool is looked at again.
fn trigger_all(clusters: &Clusters) {
    for cluster in clusters.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        for pool in cluster.pools.state() {
            cluster.triggers.push(ObjectRef::from_obj(pool.as_ref()));
        }
    }
}

async fn scope(context: Arc<Context>, namespace: Option<String>, clusters: &Clusters, nodes: Option<Arc<Nodes>>) {
    let mut tasks = JoinSet::new();
    let cluster = Arc::new(Cluster::watch(&context.clients.fenced, namespace.as_deref(), &mut tasks).await);
    if let Some(nodes) = &nodes {
        nodes.wait().await;
    }
    tracing::info!(namespace, pools = cluster.pools.len(), "watching");
    clusters.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&cluster));
    let scope = Arc::new(Scope {
        context: Arc::clone(&context),
        cluster: Arc::clone(&cluster),
        clusters: Arc::clone(clusters),
        nodes,
    });
    let config = controller::Config::default().concurrency(context.settings.concurrency);
    let queue = cluster.triggers.stream().inspect_ok(|pool| {
        let namespace = pool.namespace.clone().unwrap_or_default();
        context.metrics.triggered(PoolName { namespace, name: pool.name.clone() });
    });
    let results =
        applier(|pool, scope| Box::pin(reconcile(pool, scope)), retry, scope, cluster.pools.clone(), queue, config);
    // Errors are logged where they happen, with the pool's name.
    results.for_each(|_| future::ready(())).await;
}

/// What the reconciles of a scope share.
struct Scope {
    context: Arc<Context>,
    cluster: Arc<Cluster>,
    /// Of all scopes: pods of every pool have GPUs.
    clusters: Clusters,
    nodes: Option<Arc<Nodes>>,
}

impl Scope {
    /// Every pod of ours, where it matters who has a GPU.
    fn all_pods(&self, pool: &OcrPool) -> Vec<Arc<Pod>> {
        if !pool.spec.strategies.iter().any(|strategy| strategy.needs_gpu()) {
            return Vec::new();
        }
        let clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        clusters.iter().flat_map(|cluster| cluster.all_pods()).collect()
    }
}

/// Why a reconcile did not come to its end.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Deposed(#[from] Deposed),
    #[error("the status could not be written: {0}")]
    Report(String),
}

impl Error {
    /// What it counts as.
    fn ended(&self) -> Ended {
        match self {
            Self::Deposed(_) => Ended::Waiting,
            Self::Report(_) => Ended::Failed(vec![reason::API_ERROR]),
        }
    }
}

async fn reconcile(pool: Arc<AnyPool>, scope: Arc<Scope>) -> Result<Action, Error> {
    let (metrics, fence) = (&scope.context.metrics, &scope.context.clients.fence);
    let begun = fence.clock();
    metrics.taken(&PoolName::of(pool.as_ref()));
    let reconcile_id = format!("{:08x}", begun.as_micros() & 0xffff_ffff);
    let span = tracing::info_span!(
        "reconcile",
        pool = format!("{}/{}", pool.namespace().unwrap_or_default(), pool.name_any()),
        reconcile_id
    );
    let result = async {
        match &pool.0 {
            Ok(readable) => one(readable, &scope).await,
            Err(invalid) => report::unreadable(&scope.context, pool.meta(), &invalid.error)
                .await
                .map(|action| (action, Ended::AsPlanned))
                .map_err(Error::Report),
        }
        .inspect_err(|error| tracing::warn!(%error, "the reconcile is tried again"))
    }
    .instrument(span)
    .await;
    let ended = result.as_ref().map_or_else(Error::ended, |(_, ended)| ended.clone());
    metrics.reconciled(&ended, fence.clock().saturating_sub(begun));
    result.map(|(action, _)| action)
}

async fn one(pool: &OcrPool, scope: &Scope) -> Result<(Action, Ended), Error> {
    let (context, cluster) = (&scope.context, &scope.cluster);
    let uid = pool.uid().unwrap_or_default();
    let namespace = pool.namespace().unwrap_or_default();
    let deployments: Vec<Deployment> = cluster.children("Deployment", &namespace, &uid);
    if let Some(wait) = unseen(context, &uid, &deployments) {
        return Ok((Action::requeue(wait), Ended::Waiting));
    }
    let records: Vec<ConfigMap> = cluster.children("ConfigMap", &namespace, &uid);
    let pods = cluster.pods(&namespace, &deployments);
    let attested = attested(context, &pods);
    let nodes = scope.nodes.as_ref().and_then(|nodes| nodes.all());
    let all_pods = scope.all_pods(pool);
    let memory = remembered(context, pool, &uid);
    let world = World {
        now: Timestamp::now(),
        pool,
        installation: &context.installation,
        deployments: &deployments,
        records: &records,
        pods: &pods,
        attested: &attested,
        nodes: nodes.as_deref(),
        all_pods: &all_pods,
        memory: &memory,
    };
    let mut plan = decide(&world);
    let Outcome { troubles, repaired, evicted } = act::act(context, cluster, &namespace, &uid, &plan).await?;

    if let (true, Some(eviction)) = (evicted, &plan.evict) {
        eviction.note(&mut plan.strategies);
    }
    let serves = deployments.iter().any(|one| one.status.as_ref().and_then(|status| status.ready_replicas) > Some(0));
    let memory = context.with(&uid, |pool| {
        let proof = pool.proof.get_or_insert_default();
        if repaired {
            proof.last = None;
        }
        proof.lapsed |= !serves;
        proof.clone()
    });
    if let (true, Ok(valid)) = (plan.prove, &plan.pool) {
        prove::begin(Arc::clone(context), Arc::clone(cluster), valid.clone());
    }
    let ended = if troubles.is_empty() {
        Ended::AsPlanned
    } else {
        Ended::Failed(troubles.iter().map(|trouble| trouble.reason).collect())
    };
    let world = World { memory: &memory, ..world };
    let next = status(&world, &plan, troubles);
    let soon = report::report(context, pool, &uid, next).await.map_err(Error::Report)?;
    let check =
        if matches!(ended, Ended::Failed(_)) { plan.next_check.min(Duration::from_secs(10)) } else { plan.next_check };
    Ok((Action::requeue(soon.map_or(check, |soon| soon.min(check))), ended))
}

/// Time to wait because the cache does not have our own last write yet: a decision from what was before would be made
/// twice.
fn unseen(context: &Context, uid: &str, deployments: &[Deployment]) -> Option<Duration> {
    let now = context.clients.fence.clock();
    context.with(uid, |pool| {
        pool.unseen.retain(|name, write| {
            let seen = deployments.iter().find(|one| one.metadata.name.as_ref() == Some(name));
            let version = seen.and_then(|one| one.metadata.resource_version.as_ref());
            let is_newer = version.is_some_and(|version| newer_or_same(version, &write.version));
            !is_newer && now.saturating_sub(write.since) < UNSEEN
        });
        (!pool.unseen.is_empty()).then_some(Duration::from_millis(200))
    })
}

/// Versions of one kind of object are numbers that grow.
fn newer_or_same(seen: &str, written: &str) -> bool {
    match (seen.parse::<u64>(), written.parse::<u64>()) {
        (Ok(seen), Ok(written)) => seen >= written,
        _ => seen == written,
    }
}

/// What is remembered of a pool's proof; at first what its status says, which another replica wrote.
fn remembered(context: &Context, pool: &OcrPool, uid: &str) -> Memory {
    context.with(uid, |remembered| {
        let before = || Memory {
            last: pool.status.as_ref().and_then(|status| status.proof.clone()),
            // Whoever did not call it Ready had no proof that held.
            lapsed: !pool.status.as_ref().is_some_and(is_ready),
            ..Memory::default()
        };
        remembered.proof.get_or_insert_with(before).clone()
    })
}

fn attested(context: &Context, pods: &[Pod]) -> std::collections::BTreeMap<String, ocr_api::PodStatus> {
    let attested = context.attested();
    pods.iter()
        .filter_map(|pod| {
            let status = attested.get(pod.metadata.uid.as_ref()?)?;
            Some((pod.metadata.name.clone()?, status.clone()))
        })
        .collect()
}

/// When to try again what failed: soon at first, and ever more rarely. The last pause is what is remembered least of
/// all: it is found again from nothing.
#[allow(clippy::needless_pass_by_value, reason = "the signature that kube calls it by")]
fn retry(pool: Arc<AnyPool>, error: &Error, scope: Arc<Scope>) -> Action {
    if matches!(error, Error::Deposed(_)) {
        return Action::await_change();
    }
    let uid = pool.meta().uid.clone().unwrap_or_default();
    let failures = scope.context.with(&uid, |pool| {
        pool.failures = pool.failures.saturating_add(1);
        pool.failures
    });
    Action::requeue((AGAIN * 2_u32.saturating_pow(failures.saturating_sub(1).min(10))).min(LONGEST))
}

/// The pool as the cache names it.
pub fn key(name: &str, namespace: &str) -> ObjectRef<AnyPool> {
    ObjectRef::new(name).within(namespace)
}
