//! Pages to the document that an answer is, and the document to the form that was asked for. Pure.
//!
//! The server answers by it, and so does the gateway where it puts one document together from several pods' pages.

mod document;
mod format;
#[cfg(test)]
mod testing;
mod written;

pub use document::{all_failed, document_from_pages, mean_confidence};
pub use format::{Format, render};
pub use written::{TSV_HEADER, json, text, tsv, tsv_field, tsv_rows};
