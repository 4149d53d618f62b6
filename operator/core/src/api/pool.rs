//! What a user asks for.

use std::fmt;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{OcrPoolStatus, Placement, Quantity, Resources, RolloutPolicy, is_zero};

/// What a pool of OCR pods should be.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "ocrpool.dev",
    version = "v1alpha1",
    kind = "OcrPool",
    plural = "ocrpools",
    namespaced,
    status = "OcrPoolStatus",
    shortname = "ocrp",
    category = "all",
    derive = "PartialEq",
    doc = "A pool of pods that read images and PDFs, at one address: the Service of the same name.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.ready", description = "Pods that are ready, of those wanted"),
    printcolumn(name = "Strategies", type_ = "string", json_path = ".status.strategySummary", description = "What the ready pods compute on"),
    printcolumn(name = "Model", type_ = "string", json_path = ".spec.model.name", description = "The model bundle"),
    printcolumn(name = "Rollout", type_ = "string", json_path = ".status.rollout", description = "Share of the pods that run the newest revision"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason", description = "Why the pool is as it is"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since the pool was created"),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".status.endpoint", description = "The pool's address inside the cluster", priority = 1),
    validation = Rule::new("self.metadata.name.size() <= 63 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("a pool's name is its Service's: at most 63 lower-case letters, digits and dashes, a letter first and no dash last")
)]
#[serde(rename_all = "camelCase")]
pub struct OcrPoolSpec {
    /// The model that the pool reads with.
    pub model: Model,
    /// Image of the pods. Not given: the one that was the installation's default when the pool was created, kept in
    /// `status.image`, so that an upgrade of the operator restarts no pod. The installation may allow only some
    /// registries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500), regex(pattern = r"^[a-z0-9][A-Za-z0-9._:/@-]*$"))]
    pub image: Option<String>,
    /// How the pods compute, best first. A pod that cannot compute as it was made for steps down to a lower one that is
    /// listed, and on to the CPU, listed or not; one that is left out, such as `gpu-int8`, no pod uses.
    #[serde(default = "default_strategies")]
    #[schemars(length(min = 1, max = 3), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = Rule::new("self.all(one, self.exists_one(other, other == one))").message("a strategy is listed twice"))]
    pub strategies: Vec<Strategy>,
    /// Number of pods while `scaling.mode` is `Manual`; `kubectl scale` writes it. 0 keeps the pool and its address
    /// with no pods.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,
    /// How the number of pods is decided.
    #[serde(default)]
    pub scaling: Scaling,
    /// Where the pods may run.
    #[serde(default)]
    pub placement: Placement,
    /// CPU and memory of the pods. What is not given comes from what the model was measured to need.
    #[serde(default)]
    pub resources: Resources,
    /// How a new revision is judged before it is used.
    #[serde(default)]
    pub rollout: RolloutPolicy,
    /// What a request may ask of the pool.
    #[serde(default)]
    pub limits: Limits,
    /// Languages to read, as BCP 47 tags. A language that the model cannot read is refused, and the message lists those
    /// that it can.
    #[serde(default = "default_languages")]
    #[schemars(length(min = 1, max = 50), inner(length(min = 2, max = 16), regex(pattern = r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")), extend("x-kubernetes-list-type" = "set"))]
    pub languages: Vec<String>,
    /// Least level that the pods log.
    #[serde(default)]
    pub log_level: LogLevel,
}

fn default_strategies() -> Vec<Strategy> {
    vec![Strategy::Cpu]
}

const fn default_replicas() -> i32 {
    1
}

fn default_languages() -> Vec<String> {
    vec!["en".to_owned()]
}

