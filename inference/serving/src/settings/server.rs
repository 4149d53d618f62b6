//! Settings that every server has.

use std::{net::IpAddr, time::Duration};

use clap::{Args, ValueEnum, value_parser};

/// Where the server listens.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Listen")]
pub struct ListenSettings {
    /// Address of both ports; [::] listens on IPv4 and IPv6
    #[arg(long, env = "OCR_LISTEN", value_name = "ADDRESS", default_value = "0.0.0.0", value_parser = parse_address)]
    pub listen: IpAddr,

    /// Port of the API and the probes; 0 takes a free one and logs it
    #[arg(long, env = "OCR_PORT", value_name = "PORT", default_value_t = 8100)]
    pub port: u16,

    /// Port of /metrics and /status; 0 takes a free one and logs it
    #[arg(long, env = "OCR_ADMIN_PORT", value_name = "PORT", default_value_t = 8101)]
    pub admin_port: u16,
}

/// What a client may take.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Connections")]
pub struct ConnectionSettings {
    /// Open connections; above it only the probes are answered
    #[arg(long, env = "OCR_MAX_CONNECTIONS", value_name = "N", default_value_t = 512, value_parser = value_parser!(u32).range(1..=65_536))]
    pub max_connections: u32,

    /// Time for the head of a request to arrive, and for a kept connection to stay without one
    #[arg(long, env = "OCR_HEADER_SECONDS", value_name = "SECONDS", default_value_t = 30, value_parser = value_parser!(u64).range(1..=300))]
    pub header_seconds: u64,

    /// Time that a client may stand still while it sends a body or takes an answer
    #[arg(long, env = "OCR_IDLE_SECONDS", value_name = "SECONDS", default_value_t = 20, value_parser = value_parser!(u64).range(1..=300))]
    pub idle_seconds: u64,
}

/// How the server ends.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Shutdown")]
pub struct DrainSettings {
    /// Time to go on serving after SIGTERM, until the pod's address has gone from the endpoints
    #[arg(long, env = "OCR_DRAIN_DELAY_SECONDS", value_name = "SECONDS", default_value_t = 5, value_parser = value_parser!(u64).range(0..=300))]
    pub drain_delay_seconds: u64,

    /// Time for accepted requests to finish after that
    #[arg(long, env = "OCR_DRAIN_SECONDS", value_name = "SECONDS", default_value_t = 300, value_parser = value_parser!(u64).range(0..=3600))]
    pub drain_seconds: u64,
}

/// What is logged, and how.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Log")]
pub struct LogSettings {
    /// Least level that is logged
    #[arg(long, env = "OCR_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub log_level: LogLevel,

    /// Form of the log; auto writes text on a terminal, else JSON
    #[arg(long, env = "OCR_LOG_FORMAT", value_name = "FORMAT", default_value = "auto")]
    pub log_format: LogFormat,
}

/// Levels of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Forms of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Auto,
    Json,
    Text,
}

impl ConnectionSettings {
    /// Time for the head of a request to arrive.
    #[must_use]
    pub const fn header(&self) -> Duration {
        Duration::from_secs(self.header_seconds)
    }

    /// Time that a client may stand still.
    #[must_use]
    pub const fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_seconds)
    }
}

impl DrainSettings {
    /// Time to go on serving after SIGTERM.
    #[must_use]
    pub const fn delay(&self) -> Duration {
        Duration::from_secs(self.drain_delay_seconds)
    }

    /// Time for accepted requests to finish after that.
    #[must_use]
    pub const fn deadline(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}

fn parse_address(text: &str) -> Result<IpAddr, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| "the address is an IP address, such as 0.0.0.0, 127.0.0.1 or [::]".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_stand_in_brackets() {
        assert_eq!(parse_address("[::]"), Ok("::".parse().unwrap()));
        assert!(parse_address("localhost").is_err());
    }
}
