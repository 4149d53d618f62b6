//! The pods of a revision and a strategy.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, HTTPGetAction,
        Lifecycle, LifecycleHandler, PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements,
        SeccompProfile, SecurityContext, SleepAction, Toleration, TopologySpreadConstraint, Volume, VolumeMount,
    },
    apimachinery::pkg::{
        api::resource::Quantity as ApiQuantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};

use super::{affinity::affinity, names};
use crate::{
    api::{CpuPrecision, Quantity, Strategy},
    valid::ValidPool,
};

/// Port of the API and the probes.
pub const API_PORT: i32 = 8100;
/// Port of the metrics and of what the pod says of itself.
pub const ADMIN_PORT: i32 = 8101;
/// Name of the container.
pub const CONTAINER: &str = "ocr";

/// The user in our images.
const USER: i64 = 65532;

/// How long a pod goes on as before once it is to end, so that every node and client has learned to leave it: first
/// without knowing of its end, then closing each connection after its answer.
const LEAVE_SECONDS: i64 = 5;

/// What ending takes beyond the requests: joining threads, ending decode processes.
const END_SECONDS: i64 = 10;

/// Seconds between two looks of the startup probe.
const STARTUP_PERIOD: i32 = 2;

/// Where the pods find the pages of `rollout.golden`.
const GOLDEN: &str = "/etc/ocr/golden";

/// Where TensorRT keeps what it compiles, so that a container that starts again does not compile it again.
const CACHE: &str = "/var/cache/ocr";
/// Most that it keeps there, in MiB.
const CACHE_MIB: u32 = 2048;

/// Disk of the node that every container takes for its log, which the kubelet by default rotates at 10 MiB, five times. It
/// writes nowhere else: its root file system is read-only.
const LOG_MIB: u32 = 64;
/// Most disk for the log, above which the pod would be evicted: room for a kubelet that was told to keep more.
const MOST_LOG_MIB: u32 = 1024;

/// Longest time to read the pages of `rollout.golden` in one way of computing: 5 s for each of the 32 that there may be,
/// some times what a full page takes on two cores.
const GOLDEN_SECONDS: i32 = 32 * 5;

/// Longest time from the container's start to the first page read: two minutes, a second for each MB to verify and load,
/// which a slow disk needs, and the pool's golden pages in every way that a pod may try; more where the pods compute
/// slowly. `pp-ocrv6-small` takes about 2 s on two cores of its own.
pub(super) fn start_seconds(pool: &ValidPool, strategy: Strategy) -> i32 {
    let megabytes = i32::try_from(pool.bundle.bytes / 1_000_000).unwrap_or(i32::MAX).min(3600);
    let golden = pool.revision.runs.golden.config_map_ref.as_ref().map_or(0, |_| GOLDEN_SECONDS * tries(strategy));
    (120 + megabytes + golden) * pool.patience(strategy)
}

/// Precisions in which a pod may read the golden pages before one reads them well enough: its strategy's, and those that
/// it steps down to, of which the CPU has two. The CPU's profiles read alike: what no profile has read well ends the start.
const fn tries(strategy: Strategy) -> i32 {
    match strategy {
        Strategy::GpuFp16 => 4,
        Strategy::GpuInt8 => 3,
        Strategy::Cpu => 2,
    }
}

/// Longest time for a request.
fn request_seconds(pool: &ValidPool, strategy: Strategy) -> i32 {
    pool.revision.runs.limits.request_seconds.saturating_mul(pool.patience(strategy))
}

