//! The product on a real node: the chart, the operator, pools, and pages read through their addresses.
//!
//! Runs inside the namespaces of the test cluster (`tests/cluster/enter.sh`), where Services and pods can be reached.
//! A cluster that is not there is a failure, not a reason to leave cases out.

mod admission;
mod children;
mod fake;
mod fates;
mod first_pool;
mod golden;
mod memory;
mod mismatch;
mod operation;
mod permissions;
mod proof;
mod rollout;
mod upgrade;

use std::process::ExitCode;

use ocr_tests::{cluster::Cluster, suite::Suite};

/// Cases at a time, of those that mostly wait for the cluster: more would wait for the machine.
const AT_A_TIME: usize = 6;

fn main() -> ExitCode {
    let cluster: &'static Cluster = match Cluster::find() {
        Ok(cluster) => Box::leak(Box::new(cluster)),
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let [mut first, mut together, mut alone] = [Suite::new(), Suite::new(), Suite::new()];
    first_pool::install(&mut first, cluster);
    // Each has a namespace of its own, or names.
    // What takes longest begins first.
    first_pool::cases(&mut together, cluster);
    proof::cases(&mut together, cluster);
    children::cases(&mut together, cluster);
    fates::cases(&mut together, cluster);
    golden::cases(&mut together, cluster);
    memory::cases(&mut together, cluster);
    mismatch::cases(&mut together, cluster);
    admission::cases(&mut together, cluster);
    operation::cases(&mut together, cluster);
    rollout::cases(&mut alone, cluster);
    // These change what all pools share.
    fates::definition(&mut alone, cluster);
    upgrade::cases(&mut alone, cluster);
    // Looks back on all before it.
    permissions::cases(&mut alone, cluster);
    upgrade::removal(&mut alone, cluster);
    let passed = [first.passes(1), together.passes(AT_A_TIME), alone.passes(1)];
    if passed.into_iter().all(|passed| passed) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
