//! Many pools: how soon a change is applied, and what the operator costs.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use jiff::Timestamp;
use ocr_tests::{
    cluster::{Audit, AuditEvent, Cluster, Operator, until},
    memory::megabytes,
    program::is_long,
};

use crate::fleet::Fleet;

/// Most time from a spec's change to its last child applied, for 99 of 100.
const APPLIED: Duration = Duration::from_secs(1);
/// Most CPU time of a reconcile, in seconds. In `make test` the operator is not optimised, and is not judged by it.
const CPU: f64 = 0.005;
/// Most resident memory in bytes.
const MEMORY: u64 = 60_000_000;
/// Most time from a restart until every pool was reconciled.
const RESTART: Duration = Duration::from_secs(20);

pub fn run(cluster: &'static Cluster) -> anyhow::Result<()> {
    let (nodes, pools) = if is_long() { (300, 200_u32) } else { (30, 20) };
    let fleet = Fleet::new(cluster, nodes, pools, 3)?;
    let mut operator = Operator::start(cluster, "many-a")?;
    fleet.wait_settled(Duration::from_mins(10))?;

    let audit = Audit::from_now()?;
    let (cpu, reconciles) = (operator.cpu_seconds()?, operator.metrics()?.sum("ocr_operator_reconciles_total")?);
    for pool in &fleet.pools {
        fleet.set(pool, 4)?;
        // Ten changes a second: more than a busy cluster has.
        std::thread::sleep(Duration::from_millis(100));
    }
    fleet.wait_settled(Duration::from_mins(5))?;
    let reconciled = operator.metrics()?.sum("ocr_operator_reconciles_total")? - reconciles;
    let each = (operator.cpu_seconds()? - cpu) / reconciled;
    let resident = operator.resident_bytes()?;

    let events = audit.events()?;
    let mut times = fleet.pools.iter().map(|pool| applied(&events, pool)).collect::<anyhow::Result<Vec<_>>>()?;
    times.sort();
    let quantile = |share: usize| times[(times.len() * share).div_ceil(100).saturating_sub(1)];

    operator.signal(rustix::process::Signal::TERM)?;
    operator.wait()?;
    let started = Instant::now();
    let operator = Operator::start(cluster, "many-b")?;
    until(RESTART * 3, "every pool was reconciled", || {
        let metrics = operator.metrics()?;
        let done = metrics.sum("ocr_operator_reconciles_total")?;
        ensure!(done >= f64::from(pools), "{done} reconciles");
        ensure!(metrics.sum("ocr_operator_queue_length")? == 0.0, "pools wait");
        Ok(())
    })?;
    let restart = started.elapsed();
    println!(
        "{pools} pools, {} pods, {nodes} nodes: a change is applied after p50 {:.3} s, p99 {:.3} s (at most {} s); \
         {reconciled} reconciles, {:.2} ms of CPU each (at most {} ms); {:.0} MB resident (at most {:.0}); \
         restarted and reconciled in {:.1} s (at most {})",
        pools * 4,
        quantile(50).as_secs_f64(),
        quantile(99).as_secs_f64(),
        APPLIED.as_secs(),
        each * 1000.0,
        CPU * 1000.0,
        megabytes(resident),
        megabytes(MEMORY),
        restart.as_secs_f64(),
        RESTART.as_secs(),
    );
    ensure!(quantile(99) <= APPLIED, "p99 {:?}", quantile(99));
    ensure!(!is_long() || each <= CPU, "{each} s of CPU a reconcile");
    ensure!(resident <= MEMORY, "{resident} bytes resident");
    ensure!(restart <= RESTART, "{restart:?} after a restart");
    drop(operator);
    fleet.remove()
}

/// From the answer to the suite's change of a pool to the answer to the operator's last write of a child of it.
fn applied(events: &[AuditEvent], pool: &str) -> anyhow::Result<Duration> {
    let at = |event: &AuditEvent| -> anyhow::Result<Timestamp> { Ok(event.stage_timestamp.parse()?) };
    let changed = events.iter().rfind(|event| {
        event.object_ref.resource == "ocrpools" && event.object_ref.name == pool && !event.is_operators()
    });
    let prefix = format!("{pool}-");
    let written = events.iter().rfind(|event| {
        let object = &event.object_ref;
        event.is_operators() && object.resource == "deployments" && event.is_write() && object.name.starts_with(&prefix)
    });
    let (changed, written) = changed.zip(written).with_context(|| format!("{pool} is not in the audit log"))?;
    Ok(Duration::try_from(at(written)?.duration_since(at(changed)?)).unwrap_or(Duration::ZERO))
}
