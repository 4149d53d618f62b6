//! The pods' account. It may nothing, and no token of it is mounted: pods never talk to the API server.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::{metadata, names};
use crate::valid::ValidPool;

pub(super) fn service_account(pool: &ValidPool) -> ServiceAccount {
    ServiceAccount {
        automount_service_account_token: Some(false),
        metadata: metadata(pool, pool.name.clone(), names::labels(&pool.name)),
        ..ServiceAccount::default()
    }
}
