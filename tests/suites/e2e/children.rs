//! What a pool is made of, changed behind its back.

use std::time::Duration;

use anyhow::{Context, ensure};
use ocr_tests::{
    cluster::{Cluster, Pool, small, until},
    suite::Suite,
};
use serde_json::{Value, json};

const NAMESPACE: &str = "children";
const READY: Duration = Duration::from_mins(1);
const TOLD: Duration = Duration::from_secs(15);

pub fn cases(suite: &mut Suite, cluster: &'static Cluster) {
    suite.case("what_is_edited_scaled_or_deleted_by_hand_is_put_right", move || edited(cluster));
    suite.case("what_is_stripped_of_its_labels_is_put_right", move || labels(cluster));
    suite.case("what_is_stripped_of_its_owner_is_left_alone_and_named", move || owner(cluster));
    suite.case("a_broken_selector_is_not_ready_and_is_put_right", move || selector(cluster));
    suite.case("a_service_of_the_users_is_left_alone_and_named", move || foreign(cluster));
    suite.case("another_controller_that_fights_for_a_field_is_named", move || fight(cluster));
    suite.case("a_namespace_with_pools_can_be_deleted", move || namespace(cluster));
}

fn pool(cluster: &'static Cluster, name: &str) -> anyhow::Result<Pool<'static>> {
    cluster.namespace(NAMESPACE)?;
    Pool::apply(cluster, NAMESPACE, name, &small(&json!({})))
}

/// The pool's Deployment.
fn deployment(cluster: &Cluster, pool: &Pool) -> anyhow::Result<Value> {
    let all = cluster.list("Deployment", NAMESPACE, &format!("ocrpool.dev/pool={}", pool.name))?;
    all.into_iter().next().with_context(|| format!("{} has no Deployment", pool.name))
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn edited(cluster: &'static Cluster) -> anyhow::Result<()> {
    let pool = pool(cluster, "edited")?;
    pool.wait_ready(1, READY)?;
    let before = pool.pod_identities()?;
    let made = deployment(cluster, &pool)?;
    cluster.merge("Deployment", NAMESPACE, name(&made), &json!({"spec": {"replicas": 3}}))?;
    until(TOLD, "the Deployment has one replica again", || {
        ensure!(deployment(cluster, &pool)?["spec"]["replicas"] == 1, "it has more");
        Ok(())
    })?;
    for (kind, object, change, pointer) in [
        (
            "Service",
            "edited",
            json!({"spec": {"ports": [{"port": 80, "targetPort": 9999}]}}),
            "/spec/ports/0/targetPort",
        ),
        ("PodDisruptionBudget", "edited", json!({"spec": {"maxUnavailable": 0}}), "/spec/maxUnavailable"),
        ("NetworkPolicy", "edited", json!({"spec": {"ingress": []}}), "/spec/ingress"),
        ("ServiceAccount", "edited", json!({"automountServiceAccountToken": true}), "/automountServiceAccountToken"),
    ] {
        let read = || cluster.get(kind, NAMESPACE, object)?.context("it is not there");
        let right = read()?.pointer(pointer).cloned();
        cluster.merge(kind, NAMESPACE, object, &change)?;
        until(TOLD, &format!("{kind} {pointer} is put right"), || {
            let now = read()?.pointer(pointer).cloned();
            ensure!(now == right, "{now:?} is not {right:?}");
            Ok(())
        })?;
        cluster.delete(kind, NAMESPACE, object)?;
        until(TOLD, &format!("{kind} is made again"), || read().map(drop))?;
    }
    pool.wait_ready(1, READY)?;
    ensure!(before.iter().all(|pod| pool.pod_identities().is_ok_and(|now| now.contains(pod))), "the pod was replaced");
    cluster.delete("Deployment", NAMESPACE, name(&made))?;
    until(TOLD, "the Deployment is made again", || {
        let again = deployment(cluster, &pool)?;
        ensure!(again["metadata"]["uid"] != made["metadata"]["uid"], "it is the old one");
        Ok(())
    })?;
    pool.wait_ready(1, READY)?;
    pool.delete()
}

fn labels(cluster: &'static Cluster) -> anyhow::Result<()> {
    let pool = pool(cluster, "labels")?;
    pool.wait_ready(1, READY)?;
    for kind in ["Service", "ServiceAccount", "NetworkPolicy", "PodDisruptionBudget"] {
        let read = || cluster.get(kind, NAMESPACE, "labels")?.context("it is not there");
        let right = read()?["metadata"]["labels"].clone();
        cluster.merge(kind, NAMESPACE, "labels", &json!({"metadata": {"labels": null}}))?;
        until(TOLD, &format!("{kind} has its labels again"), || {
            let now = read()?["metadata"]["labels"].clone();
            ensure!(now == right, "{now}");
            Ok(())
        })?;
    }
    pool.wait_ready(1, READY)?;
    pool.leave()
}

fn owner(cluster: &'static Cluster) -> anyhow::Result<()> {
    let pool = pool(cluster, "owner")?;
    pool.wait_ready(1, READY)?;
    cluster.merge("Service", NAMESPACE, "owner", &json!({"metadata": {"ownerReferences": null}}))?;
    let message = pool.wait_condition("Degraded", true, "NameTaken", TOLD)?;
    ensure!(message.contains("Service owner"), "{message}");
    cluster.delete("Service", NAMESPACE, "owner")?;
    pool.wait_ready(1, READY)?;
    pool.wait_condition("Degraded", false, "AsExpected", TOLD)?;
    pool.leave()
}

fn selector(cluster: &'static Cluster) -> anyhow::Result<()> {
    let pool = pool(cluster, "selector")?;
    pool.wait_ready(1, READY)?;
    let ready_since = || -> anyhow::Result<Value> {
        let status = pool.get()?["status"].clone();
        let mut all = status["conditions"].as_array().into_iter().flatten();
        let ready = all.find(|condition| condition["type"] == "Ready").context("no condition")?;
        ensure!(ready["status"] == "True", "{ready}");
        Ok(ready["lastTransitionTime"].clone())
    };
    let before = ready_since()?;
    // Times in a status are whole seconds.
    std::thread::sleep(Duration::from_secs(2));
    cluster.merge("Service", NAMESPACE, "selector", &json!({"spec": {"selector": {"ocrpool.dev/pool": "nobody"}}}))?;
    until(TOLD, "the selector is put right, and the address proven anew", || {
        let service = cluster.get("Service", NAMESPACE, "selector")?.context("no Service")?;
        ensure!(service["spec"]["selector"]["ocrpool.dev/pool"] == "selector", "not put right");
        ensure!(ready_since()? != before, "it was Ready all the time");
        Ok(())
    })?;
    pool.wait_ready(1, READY)?;
    pool.leave()
}

fn foreign(cluster: &'static Cluster) -> anyhow::Result<()> {
    cluster.namespace(NAMESPACE)?;
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "foreign", "namespace": NAMESPACE},
        "spec": {"ports": [{"port": 1234}], "selector": {"app": "theirs"}},
    });
    cluster.apply(&service)?;
    let pool = pool(cluster, "foreign")?;
    let message = pool.wait_condition("Ready", false, "NameTaken", TOLD)?;
    ensure!(message.contains("Service foreign"), "{message}");
    let kept = cluster.get("Service", NAMESPACE, "foreign")?.context("the user's Service is gone")?;
    ensure!(kept["spec"]["ports"][0]["port"] == 1234 && kept["metadata"]["ownerReferences"].is_null(), "{kept}");
    cluster.delete("Service", NAMESPACE, "foreign")?;
    pool.wait_ready(1, READY)?;
    pool.leave()
}

