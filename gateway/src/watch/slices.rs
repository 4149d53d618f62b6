//! EndpointSlices as endpoints. Pure.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::balance::Endpoint;

/// Name of the port that reads documents, in the pods' Service.
const API: &str = "http";

/// Name of the port that tells how a pod is.
const ADMIN: &str = "admin";

/// The pods of all slices, each once, by name. A pod that stands in two slices while it moves between them takes requests if
/// one of them says so. Pods that are `leaving` take none.
#[must_use]
pub fn endpoints<'a>(slices: impl IntoIterator<Item = &'a EndpointSlice>, leaving: &[Arc<str>]) -> Vec<Endpoint> {
    let mut found = BTreeMap::<Arc<str>, Endpoint>::new();
    for slice in slices {
        let port = |name: &str| {
            let ports = slice.ports.as_deref().unwrap_or_default();
            let port = ports.iter().find(|port| port.name.as_deref() == Some(name))?.port?;
            u16::try_from(port).ok()
        };
        let (Some(api), Some(admin)) = (port(API), port(ADMIN)) else { continue };
        for endpoint in &slice.endpoints {
            // All addresses of an endpoint are the same pod's.
            let Some(ip) = endpoint.addresses.first().and_then(|address| address.parse::<IpAddr>().ok()) else {
                continue;
            };
            let named = endpoint.target_ref.as_ref().and_then(|target| target.name.as_deref());
            let name: Arc<str> = named.map_or_else(|| ip.to_string().into(), Arc::from);
            let conditions = endpoint.conditions.as_ref();
            let is = |condition: Option<bool>, unknown| condition.unwrap_or(unknown);
            let ready = is(conditions.and_then(|conditions| conditions.ready), true);
            let terminating = is(conditions.and_then(|conditions| conditions.terminating), false);
            let takes_requests = ready && !terminating && !leaving.contains(&name);
            let endpoint = Endpoint {
                name: Arc::clone(&name),
                api: SocketAddr::new(ip, api),
                admin: SocketAddr::new(ip, admin),
                takes_requests,
            };
            let before = found.get(&name).is_some_and(|before| before.takes_requests && before.api == endpoint.api);
            if !before {
                found.insert(name, endpoint);
            }
        }
    }
    found.into_values().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn slice(endpoints: &Value) -> EndpointSlice {
        serde_json::from_value(json!({
            "addressType": "IPv4",
            "metadata": {"name": "receipts-pods-abc"},
            "ports": [{"name": "http", "port": 8100}, {"name": "admin", "port": 8101}],
            "endpoints": endpoints,
        }))
        .unwrap()
    }

    fn pod(name: &str, address: &str, ready: bool, terminating: bool) -> Value {
        json!({
            "addresses": [address],
            "conditions": {"ready": ready, "serving": true, "terminating": terminating},
            "targetRef": {"kind": "Pod", "name": name},
        })
    }

    fn seen(slices: &[EndpointSlice], leaving: &[Arc<str>]) -> Vec<(String, String, bool)> {
        endpoints(slices, leaving)
            .into_iter()
            .map(|one| (one.name.to_string(), one.api.to_string(), one.takes_requests))
            .collect()
    }

    #[test]
    fn pods_that_start_end_or_leave_take_nothing() {
        let slices = [slice(&json!([
            pod("d", "10.0.0.4", true, false),
            pod("a", "10.0.0.1", true, false),
            pod("b", "10.0.0.2", false, false),
            pod("c", "10.0.0.3", true, true),
        ]))];
        let expected = [("a", 1, true), ("b", 2, false), ("c", 3, false), ("d", 4, false)]
            .map(|(name, last, takes)| (name.to_owned(), format!("10.0.0.{last}:8100"), takes));
        assert_eq!(seen(&slices, &["d".into()]), expected);
    }

    #[test]
    fn a_pod_in_two_slices_is_one_pod() {
        let slices =
            [slice(&json!([pod("a", "10.0.0.1", true, false)])), slice(&json!([pod("a", "10.0.0.1", false, false)]))];
        assert_eq!(seen(&slices, &[]), [("a".to_owned(), "10.0.0.1:8100".to_owned(), true)]);
        let turned: Vec<_> = slices.into_iter().rev().collect();
        assert_eq!(seen(&turned, &[]), [("a".to_owned(), "10.0.0.1:8100".to_owned(), true)]);
    }

    #[test]
    fn what_has_no_address_or_port_of_ours_is_passed_over() {
        let mut other = slice(&json!([pod("a", "10.0.0.1", true, false)]));
        other.ports = None;
        let strange = slice(&json!([{"addresses": []}, {"addresses": ["pod.example"]}, {"addresses": ["fd00::1"]}]));
        assert_eq!(seen(&[other, strange], &[]), [("fd00::1".to_owned(), "[fd00::1]:8100".to_owned(), true)]);
    }
}
