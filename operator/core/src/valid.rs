//! A pool's spec, read once: defaults taken in, names looked up, permissions checked. Builders and decisions take this.

use jiff::SignedDuration;
use ocr_api::manifest::Memory;

use crate::{
    api::{ComputeResources, OcrPool, OnMismatch, PodResources, Quantity, ScalingMode, Strategy},
    installation::{Bundle, Installation},
    revision::{PodPlacement, Revision, Runs, left_out},
};

/// A pool that can be.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidPool {
    /// Name of the pool, and of its Service.
    pub name: String,
    pub namespace: String,
    pub uid: String,
    /// What its pods run.
    pub revision: Revision,
    /// What is known of its bundle.
    pub bundle: Bundle,
    /// How its pods compute, best first; at least one.
    pub strategies: Vec<Strategy>,
    /// How they should as well, and cannot: the bundle has no networks for it. A pod would hold a GPU and not use it.
    pub impossible: Vec<Strategy>,
    /// Pods wanted.
    pub replicas: i32,
    /// How long a pod may find no node until the next strategy takes its place.
    pub spill_after: SignedDuration,
    /// What becomes of a pod that runs a lower strategy than it was made for.
    pub on_mismatch: OnMismatch,
}

/// Why a pool cannot be. Every message says what is there instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The object has no name, namespace or UID: it does not come from an API server.
    #[error("the object has no {0}: it does not come from an API server")]
    Metadata(&'static str),
    /// The image has no bundle of that name.
    #[error("there is no model bundle {name:?}: this installation has {known}")]
    UnknownModel {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The bundle cannot read a language.
    #[error("{model} cannot read {language:?}: it reads {known}")]
    Language {
        /// The bundle.
        model: String,
        /// The language asked for.
        language: String,
        /// The languages that it reads.
        known: String,
    },
    /// The bundle has no networks for any strategy of the pool.
    #[error(
        "{model} has no networks for {strategies} and the pool's languages: add cpu to spec.strategies, or take another \
         model"
    )]
    NoNetwork {
        /// The bundle.
        model: String,
        /// The strategies asked for.
        strategies: String,
    },
    /// The installation does not allow an image.
    #[error("image {image:?} is not allowed: allowed are {allowed}")]
    Image {
        /// The image asked for.
        image: String,
        /// What is allowed.
        allowed: String,
    },
    /// The installation does not allow a priority class.
    #[error("priority class {name:?} is not allowed: allowed are {allowed}")]
    PriorityClass {
        /// The class asked for.
        name: String,
        /// What is allowed.
        allowed: String,
    },
    /// The installation does not allow a taint to be tolerated.
    #[error("tolerating the taint {key:?} is not allowed: allowed are {allowed}")]
    Toleration {
        /// Key of the taint.
        key: String,
        /// What is allowed.
        allowed: String,
    },
    /// The pods could not even load the model.
    #[error("{strategy} pods have {have} of memory and {model} needs {need} at least")]
    Memory {
        /// The strategy.
        strategy: Strategy,
        /// Memory that they are given.
        have: Quantity,
        /// The bundle.
        model: String,
        /// Memory that it was measured to need.
        need: Quantity,
    },
}

