//! Where nothing changes, nothing is written.

use std::{thread::sleep, time::Duration};

use anyhow::ensure;
use ocr_tests::{
    cluster::{Audit, Cluster, Operator},
    program::is_long,
};

use crate::fleet::Fleet;

/// Pools of the case.
const POOLS: u32 = 20;
/// Time in which the last events and words are written.
const SETTLE: Duration = Duration::from_secs(35);

pub fn run(cluster: &'static Cluster) -> anyhow::Result<()> {
    // Longer than a resync; long enough for a proof that is due every five minutes.
    let watched = Duration::from_secs(if is_long() { 330 } else { 40 });
    let fleet = Fleet::new(cluster, 5, POOLS, 3)?;
    let replicas = [Operator::start(cluster, "steady-a")?, Operator::start(cluster, "steady-b")?];
    fleet.wait_settled(Duration::from_mins(2))?;
    sleep(SETTLE);
    let audit = Audit::from_now()?;
    sleep(watched);
    let events = audit.events()?;
    let own: Vec<_> = events.iter().filter(|event| event.is_operators()).collect();
    let renewals = own.iter().filter(|event| event.object_ref.resource == "leases" && event.is_write()).count();
    let writes: Vec<String> = own
        .iter()
        .filter(|event| event.is_write() && event.object_ref.resource != "leases")
        .map(|event| format!("{} {} {}", event.verb, event.object_ref.resource, event.object_ref.name))
        .collect();
    println!("{POOLS} pools for {} s: {renewals} writes of the lease, {} others", watched.as_secs(), writes.len());
    ensure!(renewals > 0, "the audit log shows no operator at all");
    ensure!(writes.is_empty(), "{} writes: {:?}", writes.len(), &writes[..writes.len().min(10)]);
    drop(replicas);
    fleet.remove()
}
