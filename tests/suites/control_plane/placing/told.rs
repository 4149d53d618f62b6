//! What the operator tells of pools beside their counts: events when pods move, and how fast they are.

use std::time::Duration;

use anyhow::{Context, ensure};
use jiff::Timestamp;
use ocr_tests::cluster::{Cluster, until};
use serde_json::Value;

use crate::fleet::NAMESPACE;

/// Longest wait for what follows at once from what is already seen.
const SOON: Duration = Duration::from_secs(10);

/// Units of work that a pod does in a second, by what it says that it computes on: the fake pods' (`src/bin/fake-pod.rs`).
const RATES: [(&str, f64); 3] = [("gpu-fp16", 20.0), ("gpu-int8", 10.0), ("cpu", 2.0)];

/// Fails unless the pool has had an event of this reason, by an action that begins so, at or after `since`.
pub fn event(cluster: &Cluster, pool: &str, reason: &str, action: &str, since: Timestamp) -> anyhow::Result<()> {
    until(SOON, &format!("an event of {pool} says {reason}"), || {
        let events = cluster.list("Event", NAMESPACE, "")?;
        let of_pool = events
            .iter()
            .filter(|event| event["involvedObject"]["kind"] == "OcrPool" && event["involvedObject"]["name"] == pool);
        let found: Vec<&Value> = of_pool.filter(|event| event["reason"] == reason).collect();
        let is_it = |event: &&&Value| {
            event["action"].as_str().is_some_and(|text| text.starts_with(action))
                && last_seen(event).is_some_and(|at| at >= since)
        };
        let event = found.iter().find(is_it).with_context(|| format!("none since {since} in {found:?}"))?;
        println!("{pool}: {reason}: {}", event["message"].as_str().unwrap_or_default());
        Ok(())
    })
}

/// When it happened last: events that agree are counted as one.
fn last_seen(event: &Value) -> Option<Timestamp> {
    let times = [&event["eventTime"], &event["series"]["lastObservedTime"]];
    times.into_iter().filter_map(|time| time.as_str()?.parse().ok()).max()
}

/// Fails unless a row of `status.strategies` shows the rate of the pods that say so, of which there are `pods`.
pub fn rate(row: &Value, pods: usize) -> anyhow::Result<()> {
    let Some((_, expected)) = RATES.iter().find(|(name, _)| row["name"] == *name && pods > 0) else { return Ok(()) };
    let rate: f64 = row["unitsPerSecond"].as_str().with_context(|| format!("no rate: {row}"))?.parse()?;
    ensure!((rate / expected - 1.0).abs() < 0.1, "{rate} units a second, the pods do {expected}: {row}");
    Ok(())
}
