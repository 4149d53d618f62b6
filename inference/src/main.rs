//! The program `ocr`.

use std::{process::ExitCode, sync::Arc};

use ocr_inference::{
    cli,
    meter::Meter,
    serve::{Backend, LoadError, Loader, Machine, Progress},
};

/// Until the pipeline is joined to the server.
struct NoPipeline;

impl Loader for NoPipeline {
    fn load(&self, _progress: &Progress, _meter: &Arc<Meter>) -> Result<Arc<dyn Backend>, LoadError> {
        Err(LoadError::Failed("this build has no pipeline".to_owned()))
    }

    fn machine(&self) -> Machine {
        Machine::default()
    }
}

fn main() -> ExitCode {
    cli::run(|_| Arc::new(NoPipeline))
}
