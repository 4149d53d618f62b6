//! Settings of how a document is read: the part that `ocr serve` and `ocr read` share.

use std::path::PathBuf;

use clap::{ArgAction, Args, value_parser};
use ocr_serving::settings::parse_bytes;

use super::{
    AssetSettings,
    values::{DPI, parse_language},
};
use crate::{
    engine::{ArenaGrowth, ConvSearch},
    hardware,
    plan::{InputShapes, Orientation},
    strategy::{DeviceWish, Listed, Strategy, Wishes},
};

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
    pub golden: GoldenSettings,
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
    #[command(flatten)]
    pub strategy: StrategySettings,

    /// Threads that compute; 0 takes as many as the cgroup's quota and the affinity mask leave
    #[arg(long, env = "OCR_THREADS", value_name = "N", default_value_t = 0, value_parser = value_parser!(u16).range(0..=1024))]
    pub threads: u16,

    /// Recognise lines of several pages and requests together
    #[arg(long, env = "OCR_BATCHING", value_name = "true|false", default_value_t = true, action = ArgAction::Set)]
    pub batching: bool,

    /// Most lines recognised together; 0 leaves it to the model and the strategy
    #[arg(long, env = "OCR_BATCH_SIZE", value_name = "N", default_value_t = 0, value_parser = value_parser!(u16).range(0..=64))]
    pub batch_size: u16,

    /// Shapes of the networks' inputs: as pages and lines need them, or few, to which pages are filled up and which a GPU
    /// is prepared for; auto takes few on a GPU
    #[arg(long, env = "OCR_INPUT_SHAPES", value_name = "auto|free|fixed", default_value = "auto", value_parser = parse_shapes)]
    pub input_shapes: WantedShapes,

    /// Compute with 8-bit integers where the CPU is fast at that and the golden pages are read as well
    #[arg(long, env = "OCR_INT8", value_name = "true|false", default_value_t = true, action = ArgAction::Set)]
    pub int8: bool,

    /// Time without a page after which the networks are dropped from memory, until the next page; 0 keeps them
    #[arg(long, env = "OCR_IDLE_UNLOAD_SECONDS", value_name = "SECONDS", default_value_t = 0, value_parser = value_parser!(u64).range(0..=86_400))]
    pub idle_unload_seconds: u64,

    #[command(flatten)]
    pub gpu: GpuSettings,
}

/// How GPUs are used.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Engine")]
pub struct GpuSettings {
    /// Most memory of the GPU that one network's arena takes; 0 sets no bound
    #[arg(long, env = "OCR_GPU_MEMORY_LIMIT", value_name = "SIZE", default_value = "0", value_parser = parse_bytes_or_none)]
    pub gpu_memory_limit: u64,

    /// How such an arena grows: by what is needed, or to twice the size, which leaves other processes less
    #[arg(
        long,
        env = "OCR_GPU_ARENA_GROWTH",
        value_name = "same-as-requested|power-of-two",
        default_value = "same-as-requested"
    )]
    pub gpu_arena_growth: ArenaGrowth,

    /// How cuDNN chooses among the algorithms of a convolution: by rules, by trying all, or always the same
    #[arg(long, env = "OCR_CUDNN_SEARCH", value_name = "heuristic|exhaustive|default", default_value = "heuristic")]
    pub cudnn_search: ConvSearch,

    /// Folder where TensorRT keeps the networks that it has compiled for this GPU
    #[arg(long, env = "OCR_TENSORRT_CACHE", value_name = "DIR", default_value = "/var/cache/ocr/tensorrt")]
    pub tensorrt_cache: PathBuf,
}

/// Pages whose text is known.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Golden pages")]
pub struct GoldenSettings {
    /// Folder of pages to be read before any other, beside the one that is built in: images or PDFs, the text of each in
    /// NAME.txt [default: none]
    #[arg(long, env = "OCR_GOLDEN", value_name = "DIR")]
    pub golden: Option<PathBuf>,

    /// A strategy that reads more of their characters wrongly is not used
    #[arg(long, env = "OCR_GOLDEN_MAX_ERROR_PERCENT", value_name = "PERCENT", default_value = "3", value_parser = parse_percent)]
    pub golden_max_error_percent: f64,
}

fn parse_bytes_or_none(text: &str) -> Result<u64, String> {
    if text == "0" { Ok(0) } else { parse_bytes(text) }
}

fn parse_percent(text: &str) -> Result<f64, String> {
    let percent = text.parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
    percent.ok_or_else(|| "must be a number from 0 to 100".to_owned())
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
    /// Decode processes kept ready; 0 leaves it to the strategy: as many as there are threads, fewer where memory is short
    #[arg(long, env = "OCR_DECODE_PROCESSES", value_name = "N", default_value_t = 0, value_parser = value_parser!(u16).range(0..=64))]
    pub decode_processes: u16,

    /// Documents after which a decode process is replaced by a fresh one
    #[arg(long, env = "OCR_DECODE_DOCUMENTS", value_name = "N", default_value_t = 100, value_parser = value_parser!(u32).range(1..=100_000))]
    pub decode_documents: u32,
}

/// Which way of computing is taken.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Engine")]
pub struct StrategySettings {
    /// Best way to compute; what cannot run here steps down to the next: gpu-fp16, gpu-int8, cpu/full, cpu/optimized,
    /// cpu/offload
    #[arg(long, env = "OCR_STRATEGY", value_name = "auto|NAME", default_value = "auto", value_parser = parse_strategy)]
    pub strategy: WantedStrategy,

    /// Ways to compute that may be taken: gpu-fp16, gpu-int8, cpu; one that is left out is not stepped down to. The CPU is
    /// the last resort, named or not
    #[arg(long, env = "OCR_STRATEGIES", value_name = "NAMES", default_value_t = Listed::default())]
    pub strategies: Listed,

    /// What to compute on; auto takes the GPU with most free memory, else the CPU
    #[arg(long, env = "OCR_DEVICE", value_name = "auto|cpu|cuda:N", default_value = "auto")]
    pub device: DeviceWish,

    /// Use no GPU, whatever the other settings say
    #[arg(long, env = "OCR_FORCE_CPU_ONLY", value_name = "true|false", default_value_t = false, action = ArgAction::Set)]
    pub force_cpu_only: bool,

    /// The NVIDIA driver's library, by which GPUs are found; nothing of it is needed to start
    #[arg(long, env = "OCR_NVML", value_name = "FILE", default_value = "libnvidia-ml.so.1")]
    pub nvml: PathBuf,
}

/// Which shapes, or what the strategy takes.
pub type WantedShapes = Option<InputShapes>;

fn parse_shapes(text: &str) -> Result<WantedShapes, String> {
    if text == "auto" { Ok(None) } else { text.parse().map(Some) }
}

/// A strategy, or any where none is named.
pub type WantedStrategy = Option<Strategy>;

fn parse_strategy(text: &str) -> Result<WantedStrategy, String> {
    if text == "auto" { Ok(None) } else { text.parse().map(Some) }
}

impl StrategySettings {
    /// What is asked for.
    #[must_use]
    pub const fn wishes(&self) -> Wishes {
        Wishes { strategy: self.strategy, listed: self.strategies, device: self.device, cpu_only: self.force_cpu_only }
    }
}

impl EngineSettings {
    /// Threads to compute with: as set, else what the cgroup's quota and the affinity mask leave; at least 1.
    #[must_use]
    pub fn thread_count(&self) -> usize {
        hardware::cpu_and_memory(usize::from(self.threads)).0.threads
    }
}
