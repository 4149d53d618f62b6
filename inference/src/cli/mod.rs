//! The command line.

pub mod serve;

use std::{process::ExitCode, sync::Arc};

use clap::{Parser, Subcommand};

use crate::settings::{self, ServeSettings};

/// Reads images and PDFs
#[derive(Parser)]
#[command(name = "ocr", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve HTTP: an image or a PDF in, its text out
    Serve(Box<ServeSettings>),
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
pub fn run(loader: impl FnOnce(&ServeSettings) -> Arc<dyn crate::serve::Loader>) -> ExitCode {
    match settings::parse::<Cli>() {
        Ok(Cli { command: Command::Serve(settings) }) => {
            let loader = loader(&settings);
            serve::run(*settings, loader)
        }
        Ok(Cli { command: Command::Docs { what: Docs::Settings } }) => {
            print!("{}", settings::settings_table());
            ExitCode::SUCCESS
        }
        Err(error) => serve::refuse_settings(&error),
    }
}
