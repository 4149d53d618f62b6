//! Every setting of the program: a flag and an `OCR_…` variable each, read once at the start.
//!
//! `ocr serve` uses all of them ([`ServeSettings`]), `ocr read` the part that says how a document is read
//! ([`PipelineSettings`]). Nothing else in the program reads the environment.

mod assets;
mod pipeline;
mod serve;
mod table;
mod values;

pub use assets::{AssetSettings, Assets, AssetsError, INSTALLED};
pub use pipeline::{
    DecodeSettings, DocumentSettings, EngineSettings, GoldenSettings, GpuSettings, ModelSettings, PipelineSettings,
    StrategySettings,
};
pub use serve::{LimitSettings, ServeSettings};
pub use table::settings_table;
pub use values::{DPI, parse_dpi, parse_min_confidence};
