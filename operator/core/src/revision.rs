//! What a pool's pods run, and the name that follows from it.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::api::{CpuPrecision, Golden, Limits, LogLevel, Placement, Resources, Strategy, Toleration, is_zero};

/// Everything of a spec that a running pod cannot change. Another value is another revision, and other pods.
///
/// The operator's own version is no part of it: an upgrade of the operator restarts nothing. A field that is added later
/// must be left out of the serialised form at its default, or every pool would get a new revision.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Runs {
    pub image: String,
    pub model: String,
    pub languages: Vec<String>,
    pub limits: Limits,
    pub resources: Resources,
    pub placement: PodPlacement,
    pub log_level: LogLevel,
    #[serde(skip_serializing_if = "is_zero")]
    pub idle_unload_seconds: i32,
    #[serde(skip_serializing_if = "Golden::is_default")]
    pub golden: Golden,
    #[serde(skip_serializing_if = "CpuPrecision::is_default")]
    pub cpu_precision: CpuPrecision,
    /// Strategies that no pod may step down to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<Strategy>,
}

impl Runs {
    /// How a pod that was made for a strategy may compute, best first.
    pub fn ways(&self, strategy: Strategy) -> impl Iterator<Item = Strategy> {
        Strategy::ALL.into_iter().filter(move |way| *way >= strategy && !self.left_out.contains(way))
    }
}

/// What a list of strategies forbids: those that it does not name though it names a better one, whose pods would step down
/// to them. The CPU is the last resort, named or not. No more of the list is part of a revision, so that one that grows or
/// shrinks otherwise restarts no pod.
#[must_use]
pub fn left_out(strategies: &[Strategy]) -> Vec<Strategy> {
    let is_left_out =
        |one: &Strategy| one.needs_gpu() && !strategies.contains(one) && strategies.iter().any(|listed| listed < one);
    Strategy::ALL.into_iter().filter(is_left_out).collect()
}

/// What a pod itself says of where it may run: a pool's placement without what only the operator reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodPlacement {
    pub gpu_resource: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    /// In alphabetical order: the same GPUs are the same revision.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gpu_products: Vec<String>,
}

impl From<&Placement> for PodPlacement {
    fn from(placement: &Placement) -> Self {
        let Placement {
            gpu_resource,
            gpu_products,
            node_selector,
            tolerations,
            priority_class_name,
            spill_after_seconds: _,
            on_mismatch: _,
        } = placement.clone();
        let mut gpu_products = gpu_products;
        gpu_products.sort();
        gpu_products.dedup();
        Self { gpu_resource, node_selector, tolerations, priority_class_name, gpu_products }
    }
}

/// What a pool's pods run, by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// The first 8 hexadecimal digits of the SHA-256 of [`Runs`] as JSON.
    pub name: String,
    pub runs: Runs,
}

impl Revision {
    /// Names what pods run.
    #[must_use]
    pub fn of(runs: Runs) -> Self {
        // Structs and ordered maps of texts and numbers: their JSON cannot fail, and is the same every time.
        let json = serde_json::to_vec(&runs).unwrap_or_default();
        Self { name: short_hash(&json), runs }
    }
}

/// The first 8 hexadecimal digits of the SHA-256.
#[must_use]
pub fn short_hash(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let first = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    format!("{first:08x}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{api::Strategy, fixture::valid};

    /// A name that changes replaces every pod of every pool: if this fails, the serialised form has changed.
    #[test]
    fn a_revision_keeps_its_name_from_version_to_version() {
        let pool = valid(&json!({"image": "registry.example.com/ours/ocr:1"}));
        assert_eq!(pool.revision.name, "d34a38a8");
    }

    #[test]
    fn only_what_the_pods_run_is_part_of_it() {
        let name = |spec| valid(&spec).revision.name;
        let plain = name(json!({}));
        for same in [
            json!({"replicas": 5}),
            json!({"scaling": {"min": 3}}),
            json!({"strategies": ["gpu-fp16", "gpu-int8", "cpu"]}),
            json!({"strategies": ["gpu-int8"]}),
            json!({"placement": {"spillAfterSeconds": 60}}),
            json!({"placement": {"onMismatch": "Replace"}}),
        ] {
            assert_eq!(name(same), plain);
        }
        for other in [
            json!({"model": {"name": "large"}}),
            json!({"model": {"name": "small", "idleUnloadSeconds": 60}}),
            json!({"model": {"name": "small", "cpuPrecision": "Fp32"}}),
            json!({"strategies": ["gpu-fp16", "cpu"]}),
            json!({"rollout": {"golden": {"configMapRef": {"name": "receipts"}}}}),
            json!({"rollout": {"golden": {"maxCharErrorPercent": "1"}}}),
            json!({"languages": ["de"]}),
            json!({"image": "registry.example.com/ours/ocr:1"}),
            json!({"limits": {"pagesPerDocument": 7}}),
            json!({"resources": {"cpu": {"limits": {"cpu": 1}}}}),
            json!({"placement": {"nodeSelector": {"disk": "fast"}}}),
            json!({"placement": {"gpuResource": "nvidia.com/gpu.shared"}}),
            json!({"placement": {"gpuProducts": ["NVIDIA-L4"]}}),
            json!({"logLevel": "debug"}),
        ] {
            assert_ne!(name(other.clone()), plain, "{other}");
        }
    }

    #[test]
    fn what_a_pool_leaves_out_its_pods_do_not_step_down_to() {
        use Strategy::{Cpu, GpuFp16, GpuInt8};
        let rows: [(&[Strategy], Strategy, &[Strategy]); 9] = [
            (&[GpuFp16, GpuInt8, Cpu], GpuFp16, &[GpuFp16, GpuInt8, Cpu]),
            (&[GpuFp16, GpuInt8, Cpu], GpuInt8, &[GpuInt8, Cpu]),
            (&[GpuFp16, GpuInt8, Cpu], Cpu, &[Cpu]),
            (&[GpuFp16, Cpu], GpuFp16, &[GpuFp16, Cpu]),
            (&[Cpu, GpuFp16], GpuFp16, &[GpuFp16, Cpu]),
            (&[GpuFp16], GpuFp16, &[GpuFp16, Cpu]),
            (&[GpuFp16, GpuInt8], GpuFp16, &[GpuFp16, GpuInt8, Cpu]),
            (&[GpuInt8], GpuInt8, &[GpuInt8, Cpu]),
            (&[Cpu], Cpu, &[Cpu]),
        ];
        for (listed, strategy, ways) in rows {
            let pool = valid(&json!({"strategies": listed}));
            assert_eq!(pool.revision.runs.ways(strategy).collect::<Vec<_>>(), ways, "{listed:?}");
        }
    }

    #[test]
    fn the_same_amount_written_otherwise_is_the_same_revision() {
        let name = |memory: &str| valid(&json!({"resources": {"cpu": {"limits": {"memory": memory}}}})).revision.name;
        assert_eq!(name("2Gi"), name("2048Mi"));
        let products = |products: &[&str]| valid(&json!({"placement": {"gpuProducts": products}})).revision.name;
        assert_eq!(products(&["NVIDIA-L4", "Tesla-T4"]), products(&["Tesla-T4", "NVIDIA-L4"]));
    }
}
