//! The bench in its short form: that it runs, reads every page, and scores it. How fast each is, `make bench` shows.

use std::{
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::ensure;
use ocr_tests::{
    data::{Shared, rapidocr_python},
    program::{binary, run_with},
    suite::Suite,
};

fn main() -> ExitCode {
    let mut suite = Suite::new();
    let needs = Shared::find().and_then(|shared| rapidocr_python().map(|_| shared));
    suite.case_with(needs, "the_bench_prints_pages_score_time_and_memory_of_each", |_| short());
    suite.run()
}

fn short() -> anyhow::Result<()> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.arg("--ocr").arg(binary()).args(["--pages", "4", "--rounds", "1", "--without", "oar-ocr"]);
    let run = run_with(command, None)?;
    print!("{}", run.stdout);
    ensure!(run.code == Some(0), "ended with {:?}: {}", run.code, run.stderr);
    ensure!(run.elapsed < Duration::from_mins(2), "took {:?}", run.elapsed);
    for contestant in ["ours", "RapidOCR"] {
        let line = run.stdout.lines().find(|line| line.starts_with(contestant) && line.contains("pages 4"));
        let line = line.unwrap_or_default();
        for figure in ["pages/s", "F1", "CPU", "PSS"] {
            ensure!(line.contains(figure), "{contestant}: no {figure} in {:?}", run.stdout);
        }
    }
    Ok(())
}
