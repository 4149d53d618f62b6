//! The objects that helm makes of the chart: those on record, whole, and with no more rights than are needed.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use ocr_tests::{
    data::{read, repository},
    helm::{CHART, Helm, NAMESPACE, RELEASE},
    suite::Suite,
};
use serde_json::{Value, json};

use crate::{DEFINITION, RENDERINGS};

pub fn cases(suite: &mut Suite, helm: &'static Helm) {
    suite.case("helm_lint_finds_nothing", || lint(helm));
    suite.case("the_objects_are_those_on_record", || snapshots(helm));
    suite.case("every_object_has_a_name_its_namespace_and_our_labels", || objects_are_whole(helm));
    suite.case("the_definition_is_upgraded_and_kept_unless_told_otherwise", || definition(helm));
    suite.case("no_role_has_a_star_or_secrets_or_gives_rights_away", || roles(helm));
    suite.case("every_role_that_is_bound_is_the_operator_s", || bindings(helm));
}

fn lint(helm: &Helm) -> anyhow::Result<()> {
    for (_, arguments) in RENDERINGS {
        helm.lint(arguments)?;
    }
    Ok(())
}

/// All but what is a copy of another file: the definition and the dashboard.
fn snapshots(helm: &Helm) -> anyhow::Result<()> {
    for (name, arguments) in RENDERINGS {
        let text = helm.template(arguments)?;
        let is_copy =
            |part: &str| part.contains("/templates/crd.yaml\n") || part.contains("/templates/dashboard.yaml\n");
        let parts: Vec<&str> = text.split_inclusive("\n---\n").filter(|part| !is_copy(part)).collect();
        insta::assert_snapshot!(name, parts.concat());
    }
    Ok(())
}

fn name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

fn objects_are_whole(helm: &Helm) -> anyhow::Result<()> {
    let without_namespace = ["ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"];
    for (rendering, arguments) in RENDERINGS {
        let objects = helm.objects(arguments)?;
        let names: BTreeSet<String> =
            objects.iter().map(|object| format!("{} {}", name(object), object["metadata"]["namespace"])).collect();
        ensure!(names.len() == objects.len(), "{rendering}: two objects of one name in {names:?}");
        for object in &objects {
            let metadata = &object["metadata"];
            ensure!(object["apiVersion"].is_string() && metadata["name"].is_string(), "{rendering}: {object}");
            ensure!(metadata["labels"]["app.kubernetes.io/managed-by"] == "Helm", "{}", name(object));
            ensure!(metadata["labels"]["app.kubernetes.io/instance"] == RELEASE, "{}", name(object));
            let of_cluster = without_namespace.iter().any(|kind| object["kind"] == *kind);
            ensure!(metadata["namespace"].is_null() == of_cluster, "{}: {}", name(object), metadata["namespace"]);
        }
    }
    // Nothing of the cluster's: whoever has rights in his namespaces alone can install this.
    for object in helm.objects(RENDERINGS[2].1)? {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        ensure!([NAMESPACE, "shop", "archive"].contains(&namespace), "{} is in {namespace:?}", name(&object));
    }
    Ok(())
}

fn definition(helm: &Helm) -> anyhow::Result<()> {
    let file: Value = yaml_serde::from_slice(&read(repository().join("crds").join(DEFINITION))?)?;
    let rendered = |arguments: &[&str]| -> anyhow::Result<Option<Value>> {
        Ok(helm.objects(arguments)?.into_iter().find(|object| object["kind"] == "CustomResourceDefinition"))
    };
    // Of the objects that a template renders, helm upgrades all; of a folder crds/, none.
    ensure!(!repository().join(CHART).join("crds").exists(), "helm never upgrades what is in crds/");
    let kept = rendered(&[])?.context("no definition")?;
    ensure!(kept["spec"] == file["spec"], "the chart's definition is another");
    ensure!(kept["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep", "{}", kept["metadata"]);
    let dropped = rendered(&["--set", "crd.keep=false"])?.context("no definition")?;
    ensure!(dropped["metadata"]["annotations"]["helm.sh/resource-policy"].is_null(), "{}", dropped["metadata"]);
    ensure!(rendered(&["--set", "crd.install=false"])?.is_none(), "it is installed all the same");
    Ok(())
}

/// The texts of a list in a rule.
fn texts(rule: &Value, list: &str) -> Vec<String> {
    rule[list].as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

fn roles(helm: &Helm) -> anyhow::Result<()> {
    let mut looked_at = 0;
    for (_, arguments) in RENDERINGS {
        let objects = helm.objects(arguments)?;
        for role in objects.iter().filter(|object| object["kind"] == "Role" || object["kind"] == "ClusterRole") {
            for rule in role["rules"].as_array().into_iter().flatten() {
                let resources = texts(rule, "resources");
                let verbs = texts(rule, "verbs");
                let all = [texts(rule, "apiGroups"), resources.clone(), verbs.clone(), texts(rule, "nonResourceURLs")];
                ensure!(!all.iter().flatten().any(|text| text.contains('*')), "{}: {rule}", name(role));
                for forbidden in
                    ["secrets", "roles", "clusterroles", "rolebindings", "clusterrolebindings", "pods/exec"]
                {
                    ensure!(!resources.iter().any(|one| one == forbidden), "{}: {rule}", name(role));
                }
                for forbidden in ["bind", "escalate", "impersonate"] {
                    ensure!(!verbs.iter().any(|one| one == forbidden), "{}: {rule}", name(role));
                }
                looked_at += 1;
            }
        }
    }
    ensure!(looked_at > 40, "only {looked_at} rules");
    Ok(())
}

fn bindings(helm: &Helm) -> anyhow::Result<()> {
    for (rendering, arguments) in RENDERINGS {
        let objects = helm.objects(arguments)?;
        let account = objects.iter().find(|object| object["kind"] == "ServiceAccount").context("no account")?;
        let account = json!([
            {"kind": "ServiceAccount", "name": account["metadata"]["name"], "namespace": NAMESPACE}
        ]);
        let bindings =
            objects.iter().filter(|object| object["kind"].as_str().is_some_and(|kind| kind.ends_with("Binding")));
        let mut bound = 0;
        for binding in bindings {
            ensure!(binding["subjects"] == account, "{rendering}: {binding}");
            let of = &binding["roleRef"];
            let role = objects.iter().find(|object| {
                object["kind"] == of["kind"]
                    && object["metadata"]["name"] == of["name"]
                    && object["metadata"]["namespace"] == binding["metadata"]["namespace"]
            });
            ensure!(role.is_some(), "{rendering}: {} binds a role that is not there", name(binding));
            bound += 1;
        }
        // The pools', the lease's, that of the metrics and that of the nodes; with names, one in each of two namespaces and
        // the lease's.
        let expected = if rendering == "watch-namespaces" { 3 } else { 4 };
        ensure!(bound == expected, "{rendering}: {bound} bindings");
    }
    Ok(())
}
