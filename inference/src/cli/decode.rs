//! `ocr decode-worker`: what the server starts to decode untrusted bytes. Nobody else needs it.

use std::{path::PathBuf, process::ExitCode};

use crate::decode::{
    sandbox::probe::Attack,
    worker::{self, WorkerOptions},
};

/// Decodes documents sent on stdin, shut in; started by other commands.
#[derive(clap::Args, Debug)]
pub struct DecodeWorkerArgs {
    /// The PDF library
    #[arg(long, value_name = "FILE")]
    pdfium: Option<PathBuf>,
    /// Folder of fonts for PDFs that embed none
    #[arg(long, value_name = "DIR")]
    fonts: Option<PathBuf>,
    /// Most pixels of a page
    #[arg(long, value_name = "N")]
    max_pixels: u64,
    /// Most bytes of a document
    #[arg(long, value_name = "N")]
    max_body_bytes: u64,
    /// Seconds of CPU time for the life of the process
    #[arg(long, value_name = "N")]
    cpu_seconds: u64,
    /// The process that starts this one
    #[arg(long, value_name = "PID")]
    parent: u32,
    /// Attack the sandbox instead of decoding
    #[arg(long, value_name = "ATTACK", requires_all = ["probe_file", "probe_port"])]
    probe: Option<Attack>,
    /// File that the attack tries to make
    #[arg(long, value_name = "FILE")]
    probe_file: Option<PathBuf>,
    /// Port that the attack tries to connect to
    #[arg(long, value_name = "PORT")]
    probe_port: Option<u16>,
}

impl DecodeWorkerArgs {
    /// Works until stdin ends.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let probe = match (self.probe, self.probe_file, self.probe_port) {
            (Some(attack), Some(file), Some(port)) => Some((attack, file, port)),
            _ => None,
        };
        worker::run(&WorkerOptions {
            pdfium: self.pdfium,
            fonts: self.fonts,
            max_pixels: self.max_pixels,
            max_body_bytes: self.max_body_bytes,
            cpu_seconds: self.cpu_seconds,
            parent: self.parent,
            probe,
        })
    }
}
