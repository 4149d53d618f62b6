//! What became of a pod, in words.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod};
use ocr_api::{LoadStage, PodStatus};

use crate::{
    api::conditions::reason::{
        CRASH_LOOP_BACK_OFF, IMAGE_PULL_BACK_OFF, LOADING, NOT_READY, OOM_KILLED, UNSCHEDULABLE,
    },
    build::CONTAINER,
    place::pods::is_ready,
};

/// What became of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    pub name: String,
    /// A node was found for it.
    pub scheduled: bool,
    /// It takes requests.
    pub ready: bool,
    /// It was told to end.
    pub ending: bool,
    /// Starts of its container after the first.
    pub restarts: i32,
    /// What is wrong with it, and since when that can be told.
    pub problem: Option<Problem>,
}

/// What is wrong with a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// In a word: one of [`PROBLEMS`].
    pub reason: &'static str,
    /// In a sentence.
    pub message: String,
}

/// What may be wrong with a pod: every reason of a [`Problem`].
pub const PROBLEMS: [&str; 6] =
    [IMAGE_PULL_BACK_OFF, OOM_KILLED, CRASH_LOOP_BACK_OFF, UNSCHEDULABLE, NOT_READY, LOADING];

/// How long a pod that was ended for its memory, and works again, is still told of. The next page of that kind ends it
/// again, and without this nobody would see more than a counter.
const REMEMBERED: SignedDuration = SignedDuration::from_mins(10);

/// Longest message of a pod, in characters: a status is no log.
const LONGEST: usize = 500;

/// Tells what became of a pod. `attested` is what the pod says of itself, where it could be asked.
#[must_use]
pub fn fate(pod: &Pod, attested: Option<&PodStatus>, now: Timestamp) -> Fate {
    let status = pod.status.as_ref();
    let condition = |type_: &str| {
        status.and_then(|status| status.conditions.as_ref()?.iter().find(|condition| condition.type_ == type_))
    };
    let is_true = |type_: &str| condition(type_).is_some_and(|condition| condition.status == "True");
    let container = status
        .and_then(|status| status.container_statuses.as_ref()?.iter().find(|container| container.name == CONTAINER));
    let (scheduled, ready) = (is_true("PodScheduled"), is_ready(pod));
    let ending = pod.metadata.deletion_timestamp.is_some();
    let unscheduled = condition("PodScheduled").filter(|condition| condition.status == "False").map(|condition| {
        let message = condition.message.clone().unwrap_or_default();
        Problem { reason: UNSCHEDULABLE, message: format!("no node has room for it: {message}") }
    });
    let problem = if ending {
        None
    } else {
        unscheduled
            .or_else(|| container.and_then(|container| of_container(container, now)))
            .or_else(|| (scheduled && !ready).then(|| starting(container, attested)))
    };
    Fate {
        name: pod.metadata.name.clone().unwrap_or_default(),
        scheduled,
        ready,
        ending,
        restarts: container.map_or(0, |container| container.restart_count),
        problem: problem.map(|problem| Problem { message: shorten(&problem.message), ..problem }),
    }
}

fn of_container(container: &ContainerStatus, now: Timestamp) -> Option<Problem> {
    let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
    let reason = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
    let said = waiting.and_then(|waiting| waiting.message.clone()).unwrap_or_default();
    if ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"].contains(&reason) {
        let message = format!("image {:?} cannot be pulled: {said}", container.image);
        return Some(Problem { reason: IMAGE_PULL_BACK_OFF, message });
    }
    let ended = terminated(container.state.as_ref()).or_else(|| terminated(container.last_state.as_ref()));
    let memory = ended.is_some_and(for_memory);
    let recent = |ended: &ContainerStateTerminated| {
        ended.finished_at.as_ref().is_none_or(|at| now.duration_since(at.0) < REMEMBERED)
    };
    if reason == "CrashLoopBackOff" || container.state.as_ref().is_some_and(|state| state.terminated.is_some()) {
        let reason = if memory { OOM_KILLED } else { CRASH_LOOP_BACK_OFF };
        return Some(Problem { reason, message: last_words(ended, container.restart_count) });
    }
    if let Some(ended) = ended.filter(|ended| memory && recent(ended)) {
        return Some(Problem { reason: OOM_KILLED, message: last_words(Some(ended), container.restart_count) });
    }
    // Whatever else keeps the container from starting, in the node's own words.
    (!reason.is_empty() && !["ContainerCreating", "PodInitializing"].contains(&reason))
        .then(|| Problem { reason: NOT_READY, message: format!("{reason}: {said}") })
}

