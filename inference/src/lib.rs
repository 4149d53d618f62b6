//! One page to text: the program that runs in every pod, and the same on the command line.
//!
//! A page's way, a module a stage: [`decode`] → [`plan`] → [`detect`] → [`recognise`] → [`assemble`]; `ocr_render` writes
//! the answer.
//! [`read`] joins the stages to a reader of documents; [`engine`] owns the networks and the threads that run them;
//! [`serve`] and [`cli`] are the two ways in.

pub mod allocator;
pub mod assemble;
pub mod cli;
pub mod decode;
pub mod detect;
pub mod engine;
pub mod hardware;
pub mod meter;
pub mod models;
pub mod plan;
pub mod read;
pub mod recognise;
pub mod serve;
pub mod settings;
pub mod strategy;