/// The pods of the pool's revision for a strategy.
pub(super) fn template(pool: &ValidPool, strategy: Strategy) -> PodTemplateSpec {
    let revision = &pool.revision;
    let placement = &revision.runs.placement;
    let request_seconds = i64::from(request_seconds(pool, strategy));
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            annotations: Some(BTreeMap::from([(
                "kubectl.kubernetes.io/default-container".to_owned(),
                CONTAINER.to_owned(),
            )])),
            labels: Some(names::revision_labels(&pool.name, &revision.name, strategy)),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            affinity: Some(affinity(pool, strategy)),
            automount_service_account_token: Some(false),
            containers: vec![container(pool, strategy)],
            // A pool named `ocr` would inject OCR_PORT.
            enable_service_links: Some(false),
            node_selector: (!placement.node_selector.is_empty()).then(|| placement.node_selector.clone()),
            priority_class_name: placement.priority_class_name.clone(),
            security_context: Some(PodSecurityContext {
                run_as_group: Some(USER),
                run_as_non_root: Some(true),
                run_as_user: Some(USER),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    ..SeccompProfile::default()
                }),
                ..PodSecurityContext::default()
            }),
            service_account_name: Some(pool.name.clone()),
            termination_grace_period_seconds: Some(2 * LEAVE_SECONDS + request_seconds + END_SECONDS),
            tolerations: tolerations(pool, strategy),
            topology_spread_constraints: Some(vec![TopologySpreadConstraint {
                label_selector: Some(LabelSelector {
                    match_labels: Some(names::selector(&pool.name)),
                    ..LabelSelector::default()
                }),
                max_skew: 1,
                topology_key: "kubernetes.io/hostname".to_owned(),
                when_unsatisfiable: "ScheduleAnyway".to_owned(),
                ..TopologySpreadConstraint::default()
            }]),
            volumes: some(volumes(pool, strategy).into_iter().map(|(volume, _)| volume).collect()),
            ..PodSpec::default()
        }),
    }
}

