//! The objects that a pool is made of, one file for each kind.
//!
//! A name and the labels of an object follow from the pool alone, so that a second try finds what the first one made.

mod affinity;
mod deployment;
mod disruption_budget;
pub mod names;
mod network_policy;
mod record;
mod service;
mod service_account;
mod template;

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Service, ServiceAccount},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};

pub use deployment::deployment;
pub use record::{as_rendered, record, recorded};
pub use template::{ADMIN_PORT, API_PORT, CONTAINER};

use crate::{
    api::{GROUP, OcrPool, VERSION},
    installation::Installation,
    valid::ValidPool,
};

/// An object of a pool, as it should be.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there are a handful at a time, and most are of the largest kind")]
pub enum Child {
    ServiceAccount(ServiceAccount),
    NetworkPolicy(NetworkPolicy),
    DisruptionBudget(PodDisruptionBudget),
    Record(ConfigMap),
    Service(Service),
    Deployment(Deployment),
}

impl Child {
    /// The kind, as Kubernetes writes it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::ServiceAccount(_) => "ServiceAccount",
            Self::NetworkPolicy(_) => "NetworkPolicy",
            Self::DisruptionBudget(_) => "PodDisruptionBudget",
            Self::Record(_) => "ConfigMap",
            Self::Service(_) => "Service",
            Self::Deployment(_) => "Deployment",
        }
    }

    /// The name and everything else that every kind has.
    #[must_use]
    pub const fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::ServiceAccount(object) => &object.metadata,
            Self::NetworkPolicy(object) => &object.metadata,
            Self::DisruptionBudget(object) => &object.metadata,
            Self::Record(object) => &object.metadata,
            Self::Service(object) => &object.metadata,
            Self::Deployment(object) => &object.metadata,
        }
    }
}

/// The objects of a pool that do not depend on its pods, in the order in which they are applied.
#[must_use]
pub fn fixtures(pool: &ValidPool, installation: &Installation) -> Vec<Child> {
    vec![
        Child::ServiceAccount(service_account::service_account(pool)),
        Child::NetworkPolicy(network_policy::network_policy(pool, &installation.scrape)),
        Child::DisruptionBudget(disruption_budget::disruption_budget(pool)),
        Child::Service(service::service(pool)),
    ]
}

/// Whether an object is one of the pool's: it has the pool as its controller, by UID. Labels are not asked.
#[must_use]
pub fn is_controlled_by(metadata: &ObjectMeta, uid: &str) -> bool {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().any(|owner| owner.controller == Some(true) && owner.uid == uid)
}

