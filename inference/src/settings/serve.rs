//! Settings of the server.

use std::time::Duration;

use axum::http::HeaderValue;
use clap::{Args, value_parser};
use ocr_serving::settings::{ConnectionSettings, DrainSettings, ListenSettings, LogSettings, parse_bytes};

use super::PipelineSettings;

/// Everything that `ocr serve` can be told.
#[derive(Args, Clone, Debug)]
pub struct ServeSettings {
    #[command(flatten)]
    pub listen: ListenSettings,
    #[command(flatten)]
    pub limits: LimitSettings,
    #[command(flatten)]
    pub connections: ConnectionSettings,
    #[command(flatten)]
    pub drain: DrainSettings,
    #[command(flatten)]
    pub pool: PoolSettings,
    #[command(flatten)]
    pub pipeline: PipelineSettings,
    #[command(flatten)]
    pub log: LogSettings,
}

/// What one request, and all together, may take.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Limits")]
pub struct LimitSettings {
    /// Largest body of a request
    #[arg(long, env = "OCR_MAX_BODY", value_name = "SIZE", default_value = "10Mi", value_parser = parse_bytes)]
    pub max_body: u64,

    /// Most memory for the bodies of all requests together, and at most an eighth of the memory limit; above it requests
    /// are refused as overloaded
    #[arg(long, env = "OCR_MAX_BODIES", value_name = "SIZE", default_value = "256Mi", value_parser = parse_bytes)]
    pub max_bodies: u64,

    /// Longest time for a request, from its head to the last page of its answer
    #[arg(long, env = "OCR_REQUEST_SECONDS", value_name = "SECONDS", default_value_t = 300, value_parser = value_parser!(u64).range(1..=3600))]
    pub request_seconds: u64,

    /// Requests in work at once; 0 takes one more than there are threads, at most 16
    #[arg(long, env = "OCR_CONCURRENCY", value_name = "N", default_value_t = 0, value_parser = value_parser!(u16).range(0..=256))]
    pub concurrency: u16,

    /// Requests that may wait for their turn; above it requests are refused as overloaded
    #[arg(long, env = "OCR_QUEUE", value_name = "N", default_value_t = 64, value_parser = value_parser!(u16).range(0..=10_000))]
    pub queue: u16,

    /// Time without progress of the engine, while it has work, after which /live fails
    #[arg(long, env = "OCR_WATCHDOG_SECONDS", value_name = "SECONDS", default_value_t = 60, value_parser = value_parser!(u64).range(1..=3600))]
    pub watchdog_seconds: u64,
}

/// The pool that the server belongs to, where it belongs to one.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Pool")]
pub struct PoolSettings {
    /// Revision of the pool that the server belongs to; every answer names it in X-Ocr-Revision [default: none]
    #[arg(long, env = "OCR_REVISION", value_name = "NAME", value_parser = parse_revision)]
    pub revision: Option<HeaderValue>,
}

impl LimitSettings {
    /// Longest time for a request.
    #[must_use]
    pub const fn request(&self) -> Duration {
        Duration::from_secs(self.request_seconds)
    }

    /// Memory for the bodies of all requests: one of them always fits, whatever the memory limit.
    #[must_use]
    pub fn bodies_within(&self, memory_limit: Option<u64>) -> u64 {
        memory_limit.map_or(self.max_bodies, |limit| self.max_bodies.min(limit / 8).max(self.max_body))
    }

    /// Time without progress after which `/live` fails.
    #[must_use]
    pub const fn watchdog(&self) -> Duration {
        Duration::from_secs(self.watchdog_seconds)
    }

    /// Requests in work at once. One more than there are threads keeps them busy while a page is decoded elsewhere;
    /// more than 16 pages at once cost memory and bring nothing.
    #[must_use]
    pub fn concurrency(&self, threads: usize) -> usize {
        match self.concurrency {
            0 => threads.saturating_add(1).clamp(2, 16),
            set => usize::from(set),
        }
    }
}

fn parse_revision(text: &str) -> Result<HeaderValue, String> {
    let is_name =
        (1..=63).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let refused = || "must be 1 to 63 letters, digits and dashes".to_owned();
    if is_name { HeaderValue::from_str(text).map_err(|_| refused()) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        settings: ServeSettings,
    }

    #[test]
    fn concurrency_follows_the_threads_within_bounds() {
        let mut limits = Line::parse_from(["ocr"]).settings.limits;
        limits.concurrency = 0;
        assert_eq!([0, 1, 2, 8, 64].map(|threads| limits.concurrency(threads)), [2, 2, 3, 9, 16]);
        limits.concurrency = 40;
        assert_eq!(limits.concurrency(2), 40);
    }

    #[test]
    fn bodies_have_an_eighth_of_the_memory_limit_and_one_always_fits() {
        let limits = Line::parse_from(["ocr"]).settings.limits;
        let mib = |limit: u64| limits.bodies_within(Some(limit << 20)) >> 20;
        assert_eq!([40, 80, 400, 2048, 4096].map(mib), [10, 10, 50, 256, 256]);
        assert_eq!(limits.bodies_within(None), 256 << 20);
    }

    #[test]
    fn values_outside_their_range_are_refused() {
        for arguments in [
            ["--request-seconds", "3601"],
            ["--request-seconds", "0"],
            ["--max-body", "0"],
            ["--dpi", "35"],
            ["--port", "65536"],
            ["--revision", "a b"],
            ["--languages", "en,english"],
        ] {
            assert!(Line::try_parse_from(["ocr"].into_iter().chain(arguments)).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn several_languages_are_separated_by_commas() {
        let line = Line::parse_from(["ocr", "--languages", "en,de,fr"]);
        assert_eq!(line.settings.pipeline.model.languages, ["en", "de", "fr"]);
    }
}
