//! What the cluster has, as its watches tell: caches of pools, of the objects that pools are made of, and of pods.

use std::{
    collections::{BTreeMap, HashSet},
    convert::Infallible,
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{Stream, StreamExt as _, future, stream};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{ConfigMap, Container, Pod, PodSpec, ResourceRequirements, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    core::{ApiResource, DeserializeGuard, DynamicObject, PartialObjectMeta, TypeMeta},
    runtime::{
        WatchStreamExt as _,
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use ocrpool_core::{
    api::OcrPool,
    build::{is_controlled_by, names},
};
use serde::de::DeserializeOwned;
use tokio::{sync::Notify, task::JoinSet};

/// Objects of a list that come at once: what a page takes while it is read stays part of the process.
pub const PAGE: u32 = 50;

/// A pool as the API server has it, which may be one that this version cannot read.
pub type AnyPool = DeserializeGuard<OcrPool>;

/// The kinds that a pool is made of, as Kubernetes writes them.
pub fn kinds() -> [ApiResource; 6] {
    [
        ApiResource::erase::<ServiceAccount>(&()),
        ApiResource::erase::<NetworkPolicy>(&()),
        ApiResource::erase::<PodDisruptionBudget>(&()),
        ApiResource::erase::<ConfigMap>(&()),
        ApiResource::erase::<Service>(&()),
        ApiResource::erase::<Deployment>(&()),
    ]
}

/// Caches of a namespace, or of all.
pub struct Cluster {
    pub pools: Store<AnyPool>,
    /// By kind. Only objects with our label.
    children: BTreeMap<String, Store<DynamicObject>>,
    pods: Store<Pod>,
    replica_sets: Store<PartialObjectMeta<ReplicaSet>>,
    pub triggers: Arc<Triggers>,
}

impl Cluster {
    /// Begins to watch a namespace, or all, by tasks of `tasks`; returns when every cache is filled.
    pub async fn watch(client: &Client, namespace: Option<&str>, tasks: &mut JoinSet<()>) -> Self {
        let triggers = Arc::new(Triggers::default());
        let all = watcher::Config::default().page_size(PAGE);
        let ours = all.clone().labels(&format!("{}={}", names::MANAGED_BY, names::MANAGER));

        let pools = run(tasks, api::<AnyPool>(client, namespace), all, strip, {
            let triggers = Arc::clone(&triggers);
            move |pool: &AnyPool| triggers.push(ObjectRef::from_obj(pool))
        });
        let mut children = BTreeMap::new();
        for resource in kinds() {
            let api: Api<DynamicObject> = namespace.map_or_else(
                || Api::all_with(client.clone(), &resource),
                |namespace| Api::namespaced_with(client.clone(), namespace, &resource),
            );
            let triggers = Arc::clone(&triggers);
            let push = move |child: &DynamicObject| triggers.push_owner(child);
            children.insert(resource.kind.clone(), run_dynamic(tasks, api, ours.clone(), resource, push));
        }
        let pods = run(tasks, api::<Pod>(client, namespace), ours.clone(), strip_pod, {
            let triggers = Arc::clone(&triggers);
            move |pod: &Pod| triggers.push_labelled(pod)
        });
        let replica_sets = run(tasks, api::<PartialObjectMeta<ReplicaSet>>(client, namespace), ours, strip_set, |_| {});
        let cluster = Self { pools, children, pods, replica_sets, triggers };
        cluster.wait().await;
        cluster
    }

    async fn wait(&self) {
        // A writer that was dropped would be the only error: then its task has ended, and so does whoever waits for that.
        let children = future::join_all(self.children.values().map(Store::wait_until_ready));
        let _ = future::join4(
            self.pools.wait_until_ready(),
            self.pods.wait_until_ready(),
            self.replica_sets.wait_until_ready(),
            children,
        )
        .await;
    }

    /// The object of this kind and name, whoever owns it, if it has our label.
    pub fn child(&self, resource: &ApiResource, namespace: &str, name: &str) -> Option<Arc<DynamicObject>> {
        let key = ObjectRef::new_with(name, resource.clone()).within(namespace);
        self.children.get(&resource.kind)?.get(&key)
    }

    /// The objects of a kind that a pool controls.
    pub fn children<K: DeserializeOwned>(&self, kind: &str, namespace: &str, pool_uid: &str) -> Vec<K> {
        let Some(store) = self.children.get(kind) else { return Vec::new() };
        let mut found = store.state_filter(|child| {
            child.metadata.namespace.as_deref() == Some(namespace) && is_controlled_by(&child.metadata, pool_uid)
        });
        found.sort_by_key(|child| child.metadata.name.clone());
        // What cannot be read as its kind is no object of that kind.
        found
            .iter()
            .filter_map(|child| serde_json::from_value(serde_json::to_value(child.as_ref()).ok()?).ok())
            .collect()
    }

    /// The pods of these Deployments, by the chain of their owners' UIDs.
    pub fn pods(&self, namespace: &str, deployments: &[Deployment]) -> Vec<Pod> {
        let roots: HashSet<&str> = deployments.iter().filter_map(|one| one.metadata.uid.as_deref()).collect();
        let sets: HashSet<String> = self
            .replica_sets
            .state_filter(|set| {
                set.namespace().as_deref() == Some(namespace)
                    && controller(set.meta()).is_some_and(|uid| roots.contains(uid))
            })
            .iter()
            .filter_map(|set| set.uid())
            .collect();
        let mut pods: Vec<Pod> = self
            .pods
            .state_filter(|pod| controller(pod.meta()).is_some_and(|uid| sets.contains(uid)))
            .iter()
            .map(|pod| pod.as_ref().clone())
            .collect();
        pods.sort_by_key(|pod| pod.metadata.name.clone());
        pods
    }

    /// Every pod with our label.
    pub fn all_pods(&self) -> Vec<Arc<Pod>> {
        self.pods.state()
    }
}

fn controller(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Option<&str> {
    let owners = metadata.owner_references.as_deref()?;
    owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.as_str())
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    namespace.map_or_else(|| Api::all(client.clone()), |namespace| Api::namespaced(client.clone(), namespace))
}

fn run<K>(
    tasks: &mut JoinSet<()>,
    api: Api<K>,
    config: watcher::Config,
    strip: impl Fn(&mut K) + Send + 'static,
    changed: impl Fn(&K) + Send + 'static,
) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (reader, writer) = reflector::store();
    let stream = watcher(api, config).default_backoff().modify(strip).reflect(writer).touched_objects();
    follow(tasks, stream, changed);
    reader
}

fn run_dynamic(
    tasks: &mut JoinSet<()>,
    api: Api<DynamicObject>,
    config: watcher::Config,
    resource: ApiResource,
    changed: impl Fn(&DynamicObject) + Send + 'static,
) -> Store<DynamicObject> {
    let types = TypeMeta { api_version: resource.api_version.clone(), kind: resource.kind.clone() };
    let writer = reflector::store::Writer::new(resource);
    let reader = writer.as_reader();
    let complete = move |object: &mut DynamicObject| complete(object, &types);
    let stream = watcher(api, config).default_backoff().modify(complete).reflect(writer).touched_objects();
    follow(tasks, stream, changed);
    reader
}

/// Who wrote which field is asked for when it is needed; kept, it would be half of the memory.
pub fn strip<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}

/// Of a pod, how it is, whose it is, where it is and what of GPUs it has are read; what else it is made of is its
/// Deployment's.
fn strip_pod(pod: &mut Pod) {
    strip(pod);
    pod.metadata.annotations = None;
    let Some(spec) = pod.spec.take() else { return };
    pod.spec = Some(PodSpec {
        containers: spec.containers.into_iter().filter_map(only_devices).collect(),
        node_name: spec.node_name,
        ..PodSpec::default()
    });
}

/// A container with nothing but its name and the devices that it has; none without devices.
fn only_devices(container: Container) -> Option<Container> {
    let mut limits = container.resources?.limits?;
    limits.retain(|name, _| is_device(name));
    (!limits.is_empty()).then(|| Container {
        name: container.name,
        resources: Some(ResourceRequirements { limits: Some(limits), ..ResourceRequirements::default() }),
        ..Container::default()
    })
}

/// Whether a resource is one of a device: Kubernetes' own have no domain in their name.
pub fn is_device(resource: &str) -> bool {
    resource.contains('/')
}

/// Of a set, whose it is.
fn strip_set(set: &mut PartialObjectMeta<ReplicaSet>) {
    strip(set);
    set.metadata.annotations = None;
}

/// Strips an object, and names its kind: those of a list come without, and compared like that each would differ from what
/// it should be.
fn complete(object: &mut DynamicObject, types: &TypeMeta) {
    object.metadata.managed_fields = None;
    object.types = Some(types.clone());
}

fn follow<K: Send + 'static>(
    tasks: &mut JoinSet<()>,
    stream: impl Stream<Item = Result<K, watcher::Error>> + Send + 'static,
    changed: impl Fn(&K) + Send + 'static,
) {
    tasks.spawn(async move {
        let mut stream = std::pin::pin!(stream);
        while let Some(item) = stream.next().await {
            match item {
                Ok(object) => changed(&object),
                Err(error) => tracing::warn!(%error, "a watch was cut, it is begun again"),
            }
        }
    });
}

