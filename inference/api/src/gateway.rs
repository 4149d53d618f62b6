//! Body of `GET /status` on the admin port of a gateway: who waits, and which pods it knows.

use serde::{Deserialize, Serialize};

/// What a gateway holds and knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GatewayStatus {
    pub version: String,
    /// Requests that wait for a pod.
    pub held: u64,
    /// Bytes of their bodies.
    pub held_bytes: u64,
    /// Units of work that they are estimated at.
    pub held_units: f64,
    /// How long the first of them has waited; absent where none waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_seconds: Option<f64>,
    /// Requests that pods were given and have not answered.
    pub in_flight: u64,
    /// Requests that came since the start, those that prove a pool aside.
    pub arrived: u64,
    /// Units of work that these were estimated at.
    pub arrived_units: f64,
    /// Requests since the start for which there was neither a pod nor a place to wait.
    pub refused: u64,
    /// Whether what it knows of pods comes from the API server now; it goes on with what it knew where not.
    pub connected: bool,
    pub pods: Vec<GatewayPod>,
}

/// A pod as a gateway knows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GatewayPod {
    pub name: String,
    /// Whether it is given requests.
    pub takes_requests: bool,
    /// Requests that this gateway gave it and that it has not answered.
    pub in_flight: u64,
    /// The revision that it says it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}
