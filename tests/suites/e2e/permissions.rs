//! What the operator was allowed, and what it used of that: read from the audit log of the whole suite.

use std::collections::BTreeSet;

use anyhow::ensure;
use ocr_tests::{
    cluster::{Audit, AuditEvent, Cluster, RELEASE, SYSTEM},
    suite::Suite,
};
use serde_json::Value;

pub fn cases(suite: &mut Suite, cluster: &'static Cluster) {
    suite.case("nothing_was_forbidden_and_no_right_is_unused", move || rights(cluster));
}

/// A right: group, resource with its sub-resource, verb.
type Right = (String, String, String);

fn rights(cluster: &'static Cluster) -> anyhow::Result<()> {
    let account = format!("system:serviceaccount:{SYSTEM}:{RELEASE}");
    let events: Vec<AuditEvent> =
        Audit::whole()?.events()?.into_iter().filter(|event| event.user.username == account).collect();
    ensure!(!events.is_empty(), "the operator made no request as {account}");
    let forbidden: Vec<String> = events
        .iter()
        .filter(|event| event.response_status.code == 403)
        .map(|event| format!("{} {} {}", event.verb, event.object_ref.resource, event.object_ref.name))
        .collect();
    ensure!(forbidden.is_empty(), "403 for {forbidden:?}");
    let used: BTreeSet<Right> = events
        .iter()
        .map(|event| {
            let object = &event.object_ref;
            let resource = match object.subresource.as_str() {
                "" => object.resource.clone(),
                sub => format!("{}/{sub}", object.resource),
            };
            (object.api_group.clone(), resource, event.verb.clone())
        })
        .collect();
    let granted = granted(cluster)?;
    let unused: Vec<&Right> = granted.difference(&used).collect();
    println!("{} requests, {} rights used of {}", events.len(), used.len(), granted.len());
    ensure!(unused.is_empty(), "granted and never used: {unused:?}");
    Ok(())
}

/// The rules of the chart's roles, as kubectl gives them.
fn granted(cluster: &'static Cluster) -> anyhow::Result<BTreeSet<Right>> {
    let selector = format!("app.kubernetes.io/instance={RELEASE}");
    let mut rights = BTreeSet::new();
    for kind in ["clusterroles", "roles"] {
        let text = cluster.kubectl(&["get", kind, "-A", "-l", &selector, "-o", "json"])?;
        let list: Value = serde_json::from_str(&text)?;
        let roles = list["items"].as_array().into_iter().flatten();
        // A role for others is not the operator's.
        let own = roles.filter(|role| !role["metadata"]["name"].as_str().unwrap_or_default().ends_with("-reader"));
        for rule in own.flat_map(|role| role["rules"].as_array().into_iter().flatten()) {
            let texts = |name: &str| -> Vec<String> {
                let all = rule[name].as_array().into_iter().flatten();
                all.filter_map(|one| one.as_str().map(str::to_owned)).collect()
            };
            for group in texts("apiGroups") {
                for resource in texts("resources") {
                    rights.extend(texts("verbs").into_iter().map(|verb| (group.clone(), resource.clone(), verb)));
                }
            }
        }
    }
    Ok(rights)
}
