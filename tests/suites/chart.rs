//! The chart, without a cluster: what helm makes of it, what it refuses, and that what is generated is up to date.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context, ensure};
use ocr_tests::{
    data::{files, read, repository},
    helm::{CHART, Helm, NAMESPACE, RELEASE, objects},
    program,
    suite::Suite,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What is rendered: a name, and the arguments for it.
const RENDERINGS: [(&str, &[&str]); 3] = [
    ("default", &[]),
    ("everything", &["--values", "charts/ocr-operator/ci/everything-values.yaml"]),
    ("watch-namespaces", &["--values", "charts/ocr-operator/ci/watch-namespaces-values.yaml"]),
];

/// The definition of `OcrPool`.
const DEFINITION: &str = "ocrpools.ocrpool.dev.yaml";

fn main() -> ExitCode {
    let mut suite = Suite::new();
    match Helm::find() {
        Ok(helm) => cases(&mut suite, Box::leak(Box::new(helm))),
        Err(error) => suite.case("helm_is_there", || Err(error)),
    }
    suite.case("the_definition_and_the_catalogue_are_as_the_operator_makes_them", generated_by_the_operator);
    suite.case("the_schema_and_the_readme_are_made_of_these_values", generated_from_values);
    suite.case("every_value_is_described_and_the_schema_leaves_no_object_open", schema_is_strict);
    suite.case("alerts_and_dashboard_name_metrics_that_there_are", metrics_exist);
    suite.run()
}

fn cases(suite: &mut Suite, helm: &'static Helm) {
    suite.case("helm_lint_finds_nothing", || lint(helm));
    suite.case("the_objects_are_those_on_record", || snapshots(helm));
    suite.case("every_object_has_a_name_its_namespace_and_our_labels", || objects_are_whole(helm));
    suite.case("the_definition_is_upgraded_and_kept_unless_told_otherwise", || definition(helm));
    suite.case("no_role_has_a_star_or_secrets_or_gives_rights_away", || roles(helm));
    suite.case("every_role_that_is_bound_is_the_operator_s", || bindings(helm));
    suite.case("kubernetes_1_33_with_a_cloud_s_suffix_is_new_enough_and_1_32_is_not", || versions(helm));
    suite.case("misspelt_values_are_refused_by_name", || misspelt(helm));
    suite.case("values_that_cannot_be_are_refused", || impossible(helm));
    suite.case("what_needs_another_value_says_which", || needs(helm));
    suite.case("the_operator_reads_the_configuration", || configuration(helm));
    suite.case("the_dashboard_is_whole", || dashboard(helm));
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
        // The pools', the lease's, and that of the metrics; with names, one in each of two namespaces and the lease's.
        ensure!(bound == 3, "{rendering}: {bound} bindings");
    }
    Ok(())
}

fn versions(helm: &Helm) -> anyhow::Result<()> {
    for version in ["1.33.0", "1.33.2-gke.1", "v1.34.1-eks-113cf36", "1.33.5+k3s1", "1.40.0-rc.0"] {
        helm.template_for(version, &[])?;
    }
    for version in ["1.32.9", "v1.32.4-gke.1"] {
        let error = helm.template_for(version, &[]).err().with_context(|| format!("{version} is taken"))?;
        ensure!(error.to_string().contains(">=1.33.0-0"), "{error:#}");
    }
    Ok(())
}

fn misspelt(helm: &Helm) -> anyhow::Result<()> {
    for (value, word) in [
        ("replica=3", "replica"),
        ("image.tags=1", "tags"),
        ("inference.image.pullPolicy=Always", "pullPolicy"),
        ("allow.image={a}", "image"),
        ("crd.kept=false", "kept"),
        ("metrics.enable=false", "enable"),
        ("prometheus.podMonitor.intervall=1s", "intervall"),
        ("resources.request.cpu=1", "request"),
        ("tolerations[0].keys=a", "keys"),
        ("imagePullSecrets[0].secret=a", "secret"),
    ] {
        let said = helm.refusal(&["--set", value])?;
        ensure!(said.contains(word) && said.contains("not allowed"), "{value}: {said}");
    }
    Ok(())
}

