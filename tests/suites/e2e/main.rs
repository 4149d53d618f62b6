//! The product on a real node: the chart, the operator, pools, and pages read through their addresses.
//!
//! Runs inside the namespaces of the test cluster (`tests/cluster/enter.sh`), where Services and pods can be reached.
//! A cluster that is not there is a failure, not a reason to leave cases out.

mod admission;
mod children;
mod fates;
mod first_pool;
mod operation;
mod permissions;
mod proof;
mod rollout;
mod upgrade;

use std::process::ExitCode;

use ocr_tests::{cluster::Cluster, suite::Suite};

fn main() -> ExitCode {
    let cluster: &'static Cluster = match Cluster::find() {
        Ok(cluster) => Box::leak(Box::new(cluster)),
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let mut suite = Suite::new();
    first_pool::cases(&mut suite, cluster);
    admission::cases(&mut suite, cluster);
    children::cases(&mut suite, cluster);
    fates::cases(&mut suite, cluster);
    operation::cases(&mut suite, cluster);
    proof::cases(&mut suite, cluster);
    rollout::cases(&mut suite, cluster);
    upgrade::cases(&mut suite, cluster);
    // Last: it looks back on all.
    permissions::cases(&mut suite, cluster);
    suite.run()
}
