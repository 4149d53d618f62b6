//! What the nodes have, as a watch of them tells: only where the installation says that the operator may see them.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hasher as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, NodeCondition, NodeSpec, NodeStatus};
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        reflector::{self, Store},
        watcher,
    },
};
use tokio::{task::JoinSet, time::timeout};

use crate::cluster::{PAGE, is_device, strip};

/// Longest wait at the start for what the nodes have. After that they count as not visible until they are: the right
/// may be missing, and pools must not wait for it.
const START: Duration = Duration::from_secs(5);

/// The nodes.
pub struct Nodes {
    store: Store<Node>,
    /// The first list was whole.
    is_filled: Arc<AtomicBool>,
}

impl Nodes {
    /// Begins to watch by a task of `tasks`. `changed` is called when a node has come, gone, or changed in what is kept
    /// of it.
    pub fn watch(client: &Client, tasks: &mut JoinSet<()>, changed: impl Fn() + Send + 'static) -> Self {
        let (store, writer) = reflector::store();
        let is_filled = Arc::new(AtomicBool::new(false));
        let filled = Arc::clone(&is_filled);
        let config = watcher::Config::default().page_size(PAGE);
        let stream =
            watcher(Api::<Node>::all(client.clone()), config).default_backoff().modify(strip_node).reflect(writer);
        tasks.spawn(async move {
            let mut stream = std::pin::pin!(stream);
            let mut known = Known::default();
            while let Some(event) = stream.next().await {
                let is_news = match &event {
                    Ok(watcher::Event::Apply(node) | watcher::Event::InitApply(node)) => known.is_news(node),
                    Ok(watcher::Event::Delete(node)) => known.forget(node),
                    Ok(watcher::Event::Init) => false,
                    // Some may have gone unseen.
                    Ok(watcher::Event::InitDone) => {
                        filled.store(true, Ordering::Relaxed);
                        true
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the watch of nodes was cut, it is begun again");
                        false
                    }
                };
                if is_news && filled.load(Ordering::Relaxed) {
                    changed();
                }
            }
        });
        Self { store, is_filled }
    }

    /// Waits until all are known, for a short time.
    pub async fn wait(&self) {
        if timeout(START, self.store.wait_until_ready()).await.is_err() {
            tracing::warn!("nodes cannot be seen yet: pods alone show what fits");
        }
    }

    /// All of them, by name; none where they cannot be seen.
    pub fn all(&self) -> Option<Vec<Arc<Node>>> {
        self.is_filled.load(Ordering::Relaxed).then(|| {
            let mut all = self.store.state();
            all.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
            all
        })
    }
}

/// What was last seen of each node, by its digest. A kubelet writes its node every five minutes, and says nothing new.
#[derive(Default)]
struct Known(HashMap<String, u64>);

impl Known {
    fn is_news(&mut self, node: &Node) -> bool {
        let digest = digest(node);
        self.0.insert(node.name_any(), digest) != Some(digest)
    }

    fn forget(&mut self, node: &Node) -> bool {
        self.0.remove(&node.name_any()).is_some()
    }
}

fn digest(node: &Node) -> u64 {
    let mut plain = node.clone();
    plain.metadata.resource_version = None;
    let mut hasher = DefaultHasher::new();
    // Plain data of strings and numbers: its JSON cannot fail, and is the same for the same node.
    hasher.write(&serde_json::to_vec(&plain).unwrap_or_default());
    hasher.finish()
}

/// Of a node, what is read of it (`ocrpool_core::place::nodes`): labels, taints, devices, whether it is ready. Images
/// and addresses are most of the rest.
fn strip_node(node: &mut Node) {
    strip(node);
    node.metadata.annotations = None;
    node.metadata.owner_references = None;
    node.metadata.finalizers = None;
    node.spec = node.spec.take().map(|spec| NodeSpec {
        taints: spec.taints,
        unschedulable: spec.unschedulable,
        ..NodeSpec::default()
    });
    node.status = node.status.take().map(|status| NodeStatus {
        allocatable: status.allocatable.map(|mut all| {
            all.retain(|name, _| is_device(name));
            all
        }),
        conditions: status.conditions.map(|all| {
            let ready = all.into_iter().filter(|one| one.type_ == "Ready");
            ready
                .map(|one| NodeCondition { type_: one.type_, status: one.status, ..NodeCondition::default() })
                .collect()
        }),
        ..NodeStatus::default()
    });
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(ready: &str, heartbeat: &str, version: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {
                "name": "n", "resourceVersion": version, "labels": {"nvidia.com/gpu.memory": "23034"},
                "annotations": {"a": "b"}, "managedFields": [{"manager": "kubelet"}],
            },
            "spec": {"podCIDR": "10.0.0.0/24", "taints": [{"key": "k", "effect": "NoSchedule"}], "unschedulable": true},
            "status": {
                "allocatable": {"cpu": "4", "nvidia.com/gpu": "1"}, "capacity": {"cpu": "4"},
                "conditions": [
                    {"type": "MemoryPressure", "status": "False"},
                    {"type": "Ready", "status": ready, "lastHeartbeatTime": heartbeat, "message": "kubelet is posting"},
                ],
                "images": [{"names": ["a"]}],
            },
        })
    }

    fn stripped(ready: &str, heartbeat: &str, version: &str) -> Node {
        let mut node = serde_json::from_value(node(ready, heartbeat, version)).unwrap();
        strip_node(&mut node);
        node
    }

    #[test]
    fn of_a_node_what_decides_is_kept() {
        let kept = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "n", "resourceVersion": "7", "labels": {"nvidia.com/gpu.memory": "23034"}},
            "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}], "unschedulable": true},
            "status": {"allocatable": {"nvidia.com/gpu": "1"}, "conditions": [{"type": "Ready", "status": "True"}]},
        });
        assert_eq!(json!(stripped("True", "2026-01-01T00:00:00Z", "7")), kept);
    }

    #[test]
    fn only_what_is_kept_is_news() {
        let mut known = Known::default();
        assert!(known.is_news(&stripped("True", "2026-01-01T00:00:00Z", "7")));
        assert!(!known.is_news(&stripped("True", "2026-01-01T00:05:00Z", "8")));
        assert!(known.is_news(&stripped("False", "2026-01-01T00:05:00Z", "9")));
        assert!(known.forget(&stripped("False", "2026-01-01T00:05:00Z", "10")));
        assert!(known.is_news(&stripped("False", "2026-01-01T00:05:00Z", "11")));
    }
}
