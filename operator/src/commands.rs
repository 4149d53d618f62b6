//! The command line.

use std::{io::IsTerminal as _, path::PathBuf, sync::Arc};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use kube::CustomResourceExt;
use ocrpool_core::{
    api::OcrPool,
    installation::{Bundle, Installation},
};

use crate::{
    client,
    context::Context,
    leader,
    metrics::{self, Metrics},
    probes,
};

/// Keeps pools of OCR pods on Kubernetes as their `OcrPool` says
#[derive(Parser)]
#[command(version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the operator
    Run(Run),
    /// Prints the definition of `OcrPool`, for kubectl apply
    Crd,
    /// Prints the catalogue of model bundles, from their manifests
    Catalogue {
        /// Folders of bundles, each with a model.yaml
        #[arg(required = true)]
        bundles: Vec<PathBuf>,
    },
}

/// Settings of the operator.
#[derive(Args, Clone, Debug)]
pub struct Run {
    /// File with what this installation has and allows: image, bundles, permissions
    #[arg(long, env = "OCR_OPERATOR_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// Name of this replica, in the lease and as the client of every request
    #[arg(long, env = "POD_NAME", value_name = "NAME", default_value = "ocr-operator")]
    pub name: String,
    /// Namespace of the lease
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// Namespaces to watch, separated by commas; none are all
    #[arg(long, env = "OCR_OPERATOR_WATCH_NAMESPACES", value_name = "NAMES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// Pools that are worked on at once
    #[arg(long, env = "OCR_OPERATOR_CONCURRENCY", value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,
    /// Port of the probes /live and /ready
    #[arg(long, env = "OCR_OPERATOR_PROBE_PORT", value_name = "PORT", default_value_t = 8080)]
    pub probe_port: u16,
    /// Port of /metrics, by HTTPS with a certificate made at start; 0 turns it off
    #[arg(long, env = "OCR_OPERATOR_METRICS_PORT", value_name = "PORT", default_value_t = 8443)]
    pub metrics_port: u16,
    /// Who may read /metrics
    #[arg(long, env = "OCR_OPERATOR_METRICS_AUTH", value_name = "WHO", default_value = "tokenreview")]
    pub metrics_auth: MetricsAuth,
    /// Form of the log
    #[arg(long, env = "OCR_OPERATOR_LOG_FORMAT", default_value = "json")]
    log_format: LogFormat,
    /// Least level that is logged, by target: info, or info,kube=debug
    #[arg(long, env = "OCR_OPERATOR_LOG", default_value = "info", value_name = "LEVEL")]
    log: String,
}

/// Who may read `/metrics`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum MetricsAuth {
    /// Accounts with the verb get on the nonResourceURL /metrics, as the API server says
    Tokenreview,
    /// Whoever reaches the port
    None,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Json,
    Text,
}

/// Does what the command line asks for.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Run(settings) => operate(settings),
        Command::Crd => {
            print!("{}", yaml_serde::to_string(&OcrPool::crd()).context("the definition is no YAML")?);
            Ok(())
        }
        Command::Catalogue { bundles } => {
            print!("{}", yaml_serde::to_string(&catalogue(&bundles)?).context("the catalogue is no YAML")?);
            Ok(())
        }
    }
}

fn catalogue(folders: &[PathBuf]) -> anyhow::Result<std::collections::BTreeMap<String, Bundle>> {
    let read = |folder: &PathBuf| -> anyhow::Result<(String, Bundle)> {
        let file = folder.join("model.yaml");
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let manifest: ocr_api::Manifest =
            yaml_serde::from_str(&text).with_context(|| format!("{} is no manifest of a bundle", file.display()))?;
        Ok((manifest.name.clone(), Bundle::from(&manifest)))
    };
    folders.iter().map(read).collect()
}

fn operate(settings: Run) -> anyhow::Result<()> {
    let log = tracing_subscriber::fmt().with_env_filter(
        tracing_subscriber::EnvFilter::try_new(&settings.log)
            .with_context(|| format!("{:?} is no filter of levels, such as info or info,kube=debug", settings.log))?,
    );
    match settings.log_format {
        LogFormat::Json => log.json().flatten_event(true).with_span_list(false).init(),
        LogFormat::Text => log.with_ansi(std::io::stdout().is_terminal()).init(),
    }
    let text = std::fs::read_to_string(&settings.config)
        .with_context(|| format!("cannot read the configuration {}", settings.config.display()))?;
    let installation: Installation = yaml_serde::from_str(&text)
        .with_context(|| format!("{} is no configuration of the operator", settings.config.display()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let counted = Arc::new(Metrics::new().context("cannot make the metrics")?);
        let clients = client::connect(&settings.name, &counted).await?;
        let context = Arc::new(Context::new(clients, settings, installation, counted)?);
        tokio::select! {
            ended = probes::serve(Arc::clone(&context)) => ended,
            ended = metrics::serve(Arc::clone(&context)) => ended,
            ended = leader::lead(context) => ended,
        }
    })
}
