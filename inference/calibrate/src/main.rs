//! `ocr-calibrate`: sees which values the tensors of a recogniser take, for the record that its network of bytes is made
//! by, and compares networks of other precisions with the one of 32-bit floats.
//!
//! The lines are drawn here, from the fonts that the program ships: no document of anybody's is needed, every machine
//! draws the same, and on 80 held-out receipts the result is as good as with lines of receipts among them (word F1 0.9337
//! and 0.9352, where 0.005 is noise).
//!
//! A program of its own, because it runs networks: `ocr-assets`, which brings ONNX Runtime to a machine and applies the
//! record, must work without it, and does so alike on every machine. This one is for developers, after a change of weights
//! or edits.

mod check;
mod collect;
mod compare;
mod draw;
mod lines;
mod network;
mod random;
mod ranges;
mod text;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand};
use ocr_api::Manifest;
use ocr_api::manifest::Precision;
use ocr_assets::edits::int8::Record;
use ocr_assets::recipes::{RECORD, Recipe, SHIPPED};
use ocr_assets::{files, manifests};

/// Calibrates recognisers of bytes, and compares precisions.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write the record of each bundle that has a recogniser of bytes.
    Record {
        #[command(flatten)]
        places: Places,
        /// How many lines to read.
        #[arg(long, default_value_t = lines::ALL)]
        lines: u32,
    },
    /// Calibrate again, and fail where the committed record is not what comes out.
    Check {
        #[command(flatten)]
        places: Places,
        /// How many lines to read; with fewer than the record's, the tolerance is wider.
        #[arg(long, default_value_t = lines::ALL)]
        lines: u32,
    },
    /// Read lines with the recognisers of bytes and of 16-bit floats, and fail where they differ much from that of 32-bit
    /// floats.
    Compare {
        #[command(flatten)]
        places: Places,
        /// How many lines to read.
        #[arg(long, default_value_t = 100)]
        lines: u32,
        /// Networks to compare with.
        #[arg(long, value_name = "fp16|int8|int8-qdq", value_parser = precision,
              default_values = ["fp16", "int8", "int8-qdq"])]
        precision: Vec<Precision>,
    },
}

#[derive(Args)]
struct Places {
    /// Folder that `ocr-assets` filled.
    #[arg(long, value_name = "DIR", default_value = "assets")]
    assets: PathBuf,
    /// Folder of the committed manifests and records.
    #[arg(long, value_name = "DIR", default_value = "inference/bundles")]
    manifests: PathBuf,
    /// Bundles [default: all that have such a recogniser].
    #[arg(value_name = "BUNDLE")]
    bundles: Vec<String>,
}

fn main() -> ExitCode {
    ocr_assets::exit_code(run(Cli::parse().command))
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Record { places, lines } => {
            for recipe in places.recipes(Precision::Int8)? {
                let record = places.calibrate(recipe, lines)?;
                let path = places.record_path(recipe);
                files::write_whole(&path, record.to_text().as_bytes())?;
                eprintln!("{}: {} tensors, {lines} lines", path.display(), record.tensors.len());
            }
            Ok(())
        }
        Command::Check { places, lines } => {
            for recipe in places.recipes(Precision::Int8)? {
                let path = places.record_path(recipe);
                let text = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
                let committed = Record::parse(&text).with_context(|| path.display().to_string())?;
                let found = places.calibrate(recipe, lines)?;
                check::check(&committed, &found).with_context(|| path.display().to_string())?;
            }
            Ok(())
        }
        Command::Compare { places, lines, precision } => {
            for precision in precision {
                for recipe in places.recipes(precision)? {
                    compare::compare(&places, recipe, lines, precision)?;
                }
            }
            Ok(())
        }
    }
}

fn precision(text: &str) -> Result<Precision, String> {
    let others = [Precision::Fp16, Precision::Int8, Precision::Int8Qdq];
    others.into_iter().find(|precision| precision.name() == text).ok_or_else(|| "fp16, int8 or int8-qdq".to_owned())
}

impl Places {
    /// The bundles asked for, else all that have a recogniser in that precision.
    fn recipes(&self, precision: Precision) -> Result<Vec<&'static Recipe>> {
        let having = || SHIPPED.iter().filter(|recipe| recipe.recogniser_in(precision).is_some());
        if self.bundles.is_empty() {
            return Ok(having().collect());
        }
        let find = |name: &String| {
            let found = having().find(|recipe| recipe.bundle == name);
            found.with_context(|| format!("bundle {name} has no recogniser in {}", precision.name()))
        };
        self.bundles.iter().map(find).collect()
    }

    fn record_path(&self, recipe: &Recipe) -> PathBuf {
        self.manifests.join(recipe.bundle).join(RECORD)
    }

    fn manifest(&self, recipe: &Recipe) -> Result<Manifest> {
        let path = manifests::path(&self.manifests, recipe.bundle);
        let text = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
        manifests::parse(&text).with_context(|| path.display().to_string())
    }

    fn runtime(&self) -> PathBuf {
        self.assets.join("lib").join(std::env::consts::ARCH).join("libonnxruntime.so")
    }

    fn calibrate(&self, recipe: &Recipe, count: u32) -> Result<Record> {
        ensure!(count > 0, "there is nothing to be seen on 0 lines");
        let part = recipe.recogniser_in(Precision::Int8);
        let part = part.with_context(|| format!("bundle {} has no recogniser of bytes", recipe.bundle))?;
        let (model, _) = part.make(&self.assets.join("models"))?;
        let network = network::Tapped::new(model)?;
        let manifest = self.manifest(recipe)?;
        let recogniser = manifest.recognisers.iter().find(|recogniser| recogniser.int8.is_some());
        let recogniser = recogniser.with_context(|| format!("the manifest of {} names no int8 file", recipe.bundle))?;
        let lines = lines::Lines::new(&self.assets.join("fonts"), recogniser)?;
        let seen = collect::collect(&network, &self.runtime(), &lines, count)?;
        ranges::record(&network, &seen, count)
    }
}
