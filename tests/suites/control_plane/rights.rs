//! The operator loses a right: it says so, does not knock without end, and goes on when it has it again.

use std::time::Duration;

use anyhow::{Context, ensure};
use ocr_tests::cluster::{Audit, Cluster, Installation, Operator, Pool, RELEASE};
use serde_json::{Value, json};

use crate::fleet::{Fleet, NAMESPACE};

/// Longest wait until the pool's status names the right.
const TOLD: Duration = Duration::from_secs(15);
/// How long it is then watched, and the most requests that may be refused meanwhile.
const WATCHED: Duration = Duration::from_secs(20);
const REFUSED: usize = 10;

pub fn run(cluster: &'static Cluster) -> anyhow::Result<()> {
    let fleet = Fleet::new(cluster, 2, 2, 1)?;
    let operator = Operator::start(cluster, "rights")?;
    fleet.wait_settled(Duration::from_mins(1))?;
    let audit = Audit::from_now()?;
    take_away_patch(cluster)?;
    fleet.set("pool-0", 2)?;
    let pool = Pool::named(cluster, NAMESPACE, "pool-0");
    let message = pool.wait_condition("Degraded", true, "Forbidden", TOLD)?;
    println!("{message}");
    ensure!(message.contains("patch deployments"), "the right is not named: {message}");
    std::thread::sleep(WATCHED);
    let refused = audit.events()?;
    let refused = refused.iter().filter(|event| event.is_operators() && event.response_status.code == 403).count();
    ensure!((1..=REFUSED).contains(&refused), "{refused} requests were refused in {} s", WATCHED.as_secs());
    Installation::apply(cluster, &[])?;
    fleet.wait_settled(Duration::from_mins(1)).context("with the right again")?;
    drop(operator);
    fleet.remove()
}

fn take_away_patch(cluster: &Cluster) -> anyhow::Result<()> {
    let role = cluster.get("ClusterRole", "", RELEASE)?.context("no ClusterRole")?;
    let mut rules: Vec<Value> = role["rules"].as_array().cloned().unwrap_or_default();
    for rule in &mut rules {
        if rule["resources"] == json!(["deployments"])
            && let Some(verbs) = rule["verbs"].as_array_mut()
        {
            verbs.retain(|verb| verb != "patch");
        }
    }
    cluster.merge("ClusterRole", "", RELEASE, &json!({"rules": rules})).map(drop)
}
