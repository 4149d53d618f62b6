//! Settings of the gateway: a flag and an `OCR_…` variable each. What a pool asks of its gateway stands in the pool.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, value_parser};
use ocr_serving::settings::{ConnectionSettings, DrainSettings, ListenSettings, LogSettings, parse_bytes};

/// One address for a pool of OCR pods.
#[derive(Clone, Debug, Parser)]
#[command(name = "ocr-gateway", version, about, max_term_width = 110)]
pub struct Settings {
    #[command(flatten)]
    pub pool: PoolSettings,
    #[command(flatten)]
    pub listen: ListenSettings,
    #[command(flatten)]
    pub limits: LimitSettings,
    #[command(flatten)]
    pub clients: ClientSettings,
    #[command(flatten)]
    pub connections: ConnectionSettings,
    #[command(flatten)]
    pub drain: DrainSettings,
    #[command(flatten)]
    pub log: LogSettings,
}

/// The pods that requests are given to.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Pool")]
pub struct PoolSettings {
    /// Name of the OcrPool; its pods are those of the Service <NAME>-pods
    #[arg(long, env = "OCR_POOL", value_name = "NAME", required_unless_present = "pods")]
    pub pool: Option<String>,

    /// Namespace of the OcrPool [default: that of the service account]
    #[arg(long, env = "OCR_NAMESPACE", value_name = "NAME", requires = "pool")]
    pub namespace: Option<String>,

    /// Pods by their addresses, instead of a pool in a cluster: API and admin port, such as 127.0.0.1:8100/8101
    #[arg(long = "pod", env = "OCR_PODS", value_name = "ADDRESS", value_delimiter = ',', conflicts_with = "pool", value_parser = parse_pod)]
    pub pods: Vec<PodAddress>,

    /// File with an OcrPool, of which limits and gateway are read; for pods by their addresses [default: none]
    #[arg(long, env = "OCR_POOL_FILE", value_name = "FILE", conflicts_with = "pool")]
    pub pool_file: Option<PathBuf>,
}

/// A pod by its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodAddress {
    pub api: SocketAddr,
    pub admin: SocketAddr,
}

/// What all requests together may take.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Limits")]
pub struct LimitSettings {
    /// Requests at once, waiting or given to pods; above it they are refused as overloaded
    #[arg(long, env = "OCR_MAX_REQUESTS", value_name = "N", default_value = "2048", value_parser = parse_count)]
    pub max_requests: usize,

    /// Most memory for the bodies of all requests together; above it requests are refused as overloaded
    #[arg(long, env = "OCR_MAX_BODIES", value_name = "SIZE", default_value = "384Mi", value_parser = parse_bytes)]
    pub max_bodies: u64,

    /// Threads that carry requests; 0 takes as many as there are cores, at most 4
    #[arg(long, env = "OCR_THREADS", value_name = "N", default_value_t = 0, value_parser = value_parser!(u16).range(0..=64))]
    pub threads: u16,
}

/// Who may ask.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Clients")]
pub struct ClientSettings {
    /// Folder with a file for each client, named as the client, with its key; requests without a key in them are refused
    /// [default: none]
    #[arg(long, env = "OCR_API_KEYS", value_name = "FOLDER")]
    pub api_keys: Option<PathBuf>,
}

fn parse_pod(text: &str) -> Result<PodAddress, String> {
    let wrong =
        || "a pod is its address, the port of its API and its admin port, such as 127.0.0.1:8100/8101".to_owned();
    let (api, admin) = text.rsplit_once('/').ok_or_else(wrong)?;
    let api: SocketAddr = api.parse().map_err(|_| wrong())?;
    let admin = admin.parse().map_err(|_| wrong())?;
    Ok(PodAddress { api, admin: SocketAddr::new(api.ip(), admin) })
}

fn parse_count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=100_000).contains(count));
    count.ok_or_else(|| "must be a whole number from 1 to 100000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Settings, clap::Error> {
        Settings::try_parse_from(["ocr-gateway"].iter().chain(arguments))
    }

    #[test]
    fn the_flags_are_well_formed() {
        use clap::CommandFactory as _;
        Settings::command().debug_assert();
    }

    #[test]
    fn pods_come_from_a_pool_or_by_their_addresses() {
        let settings = parse(&["--pod", "127.0.0.1:8100/8101,[::1]:80/81"]).unwrap();
        assert_eq!(settings.pool.pods[1].admin, "[::1]:81".parse().unwrap());
        assert_eq!(parse(&["--pool", "receipts"]).unwrap().pool.pool.as_deref(), Some("receipts"));
        for wrong in [
            &[][..],
            &["--pool", "receipts", "--pod", "127.0.0.1:8100/8101"],
            &["--pod", "127.0.0.1:8100"],
            &["--pod", "localhost:8100/8101"],
            &["--pool", "receipts", "--pool-file", "x"],
            &["--pool", "receipts", "--max-requests", "0"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
