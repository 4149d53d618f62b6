//! Writes the status of a pool, and an event where something changed that a user would ask about.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::{
        controller::Action,
        events::{Event, EventType},
    },
};
use ocrpool_core::{
    api::{
        GROUP, OcrPool, OcrPoolStatus, VERSION,
        conditions::{DEGRADED, NewCondition, READY, reason, set},
    },
    build::names,
    report::{Happening, happenings},
};
use serde_json::{Value, json};

use crate::{
    act::{Failure, call, is_going},
    context::{self, Context},
    metrics::PoolName,
};

/// Least time between two writes of a status in which only words and proofs have changed.
const WORDS: Duration = Duration::from_secs(30);

/// Counts the pool, and writes the status if it says something new. Returns when to look again if it was put off.
///
/// # Errors
/// Where it could not be written.
pub async fn report(
    context: &Context,
    pool: &OcrPool,
    uid: &str,
    next: OcrPoolStatus,
) -> Result<Option<Duration>, String> {
    context.metrics.pool(PoolName::of(pool), &next);
    let before = pool.status.clone().unwrap_or_default();
    if before == next {
        context.with(uid, |pool| pool.failures = 0);
        return Ok(None);
    }
    let now = context.clients.fence.clock();
    let since = context.with(uid, |pool| pool.reported_at.map(|at| now.saturating_sub(at)));
    if without_words(&before) == without_words(&next)
        && let Some(left) = since.and_then(|since| WORDS.checked_sub(since))
    {
        return Ok(Some(left));
    }
    let name = pool.name_any();
    let status = serde_json::to_value(&next).map_err(|error| error.to_string())?;
    write(context, &name, &pool.namespace().unwrap_or_default(), status).await?;
    context.with(uid, |pool| {
        pool.reported_at = Some(now);
        pool.failures = 0;
    });
    let happenings = happenings(&before, &next);
    if happenings.is_empty() || is_going(context, &pool.namespace().unwrap_or_default()).await {
        return Ok(None);
    }
    for happening in happenings {
        publish(context, pool, happening).await;
    }
    Ok(None)
}

/// Says of a pool that this version cannot read it.
///
/// # Errors
/// Where that could not be written.
pub async fn unreadable(context: &Context, metadata: &ObjectMeta, error: &str) -> Result<Action, String> {
    let uid = metadata.uid.clone().unwrap_or_default();
    let message = format!("this version of the operator cannot read the pool: {error}; what runs goes on running");
    let (name, namespace) = (metadata.name.clone().unwrap_or_default(), metadata.namespace.clone().unwrap_or_default());
    context.metrics.unreadable_pool(PoolName { namespace: namespace.clone(), name: name.clone() });
    let was_said = context.with(&uid, |pool| pool.unreadable.replace(message.clone()) == Some(message.clone()));
    if !was_said {
        let mut conditions = Vec::new();
        for type_ in [READY, DEGRADED] {
            let new =
                NewCondition { type_, status: type_ == DEGRADED, reason: reason::UNREADABLE, message: message.clone() };
            set(&mut conditions, new, metadata.generation, Timestamp::now());
        }
        let status = json!({"conditions": conditions, "reason": reason::UNREADABLE, "replicas": 0, "readyReplicas": 0});
        tracing::warn!(error, "a pool cannot be read");
        write(context, &name, &namespace, status)
            .await
            .inspect_err(|_| context.with(&uid, |pool| pool.unreadable = None))?;
    }
    Ok(Action::await_change())
}

async fn write(context: &Context, name: &str, namespace: &str, status: Value) -> Result<(), String> {
    let api: Api<kube::core::DynamicObject> = Api::namespaced_with(
        context.clients.fenced.clone(),
        namespace,
        &kube::core::ApiResource::erase::<OcrPool>(&()),
    );
    let whole = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": <OcrPool as kube::Resource>::kind(&()),
        "metadata": {"name": name},
        "status": status,
    });
    let parameters = PatchParams::apply(names::MANAGER).force();
    match call(api.patch_status(name, &parameters, &Patch::Apply(&whole))).await {
        Ok(_) => Ok(()),
        // Deleted meanwhile: there is nobody to tell.
        Err(Failure::Api(error)) if error.code == 404 => Ok(()),
        Err(Failure::Api(error)) => Err(error.message.clone()),
        Err(Failure::NotLeading) => Err("this replica does not lead any more".to_owned()),
        Err(Failure::Other(error)) => Err(error),
    }
}

/// The status without what changes while nothing happens: seconds in messages, rates, the time of a proof.
fn without_words(status: &OcrPoolStatus) -> OcrPoolStatus {
    let mut status = status.clone();
    for condition in &mut status.conditions {
        condition.message.clear();
    }
    for pod in &mut status.pods {
        pod.message.clear();
    }
    for strategy in &mut status.strategies {
        strategy.message = None;
        strategy.units_per_second = None;
    }
    status.proof = status.proof.filter(|proof| !proof.passed).map(|proof| ocrpool_core::api::Proof {
        message: None,
        time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH),
        ..proof
    });
    status
}

async fn publish(context: &Context, pool: &OcrPool, happening: Happening) {
    let reference = context::reference(pool);
    let pod = happening.pod.map(|name| ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: reference.namespace.clone(),
        name: Some(name),
        ..ObjectReference::default()
    });
    let event = Event {
        type_: if happening.is_warning { EventType::Warning } else { EventType::Normal },
        reason: happening.reason,
        note: Some(happening.message),
        action: happening.action,
        secondary: pod,
    };
    if let Err(error) = call(context.recorder.publish(&event, &reference)).await {
        tracing::warn!(?error, reason = event.reason, "an event could not be published");
    }
}