fn impossible(helm: &Helm) -> anyhow::Result<()> {
    for (value, words) in [
        ("replicas=0", vec!["/replicas", "want 1"]),
        ("replicas=two", vec!["/replicas", "integer"]),
        ("concurrency=1000", vec!["/concurrency", "256"]),
        ("image.digest=latest", vec!["/image/digest", "sha256"]),
        ("image.registry=https://registry.example.com", vec!["/image/registry"]),
        ("image.pullPolicy=Sometimes", vec!["/image/pullPolicy", "IfNotPresent"]),
        ("inference.image.tag=a b", vec!["/inference/image/tag"]),
        ("watchNamespaces={Shop}", vec!["/watchNamespaces/0"]),
        ("watchNamespaces={shop,shop}", vec!["/watchNamespaces"]),
        ("watchNamespaces=shop", vec!["/watchNamespaces", "array"]),
        ("prometheus.podMonitor.interval=often", vec!["/prometheus/podMonitor/interval"]),
        ("crd.keep=perhaps", vec!["/crd/keep", "boolean"]),
    ] {
        let said = helm.refusal(&["--set", value])?;
        for word in words {
            ensure!(said.contains(word), "{value}: no {word:?} in: {said}");
        }
    }
    Ok(())
}

fn needs(helm: &Helm) -> anyhow::Result<()> {
    let said = helm.refusal(&["--set", "prometheus.podMonitor.enabled=true"])?;
    ensure!(said.contains("needs prometheus.namespace"), "{said}");
    let said = helm.refusal(&["--set", "prometheus.serviceMonitor.enabled=true,metrics.enabled=false"])?;
    ensure!(said.contains("needs metrics.enabled"), "{said}");
    Ok(())
}

/// The operator, as built for the tests.
fn operator(arguments: &[&str]) -> anyhow::Result<program::Run> {
    let mut command = Command::new(repository().join("target/checked/ocr-operator"));
    command.args(arguments).current_dir(repository());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("OCR_") || name.starts_with("KUBE") {
            command.env_remove(name.as_ref());
        }
    }
    // Neither a kubeconfig nor a cluster: it reads its configuration and goes no further.
    command.env("HOME", "/nonexistent");
    program::run_with(command, None)
}

fn configuration(helm: &Helm) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("config.yaml");
    let path = file.display().to_string();
    let run = |text: &str| -> anyhow::Result<String> {
        fs::write(&file, text)?;
        let run = operator(&["run", "--config", &path])?;
        ensure!(run.code == Some(1), "ended with {:?}: {}", run.code, run.stderr);
        Ok(run.stderr)
    };
    for (rendering, arguments) in RENDERINGS {
        let objects = helm.objects(arguments)?;
        let text =
            objects.iter().find_map(|object| object["data"]["config.yaml"].as_str()).context("no configuration")?;
        ensure!(text.contains("pp-ocrv6-small"), "{rendering}: no catalogue in {text}");
        let said = run(text)?;
        ensure!(said.contains("neither in a cluster nor with a kubeconfig"), "{rendering}: {said}");
    }
    let said = run("image: a\nbundles: {}\nallowed: {}\n")?;
    ensure!(said.contains("no configuration of the operator") && said.contains("allowed"), "{said}");
    Ok(())
}

fn dashboard(helm: &Helm) -> anyhow::Result<()> {
    let objects = helm.objects(RENDERINGS[1].1)?;
    let map = objects.iter().find(|object| object["metadata"]["labels"]["grafana_dashboard"] == "1");
    let text = map.and_then(|map| map["data"]["ocr-operator.json"].as_str()).context("no dashboard")?;
    let dashboard: Value = serde_json::from_str(text)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let ids: BTreeSet<String> = panels.iter().map(|panel| panel["id"].to_string()).collect();
    ensure!(ids.len() == panels.len(), "two panels have one id");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().map_or(0, Vec::len);
        ensure!(targets > 0, "{} shows nothing", panel["title"]);
    }
    Ok(())
}

/// The text without the comment that says who makes it.
fn without_comments(path: &Path) -> anyhow::Result<String> {
    let text = String::from_utf8(read(path)?)?;
    Ok(text.lines().filter(|line| !line.starts_with('#')).flat_map(|line| [line, "\n"]).collect())
}

