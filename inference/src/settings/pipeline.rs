//! Settings of how a document is read: the part that `ocr serve` and `ocr read` share.

use clap::{ArgAction, Args, value_parser};

use super::{
    AssetSettings,
    values::{DPI, parse_language},
};
use crate::{hardware, plan::Orientation};

/// How documents are read.
#[derive(Args, Clone, Debug)]
pub struct PipelineSettings {
    #[command(flatten)]
    pub assets: AssetSettings,
    #[command(flatten)]
    pub model: ModelSettings,
    #[command(flatten)]
    pub engine: EngineSettings,
    #[command(flatten)]
    pub document: DocumentSettings,
    #[command(flatten)]
    pub decode: DecodeSettings,
}

/// Which model reads.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Model")]
pub struct ModelSettings {
    /// Bundle to read with: a name, or the path of a bundle's folder
    #[arg(long, env = "OCR_MODEL", value_name = "NAME|PATH", default_value = "pp-ocrv6-small")]
    pub model: String,

    /// Languages to read; a bundle that cannot read one of them is refused
    #[arg(long, env = "OCR_LANGUAGES", value_name = "TAGS", default_value = "en", value_delimiter = ',',
          value_parser = parse_language)]
    pub languages: Vec<String>,

    /// Ask the model about every line whether it stands upside down; lowers accuracy where none does
    #[arg(long, env = "OCR_LINE_ORIENTATION", value_name = "true|false", default_value_t = false, action = ArgAction::Set)]
    pub line_orientation: bool,
}

/// What the model runs on.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Engine")]
pub struct EngineSettings {
    /// Threads that compute; 0 takes as many as the cgroup's quota and the affinity mask leave
    #[arg(long, env = "OCR_THREADS", value_name = "N", default_value_t = 0, value_parser = value_parser!(u16).range(0..=1024))]
    pub threads: u16,

    /// Recognise lines of several pages and requests together
    #[arg(long, env = "OCR_BATCHING", value_name = "true|false", default_value_t = true, action = ArgAction::Set)]
    pub batching: bool,

    /// Most lines recognised together
    #[arg(long, env = "OCR_BATCH_SIZE", value_name = "N", default_value_t = 8, value_parser = value_parser!(u16).range(1..=64))]
    pub batch_size: u16,
}

/// What a document may be, and how it is read where the request does not say.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Documents")]
pub struct DocumentSettings {
    /// Most pages of a document
    #[arg(long, env = "OCR_MAX_PAGES", value_name = "N", default_value_t = 200, value_parser = value_parser!(u32).range(1..=10_000))]
    pub max_pages: u32,

    /// Most pixels of a page; PDF pages are rendered smaller to fit, larger images are refused
    #[arg(long, env = "OCR_MAX_PIXELS", value_name = "N", default_value_t = 50_000_000,
          value_parser = value_parser!(u64).range(10_000..=1_000_000_000))]
    pub max_pixels: u64,

    /// Resolution that PDF pages are rendered at
    #[arg(long, env = "OCR_DPI", value_name = "N", default_value_t = 150,
          value_parser = value_parser!(u32).range(i64::from(*DPI.start())..=i64::from(*DPI.end())))]
    pub dpi: u32,

    /// Degrees that pages are turned clockwise before they are read; auto asks the model
    #[arg(long, env = "OCR_ORIENTATION", value_name = "auto|0|90|180|270", default_value = "auto")]
    pub orientation: Orientation,
}

/// The processes that decode untrusted bytes.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Decode processes")]
pub struct DecodeSettings {
    /// Decode processes kept ready; 0 takes as many as there are threads
    #[arg(long, env = "OCR_DECODE_PROCESSES", value_name = "N", default_value_t = 0, value_parser = value_parser!(u16).range(0..=64))]
    pub decode_processes: u16,

    /// Documents after which a decode process is replaced by a fresh one
    #[arg(long, env = "OCR_DECODE_DOCUMENTS", value_name = "N", default_value_t = 100, value_parser = value_parser!(u32).range(1..=100_000))]
    pub decode_documents: u32,
}

impl EngineSettings {
    /// Threads to compute with: as set, else what the cgroup's quota and the affinity mask leave; at least 1.
    #[must_use]
    pub fn thread_count(&self) -> usize {
        hardware::detect(usize::from(self.threads)).cpu_threads.max(1) as usize
    }
}
