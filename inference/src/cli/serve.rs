//! `ocr serve`: the server as a process.

use std::{path::Path, process::ExitCode, sync::Arc};

use ocr_serving::{
    exit::{TERMINATION_LOG, leave_termination_message},
    log,
    settings::SettingsError,
    signals,
};

use crate::{
    serve::{Ended, Loader, ServeError, Server},
    settings::ServeSettings,
};

/// The crates whose log is ours.
const OWN_CRATES: [&str; 3] = ["ocr_inference", "ocr_serving", "ocr"];

/// What a shell knows of a program that SIGTERM ended.
const ENDED_BY_SIGTERM: u8 = 128 + 15;

/// Threads that carry requests. They wait for work far more than they work: the model has threads of its own.
const HTTP_THREADS: usize = 2;

/// Threads that write answers, at most.
const WRITERS: usize = 8;

/// How long tasks have to end after the server has.
const TASKS_END: std::time::Duration = std::time::Duration::from_millis(500);

/// Runs the server until it is told to end.
#[must_use]
pub fn run(settings: ServeSettings, loader: Arc<dyn Loader>) -> ExitCode {
    log::init(settings.log, &OWN_CRATES);
    match serve(settings, loader) {
        Ok(Ended::Drained | Ended::TimedOut) => ExitCode::SUCCESS,
        Ok(Ended::Forced) => ExitCode::from(ENDED_BY_SIGTERM),
        Err(error) => {
            tracing::error!(reason = error.reason(), error = %error, "ended");
            end(&error)
        }
    }
}

/// Ends a program whose settings cannot be used; also how `--help` ends.
#[must_use]
pub fn refuse_settings(error: &SettingsError) -> ExitCode {
    error.print();
    if error.is_help() { ExitCode::SUCCESS } else { end(&ServeError::Settings(error.summary())) }
}

fn end(error: &ServeError) -> ExitCode {
    leave_termination_message(Path::new(TERMINATION_LOG), error.reason(), &error.to_string());
    ExitCode::from(error.exit_code())
}

fn serve(settings: ServeSettings, loader: Arc<dyn Loader>) -> Result<Ended, ServeError> {
    let start =
        |source: std::io::Error| ServeError::Start { what: "starting the server failed", source: source.into() };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(HTTP_THREADS)
        .max_blocking_threads(WRITERS)
        .thread_name("http")
        .enable_all()
        .build()
        .map_err(start)?;
    let signals = signals(&runtime).map_err(start)?;
    let ended = runtime.block_on(async { Server::bind(settings).await?.run(loader, signals).await });
    runtime.shutdown_timeout(TASKS_END);
    ended
}