impl ValidPool {
    /// Reads a pool.
    ///
    /// # Errors
    /// The first thing that cannot be, in the order of the spec.
    pub fn read(pool: &OcrPool, installation: &Installation) -> Result<Self, Invalid> {
        let metadata = |value: &Option<String>, what| value.clone().ok_or(Invalid::Metadata(what));
        let spec = &pool.spec;
        let model = &spec.model.name;
        let bundle = installation
            .bundles
            .get(model)
            .ok_or_else(|| Invalid::UnknownModel { name: model.clone(), known: list(installation.bundles.keys()) })?;
        if let Some(language) = spec.languages.iter().find(|language| !bundle.languages.contains(language)) {
            let known = list(&bundle.languages);
            return Err(Invalid::Language { model: model.clone(), language: language.clone(), known });
        }
        let (strategies, impossible): (Vec<Strategy>, Vec<Strategy>) =
            spec.strategies.iter().copied().partition(|strategy| bundle.computes(*strategy, &spec.languages));
        if strategies.is_empty() {
            let names: Vec<String> = impossible.iter().map(ToString::to_string).collect();
            return Err(Invalid::NoNetwork { model: model.clone(), strategies: list(&names) });
        }
        let pinned = pool.status.as_ref().and_then(|status| status.image.as_ref());
        let image = spec.image.as_ref().or(pinned).unwrap_or(&installation.image).clone();
        check_allowed(spec, &image, installation)?;
        let valid = Self {
            name: metadata(&pool.metadata.name, "name")?,
            namespace: metadata(&pool.metadata.namespace, "namespace")?,
            uid: metadata(&pool.metadata.uid, "UID")?,
            revision: Revision::of(Runs {
                image,
                model: model.clone(),
                languages: spec.languages.clone(),
                limits: spec.limits.clone(),
                resources: spec.resources.clone(),
                placement: PodPlacement::from(&spec.placement),
                log_level: spec.log_level,
                idle_unload_seconds: spec.model.idle_unload_seconds,
                golden: spec.rollout.golden.clone(),
                cpu_precision: spec.model.cpu_precision,
                left_out: left_out(&spec.strategies),
            }),
            bundle: bundle.clone(),
            strategies,
            impossible,
            replicas: match spec.scaling.mode {
                ScalingMode::Manual => spec.replicas,
                ScalingMode::Auto => spec.scaling.min,
            },
            spill_after: SignedDuration::from_secs(spec.placement.spill_after_seconds.into()),
            on_mismatch: spec.placement.on_mismatch,
        };
        for strategy in &valid.strategies {
            let (have, need) = (valid.memory(*strategy), valid.least_memory());
            if have < need {
                return Err(Invalid::Memory { strategy: *strategy, have, model: model.clone(), need });
            }
        }
        Ok(valid)
    }

    fn given(&self, strategy: Strategy) -> PodResources {
        let resources = &self.revision.runs.resources;
        let given = if strategy.needs_gpu() { &resources.gpu } else { &resources.cpu };
        given.clone().unwrap_or_default()
    }

    /// Cores that a pod asks for, and gets at most.
    #[must_use]
    pub fn cpu(&self, strategy: Strategy) -> (Quantity, Quantity) {
        let given = self.given(strategy);
        let cpu = |part: Option<ComputeResources>| part.and_then(|part| part.cpu);
        match (cpu(given.requests), cpu(given.limits)) {
            (Some(request), Some(limit)) => (request, limit),
            (Some(request), None) => (request, request.max(DEFAULT_CPU.1)),
            (None, Some(limit)) => (limit.min(DEFAULT_CPU.0), limit),
            (None, None) => DEFAULT_CPU,
        }
    }

    /// Memory that a pod asks for and gets at most.
    #[must_use]
    pub fn memory(&self, strategy: Strategy) -> Quantity {
        let given = self.given(strategy);
        let memory = |part: Option<ComputeResources>| part.and_then(|part| part.memory);
        memory(given.limits).or_else(|| memory(given.requests)).unwrap_or_else(|| self.default_memory(strategy))
    }

    /// What the server needs for one page at a time, by the way of computing that needs least; every pod may step down to
    /// it. Below it, the server ends at its start.
    fn least_memory(&self) -> Quantity {
        Quantity::mebibytes(self.needed_mib("cpu/offload"))
    }

    /// How many times as long as others these pods may take to start and to answer: 4 where their memory is enough for
    /// nothing but `cpu/offload`, which takes at most that (the suite `profiles`).
    #[must_use]
    pub fn patience(&self, strategy: Strategy) -> i32 {
        let is_tight = self.memory(strategy) < Quantity::mebibytes(self.needed_mib("cpu/optimized"));
        if is_tight { OFFLOAD_PATIENCE } else { 1 }
    }

    /// Memory that a container must be given to compute on the CPU by a profile, in MiB, rounded up; 0 where nothing was
    /// measured. The server must find what was measured beside what it has taken itself by the time it looks.
    fn needed_mib(&self, profile: &str) -> u32 {
        let memory = self.bundle.memory.get(profile).or_else(|| self.bundle.memory.get("cpu"));
        memory.map_or(0, |memory| whole_mib(memory.needed()).saturating_add(PROCESS_MIB))
    }

    /// Memory for the bodies of all requests: two of the largest at least.
    pub(crate) fn bodies_mib(&self) -> u32 {
        let two = self.revision.runs.limits.body_bytes.units().saturating_mul(2).div_ceil(1 << 20);
        u32::try_from(two).unwrap_or(u32::MAX).max(BODIES_MIB)
    }

