use std::{path::Path, process::ExitCode};

use ocr_gateway::{Gateway, settings::Settings};
use ocr_serving::{
    exit::{TERMINATION_LOG, leave_termination_message},
    log, settings, signals,
};

/// The crates whose log is ours.
const OWN_CRATES: [&str; 2] = ["ocr_gateway", "ocr_serving"];

/// Threads that carry requests where the setting leaves it open, at most: one core carries thousands of requests a second.
const MOST_THREADS: usize = 4;

fn main() -> ExitCode {
    let settings = match settings::parse::<Settings>() {
        Ok(settings) => settings,
        Err(error) => {
            error.print();
            if error.is_help() {
                return ExitCode::SUCCESS;
            }
            leave_termination_message(Path::new(TERMINATION_LOG), "BadSettings", &error.summary());
            return ExitCode::from(2);
        }
    };
    log::init(settings.log, &OWN_CRATES);
    match run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "ended");
            leave_termination_message(Path::new(TERMINATION_LOG), "StartFailed", &format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(settings: Settings) -> anyhow::Result<()> {
    let threads = match usize::from(settings.limits.threads) {
        0 => std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS),
        set => set,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let signals = signals(&runtime)?;
    runtime.block_on(async { Gateway::bind(settings).await?.run(signals).await })
}
