//! Who may talk to the pods, and to whom they may talk: anybody to the API, the operator and Prometheus to the admin
//! port, and they to nobody: reading a page needs no network.

use k8s_openapi::{
    api::networking::v1::{
        NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::{ADMIN_PORT, API_PORT, metadata, names};
use crate::{installation::Scrape, valid::ValidPool};

pub(super) fn network_policy(pool: &ValidPool, scrape: &Scrape) -> NetworkPolicy {
    let port = |number| {
        Some(vec![NetworkPolicyPort {
            port: Some(IntOrString::Int(number)),
            protocol: Some("TCP".to_owned()),
            ..NetworkPolicyPort::default()
        }])
    };
    let operator = peer(&scrape.operator_namespace, Some(&scrape.operator_labels));
    let prometheus = peer(&scrape.prometheus_namespace, None);
    let mut ingress = vec![NetworkPolicyIngressRule { ports: port(API_PORT), from: None }];
    let admins: Vec<_> = [operator, prometheus].into_iter().flatten().collect();
    // A rule without peers would let everybody in.
    if !admins.is_empty() {
        ingress.push(NetworkPolicyIngressRule { ports: port(ADMIN_PORT), from: Some(admins) });
    }
    NetworkPolicy {
        metadata: metadata(pool, pool.name.clone(), names::labels(&pool.name)),
        spec: Some(NetworkPolicySpec {
            egress: None,
            ingress: Some(ingress),
            pod_selector: Some(LabelSelector {
                match_labels: Some(names::selector(&pool.name)),
                ..LabelSelector::default()
            }),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
        }),
    }
}

/// Pods of a namespace, by the label that every namespace has.
fn peer(namespace: &str, labels: Option<&std::collections::BTreeMap<String, String>>) -> Option<NetworkPolicyPeer> {
    if namespace.is_empty() {
        return None;
    }
    let matching = |labels: std::collections::BTreeMap<String, String>| LabelSelector {
        match_labels: Some(labels),
        ..LabelSelector::default()
    };
    let name = ("kubernetes.io/metadata.name".to_owned(), namespace.to_owned());
    Some(NetworkPolicyPeer {
        namespace_selector: Some(matching([name].into())),
        pod_selector: labels.map(|labels| matching(labels.clone())),
        ..NetworkPolicyPeer::default()
    })
}
