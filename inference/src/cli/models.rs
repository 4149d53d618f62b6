//! `ocr models`: the bundles that are there.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::{
    models::{Entry, catalogue},
    settings::AssetSettings,
};

/// What `ocr models` can be told.
#[derive(Args)]
pub struct ModelsArgs {
    /// Form of the list
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,

    #[command(flatten)]
    assets: AssetSettings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table
    Text,
    /// An array of objects
    Json,
}

/// A bundle as JSON shows it.
#[derive(Serialize)]
struct Row {
    name: String,
    path: String,
    usable: bool,
    version: String,
    languages: Vec<String>,
    bytes: u64,
    digest: String,
    /// Why it is refused; empty where it is not.
    error: String,
}

impl From<Entry> for Row {
    fn from(entry: Entry) -> Self {
        let (name, path) = (entry.name, entry.path.display().to_string());
        match entry.bundle {
            Ok(bundle) => Self {
                name,
                path,
                usable: true,
                version: bundle.version,
                languages: bundle.languages,
                bytes: bundle.bytes,
                digest: format!("sha256:{}", bundle.digest),
                error: String::new(),
            },
            Err(error) => Self {
                name,
                path,
                usable: false,
                version: String::new(),
                languages: Vec::new(),
                bytes: 0,
                digest: String::new(),
                error: error.to_string(),
            },
        }
    }
}

impl ModelsArgs {
    /// Lists the bundles: 0 where all can be used, 1 where one is refused, 2 where they cannot be listed.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.list(&mut io::stdout().lock()) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(1),
            Err(error) => {
                let _ = writeln!(io::stderr(), "error: {error:#}");
                ExitCode::from(2)
            }
        }
    }

    fn list(&self, out: &mut impl Write) -> anyhow::Result<bool> {
        let bundles = self.assets.resolve()?.bundles;
        let rows: Vec<Row> = catalogue(&bundles)?.into_iter().map(Row::from).collect();
        match self.format {
            Format::Json => {
                serde_json::to_writer_pretty(&mut *out, &rows)?;
                writeln!(out)?;
            }
            Format::Text => table(&rows, out)?,
        }
        Ok(rows.iter().all(|row| row.usable))
    }
}

fn table(rows: &[Row], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{:<18} {:<8} {:>7}  LANGUAGES", "NAME", "VERSION", "SIZE")?;
    for row in rows {
        if row.usable {
            let size = format!("{} MB", row.bytes / 1_000_000);
            writeln!(out, "{:<18} {:<8} {size:>7}  {}", row.name, row.version, row.languages.join(" "))?;
        } else {
            writeln!(out, "{:<18} refused: {}", row.name, row.error)?;
        }
    }
    Ok(())
}
