//! Model bundles: found, checked, and told apart by what they read.
//!
//! A bundle is a folder with `model.yaml` and the files that it names. [`Bundle::open`] refuses one that is not what it
//! says, before any of it reaches the inference library: nothing here runs a network, and nothing is fetched.

mod bundle;
mod catalogue;
mod dictionary;
mod error;
mod files;
mod interface;
mod languages;
mod network;
#[cfg(test)]
pub(crate) mod testing;
mod values;
mod wire;

pub use bundle::{Bundle, Recogniser};
pub use catalogue::{Entry, Summary, catalogue, open_model};
pub use dictionary::Dictionary;
pub use error::{BundleError, Refusal, UnsupportedLanguage};
