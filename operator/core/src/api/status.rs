//! What is known to be so.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Strategy, is_zero};

/// What is known of a pool. Written by the operator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OcrPoolStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: a page was read through the pool's address by the revision that is wanted, and its pods are ready.
    /// `Progressing`: pods are being started, replaced or removed. `Degraded`: something is not as it was asked for.
    /// `StrategyVerified`: every ready pod runs what it was made for, by its own word.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Pods that are ready, of those wanted: `3/4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
    /// What the ready pods compute on, by their own word: `gpu-fp16:1,cpu:2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy_summary: Option<String>,
    /// Share of the pods that run the newest revision, while there are others: `25%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
    /// Why the pool is as it is, in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The pool's address inside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The image that the pool was given when it was created without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Pods of all revisions.
    #[serde(default)]
    pub replicas: i32,
    /// Pods of all revisions that are ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Labels of the pods, as a selector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Pods by strategy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub strategies: Vec<StrategyStatus>,
    /// Pods by revision, the wanted one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub revisions: Vec<RevisionStatus>,
    /// Pods that are not as they should be; at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub pods: Vec<PodReport>,
    /// The last page that was read through the pool's address to prove that it works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// Pods of a strategy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StrategyStatus {
    /// The strategy.
    pub name: Strategy,
    /// Pods wanted.
    pub wanted: i32,
    /// Pods that a node was found for.
    pub scheduled: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// Of these, pods that run it by their own word.
    #[serde(default)]
    pub verified: i32,
    /// Units of work that pods which run it do in a second at work, as measured, such as `3.4`. Not given until they have
    /// worked for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units_per_second: Option<String>,
    /// Pods that are about to end because their node is being drained or goes. As many more are wanted meanwhile.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub leaving: i32,
    /// Why it has fewer pods than there could be of it, or pods that run something else, in a word: `NoGpuOffered`,
    /// `NoGpuFree`, `NoNetwork`, `Spilled`, `Reclaiming`, `StrategyMismatch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Most pods that are wanted of it, since one more found no node. Not given: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<i32>,
    /// When pods last went to the next strategy because there was no room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spilled_at: Option<Time>,
    /// When one pod more was last tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reclaimed_at: Option<Time>,
    /// Since when a GPU seems free for one pod more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_since: Option<Time>,
    /// Pods that were replaced because they ran something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<ReplacedStatus>,
}

impl StrategyStatus {
    /// A strategy of which nothing is wanted, seen or remembered.
    #[must_use]
    pub const fn new(name: Strategy) -> Self {
        Self {
            name,
            wanted: 0,
            scheduled: 0,
            ready: 0,
            verified: 0,
            units_per_second: None,
            leaving: 0,
            reason: None,
            message: None,
            room: None,
            spilled_at: None,
            reclaimed_at: None,
            free_since: None,
            replaced: None,
        }
    }
}

/// Pods that were replaced because they ran a lower strategy than they were made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplacedStatus {
    /// The revision that they were of.
    pub revision: String,
    /// How many.
    pub count: i32,
    /// When the last was.
    pub last: Time,
}

/// Pods of a revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionStatus {
    /// Hash of what the pods run; part of the Deployments' names.
    pub name: String,
    /// The model bundle.
    pub model: String,
    /// Image of the pods.
    pub image: String,
    /// Whether it is wanted.
    pub state: RevisionState,
    /// Pods.
    pub replicas: i32,
    /// Pods that are ready.
    pub ready: i32,
}

/// What becomes of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RevisionState {
    /// It is what the spec asks for, and all pods are of it.
    Current,
    /// It is what the spec asks for, and is replacing others.
    Starting,
    /// It is being replaced.
    Retiring,
}

/// A pod that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodReport {
    /// Name of the pod.
    pub name: String,
    /// What is wrong, in a word: `ImagePullBackOff`, `Unschedulable`, `CrashLoopBackOff`, `OOMKilled`, `Loading`, `NotReady`.
    pub reason: String,
    /// What is wrong, in a sentence.
    pub message: String,
    /// Starts of its container after the first.
    pub restarts: i32,
}

/// A page that was read through the pool's address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// When. A page is read every five minutes, too; while each is read right, this is the time of the first of them.
    pub time: Time,
    /// The revision that read it.
    pub revision: String,
    /// Whether it was read right.
    pub passed: bool,
    /// What came, where it was not read right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