fn generated_by_the_operator() -> anyhow::Result<()> {
    let chart = repository().join(CHART).join("files");
    let definition = operator(&["crd"])?.stdout;
    let bundles: Vec<String> = bundles()?;
    let catalogue =
        operator(&[&["catalogue"], bundles.iter().map(String::as_str).collect::<Vec<_>>().as_slice()].concat())?;
    for (path, made) in [
        (repository().join("crds").join(DEFINITION), &definition),
        (chart.join(DEFINITION), &definition),
        (chart.join("bundles.yaml"), &catalogue.stdout),
    ] {
        ensure!(objects(made)?.len() == 1, "the operator prints no document: {made}");
        ensure!(without_comments(&path)? == *made, "{} is out of date: make crds", path.display());
    }
    Ok(())
}

/// The folders of the bundles, by name.
fn bundles() -> anyhow::Result<Vec<String>> {
    let folder = "inference/bundles";
    let entries = fs::read_dir(repository().join(folder)).context("cannot list the bundles")?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(format!("{folder}/{}", entry?.file_name().to_string_lossy()));
    }
    names.sort();
    Ok(names)
}

/// Their tools are built from Go modules and not needed here: what they made is compared by digest, and so is of what.
fn generated_from_values() -> anyhow::Result<()> {
    let text = String::from_utf8(read(repository().join("scripts/chart/generated.sha256"))?)?;
    let mut named = BTreeSet::new();
    for line in text.lines() {
        let (digest, path) = line.split_once("  ").context("no digest and path")?;
        let now = format!("{:x}", Sha256::digest(read(repository().join(path))?));
        ensure!(now == digest, "{path} has changed since values.schema.json and README.md were made: scripts/chart.sh");
        named.insert(path.to_owned());
    }
    for file in ["Chart.yaml", "values.yaml", "README.md.gotmpl", "README.md", "values.schema.json"] {
        ensure!(named.contains(&format!("{CHART}/{file}")), "{file} is not compared");
    }
    Ok(())
}

fn schema_is_strict() -> anyhow::Result<()> {
    fn walk(path: &str, schema: &Value, readme: &str, wrong: &mut Vec<String>) {
        let fields = schema["properties"].as_object();
        if schema["type"] == "object" && schema["additionalProperties"].is_null() {
            wrong.push(format!("{path} takes anything"));
        }
        // What has no fields is given as a whole.
        if fields.is_none() {
            if schema["description"].as_str().is_none_or(str::is_empty) {
                wrong.push(format!("{path} is not described in the schema"));
            }
            let row = readme.lines().find(|line| line.starts_with(&format!("| {path} |")));
            if row.is_none_or(|row| row.ends_with("|  |")) {
                wrong.push(format!("{path} is not described in the README"));
            }
        }
        for (name, field) in fields.into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            walk(&path, field, readme, wrong);
        }
    }
    let chart = repository().join(CHART);
    let mut schema: Value = serde_json::from_slice(&read(chart.join("values.schema.json"))?)?;
    // Helm's own, for charts that hold this one.
    schema["properties"].as_object_mut().context("no properties")?.remove("global");
    let readme = String::from_utf8(read(chart.join("README.md"))?)?;
    let mut wrong = Vec::new();
    walk("", &schema, &readme, &mut wrong);
    ensure!(wrong.is_empty(), "{wrong:?}");
    Ok(())
}

/// Every metric that a text names, without what Prometheus adds to those of a histogram.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let ours = words.filter(|word| word.starts_with("ocr_") && !word.contains("ocrpool"));
    let histogram =
        |word: &str| ["_bucket", "_sum", "_count"].iter().find_map(|end| Some(word.strip_suffix(end)?.to_owned()));
    ours.map(|word| histogram(word).unwrap_or_else(|| word.to_owned())).collect()
}

fn metrics_exist() -> anyhow::Result<()> {
    let chart = repository().join(CHART);
    let mut sources = String::new();
    for folder in ["inference/src", "inference/src/serve", "operator/src/metrics"] {
        for file in files(repository().join(folder))? {
            sources.push_str(&String::from_utf8_lossy(&read(file)?));
        }
    }
    for file in ["templates/prometheusrule.yaml", "files/dashboard.json"] {
        let named = metrics(&String::from_utf8(read(chart.join(file))?)?);
        ensure!(named.len() > 5, "{file} names only {named:?}");
        for metric in named {
            ensure!(sources.contains(&format!("\"{metric}\"")), "{file}: no program has a metric {metric}");
        }
    }
    Ok(())
}