    /// GPU memory that a pod of a strategy needs, in MiB, rounded up: what its server asks to be free, which is as the
    /// bundle was measured, with a reserve, else a default. 0 of a strategy without a GPU.
    #[must_use]
    pub fn gpu_memory_mib(&self, strategy: Strategy) -> u32 {
        let measured = self.bundle.memory.get(strategy.as_str()).and_then(Memory::gpu_needed).map(whole_mib);
        match strategy {
            Strategy::GpuFp16 => measured.unwrap_or(UNMEASURED_FP16_MIB),
            Strategy::GpuInt8 => measured.unwrap_or(UNMEASURED_INT8_MIB),
            Strategy::Cpu => 0,
        }
    }

    /// The model, a page in work for each thread and one more, the bodies of requests, and a decode process that opens
    /// the largest page: for `pp-ocrv6-small` on two cores 290 + 3 x 20 + 256 + 750 MiB, rounded up to 1536Mi.
    fn default_memory(&self, strategy: Strategy) -> Quantity {
        let memory = self.bundle.memory.get(strategy.as_str()).or_else(|| self.bundle.memory.get("cpu"));
        let (peak, per_page) = memory.map_or((UNMEASURED_MIB, 0), |memory| (memory.peak_mib, memory.per_page_mib));
        let threads = u32::try_from(self.cpu(strategy).1.units()).unwrap_or(u32::MAX);
        let pages = per_page.saturating_mul(threads.saturating_add(1).min(MOST_PAGES));
        let all = peak.saturating_add(pages).saturating_add(self.bodies_mib()).saturating_add(DECODE_MIB);
        Quantity::mebibytes(all.div_ceil(256).saturating_mul(256))
    }
}

/// Bytes in MiB, rounded up.
fn whole_mib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX)
}

/// Cores asked for and got at most, where the pool says nothing: enough to start within seconds.
const DEFAULT_CPU: (Quantity, Quantity) = (Quantity::millicores(1000), Quantity::millicores(2000));

/// How many times the time of `cpu/full` a page may take by `cpu/offload`.
const OFFLOAD_PATIENCE: i32 = 4;

/// Memory that the server has taken before it looks at what is available: 9.3 MiB were measured (1.5 of its own, 7.8 of
/// its program's pages, which count where no other container has touched them first), and the kernel takes some for it.
const PROCESS_MIB: u32 = 16;

/// Memory of a bundle that was not measured.
const UNMEASURED_MIB: u32 = 1024;

/// GPU memory of a pod whose bundle was not measured on one: by the rules that the service had that ours replaces
/// (fp16 from 6 GiB on, int8 from 3 GiB on).
const UNMEASURED_FP16_MIB: u32 = 6 * 1024;
const UNMEASURED_INT8_MIB: u32 = 3 * 1024;

/// Most pages in work at once, as the server has it (`--concurrency`).
const MOST_PAGES: u32 = 16;

/// The server's own bound for bodies (`--max-bodies`).
const BODIES_MIB: u32 = 256;

/// What a decode process may use for a page of 50 megapixels (docs/operations.md).
const DECODE_MIB: u32 = 750;

fn check_allowed(spec: &crate::api::OcrPoolSpec, image: &str, installation: &Installation) -> Result<(), Invalid> {
    let allow = &installation.allow;
    let own = image == installation.image || spec.image.is_none();
    if !own && !allow.images.iter().any(|prefix| image.starts_with(prefix.as_str())) {
        let allowed = list(std::iter::once(&installation.image).chain(&allow.images));
        return Err(Invalid::Image { image: image.to_owned(), allowed });
    }
    if let Some(name) = &spec.placement.priority_class_name
        && !allow.priority_classes.contains(name)
    {
        return Err(Invalid::PriorityClass { name: name.clone(), allowed: list(&allow.priority_classes) });
    }
    let may_tolerate = |key: &String| allow.tolerations.iter().any(|allowed| allowed == "*" || allowed == key);
    if let Some(toleration) = spec.placement.tolerations.iter().find(|toleration| !may_tolerate(&toleration.key)) {
        return Err(Invalid::Toleration { key: toleration.key.clone(), allowed: list(&allow.tolerations) });
    }
    Ok(())
}

