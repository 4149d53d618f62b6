//! Body of `GET /status` on the admin port: what a pod really runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{document::ModelRef, health::LoadProgress};

/// What a pod really runs, and how busy it is. Proof, not intent: every field is read from what is running.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(utoipa::ToSchema))]
pub struct PodStatus {
    pub version: String,
    /// Revision of the pool that the server belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    pub load: LoadProgress,
    /// Absent until the bundle's manifest was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelStatus>,
    pub hardware: Hardware,
    pub engine: EngineStatus,
    pub sandbox: SandboxStatus,
    pub work: Work,
    pub memory: MemoryStatus,
}

/// The bundle that is loaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(utoipa::ToSchema))]
pub struct ModelStatus {
    #[serde(flatten)]
    pub model: ModelRef,
    /// Where it was found: `image`, `assets` or `path`.
    pub source: String,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Most memory in bytes that the server should take with it, all places for pages in use; 0
    /// where the bundle does not say.
    pub memory_bytes: u64,
    /// The recogniser in use.
    pub recogniser: String,
    /// Languages that were asked for.
    pub languages: Vec<String>,
}

/// What is there to compute with. GiB are of 1024^3 bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(utoipa::ToSchema))]
pub struct Hardware {
    pub gpu_available: bool,
    pub gpu_count: u32,
    /// Free memory of the GPU that has most of it.
    pub gpu_memory_gb: f64,
    /// The GPUs that CUDA can use in this process, in the order in which it counts them.
    #[serde(default)]
    pub gpus: Vec<Gpu>,
    /// Seconds since they were looked at: at the start, after each load, and after a minute where somebody asks.
    #[serde(default)]
    pub gpus_age_seconds: u64,
    /// Version of the NVIDIA driver; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_driver: Option<String>,
    /// Why there is no GPU, or what is wrong with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_problem: Option<String>,
    /// Memory of the machine, or the cgroup's limit where that is lower.
    pub cpu_ram_gb: f64,
    /// Of that, what is not in use.
    pub cpu_available_gb: f64,
    /// Cores that the cgroup's quota and the affinity mask leave, rounded up.
    pub cpu_threads: u32,
    /// Where `cpu_threads` comes from: `cgroup`, `affinity` or `setting`.
    pub cpu_threads_source: String,
    /// Instruction sets that decide how fast networks run, by their names in `/proc/cpuinfo`.
    #[serde(default)]
    pub cpu_instructions: Vec<String>,
}

/// A GPU, or a part of one that MIG made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(utoipa::ToSchema))]
pub struct Gpu {
    pub index: u32,
    pub name: String,
    /// Bytes.
    pub memory_bytes: u64,
    /// Of these, what nobody used when it was looked at.
    pub free_bytes: u64,
    /// Such as `8.0`.
    pub compute_capability: String,
    /// Whether it is a part of a GPU.
    pub mig: bool,
}

/// What the models run on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(utoipa::ToSchema))]
pub struct EngineStatus {
    pub strategy: String,
    pub execution_provider: String,
    pub precision: String,
    /// Which build of ONNX Runtime, in its own words.
    pub runtime: String,
    /// Of the strategy `cpu`: `full`, `optimized` or `offload`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The strategy that was asked for; `auto` where none was.
    #[serde(default)]
    pub strategy_wanted: String,
    /// `cpu`, or `cuda:N`.
    #[serde(default)]
    pub device: String,
    /// Share of the networks' nodes that run on the execution provider, from 0 to 1, by ONNX Runtime's record.
    #[serde(default)]
    pub provider_nodes: f64,
    /// Share of the time in nodes that was spent there.
    #[serde(default)]
    pub provider_time: f64,
    /// Strategies that are better than the one that runs, and why they are not used; best first.
    #[serde(default)]
    pub passed_over: Vec<PassedOver>,
    /// How well the golden pages were read before anything else was.
    #[serde(default)]
    pub golden: GoldenStatus,
    /// Pages in work at once, at most: what memory allows.
    #[serde(default)]
    pub places: u32,
    pub detect_threads: u32,
    pub recognise_threads: u32,
    /// Line-shaped work that waits.
    pub queued: u64,
}

/// How well pages were read whose text is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(utoipa::ToSchema))]
pub struct GoldenStatus {
    pub pages: u32,
    /// Characters on them, without white space.
    pub characters: u64,
    /// Of these, read wrongly: to be inserted, deleted or replaced.
    pub errors: u64,
    /// Character error rate, in percent.
    pub error_percent: f64,
    /// Above this a strategy is not used.
    pub max_error_percent: f64,
}

/// A way of computing that was not taken though it is better than the one that is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(utoipa::ToSchema))]
pub struct PassedOver {
    /// Such as `gpu-fp16` or `cpu/full`.
    pub strategy: String,
    /// In a word, such as `NoGpu`.
    pub reason: String,
    /// What was needed, what was found, and what to do.
    pub message: String,
}

/// How the decode processes are confined.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(utoipa::ToSchema))]
pub struct SandboxStatus {
    /// ABI version of Landlock; 0 where the kernel has none.
    pub landlock_abi: u32,
    pub seccomp: bool,
    /// Processes alive.
    pub processes: u32,
    /// Processes that had to be replaced because they died or were ended, since the start.
    pub deaths: u64,
    /// The same, by cause.
    pub deaths_by_cause: BTreeMap<String, u64>,
}

/// Work done and waiting, in units that no hardware changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(utoipa::ToSchema))]
pub struct Work {
    /// Requests that are being read.
    pub in_flight: u64,
    /// Requests that wait for a place.
    pub queued: u64,
    /// Most requests that may wait.
    pub capacity: u64,
    /// Requests that are read at once.
    #[serde(default)]
    pub concurrency: u64,
    /// Requests answered since the start.
    #[serde(default)]
    pub requests: u64,
    /// Of these, answers of 500 and above.
    #[serde(default)]
    pub errors: u64,
    /// Units done since the start.
    pub units: f64,
    /// Seconds in which at least one engine thread was at work, summed over the threads.
    pub busy_seconds: f64,
    pub pages: u64,
    pub lines: u64,
    pub draining: bool,
}

/// Memory of the server and its decode processes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(utoipa::ToSchema))]
pub struct MemoryStatus {
    /// Resident memory of the server, in bytes.
    pub resident_bytes: u64,
    /// Highest resident memory of the server, in bytes.
    pub peak_resident_bytes: u64,
    /// Highest resident memory during the load, in bytes.
    pub load_peak_bytes: u64,
    /// Limit of the cgroup; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
    /// Most memory that the cgroup ever used, decode processes and pages of files included; absent where there is no limit,
    /// or the kernel does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup_peak_bytes: Option<u64>,
}