/// Metadata of an object of the pool.
fn metadata(pool: &ValidPool, name: String, labels: std::collections::BTreeMap<String, String>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(pool.namespace.clone()),
        labels: Some(labels),
        owner_references: Some(vec![OwnerReference {
            api_version: format!("{GROUP}/{VERSION}"),
            block_owner_deletion: Some(true),
            controller: Some(true),
            kind: <OcrPool as kube::Resource>::kind(&()).into_owned(),
            name: pool.name.clone(),
            uid: pool.uid.clone(),
        }]),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::Strategy,
        fixture::{installation, pool, valid},
    };

    #[test]
    fn the_objects_of_a_pool() {
        let pool = valid(&json!({"scaling": {"min": 2}}));
        let objects: Vec<Value> = fixtures(&pool, &installation())
            .into_iter()
            .map(|child| match child {
                Child::ServiceAccount(object) => serde_json::to_value(object).unwrap(),
                Child::NetworkPolicy(object) => serde_json::to_value(object).unwrap(),
                Child::DisruptionBudget(object) => serde_json::to_value(object).unwrap(),
                Child::Record(object) => serde_json::to_value(object).unwrap(),
                Child::Service(object) => serde_json::to_value(object).unwrap(),
                Child::Deployment(object) => serde_json::to_value(object).unwrap(),
            })
            .collect();
        insta::assert_yaml_snapshot!(objects);
    }

    #[test]
    fn the_deployment_for_cpu() {
        insta::assert_yaml_snapshot!(deployment(&valid(&json!({})), Strategy::Cpu, 2));
    }

    #[test]
    fn golden_pages_and_the_cache_of_tensorrt_are_mounted_where_there_are_any() {
        let golden = json!({"rollout": {"golden": {"configMapRef": {"name": "receipts"}}}});
        let mounted = |spec: &Value, strategy| {
            let template = serde_json::to_value(template::template(&valid(spec), strategy)).unwrap();
            let container = &template["spec"]["containers"][0];
            let volumes = template["spec"]["volumes"].as_array().map_or(0, Vec::len);
            let mounts: Vec<_> = container["volumeMounts"].as_array().into_iter().flatten().collect();
            assert_eq!(volumes, mounts.len());
            let paths = mounts.iter().map(|mount| mount["mountPath"].as_str().unwrap().to_owned());
            let env = container["env"].as_array().unwrap().iter().find(|one| one["name"] == "OCR_GOLDEN");
            (paths.collect::<Vec<_>>(), env.map(|one| one["value"].clone()))
        };
        let path = "/etc/ocr/golden";
        assert_eq!(mounted(&json!({}), Strategy::Cpu), (vec![], None));
        assert_eq!(mounted(&golden, Strategy::Cpu), (vec![path.to_owned()], Some(json!(path))));
        let both = vec![path.to_owned(), "/var/cache/ocr".to_owned()];
        assert_eq!(mounted(&golden, Strategy::GpuInt8), (both.clone(), Some(json!(path))));
        assert_eq!(mounted(&json!({}), Strategy::GpuInt8), (both[1..].to_vec(), None));
        assert_eq!(mounted(&json!({}), Strategy::GpuFp16), (vec![], None));
    }

    #[test]
    fn the_pods_for_a_gpu() {
        let spec = json!({
            "strategies": ["gpu-fp16"],
            "placement": {
                "gpuResource": "nvidia.com/mig-1g.10gb",
                "nodeSelector": {"zone": "a"},
                "tolerations": [{"key": "ocr", "value": "only", "effect": "NoSchedule"}],
                "priorityClassName": "batch",
            },
            "limits": {"bodyBytes": "200Mi", "requestSeconds": 900},
        });
        insta::assert_yaml_snapshot!(template::template(&valid(&spec), Strategy::GpuFp16));
    }

    /// The only container of the pods for a strategy, as JSON.
    fn container(pool: &ValidPool, strategy: Strategy) -> Value {
        serde_json::to_value(template::template(pool, strategy)).unwrap()["spec"]["containers"][0].clone()
    }

    fn variable(container: &Value, name: &str) -> Option<String> {
        let all = container["env"].as_array().unwrap();
        let found = all.iter().find(|one| one["name"] == name);
        found.map(|one| one["value"].as_str().unwrap().to_owned())
    }

    #[test]
    fn pods_for_a_gpu_are_told_which_ways_they_may_take_and_how_gpus_are_counted() {
        let pool = valid(&json!({"strategies": ["gpu-fp16", "cpu"]}));
        let fp16 = container(&pool, Strategy::GpuFp16);
        assert_eq!(variable(&fp16, "OCR_STRATEGIES").as_deref(), Some("gpu-fp16,cpu"));
        assert_eq!(variable(&fp16, "CUDA_DEVICE_ORDER").as_deref(), Some("PCI_BUS_ID"));
        let cpu = container(&pool, Strategy::Cpu);
        assert_eq!([variable(&cpu, "OCR_STRATEGIES"), variable(&cpu, "CUDA_DEVICE_ORDER")], [None, None]);
        let int8 = container(&valid(&json!({"strategies": ["gpu-fp16", "gpu-int8"]})), Strategy::GpuInt8);
        assert_eq!(variable(&int8, "OCR_STRATEGIES").as_deref(), Some("gpu-int8,cpu"));
    }

    #[test]
    fn eight_bit_integers_on_the_cpu_are_turned_off_where_the_pool_does() {
        let fp32 = valid(&json!({"model": {"name": "small", "cpuPrecision": "Fp32"}}));
        for strategy in Strategy::ALL {
            assert_eq!(variable(&container(&fp32, strategy), "OCR_INT8").as_deref(), Some("false"));
            assert_eq!(variable(&container(&valid(&json!({})), strategy), "OCR_INT8"), None);
        }
    }

    #[test]
    fn pods_ask_for_disk_for_their_log_and_for_what_tensorrt_compiles() {
        for (strategy, request, limit) in
            [(Strategy::GpuFp16, "64Mi", "1Gi"), (Strategy::GpuInt8, "2112Mi", "3Gi"), (Strategy::Cpu, "64Mi", "1Gi")]
        {
            let resources = &container(&valid(&json!({})), strategy)["resources"];
            let disk = |what: &str| resources[what]["ephemeral-storage"].clone();
            assert_eq!((disk("requests"), disk("limits")), (json!(request), json!(limit)), "{strategy}");
        }
    }

    /// Where memory is enough for nothing but `cpu/offload`, everything may take four times as long.
    #[test]
    fn pods_with_little_memory_are_given_more_time() {
        let mut installation = installation();
        let memory = &mut installation.bundles.get_mut("small").unwrap().memory;
        let offload = ocr_api::manifest::Memory { peak_mib: 160, ..memory["cpu"] };
        memory.insert("cpu/offload".to_owned(), offload);
        let times = |memory: &str, golden: &Value| {
            let spec = json!({
                "resources": {"cpu": {"limits": {"memory": memory}}}, "limits": {"requestSeconds": 200},
                "rollout": {"golden": golden},
            });
            let pool = ValidPool::read(&pool(&spec), &installation).unwrap();
            let deployment = serde_json::to_value(deployment(&pool, Strategy::Cpu, 1)).unwrap();
            let pod = &deployment["spec"]["template"]["spec"];
            let container = &pod["containers"][0];
            let startup = &container["startupProbe"];
            let second = |name: &str| variable(container, name).unwrap().parse::<i64>().unwrap();
            [
                startup["failureThreshold"].as_i64().unwrap() * startup["periodSeconds"].as_i64().unwrap(),
                deployment["spec"]["progressDeadlineSeconds"].as_i64().unwrap(),
                second("OCR_REQUEST_SECONDS"),
                second("OCR_DRAIN_SECONDS"),
                pod["terminationGracePeriodSeconds"].as_i64().unwrap(),
            ]
        };
        // 120 and 50 MB; 600 more to pull; 20 more than a request to leave and end.
        assert_eq!(times("325Mi", &json!({})), [170, 770, 200, 200, 220]);
        assert_eq!(times("324Mi", &json!({})), [680, 1280, 800, 800, 820]);
        // 32 pages of 5 s, in the CPU's two precisions.
        let golden = json!({"configMapRef": {"name": "receipts"}});
        assert_eq!(times("325Mi", &golden), [490, 1090, 200, 200, 220]);
        assert_eq!(times("324Mi", &golden), [1960, 2560, 800, 800, 820]);
    }

    #[test]
    fn every_way_that_a_pod_may_try_has_time_for_the_golden_pages() {
        let golden = json!({"rollout": {"golden": {"configMapRef": {"name": "receipts"}}}});
        let start = |strategy| template::start_seconds(&valid(&golden), strategy);
        assert_eq!(Strategy::ALL.map(start), [170 + 4 * 160, 170 + 3 * 160, 170 + 2 * 160]);
    }

    #[test]
    fn a_record_gives_back_what_it_was_given() {
        let whole = deployment(&valid(&json!({})), Strategy::Cpu, 2);
        let kept = record(&whole);
        assert_eq!(recorded(&kept, 5).unwrap().spec.unwrap().replicas, Some(5));
        assert_eq!(recorded(&kept, 2).unwrap(), whole);
        assert_eq!(record(&recorded(&kept, 5).unwrap()), kept);
    }

    #[test]
    fn a_record_of_another_name_or_of_nothing_is_no_record() {
        let mut kept = record(&deployment(&valid(&json!({})), Strategy::Cpu, 2));
        kept.metadata.name = Some("other".to_owned());
        assert_eq!(recorded(&kept, 1), None);
        kept.data = None;
        assert_eq!(recorded(&kept, 1), None);
    }

    #[test]
    fn only_the_controller_by_uid_makes_an_object_ours() {
        let metadata = |controller: Option<bool>, uid: &str| {
            let mut metadata = super::metadata(&valid(&json!({})), "a".to_owned(), names::labels("receipts"));
            let owners = metadata.owner_references.as_mut().unwrap();
            owners[0].controller = controller;
            uid.clone_into(&mut owners[0].uid);
            metadata
        };
        let uid = pool(&json!({})).metadata.uid.unwrap();
        assert!(is_controlled_by(&metadata(Some(true), &uid), &uid));
        assert!(!is_controlled_by(&metadata(Some(true), "another"), &uid));
        assert!(!is_controlled_by(&metadata(None, &uid), &uid));
        assert!(!is_controlled_by(&ObjectMeta::default(), &uid));
    }
}
