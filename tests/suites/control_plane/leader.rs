//! Two replicas, of which one works: whatever becomes of it, the other goes on, and neither writes without the lease.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread::{scope, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use ocr_tests::{
    cluster::{Audit, AuditEvent, Cluster, Operator, SYSTEM, until},
    program::is_long,
};
use rustix::process::Signal;

use crate::fleet::Fleet;

const POOLS: u32 = 10;
/// Most time until the other replica works.
const TAKEOVER: Duration = Duration::from_secs(20);
/// Longer than a lease lasts (15 s).
const HELD_UP: Duration = Duration::from_secs(22);

pub fn run(cluster: &'static Cluster) -> anyhow::Result<()> {
    let (kills, stops) = if is_long() { (10, 5) } else { (2, 1) };
    let fleet = Fleet::new(cluster, 5, POOLS, 2)?;
    let audit = Audit::from_now()?;
    let mut replicas = vec![Operator::start(cluster, "replica-0")?, Operator::start(cluster, "replica-1")?];
    fleet.wait_settled(Duration::from_mins(2))?;
    let (done, changes) = (AtomicBool::new(false), AtomicUsize::new(0));
    let takeovers = scope(|threads| {
        let changing = threads.spawn(|| change(&fleet, &done, &changes));
        let outcome = faults(cluster, &mut replicas, kills, stops);
        done.store(true, Ordering::Relaxed);
        let changed = changing.join().unwrap_or_else(|_| anyhow::bail!("the changes panicked"));
        outcome.and_then(|takeovers| changed.map(|()| takeovers))
    })?;
    fleet.wait_settled(Duration::from_mins(1)).context("after the faults")?;
    let writes = only_holders_wrote(&audit.events()?)?;
    let longest = takeovers.iter().max().copied().unwrap_or_default();
    println!(
        "{kills} kills and {stops} stops under {} changes: taken over after at most {:.1} s (at most {} s); {writes} writes, \
         all by the holder of the lease",
        changes.load(Ordering::Relaxed),
        longest.as_secs_f64(),
        TAKEOVER.as_secs()
    );
    ensure!(longest <= TAKEOVER, "{takeovers:?}");
    drop(replicas);
    fleet.remove()
}

/// Changes one pool after the other, until it is done.
fn change(fleet: &Fleet, done: &AtomicBool, changes: &AtomicUsize) -> anyhow::Result<()> {
    for pods in (1..=3).cycle() {
        for pool in &fleet.pools {
            if done.load(Ordering::Relaxed) {
                return Ok(());
            }
            fleet.set(pool, pods)?;
            changes.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(200));
        }
    }
    Ok(())
}

fn holder(cluster: &Cluster) -> anyhow::Result<String> {
    let lease = cluster.get("Lease", SYSTEM, "ocr-operator")?.context("no lease")?;
    Ok(lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned())
}

/// Kills the working replica, and holds it up, again and again; returns how long the other took to work each time.
fn faults(cluster: &Cluster, replicas: &mut [Operator], kills: usize, stops: usize) -> anyhow::Result<Vec<Duration>> {
    let mut takeovers = Vec::new();
    for number in 0..kills + stops {
        let working = holder(cluster)?;
        let index = replicas.iter().position(|replica| replica.name == working).context("a stranger works")?;
        let is_stop = number >= kills;
        replicas[index].signal(if is_stop { Signal::STOP } else { Signal::KILL })?;
        let since = Instant::now();
        until(TAKEOVER * 2, "another replica works", || {
            let now = holder(cluster)?;
            ensure!(now != working && !now.is_empty(), "{now} has the lease");
            Ok(())
        })?;
        takeovers.push(since.elapsed());
        if is_stop {
            sleep(HELD_UP.saturating_sub(since.elapsed()));
            replicas[index].signal(Signal::CONT)?;
            // What it was about to write, it would write now.
            sleep(Duration::from_secs(3));
        } else {
            replicas[index] = Operator::start(cluster, &format!("replica-{}", number + 2))?;
        }
    }
    Ok(takeovers)
}

/// Goes through the audit log in order: a successful write of the lease makes its replica the holder. Returns how many
/// writes there were.
fn only_holders_wrote(events: &[AuditEvent]) -> anyhow::Result<usize> {
    let mut own: Vec<&AuditEvent> = events.iter().filter(|event| event.is_operators() && event.is_write()).collect();
    own.sort_by(|a, b| a.stage_timestamp.cmp(&b.stage_timestamp));
    let (mut holder, mut writes) = ("", 0);
    for event in own {
        let is_lease = event.object_ref.resource == "leases";
        if is_lease && event.response_status.code < 300 {
            holder = &event.user_agent;
        } else if !is_lease {
            writes += 1;
            ensure!(
                event.user_agent == holder,
                "{} wrote {} {} at {} while {holder} had the lease",
                event.user_agent,
                event.object_ref.resource,
                event.object_ref.name,
                event.request_received_timestamp
            );
        }
    }
    ensure!(writes > 0, "the audit log shows no write");
    Ok(writes)
}
