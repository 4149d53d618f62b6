//! What the probes answer.

use serde::{Deserialize, Serialize};

/// Body of `GET /live`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(utoipa::ToSchema))]
pub struct Live {
    /// `alive`, or `stuck` with status 503 when there is work and no progress.
    pub status: String,
}

/// Body of `GET /ready`: status 200 when `ready`, else 503.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(utoipa::ToSchema))]
pub struct Ready {
    pub ready: bool,
    pub models_loaded: bool,
    /// Why not; absent when ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Body of `GET /health`; always 200, for people and dashboards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(utoipa::ToSchema))]
pub struct Health {
    pub status: HealthStatus,
    pub models_loaded: bool,
    /// The paths that answer, as `METHOD path`.
    pub available_endpoints: Vec<String>,
    /// Resident memory of the server process, in MB of 1024^2 bytes.
    pub memory_mb: u64,
    pub uptime_seconds: u64,
    pub version: String,
    /// Where the load stands.
    pub load: LoadProgress,
    /// Requests answered since the start, successes and errors.
    pub requests_processed: u64,
    /// Of these, answers of 500 and above.
    pub errors: u64,
    /// `errors` / `requests_processed`; 0 before the first request.
    pub error_rate: f64,
}

/// The word in `/health`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// The model is being loaded.
    Loading,
    /// Serving.
    Healthy,
    /// Serving, but not as it was configured: for example without Landlock.
    Degraded,
    /// The load failed; it is tried again.
    Failed,
    /// Shutting down.
    Draining,
}

/// How far the load has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(utoipa::ToSchema))]
pub struct LoadProgress {
    pub stage: LoadStage,
    /// Number of the stage, counted from 1.
    pub stage_number: u32,
    pub stages: u32,
    /// Seconds since the load began; when it is done, the seconds that it took.
    pub elapsed_seconds: f64,
    /// Of these, the seconds that the first pages took, by which the model was tried; absent until it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_up_seconds: Option<f64>,
    /// Attempts so far, counted from 1.
    pub attempt: u32,
    /// Why the last attempt failed; absent while none has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The same in a word: `NoModel`, `LoadFailed`, `OutOfMemory`, `UnsupportedHardware`, `Decode` or `Internal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_reason: Option<String>,
    /// Seconds until the next attempt; only after a failed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_in_seconds: Option<f64>,
}

/// The stages of a load, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LoadStage {
    /// Reading the bundle's manifest and checking every file's digest.
    Verify,
    /// Opening the native libraries and starting the decode processes.
    Start,
    /// Opening the models.
    Open,
    /// Reading a warm-up page and a PDF of our own.
    WarmUp,
    /// Done.
    Ready,
}

impl LoadStage {
    /// Every stage, in order.
    pub const ALL: [Self; 5] = [Self::Verify, Self::Start, Self::Open, Self::WarmUp, Self::Ready];

    /// Number of the stage, counted from 1.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32 + 1
    }

    /// The stage in words, for logs.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Verify => "verifying the model bundle",
            Self::Start => "starting the decode processes",
            Self::Open => "opening the models",
            Self::WarmUp => "reading the warm-up pages",
            Self::Ready => "ready",
        }
    }
}
