//! Keeps pools of OCR pods as their `OcrPool` says.
//!
//! Read ([`cluster`], [`nodes`], [`scrape`]), decide (`ocrpool-core`), write ([`act`]), report ([`report`]): [`controller`] calls
//! them in that order and knows nothing else.

mod act;
mod client;
mod cluster;
mod commands;
mod context;
mod controller;
mod leader;
mod metrics;
mod nodes;
mod probes;
mod prove;
mod report;
mod scrape;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match commands::run(commands::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