fn terminated(state: Option<&ContainerState>) -> Option<&ContainerStateTerminated> {
    state.and_then(|state| state.terminated.as_ref())
}

/// Ended by the kernel, or by itself because it saw that its model cannot fit (exit code 4 and a message).
fn for_memory(ended: &ContainerStateTerminated) -> bool {
    let message = ended.message.as_deref().unwrap_or_default();
    ended.reason.as_deref() == Some("OOMKilled") || (ended.exit_code == 4 && message.starts_with("OutOfMemory"))
}

fn last_words(ended: Option<&ContainerStateTerminated>, restarts: i32) -> String {
    let Some(ended) = ended else { return format!("ended {restarts} times") };
    let message = ended.message.as_deref().map(str::trim).unwrap_or_default();
    // The kernel gives no time for last words: what there is then is the end of the log.
    let message = if ended.reason.as_deref() == Some("OOMKilled") {
        "it used more memory than its limit: raise resources, or lower limits.pixelsPerPage"
    } else {
        message
    };
    format!("ended with exit code {}, restarted {restarts} times: {message}", ended.exit_code)
}

fn starting(container: Option<&ContainerStatus>, attested: Option<&PodStatus>) -> Problem {
    let running = container.and_then(|container| container.state.as_ref()).is_some_and(|state| state.running.is_some());
    match attested {
        Some(attested) if attested.work.draining => {
            Problem { reason: NOT_READY, message: "it finishes its requests before it ends".to_owned() }
        }
        Some(attested) if attested.load.stage == LoadStage::Ready => Problem {
            reason: NOT_READY,
            message: "its model is loaded, and its readiness probe does not pass".to_owned(),
        },
        Some(attested) => {
            let load = &attested.load;
            let stage = format!("{}/{} {}", load.stage_number, load.stages, load.stage.describe());
            let reason = load.error_reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            let error = load.error.as_ref().map(|error| format!("; attempt {} failed{reason}: {error}", load.attempt));
            let message = format!("loading {stage}, {:.0} s{}", load.elapsed_seconds, error.unwrap_or_default());
            Problem { reason: LOADING, message }
        }
        None if running => Problem { reason: NOT_READY, message: "it runs and is not ready".to_owned() },
        None => Problem { reason: LOADING, message: "its container is being created".to_owned() },
    }
}