/// Pools that something happened to. A set, not a queue: a pool is in it once, however much happens.
#[derive(Default)]
pub struct Triggers {
    pools: Mutex<HashSet<ObjectRef<AnyPool>>>,
    wake: Notify,
}

impl Triggers {
    /// Notes that something happened to a pool.
    pub fn push(&self, pool: ObjectRef<AnyPool>) {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).insert(pool);
        self.wake.notify_one();
    }

    fn push_owner(&self, child: &DynamicObject) {
        let owners = child.metadata.owner_references.iter().flatten();
        let kind = OcrPool::kind(&());
        for owner in owners.filter(|owner| owner.kind == kind) {
            self.push_named(&owner.name, child.metadata.namespace.as_deref());
        }
        // Stripped of its owner: its label still says whose it was.
        if let Some(pool) = child.metadata.labels.as_ref().and_then(|labels| labels.get(names::POOL)) {
            self.push_named(pool, child.metadata.namespace.as_deref());
        }
    }

    fn push_labelled(&self, pod: &Pod) {
        if let Some(pool) = pod.metadata.labels.as_ref().and_then(|labels| labels.get(names::POOL)) {
            self.push_named(pool, pod.metadata.namespace.as_deref());
        }
    }

    /// Notes that something happened to the pool of this name.
    pub fn push_named(&self, pool: &str, namespace: Option<&str>) {
        self.push(ObjectRef::new(pool).within(namespace.unwrap_or_default()));
    }

    /// The pools, as they come. One reader at a time.
    pub fn stream(self: &Arc<Self>) -> impl Stream<Item = Result<ObjectRef<AnyPool>, Infallible>> + Send + 'static {
        let triggers = Arc::clone(self);
        stream::unfold(triggers, |triggers| async move {
            loop {
                let taken: Vec<_> = triggers.pools.lock().unwrap_or_else(PoisonError::into_inner).drain().collect();
                if !taken.is_empty() {
                    return Some((stream::iter(taken.into_iter().map(Ok)), triggers));
                }
                triggers.wake.notified().await;
            }
        })
        .flatten()
    }
}

