//! Proof, before the first request, that documents are decoded and text is read: a PDF and an image of our own.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use ocr_api::{ErrorDetail, proof};
use tokio_util::sync::CancellationToken;

use super::{ReadOptions, Reader, networks::Networks};
use crate::{
    meter::Purpose,
    plan::{Orientation, Turn},
};

/// Longest that the self-test may take.
const LIMIT: Duration = Duration::from_mins(1);

/// Reads the PDF, whose text must come out as it was written but for its spaces, which older models do not all see, and a
/// blank image of 100 x 100 pixels.
///
/// # Errors
/// What was expected and what came.
pub(super) async fn run(reader: &Reader, networks: &Arc<Networks>) -> Result<(), String> {
    let text = text_of(reader, networks, proof::page()).await?;
    if proof::LINES.iter().all(|line| reader.inner.dictionary.can_write(line)) {
        proof::check(&text).map_err(|wrong| format!("{wrong}; check the model, PDFium and the fonts"))?;
    }
    let blank = blank_image().map_err(|error| format!("a blank image could not be made: {error}"))?;
    match text_of(reader, networks, blank).await?.as_str() {
        "" => Ok(()),
        text => Err(format!("a blank image was read as {text:?}, expected nothing; check the model")),
    }
}

/// Text of a page of our own, read with these networks.
///
/// # Errors
/// What went wrong.
pub(super) async fn text_of(reader: &Reader, networks: &Arc<Networks>, bytes: Vec<u8>) -> Result<String, String> {
    let options = ReadOptions {
        pages: None,
        orientation: Orientation::Auto,
        dpi: None,
        password: None,
        min_confidence: 0.0,
        deadline: Instant::now() + LIMIT,
        purpose: Purpose::Prove,
    };
    let failed = |error: &ErrorDetail| format!("{}: {}", error.code, error.message);
    let networks = Some(Arc::clone(networks));
    let opened = reader.open_with(bytes.into(), options, CancellationToken::new(), networks).await;
    let mut document = opened.map_err(|error| failed(&error))?;
    let page = document.next_page().await.ok_or("a document of our own came without a page")?;
    page.error.as_ref().map_or(Ok(()), |error| Err(failed(error)))?;
    match page.orientation {
        turned if turned != Turn::None.degrees() => Err(format!("an upright page was turned by {turned} degrees")),
        _ => Ok(page.text),
    }
}

fn blank_image() -> image::ImageResult<Vec<u8>> {
    let mut png = Vec::new();
    PngEncoder::new(&mut png).write_image(&vec![255; 3 * 100 * 100], 100, 100, ExtendedColorType::Rgb8)?;
    Ok(png)
}
