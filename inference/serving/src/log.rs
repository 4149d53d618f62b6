//! The log: JSON lines on the standard output, text on a terminal. No text, names or ids of documents stand in it.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::settings::{LogFormat, LogLevel, LogSettings};

/// Starts the log of the process, at the level that is set for the crates `own`. Only the first call counts.
pub fn init(settings: LogSettings, own: &[&str]) {
    let filter = EnvFilter::new(directives(settings.log_level, own));
    let is_terminal = std::io::stdout().is_terminal();
    let json = match settings.log_format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !is_terminal,
    };
    let registry = tracing_subscriber::registry().with(filter);
    let started = if json {
        registry.with(fmt::layer().json().flatten_event(true).with_current_span(false)).try_init()
    } else {
        registry.with(fmt::layer().with_ansi(is_terminal)).try_init()
    };
    if started.is_ok() {
        std::panic::set_hook(Box::new(log_panic));
    }
}

/// Libraries are held to warnings: what they say of a request may name what is in it.
fn directives(level: LogLevel, own: &[&str]) -> String {
    let level = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let others = if level == "error" { "error" } else { "warn" };
    own.iter().fold(others.to_owned(), |all, one| format!("{all},{one}={level}"))
}

/// Logs a panic without its message where that was made at run time: it may quote a document's text.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let message = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("not logged: made at run time");
    let place = panic.location().map_or_else(|| "unknown".to_owned(), ToString::to_string);
    let thread = std::thread::current();
    tracing::error!(reason = message, place, thread = thread.name().unwrap_or("unnamed"), "panic");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_log_no_more_than_warnings() {
        let own = ["ocr_inference", "ocr"];
        assert_eq!(directives(LogLevel::Trace, &own), "warn,ocr_inference=trace,ocr=trace");
        assert_eq!(directives(LogLevel::Error, &own), "error,ocr_inference=error,ocr=error");
    }
}