#[cfg(test)]
mod tests {
    use ocrpool_core::compare;
    use serde_json::json;

    use super::*;

    #[test]
    fn of_a_pod_its_node_and_its_devices_are_kept() {
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "annotations": {"a": "b"}, "labels": {"c": "d"}},
            "spec": {
                "nodeName": "n",
                "containers": [
                    {"name": "ocr", "image": "i", "resources": {"limits": {"cpu": "1", "nvidia.com/gpu": "1"}}},
                    {"name": "proxy", "image": "i", "resources": {"limits": {"cpu": "1"}}},
                    {"name": "plain", "image": "i"},
                ],
                "serviceAccountName": "s",
            },
        }))
        .unwrap();
        strip_pod(&mut pod);
        let kept = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "labels": {"c": "d"}},
            "spec": {
                "nodeName": "n",
                "containers": [{"name": "ocr", "resources": {"limits": {"nvidia.com/gpu": "1"}}}],
            },
        });
        assert_eq!(json!(pod), kept);
    }

    #[test]
    fn an_object_that_came_in_a_list_is_as_it_was_applied() {
        let mut wanted = json!({"metadata": {"name": "receipts"}, "spec": {"replicas": 2}});
        let mut listed: DynamicObject = serde_json::from_value(wanted.clone()).unwrap();
        let types = TypeMeta { api_version: "apps/v1".to_owned(), kind: "Deployment".to_owned() };
        wanted["apiVersion"] = types.api_version.clone().into();
        wanted["kind"] = types.kind.clone().into();
        assert!(!compare::has(&json!(listed), &wanted));
        complete(&mut listed, &types);
        assert!(compare::has(&json!(listed), &wanted));
    }
}
