//! Asks pods what they say of themselves.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use ocr_api::PodStatus;
use ocrpool_core::build::{ADMIN_PORT, names};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    cluster::Cluster,
    context::Context,
    controller::{Clusters, key},
    metrics::PoolName,
};

/// Pause between two rounds.
const EVERY: Duration = Duration::from_secs(5);
/// Longest wait for a pod.
const LIMIT: Duration = Duration::from_secs(2);
/// Pods asked at once.
const AT_ONCE: usize = 32;
/// Longest answer.
const MOST: usize = 256 * 1024;

/// Asks the pods of all caches, round after round. A pool is looked at again when one of its pods says something that
/// matters. Here is also where what is gone is forgotten, which takes all caches: one alone does not know the others'.
pub async fn run(context: Arc<Context>, clusters: Clusters) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let clusters = clusters.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let pods: Vec<(&Cluster, Arc<Pod>)> = clusters
            .iter()
            .flat_map(|cluster| cluster.all_pods().into_iter().map(|pod| (cluster.as_ref(), pod)))
            .collect();
        forget(&context, &clusters, &pods);
        stream::iter(&pods)
            .for_each_concurrent(AT_ONCE, |(cluster, pod)| async {
                if let Some(said) = ask(&context, pod).await {
                    note(&context, cluster, pod, &said);
                }
            })
            .await;
    }
}

fn forget(context: &Context, clusters: &[Arc<Cluster>], pods: &[(&Cluster, Arc<Pod>)]) {
    let known: HashSet<&str> = pods.iter().filter_map(|(_, pod)| pod.metadata.uid.as_deref()).collect();
    context.attested().retain(|uid, _| known.contains(uid.as_str()));
    let pools: HashSet<String> = clusters
        .iter()
        .flat_map(|cluster| cluster.pools.state())
        .filter_map(|pool| kube::ResourceExt::uid(pool.as_ref()))
        .collect();
    context.keep_only(|uid| pools.contains(uid));
    context.metrics.keep_only(|pool: &PoolName| {
        clusters.iter().any(|cluster| cluster.pools.get(&key(&pool.name, &pool.namespace)).is_some())
    });
}

async fn ask(context: &Context, pod: &Pod) -> Option<PodStatus> {
    let address = pod.status.as_ref()?.pod_ip.as_ref()?;
    let address = if address.contains(':') { format!("[{address}]") } else { address.clone() };
    let request = context.http.get(format!("http://{address}:{ADMIN_PORT}/status")).timeout(LIMIT);
    let mut answer = request.send().await.ok()?;
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.ok()? {
        if bytes.len() + chunk.len() > MOST {
            return None;
        }
        bytes.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&bytes).ok()
}

/// Remembers what a pod said. Its pool is looked at again when the stage of its load or its strategy has changed; its
/// proof is doubted when it has failed requests by a fault of its own.
fn note(context: &Context, cluster: &Cluster, pod: &Pod, said: &PodStatus) {
    let Some(uid) = pod.metadata.uid.clone() else { return };
    let before = context.attested().insert(uid, said.clone());
    let errors = |status: &PodStatus| status.work.errors;
    let failing = before.as_ref().is_some_and(|before| errors(said) > errors(before));
    let matters = |status: &PodStatus| (status.load.stage, status.load.attempt, status.engine.strategy.clone());
    let changed = before.as_ref().map(matters) != Some(matters(said));
    let Some(pool) = pod.metadata.labels.as_ref().and_then(|labels| labels.get(names::POOL)) else { return };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    if failing && let Some(pool_uid) = pool_uid(cluster, pool, namespace) {
        context.with(&pool_uid, |remembered| remembered.proof.get_or_insert_default().doubted = true);
    }
    if failing || changed {
        cluster.triggers.push_named(pool, Some(namespace));
    }
}

fn pool_uid(cluster: &Cluster, name: &str, namespace: &str) -> Option<String> {
    let pool = cluster.pools.get(&key(name, namespace))?;
    kube::ResourceExt::uid(pool.as_ref())
}
