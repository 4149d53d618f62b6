//! What the cluster says of the pool: its pods by EndpointSlices, its wishes by the pool itself. The gateway goes on with
//! what it knows while the API server is silent.

mod slices;

use std::sync::Arc;

use futures::{StreamExt as _, stream::select};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind},
    runtime::{WatchStreamExt as _, reflector, watcher},
};

use crate::{app::App, policy::Policy};

/// The kind that pools are. The operator's types are not used: the gateway must run beside any version of them.
const POOL: (&str, &str, &str) = ("ocrpool.dev", "v1alpha1", "OcrPool");

enum News {
    Slices(Result<(), watcher::Error>),
    Pool(Result<(), watcher::Error>),
}

/// Follows a pool and its pods until the process ends.
pub async fn run(app: Arc<App>, client: Client, namespace: String, pool: String) {
    let service = format!("{pool}-pods");
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), &namespace);
    let of_service = watcher::Config::default().labels(&format!("kubernetes.io/service-name={service}"));
    let (known_slices, writer) = reflector::store();
    let slices =
        reflector(writer, watcher(slices, of_service).default_backoff()).map(|event| News::Slices(event.map(drop)));

    let (group, version, kind) = POOL;
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let pools: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &kind);
    let named = watcher::Config::default().fields(&format!("metadata.name={pool}"));
    let writer = reflector::store::Writer::new(kind);
    let known_pools = writer.as_reader();
    let pools = reflector(writer, watcher(pools, named).default_backoff()).map(|event| News::Pool(event.map(drop)));

    let mut news = std::pin::pin!(select(slices.boxed(), pools.boxed()));
    while let Some(event) = news.next().await {
        let result = match event {
            News::Slices(result) | News::Pool(result) => result,
        };
        app.set_connected(result.is_ok());
        if let Err(error) = result {
            tracing::warn!(error = %error, "the API server does not answer: the gateway goes on with what it knows");
            continue;
        }
        if let Some(pool) = known_pools.state().first() {
            let object = serde_json::json!({"spec": pool.data["spec"], "status": pool.data["status"]});
            let (policy, problems) = Policy::of(&object);
            if *app.policy() != policy {
                if !problems.is_empty() {
                    tracing::warn!(
                        fields = problems.join(", "),
                        "parts of the pool cannot be read and have their defaults"
                    );
                }
                app.set_policy(policy);
            }
        }
        let slices = known_slices.state();
        app.set_endpoints(slices::endpoints(slices.iter().map(AsRef::as_ref), &app.policy().leaving));
    }
}