fn container(pool: &ValidPool, strategy: Strategy) -> Container {
    let runs = &pool.revision.runs;
    let port = |name: &str, number| ContainerPort {
        container_port: number,
        name: Some(name.to_owned()),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    let start = start_seconds(pool, strategy);
    Container {
        env: Some(environment(pool, strategy)),
        image: Some(runs.image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                sleep: Some(SleepAction { seconds: LEAVE_SECONDS }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        // Not restarted for as long as it works or waits; the periods are those of the service that ours replaces.
        liveness_probe: Some(Probe { failure_threshold: Some(3), ..probe("/live", 10) }),
        name: CONTAINER.to_owned(),
        ports: Some(vec![port("http", API_PORT), port("admin", ADMIN_PORT)]),
        readiness_probe: Some(Probe { failure_threshold: Some(2), ..probe("/ready", 5) }),
        resources: Some(resources(pool, strategy)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        startup_probe: Some(Probe {
            failure_threshold: Some(start / STARTUP_PERIOD),
            ..probe("/ready", STARTUP_PERIOD)
        }),
        // The server leaves its last words itself; where it cannot, the end of its log is the next best.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: some(volumes(pool, strategy).into_iter().map(|(_, mount)| mount).collect()),
        ..Container::default()
    }
}

/// The volumes of the pods, each with its mount.
fn volumes(pool: &ValidPool, strategy: Strategy) -> Vec<(Volume, VolumeMount)> {
    // A pod whose ConfigMap is missing starts, says so, and finds it when it is there.
    let golden = pool.revision.runs.golden.config_map_ref.as_ref().map(|pages| Volume {
        config_map: Some(ConfigMapVolumeSource {
            name: pages.name.clone(),
            optional: Some(true),
            ..ConfigMapVolumeSource::default()
        }),
        name: "golden".to_owned(),
        ..Volume::default()
    });
    let cache = has_cache(strategy).then(|| Volume {
        empty_dir: Some(EmptyDirVolumeSource {
            size_limit: Some(Quantity::mebibytes(CACHE_MIB).into()),
            ..EmptyDirVolumeSource::default()
        }),
        name: "cache".to_owned(),
        ..Volume::default()
    });
    let mount = |volume: Volume, path: &str, read_only: bool| {
        let mount = VolumeMount {
            mount_path: path.to_owned(),
            name: volume.name.clone(),
            read_only: read_only.then_some(true),
            ..VolumeMount::default()
        };
        (volume, mount)
    };
    let golden = golden.map(|volume| mount(volume, GOLDEN, true));
    golden.into_iter().chain(cache.map(|volume| mount(volume, CACHE, false))).collect()
}

/// Whether the pods keep what TensorRT compiles.
const fn has_cache(strategy: Strategy) -> bool {
    matches!(strategy, Strategy::GpuInt8)
}

fn some<T>(all: Vec<T>) -> Option<Vec<T>> {
    (!all.is_empty()).then_some(all)
}

fn probe(path: &str, period: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("http".to_owned()),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        success_threshold: Some(1),
        timeout_seconds: Some(3),
        ..Probe::default()
    }
}

/// The pods' settings (docs/settings.md). Nothing but these begins with `OCR_`.
fn environment(pool: &ValidPool, strategy: Strategy) -> Vec<EnvVar> {
    let runs = &pool.revision.runs;
    let request_seconds = request_seconds(pool, strategy).to_string();
    let bodies = u64::from(pool.bodies_mib()) << 20;
    let settings = [
        ("OCR_MODEL", runs.model.clone()),
        ("OCR_LANGUAGES", runs.languages.join(",")),
        ("OCR_STRATEGY", strategy.to_string()),
        ("OCR_IDLE_UNLOAD_SECONDS", runs.idle_unload_seconds.to_string()),
        ("OCR_GOLDEN_MAX_ERROR_PERCENT", runs.golden.max_char_error_percent.clone()),
        ("OCR_REVISION", pool.revision.name.clone()),
        ("OCR_MAX_BODY", runs.limits.body_bytes.units().to_string()),
        ("OCR_MAX_BODIES", bodies.to_string()),
        ("OCR_MAX_PAGES", runs.limits.pages_per_document.to_string()),
        ("OCR_MAX_PIXELS", runs.limits.pixels_per_page.to_string()),
        ("OCR_REQUEST_SECONDS", request_seconds.clone()),
        ("OCR_DRAIN_DELAY_SECONDS", LEAVE_SECONDS.to_string()),
        ("OCR_DRAIN_SECONDS", request_seconds),
        ("OCR_LOG_LEVEL", runs.log_level.as_str().to_owned()),
        ("OCR_LOG_FORMAT", "json".to_owned()),
    ];
    let variable =
        |(name, value): (&str, String)| EnvVar { name: name.to_owned(), value: Some(value), ..EnvVar::default() };
    let golden = runs.golden.config_map_ref.as_ref().map(|_| ("OCR_GOLDEN", GOLDEN.to_owned()));
    let int8 = (runs.cpu_precision == CpuPrecision::Fp32).then(|| ("OCR_INT8", "false".to_owned()));
    let ways: Vec<&str> = runs.ways(strategy).map(Strategy::as_str).collect();
    let gpu = strategy.needs_gpu().then(|| {
        [
            ("OCR_STRATEGIES", ways.join(",")),
            // NVML, by which the server looks at GPUs, counts them by their place on the bus; CUDA, which it then computes
            // with, by their speed unless it is told.
            ("CUDA_DEVICE_ORDER", "PCI_BUS_ID".to_owned()),
        ]
    });
    settings.into_iter().chain(golden).chain(int8).chain(gpu.into_iter().flatten()).map(variable).collect()
}

fn resources(pool: &ValidPool, strategy: Strategy) -> ResourceRequirements {
    let (cpu_request, cpu_limit) = pool.cpu(strategy);
    let memory = pool.memory(strategy);
    let gpu = strategy.needs_gpu().then(|| pool.revision.runs.placement.gpu_resource.clone());
    let cache = if has_cache(strategy) { CACHE_MIB } else { 0 };
    let amounts = |cpu: Quantity, disk: u32| {
        let mut amounts: BTreeMap<String, ApiQuantity> = BTreeMap::from([
            ("cpu".to_owned(), cpu.into()),
            ("memory".to_owned(), memory.into()),
            ("ephemeral-storage".to_owned(), Quantity::mebibytes(disk).into()),
        ]);
        amounts.extend(gpu.clone().map(|name| (name, ApiQuantity("1".to_owned()))));
        Some(amounts)
    };
    ResourceRequirements {
        limits: amounts(cpu_limit, MOST_LOG_MIB + cache),
        requests: amounts(cpu_request, LOG_MIB + cache),
        ..ResourceRequirements::default()
    }
}

fn tolerations(pool: &ValidPool, strategy: Strategy) -> Option<Vec<Toleration>> {
    let placement = &pool.revision.runs.placement;
    let own = placement.tolerations.iter().map(|toleration| Toleration {
        effect: toleration.effect.map(|effect| effect.as_str().to_owned()),
        key: Some(toleration.key.clone()),
        operator: Some(format!("{:?}", toleration.operator)),
        toleration_seconds: None,
        value: toleration.value.clone(),
    });
    // The taint that keeps other pods off GPU nodes has, by custom, the resource's name.
    let gpu = strategy.needs_gpu().then(|| Toleration {
        effect: Some("NoSchedule".to_owned()),
        key: Some(placement.gpu_resource.clone()),
        operator: Some("Exists".to_owned()),
        ..Toleration::default()
    });
    let all: Vec<_> = gpu.into_iter().chain(own).collect();
    some(all)
}
