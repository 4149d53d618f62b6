//! What a pool of OCR pods should be.
//!
//! Plain data in, plain data out: the API types, the decisions and the objects that follow from them. No client, no
//! clock and no async code; whatever depends on the time takes `now`.

pub mod api;
pub mod build;
pub mod compare;
pub mod decide;
#[cfg(test)]
mod fixture;
pub mod installation;
pub mod lease;
pub mod place;
pub mod prove;
pub mod report;
pub mod revision;
pub mod rollout;
pub mod scale;
pub mod valid;
