//! The operator against a real control plane: nodes of many kinds, many pools, a replica that dies or is held up, and nothing to do.
//!
//! Nodes and pods are KWOK's: they run nothing. One process of ours answers for every pod (`src/bin/fake-pod.rs`). The
//! operator runs as a process of the suite, with the chart's account. Runs inside the namespaces of a test cluster of the
//! size `control-plane`; a cluster that is not there is a failure.

mod fleet;
mod leader;
mod many;
mod placing;
mod rights;
mod steady;
mod unreadable;

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
    suite.case("every_pod_is_where_its_strategy_can_run_and_says_what_it_runs", move || placing::run(cluster));
    suite.case("many_pools_are_kept_with_little", move || many::run(cluster));
    suite.case("where_nothing_changes_nothing_is_written", move || steady::run(cluster));
    suite.case("a_right_that_is_lost_is_named_and_not_asked_for_without_end", move || rights::run(cluster));
    suite.case("ten_pools_go_on_beside_one_that_cannot_be_read", move || unreadable::run(cluster));
    suite.case("one_replica_works_whatever_becomes_of_the_other", move || leader::run(cluster));
    suite.run()
}
