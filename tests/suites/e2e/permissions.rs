//! What the operator was allowed, and what it used of that: read from the audit log of the whole suite.

use std::collections::BTreeSet;

use anyhow::ensure;
use ocr_tests::{
    cluster::{Audit, AuditEvent, Cluster, RELEASE, SYSTEM},
    suite::Suite,
};
use serde_json::Value;

pub fn cases(suite: &mut Suite, cluster: &'static Cluster) {
    suite.case_with(Cluster::own(), "nothing_was_forbidden_and_no_right_is_unused", move |()| rights(cluster));
}

/// A right: group, resource with its sub-resource, verb.
type Right = (String, String, String);

fn rights(cluster: &'static Cluster) -> anyhow::Result<()> {
    let events: Vec<AuditEvent> = Audit::whole()?.events()?.into_iter().filter(AuditEvent::is_operators).collect();
    ensure!(!events.is_empty(), "the operator made no request");
    let forbidden: Vec<String> = events
        .iter()
        .filter(|event| event.response_status.code == 403)
        .map(|event| format!("{} {} {}", event.verb, event.object_ref.resource, event.object_ref.name))
        .collect();
    ensure!(forbidden.is_empty(), "403 for {forbidden:?}");
    let used: BTreeSet<Right> = events.iter().flat_map(used).collect();
    let granted = granted(cluster)?;
    let unused: Vec<&Right> = granted.difference(&used).collect();
    println!("{} requests, {} rights used of {}", events.len(), used.len(), granted.len());
    ensure!(unused.is_empty(), "granted and never used: {unused:?}");
    Ok(())
}

/// The rights that a request needs. Server-side apply of what is not there yet is a patch that also needs `create`.
fn used(event: &AuditEvent) -> Vec<Right> {
    let object = &event.object_ref;
    let resource = match object.subresource.as_str() {
        "" => object.resource.clone(),
        sub => format!("{}/{sub}", object.resource),
    };
    let right = |verb: &str| (object.api_group.clone(), resource.clone(), verb.to_owned());
    match (event.verb.as_str(), event.response_status.code) {
        ("patch", 201) => vec![right("patch"), right("create")],
        (verb, _) => vec![right(verb)],
    }
}

/// The rules of the roles that are bound to the operator's account.
fn granted(cluster: &'static Cluster) -> anyhow::Result<BTreeSet<Right>> {
    let mut rights = BTreeSet::new();
    for (bindings, roles) in [("clusterrolebindings", "clusterroles"), ("rolebindings", "roles")] {
        let bound: BTreeSet<String> = list(cluster, bindings)?
            .iter()
            .filter(|binding| {
                let mut subjects = binding["subjects"].as_array().into_iter().flatten();
                subjects.any(|subject| subject["name"] == RELEASE && subject["namespace"] == SYSTEM)
            })
            .map(|binding| binding["roleRef"]["name"].as_str().unwrap_or_default().to_owned())
            .collect();
        let all = list(cluster, roles)?;
        let own = all.iter().filter(|role| bound.contains(role["metadata"]["name"].as_str().unwrap_or_default()));
        for rule in own.flat_map(|role| role["rules"].as_array().into_iter().flatten()) {
            for (group, resource) in texts(rule, "apiGroups")
                .flat_map(|group| texts(rule, "resources").map(move |resource| (group, resource)))
            {
                rights
                    .extend(texts(rule, "verbs").map(|verb| (group.to_owned(), resource.to_owned(), verb.to_owned())));
            }
        }
    }
    Ok(rights)
}

fn list(cluster: &'static Cluster, kind: &str) -> anyhow::Result<Vec<Value>> {
    let selector = format!("app.kubernetes.io/instance={RELEASE}");
    let text = cluster.kubectl(&["get", kind, "-A", "-l", &selector, "-o", "json"])?;
    let list: Value = serde_json::from_str(&text)?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

fn texts<'a>(rule: &'a Value, name: &str) -> impl Iterator<Item = &'a str> {
    rule[name].as_array().into_iter().flatten().filter_map(Value::as_str)
}