fn fight(cluster: &'static Cluster) -> anyhow::Result<()> {
    let pool = pool(cluster, "fight")?;
    pool.wait_ready(1, READY)?;
    let message = until(TOLD, "the other writer is named", || {
        cluster.merge("PodDisruptionBudget", NAMESPACE, "fight", &json!({"spec": {"maxUnavailable": 5}}))?;
        let (is, reason, message) = pool.condition("Degraded")?;
        ensure!(is && reason == "FieldConflict", "Degraded is {is} for {reason}");
        Ok(message)
    })?;
    ensure!(message.contains("\"suite\"") && message.contains("PodDisruptionBudget fight"), "{message}");
    pool.leave()
}

fn namespace(cluster: &'static Cluster) -> anyhow::Result<()> {
    let name = "going";
    cluster.namespace(name)?;
    // Kubernetes waits for a part of the pods' grace period before it looks again, and that follows this.
    let spec = small(&json!({"limits": {"requestSeconds": 10}}));
    for pool in ["one", "two"] {
        Pool::apply(cluster, name, pool, &spec)?;
    }
    Pool::named(cluster, name, "one").wait_ready(1, READY)?;
    cluster.delete("Namespace", "", name)?;
    until(Duration::from_mins(4), "the namespace is gone", || {
        ensure!(cluster.get("Namespace", "", name)?.is_none(), "it is there");
        Ok(())
    })
}
