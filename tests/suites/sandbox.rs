//! What a decode process may do, on the machine at hand.

use std::{fs, process::ExitCode};

use anyhow::{Context, ensure};
use ocr_tests::{
    data::{self, SCAN},
    memory,
    program::run,
    server::{Options, Server},
    suite::Suite,
};

/// As `ocr sandbox` names the attacks that have to fail.
const ATTACKS: [&str; 6] = ["open-file", "connect", "exec", "ptrace", "memory", "loop"];

fn main() -> ExitCode {
    let mut suite = Suite::new();
    suite.case("every_attack_of_a_real_decode_process_is_denied_or_ended", attacks);
    suite.case("the_decode_processes_of_a_server_are_shut_in_for_good", children);
    suite.run()
}

fn attacks() -> anyhow::Result<()> {
    let run = run(["sandbox"])?;
    print!("{}", run.stdout);
    ensure!(run.code == Some(0), "ocr sandbox ended with {:?}: {}{}", run.code, run.stdout, run.stderr);
    for attack in ATTACKS {
        let mut of_attack = run.stdout.lines().filter(|line| line.split_whitespace().next() == Some(attack));
        // The table above the attacks has a line `memory` of its own.
        let denied = of_attack.any(|line| line.split_whitespace().nth(1) == Some("denied"));
        ensure!(denied, "{attack} was not denied: {}", run.stdout);
    }
    Ok(())
}

fn children() -> anyhow::Result<()> {
    let server = Server::start(&Options::new())?;
    server.api().read(data::read(data::example(SCAN))?)?;
    let tree = memory::process_tree(server.pid())?;
    ensure!(tree.len() > 1, "the server has no child");
    for child in &tree[1..] {
        let status = fs::read_to_string(format!("/proc/{child}/status")).context("the child has ended")?;
        let field = |name: &str| -> anyhow::Result<&str> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            Ok(line.with_context(|| format!("no {name} in {status}"))?.trim())
        };
        ensure!(field("NoNewPrivs:")? == "1", "process {child} may gain privileges");
        ensure!(field("Seccomp:")? == "2", "process {child} has no filter of system calls");
        ensure!(field("Threads:")? == "1", "process {child} has threads");
        let limits = fs::read_to_string(format!("/proc/{child}/limits")).context("the child has ended")?;
        for limit in ["Max address space", "Max cpu time", "Max file size", "Max core file size"] {
            let line = limits.lines().find(|line| line.starts_with(limit)).with_context(|| format!("no {limit}"))?;
            let soft = line[limit.len()..].split_whitespace().next().unwrap_or_default();
            ensure!(soft != "unlimited", "process {child}: {line}");
        }
        for open in fs::read_dir(format!("/proc/{child}/fd")).context("the child has ended")? {
            let target = fs::read_link(open?.path()).context("the child has ended")?.display().to_string();
            let own = format!("/proc/{child}/");
            let harmless = target == "/dev/null" || target.starts_with("pipe:") || target.starts_with(&own);
            ensure!(harmless, "process {child} holds {target}");
        }
    }
    println!(
        "{} decode processes, each with a filter of system calls, limits, and no file but its pipes",
        tree.len() - 1
    );
    Ok(())
}
