//! Names and labels.

use std::collections::BTreeMap;

use crate::{api::Strategy, revision::short_hash};

/// Name of the operator, in labels and as the owner of fields.
pub const MANAGER: &str = "ocr-operator";

/// Label with the name of the pool. The Service finds the pods by it.
pub const POOL: &str = "ocrpool.dev/pool";
/// Label with the name of the revision.
pub const REVISION: &str = "ocrpool.dev/revision";
/// Label with the strategy that a pod was made for.
pub const STRATEGY: &str = "ocrpool.dev/strategy";
/// Label by which the operator finds what it made.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Longest name of a Deployment: its pods add 10 and 5 letters and 2 dashes, and a pod's name is a host's name of 63.
const LONGEST: usize = 46;

/// Name of the Deployment, and of the record, of a revision and a strategy. A pool's name that is too long is cut, and
/// its hash keeps it apart from others that begin alike.
#[must_use]
pub fn deployment(pool: &str, revision: &str, strategy: Strategy) -> String {
    let suffix = format!("-{revision}-{strategy}");
    let room = LONGEST.saturating_sub(suffix.len());
    if pool.len() <= room {
        return format!("{pool}{suffix}");
    }
    let hash = short_hash(pool.as_bytes());
    let kept: String = pool.chars().take(room.saturating_sub(hash.len() + 1)).collect();
    format!("{}-{hash}{suffix}", kept.trim_end_matches('-'))
}

/// Labels of every object of a pool.
#[must_use]
pub fn labels(pool: &str) -> BTreeMap<String, String> {
    let mut labels = selector(pool);
    labels.insert("app.kubernetes.io/name".to_owned(), "ocr".to_owned());
    labels.insert("app.kubernetes.io/instance".to_owned(), pool.to_owned());
    labels.insert("app.kubernetes.io/component".to_owned(), "inference".to_owned());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

/// Labels by which a pool's pods are found.
#[must_use]
pub fn selector(pool: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(POOL.to_owned(), pool.to_owned())])
}

/// Labels of what belongs to a revision and a strategy.
#[must_use]
pub fn revision_labels(pool: &str, revision: &str, strategy: Strategy) -> BTreeMap<String, String> {
    let mut labels = labels(pool);
    labels.extend(revision_selector(pool, revision, strategy));
    labels
}

/// Labels by which a Deployment's pods are found.
#[must_use]
pub fn revision_selector(pool: &str, revision: &str, strategy: Strategy) -> BTreeMap<String, String> {
    let mut labels = selector(pool);
    labels.insert(REVISION.to_owned(), revision.to_owned());
    labels.insert(STRATEGY.to_owned(), strategy.as_str().to_owned());
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leaves_room_for_its_pods() {
        assert_eq!(deployment("receipts", "0a1b2c3d", Strategy::Cpu), "receipts-0a1b2c3d-cpu");
        let long = "a".repeat(63);
        for strategy in Strategy::ALL {
            let name = deployment(&long, "0a1b2c3d", strategy);
            assert!(name.len() <= LONGEST && name.ends_with(strategy.as_str()), "{name}");
        }
    }

    #[test]
    fn pools_that_begin_alike_have_other_names() {
        let pool = |last: &str| format!("{}{last}", "invoices-of-the-northern-branch-".repeat(2).get(..60).unwrap());
        let name = |last: &str| deployment(&pool(last), "0a1b2c3d", Strategy::GpuFp16);
        assert_ne!(name("a"), name("b"));
        assert_eq!(name("a"), name("a"));
        // A pool whose name looks like another's Deployment makes other Deployments.
        assert_ne!(deployment("ocr", "0a1b2c3d", Strategy::Cpu), deployment("ocr-0a1b2c3d", "0a1b2c3d", Strategy::Cpu));
    }

    #[test]
    fn a_cut_name_has_no_double_dash() {
        let pool = format!("{}-{}", "a".repeat(20), "b".repeat(40));
        assert!(!deployment(&pool, "0a1b2c3d", Strategy::Cpu).contains("--"));
    }
}