/// The model that a pool reads with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// Name of a model bundle in the image: `pp-ocrv6-small`, `pp-ocrv6-tiny`, `pp-ocrv5-mobile` or `pp-ocrv4-mobile`.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// Seconds without a page after which a pod drops the model from memory, until the next page comes, which waits until
    /// it is loaded again. 0 keeps it.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = 86_400))]
    pub idle_unload_seconds: i32,
    /// Precision on the CPU: `Auto` reads lines with 8-bit integers where the CPU is fast at that and the golden pages are
    /// read as well, `Fp32` never does. Whether GPUs may compute with 8-bit integers is up to `strategies`.
    #[serde(default, skip_serializing_if = "CpuPrecision::is_default")]
    pub cpu_precision: CpuPrecision,
}

/// Precision of what is computed on the CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CpuPrecision {
    #[default]
    Auto,
    Fp32,
}

impl CpuPrecision {
    /// Whether it is what a pod does of itself.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How a pod computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    GpuFp16,
    GpuInt8,
    Cpu,
}

impl Strategy {
    /// Every strategy, best first; so they are ordered, too.
    pub const ALL: [Self; 3] = [Self::GpuFp16, Self::GpuInt8, Self::Cpu];

    /// As it is written in a pool, in names and in labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GpuFp16 => "gpu-fp16",
            Self::GpuInt8 => "gpu-int8",
            Self::Cpu => "cpu",
        }
    }

    /// The strategy of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.as_str() == name)
    }

    /// Whether its pods ask for a GPU.
    #[must_use]
    pub const fn needs_gpu(self) -> bool {
        matches!(self, Self::GpuFp16 | Self::GpuInt8)
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// How the number of pods is decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.min <= self.max").message("scaling.min must not exceed scaling.max"))]
pub struct Scaling {
    /// `Auto` keeps between `min` and `max` pods; `Manual` keeps `spec.replicas`.
    #[serde(default)]
    pub mode: ScalingMode,
    /// Fewest pods while the mode is `Auto`.
    #[serde(default = "default_min")]
    #[schemars(range(min = 1, max = 1000))]
    pub min: i32,
    /// Most pods while the mode is `Auto`.
    #[serde(default = "default_max")]
    #[schemars(range(min = 1, max = 1000))]
    pub max: i32,
}

const fn default_min() -> i32 {
    1
}

const fn default_max() -> i32 {
    10
}

impl Default for Scaling {
    fn default() -> Self {
        Self { mode: ScalingMode::default(), min: default_min(), max: default_max() }
    }
}

/// Who decides the number of pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ScalingMode {
    #[default]
    Auto,
    Manual,
}

/// What a request may ask of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Largest body of a request in bytes: `10Mi`. From 1Ki to 1Gi.
    #[serde(default = "default_body_bytes")]
    #[x_kube(
        validation = Rule::new(
            "quantity(string(self)).compareTo(quantity('1Ki')) >= 0 && quantity(string(self)).compareTo(quantity('1Gi')) <= 0"
        )
        .message("bodyBytes must be from 1Ki to 1Gi, such as 10Mi")
    )]
    pub body_bytes: Quantity,
    /// Most pages of a document.
    #[serde(default = "default_pages")]
    #[schemars(range(min = 1, max = 10_000))]
    pub pages_per_document: i32,
    /// Most pixels of a page. Pages of PDFs are rendered smaller to fit, larger images are refused.
    #[serde(default = "default_pixels")]
    #[schemars(range(min = 100_000, max = 500_000_000))]
    pub pixels_per_page: i64,
    /// Longest time for a request, in seconds. Four times as long in pods whose memory is enough for `cpu/offload` only.
    #[serde(default = "default_request_seconds")]
    #[schemars(range(min = 1, max = 900))]
    pub request_seconds: i32,
}

const fn default_body_bytes() -> Quantity {
    Quantity::mebibytes(10)
}

const fn default_pages() -> i32 {
    200
}

const fn default_pixels() -> i64 {
    50_000_000
}

const fn default_request_seconds() -> i32 {
    300
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: default_body_bytes(),
            pages_per_document: default_pages(),
            pixels_per_page: default_pixels(),
            request_seconds: default_request_seconds(),
        }
    }
}

/// Least level that is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// As the pods' setting takes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}