fn shorten(message: &str) -> String {
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    if message.chars().count() <= LONGEST {
        return message;
    }
    message.chars().take(LONGEST - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(pod: Value) -> Fate {
        fate(&serde_json::from_value(pod).unwrap(), None, "2026-01-01T00:10:00Z".parse().unwrap())
    }

    fn pod(container: Value) -> Value {
        let mut container = container;
        container["name"] = "ocr".into();
        container["image"] = "registry.example.com/ocr:7".into();
        container["imageID"] = "".into();
        container["ready"] = false.into();
        if container["restartCount"].is_null() {
            container["restartCount"] = 0.into();
        }
        json!({
            "metadata": {"name": "p"},
            "status": {
                "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "False"}],
                "containerStatuses": [container],
            },
        })
    }

    fn problem(pod: Value) -> (&'static str, String) {
        let problem = read(pod).problem.unwrap();
        (problem.reason, problem.message)
    }

    #[test]
    fn what_is_wrong_is_told_in_words() {
        let ended = |reason: &str, code: i32, message: &str, at: &str| json!({"terminated": {"reason": reason, "exitCode": code, "message": message, "finishedAt": at}});
        let back_off = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s"}});
        let rows = [
            (
                pod(json!({"state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}})),
                "ImagePullBackOff",
                "image \"registry.example.com/ocr:7\" cannot be pulled: not found",
            ),
            (
                pod(
                    json!({"state": back_off, "restartCount": 3, "lastState": ended("Error", 2, "BadSettings: OCR_QEUE\n", "2026-01-01T00:00:00Z")}),
                ),
                "CrashLoopBackOff",
                "ended with exit code 2, restarted 3 times: BadSettings: OCR_QEUE",
            ),
            (
                pod(
                    json!({"state": back_off, "restartCount": 1, "lastState": ended("Error", 4, "OutOfMemory: needs 350 MiB", "2026-01-01T00:00:00Z")}),
                ),
                "OOMKilled",
                "ended with exit code 4, restarted 1 times: OutOfMemory: needs 350 MiB",
            ),
            (
                pod(
                    json!({"state": {"running": {}}, "restartCount": 1, "lastState": ended("OOMKilled", 137, "{\"level\":\"INFO\"}", "2026-01-01T00:09:00Z")}),
                ),
                "OOMKilled",
                "ended with exit code 137, restarted 1 times: it used more memory than its limit: raise resources, or lower limits.pixelsPerPage",
            ),
            (
                pod(
                    json!({"state": {"running": {}}, "restartCount": 1, "lastState": ended("OOMKilled", 137, "", "2026-01-01T00:00:00Z")}),
                ),
                "NotReady",
                "it runs and is not ready",
            ),
            (
                pod(json!({"state": {"waiting": {"reason": "CreateContainerError", "message": "no such user"}}})),
                "NotReady",
                "CreateContainerError: no such user",
            ),
            (
                pod(json!({"state": {"waiting": {"reason": "ContainerCreating"}}})),
                "Loading",
                "its container is being created",
            ),
        ];
        for (pod, reason, message) in rows {
            assert_eq!(problem(pod), (reason, message.to_owned()));
        }
    }

    #[test]
    fn a_pod_without_a_node_says_what_the_scheduler_said() {
        let pod = json!({"metadata": {"name": "p"}, "status": {"conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available: 3 Insufficient cpu."}]}});
        let fate = read(pod);
        assert!(!fate.scheduled && !fate.ready);
        let problem = fate.problem.unwrap();
        assert_eq!(problem.reason, "Unschedulable");
        assert!(problem.message.contains("Insufficient cpu"));
    }

    #[test]
    fn a_pod_that_ends_is_no_problem_and_not_ready() {
        let mut pod = pod(json!({"state": {"running": {}}}));
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:09:00Z".into();
        pod["status"]["conditions"][1]["status"] = "True".into();
        let fate = read(pod);
        assert!(fate.ending && !fate.ready && fate.problem.is_none());
    }

    #[test]
    fn a_pod_that_has_loaded_and_is_not_ready_is_not_loading() {
        let recorded = include_str!("../../../../tests/recorded/status.json");
        let mut attested: PodStatus = serde_json::from_str(recorded).unwrap();
        let pod: Pod = serde_json::from_value(pod(json!({"state": {"running": {}}}))).unwrap();
        let problem = |attested: &PodStatus| fate(&pod, Some(attested), Timestamp::UNIX_EPOCH).problem.unwrap();
        assert_eq!(problem(&attested).reason, NOT_READY);
        attested.load.stage = LoadStage::Open;
        attested.load.stage_number = 3;
        assert_eq!(problem(&attested).reason, LOADING);
        assert!(problem(&attested).message.starts_with("loading 3/5 "));
        attested.load.attempt = 2;
        attested.load.error = Some("model.onnx is missing".to_owned());
        assert!(problem(&attested).message.ends_with("; attempt 2 failed: model.onnx is missing"));
        attested.load.error_reason = Some("LoadFailed".to_owned());
        assert!(problem(&attested).message.ends_with("; attempt 2 failed (LoadFailed): model.onnx is missing"));
    }

    #[test]
    fn a_message_has_one_line_and_an_end() {
        let long = format!("a\n{}", "b ".repeat(2000));
        let message = shorten(&long);
        assert!(message.starts_with("a b b") && message.ends_with('…') && message.chars().count() == LONGEST);
    }
}
