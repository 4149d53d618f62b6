use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ocr_inference::cli::{decode::DecodeWorkerArgs, sandbox::SandboxArgs};

#[derive(Parser)]
#[command(name = "ocr", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(hide = true)]
    DecodeWorker(DecodeWorkerArgs),
    Sandbox(SandboxArgs),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::DecodeWorker(arguments) => arguments.run(),
        Command::Sandbox(arguments) => arguments.run(),
    }
}
