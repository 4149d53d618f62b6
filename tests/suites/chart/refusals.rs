//! What helm refuses to install, and in which words.

use anyhow::{Context, ensure};
use ocr_tests::{helm::Helm, suite::Suite};

pub fn cases(suite: &mut Suite, helm: &'static Helm) {
    suite.case("kubernetes_1_33_with_a_cloud_s_suffix_is_new_enough_and_1_32_is_not", || versions(helm));
    suite.case("misspelt_values_are_refused_by_name", || misspelt(helm));
    suite.case("values_that_cannot_be_are_refused", || impossible(helm));
    suite.case("what_needs_another_value_says_which", || needs(helm));
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
