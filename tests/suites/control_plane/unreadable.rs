//! One pool that this version cannot read, and ten that it can: they go on.

use std::time::Duration;

use anyhow::Context;
use ocr_tests::cluster::{Cluster, Operator, Pool, until, with_loose_definition};
use serde_json::json;

use crate::fleet::{Fleet, NAMESPACE};

const POOLS: u32 = 10;
const TOLD: Duration = Duration::from_secs(15);

pub fn run(cluster: &'static Cluster) -> anyhow::Result<()> {
    let fleet = Fleet::new(cluster, 5, POOLS, 1)?;
    let operator = Operator::start(cluster, "unreadable-a")?;
    fleet.wait_settled(Duration::from_mins(1))?;
    with_loose_definition(cluster, || others_go_on(&fleet))?;
    cluster.delete("OcrPool", NAMESPACE, "odd")?;
    drop(operator);
    fleet.remove()
}

fn others_go_on(fleet: &Fleet) -> anyhow::Result<()> {
    let odd = until(TOLD, "the odd pool is taken", || {
        Pool::apply(fleet.cluster, NAMESPACE, "odd", &json!({"model": 7, "replicas": "many"}))
    })?;
    println!("{}", odd.wait_condition("Ready", false, "Unreadable", TOLD)?);
    // A replica that begins with it in its first list, too.
    let second = Operator::start(fleet.cluster, "unreadable-b")?;
    for pool in &fleet.pools {
        fleet.set(pool, 2)?;
    }
    fleet.wait_settled(Duration::from_mins(1)).context("beside a pool that cannot be read")?;
    drop(second);
    Ok(())
}
