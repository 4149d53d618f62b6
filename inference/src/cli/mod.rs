//! The command line.

mod decode;
mod hardware;
mod models;
mod pipeline;
mod read;
mod sandbox;
mod serve;

use std::{process::ExitCode, sync::Arc};

use clap::{Parser, Subcommand};

use crate::settings::{self, ServeSettings};

/// Read images and PDFs
///
/// Reads text from JPEG, PNG, WebP, BMP, GIF, TIFF and PDF, on the command line or over HTTP.
#[derive(Parser)]
#[command(name = "ocr", version, about, long_about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Read files, or the standard input, and print their text
    Read(Box<read::ReadArgs>),
    /// Serve HTTP: an image or a PDF in, its text out
    Serve(Box<ServeSettings>),
    /// List the model bundles that are there
    Models(models::ModelsArgs),
    /// Show what there is to compute with, which strategy comes of it, and why each better one was passed over
    Hardware(Box<hardware::HardwareArgs>),
    Sandbox(sandbox::SandboxArgs),
    #[command(hide = true)]
    DecodeWorker(decode::DecodeWorkerArgs),
    /// Write generated documentation to the standard output
    #[command(hide = true)]
    Docs {
        #[command(subcommand)]
        what: Docs,
    },
}

#[derive(Subcommand)]
enum Docs {
    /// The table of settings
    Settings,
}

/// Runs the program.
#[must_use]
pub fn run() -> ExitCode {
    match ocr_serving::settings::parse::<Cli>() {
        Err(error) => serve::refuse_settings(&error),
        Ok(Cli { command }) => match command {
            Command::Read(arguments) => arguments.run(),
            Command::Serve(settings) => {
                let loader = Arc::new(pipeline::PipelineLoader::new(&settings));
                serve::run(*settings, loader)
            }
            Command::Models(arguments) => arguments.run(),
            Command::Hardware(arguments) => arguments.run(),
            Command::Sandbox(arguments) => arguments.run(),
            Command::DecodeWorker(arguments) => arguments.run(),
            Command::Docs { what: Docs::Settings } => {
                print!("{}", settings::settings_table());
                ExitCode::SUCCESS
            }
        },
    }
}