/// `a, b, c`; `none` of an empty list; long ones are cut, since messages are bounded.
fn list<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    match names.len() {
        0 => "none".to_owned(),
        1..=60 => names.join(", "),
        more => format!("{} and {} more", names[..60].join(", "), more - 60),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fixture::{installation, pool, valid};

    fn refused(spec: &Value) -> String {
        ValidPool::read(&pool(spec), &installation()).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_there_is() {
        for (spec, message) in [
            (
                json!({"model": {"name": "smal"}}),
                "there is no model bundle \"smal\": this installation has large, small",
            ),
            (json!({"languages": ["en", "ar"]}), "small cannot read \"ar\": it reads de, en"),
            (
                json!({"image": "elsewhere.example.com/ocr:1"}),
                "image \"elsewhere.example.com/ocr:1\" is not allowed: allowed are \
                 registry.example.com/ocr-inference@sha256:1111, registry.example.com/ours/",
            ),
            (
                json!({"placement": {"priorityClassName": "system-node-critical"}}),
                "priority class \"system-node-critical\" is not allowed: allowed are batch",
            ),
            (
                json!({"placement": {"tolerations": [{"key": "ocr"}, {"key": "control-plane"}]}}),
                "tolerating the taint \"control-plane\" is not allowed: allowed are ocr",
            ),
            (
                json!({"model": {"name": "large"}, "resources": {"cpu": {"limits": {"memory": "2Gi"}}}}),
                "cpu pods have 2Gi of memory and large needs 3204Mi at least",
            ),
        ] {
            assert_eq!(refused(&spec), message);
        }
    }

    #[test]
    fn memory_decides_by_the_profile_that_needs_least_and_how_patient_one_is() {
        // The largest needs 290 MiB and a sixteenth, the next 240, the least 160; the process itself 16 more.
        let small = |memory: &str| {
            let mut installation = installation();
            let bundle = installation.bundles.get_mut("small").unwrap();
            for (profile, peak_mib) in [("cpu/optimized", 240), ("cpu/offload", 160)] {
                let measured = Memory { peak_mib, ..bundle.memory["cpu"] };
                bundle.memory.insert(profile.to_owned(), measured);
            }
            ValidPool::read(&pool(&json!({"resources": {"cpu": {"limits": {"memory": memory}}}})), &installation)
        };
        assert!(small("185Mi").unwrap_err().to_string().ends_with("small needs 186Mi at least"));
        let rows = [("186Mi", 4), ("187Mi", 4), ("270Mi", 4), ("271Mi", 1), ("325Mi", 1), ("2Gi", 1)];
        for (memory, patience) in rows {
            assert_eq!(small(memory).unwrap().patience(Strategy::Cpu), patience, "{memory}");
        }
    }

    #[test]
    fn a_strategy_that_the_bundle_has_no_networks_for_is_none_of_the_pools() {
        use Strategy::{Cpu, GpuFp16, GpuInt8};
        let read = |known: Option<Value>, spec: &Value| {
            let mut installation = installation();
            let bundle = installation.bundles.get_mut("small").unwrap();
            bundle.gpu_languages = known.map(|known| serde_json::from_value(known).unwrap());
            ValidPool::read(&pool(spec), &installation).map(|pool| (pool.strategies, pool.impossible))
        };
        let all = json!({"strategies": ["gpu-fp16", "gpu-int8", "cpu"]});
        let german = json!({"strategies": ["gpu-fp16", "gpu-int8", "cpu"], "languages": ["en", "de"]});
        let fp16 = json!({"gpu-fp16": ["de", "en"]});
        let both = json!({"gpu-fp16": ["de", "en"], "gpu-int8": ["en"]});
        let rows = [
            (None, &all, vec![GpuFp16, GpuInt8, Cpu], vec![]),
            (Some(&both), &all, vec![GpuFp16, GpuInt8, Cpu], vec![]),
            (Some(&both), &german, vec![GpuFp16, Cpu], vec![GpuInt8]),
            (Some(&fp16), &all, vec![GpuFp16, Cpu], vec![GpuInt8]),
            (Some(&json!({})), &all, vec![Cpu], vec![GpuFp16, GpuInt8]),
        ];
        for (known, spec, strategies, impossible) in rows {
            assert_eq!(read(known.cloned(), spec), Ok((strategies, impossible)), "{known:?} {spec}");
        }
        let refused = read(Some(json!({})), &json!({"strategies": ["gpu-fp16", "gpu-int8"]})).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "small has no networks for gpu-fp16, gpu-int8 and the pool's languages: add cpu to spec.strategies, or take \
             another model"
        );
    }

    #[test]
    fn what_is_allowed_is_taken() {
        for spec in [
            json!({"image": "registry.example.com/ours/ocr:1"}),
            json!({"image": "registry.example.com/ocr-inference@sha256:1111"}),
            json!({"placement": {"priorityClassName": "batch", "tolerations": [{"key": "ocr", "operator": "Exists"}]}}),
        ] {
            assert!(ValidPool::read(&pool(&spec), &installation()).is_ok(), "{spec}");
        }
        let mut all = installation();
        all.allow.tolerations = vec!["*".to_owned()];
        let any = pool(&json!({"placement": {"tolerations": [{"key": "anything"}]}}));
        assert!(ValidPool::read(&any, &all).is_ok());
    }

    #[test]
    fn an_image_once_given_stays_when_the_installation_has_another() {
        let mut old = pool(&json!({}));
        let pinned = "registry.example.com/ocr-inference@sha256:0000".to_owned();
        old.status = Some(crate::api::OcrPoolStatus { image: Some(pinned.clone()), ..Default::default() });
        assert_eq!(ValidPool::read(&old, &installation()).unwrap().revision.runs.image, pinned);
        old.spec.image = Some("registry.example.com/ours/ocr:1".to_owned());
        assert_eq!(
            ValidPool::read(&old, &installation()).unwrap().revision.runs.image,
            "registry.example.com/ours/ocr:1"
        );
    }

    #[test]
    fn the_number_of_pods_is_that_of_the_mode() {
        let scaling = |mode: &str| json!({"replicas": 7, "scaling": {"mode": mode, "min": 2, "max": 5}});
        assert_eq!(valid(&scaling("Auto")).replicas, 2);
        assert_eq!(valid(&scaling("Manual")).replicas, 7);
    }

    #[test]
    fn gpu_memory_is_what_the_server_asks_to_be_free() {
        let of = |name: &str| {
            let pool = valid(&json!({"model": {"name": name}}));
            Strategy::ALL.map(|strategy| pool.gpu_memory_mib(strategy))
        };
        // Not measured: defaults, to which the server adds nothing.
        assert_eq!(of("large"), [6144, 3072, 0]);
        // 2500 were measured: 2500 x 17 / 16 = 2656.25.
        assert_eq!(of("small"), [2657, 3072, 0]);
    }

    #[test]
    fn what_only_the_operator_reads_is_read_in_its_units() {
        let pool = valid(&json!({"placement": {"spillAfterSeconds": 45, "onMismatch": "Replace"}}));
        assert_eq!((pool.spill_after.as_secs(), pool.on_mismatch), (45, OnMismatch::Replace));
        let pool = valid(&json!({}));
        assert_eq!((pool.spill_after.as_secs(), pool.on_mismatch), (30, OnMismatch::Serve));
    }

    #[test]
    fn resources_that_are_not_given_are_what_the_model_was_measured_to_need() {
        let of = |resources: Value| {
            let pool = valid(&json!({"resources": {"cpu": resources}}));
            let (request, limit) = pool.cpu(Strategy::Cpu);
            (request.to_string(), limit.to_string(), pool.memory(Strategy::Cpu).to_string())
        };
        let texts = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        // 290 + 3 pages of 20 + bodies of 256 + a decode process of 750 = 1356 MiB.
        assert_eq!(of(json!({})), texts("1", "2", "1536Mi"));
        assert_eq!(of(json!({"limits": {"cpu": 1, "memory": "2Gi"}})), texts("1", "1", "2Gi"));
        assert_eq!(of(json!({"limits": {"cpu": "500m"}})), texts("500m", "500m", "1536Mi"));
        // 9 pages: 290 + 180 + 1006.
        assert_eq!(of(json!({"requests": {"cpu": 8}})), texts("8", "8", "1536Mi"));
        assert_eq!(of(json!({"requests": {"memory": "3Gi"}})), texts("1", "2", "3Gi"));
    }
}
