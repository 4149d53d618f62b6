//! The pool's address.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{metadata, names};
use crate::valid::ValidPool;

/// Port of the pool's address: HTTP's own, so that no URL needs to name it.
const PORT: i32 = 80;

pub(super) fn service(pool: &ValidPool) -> Service {
    Service {
        metadata: metadata(pool, pool.name.clone(), names::labels(&pool.name)),
        spec: Some(ServiceSpec {
            ports: Some(vec![ServicePort {
                app_protocol: Some("http".to_owned()),
                name: Some("http".to_owned()),
                port: PORT,
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::String("http".to_owned())),
                ..ServicePort::default()
            }]),
            selector: Some(names::selector(&pool.name)),
            type_: Some("ClusterIP".to_owned()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
