//! Pages of our own, read with networks that are on trial: they take no place, wait for no memory that clients hold, and
//! say what went wrong as it came.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ocr_api::ErrorDetail;
use tokio_util::sync::CancellationToken;

use super::{Inner, ReadOptions, networks::Networks, page};
use crate::{
    decode::{DecodeOptions, OpenDocument},
    engine::EngineError,
    meter::Purpose,
    plan::Turn,
};

/// Longest that a document of our own may stay open while it is read. Its pages have their own clock in the decode process.
const LIMIT: Duration = Duration::from_mins(10);
/// Most pages of a document of our own: what a start does not wait for.
pub(super) const MOST_PAGES: u32 = 32;

/// Why a page of our own was not read.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The networks could not be run: that says nothing of how they read.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// No network has seen it.
    #[error("{}: {}", .0.code, .0.message)]
    Decode(ErrorDetail),
    /// It was read as something that it is not.
    #[error("{0}")]
    Page(String),
}

impl From<page::Fault> for TrialError {
    fn from(fault: page::Fault) -> Self {
        match fault {
            page::Fault::Engine(error) => Self::Engine(error),
            fault @ (page::Fault::Panicked | page::Fault::Cancelled) => Self::Page(fault.to_string()),
        }
    }
}

/// The text of a document of our own.
pub(super) struct Read {
    pub text: String,
    pub pages: u32,
}

/// Opens a document of our own.
///
/// # Errors
/// In the words for a client who sent it.
pub(super) async fn open(inner: &Inner, bytes: Vec<u8>) -> Result<OpenDocument, ErrorDetail> {
    let limits = inner.limits;
    let options = DecodeOptions {
        password: None,
        dpi: limits.dpi,
        max_pixels: limits.max_pixels,
        max_pages: MOST_PAGES,
        deadline: Instant::now() + LIMIT,
        is_proof: true,
    };
    inner.decode.open(bytes.into(), options, CancellationToken::new()).await
}

/// Reads all pages of a document of our own with these networks.
///
/// # Errors
/// With the first page that could not be read.
pub(super) async fn read(inner: &Arc<Inner>, networks: &Arc<Networks>, bytes: Vec<u8>) -> Result<Read, TrialError> {
    let options = ReadOptions::whole(Instant::now() + LIMIT, Purpose::Prove);
    let mut document = open(inner, bytes).await.map_err(TrialError::Decode)?;
    let pages = document.page_count;
    let mut texts = Vec::new();
    for index in 0..pages {
        let decoded = document.page(index).await.map_err(TrialError::Decode)?;
        let page = page::try_out(inner, networks, decoded, &options).await?;
        if page.orientation != Turn::None.degrees() {
            return Err(TrialError::Page(format!("an upright page was turned by {} degrees", page.orientation)));
        }
        texts.push(page.text);
    }
    Ok(Read { text: texts.join("\n"), pages })
}
