//! Proof, before the first request, that documents are decoded and text is read: a PDF and an image of our own.

use std::sync::Arc;

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use ocr_api::proof;

use super::{
    Inner,
    networks::Networks,
    trial::{self, TrialError},
};

/// Reads the PDF, whose text must come out as it was written but for its spaces, which older models do not all see, and a
/// blank image of 100 x 100 pixels.
///
/// # Errors
/// What was expected and what came, or what the networks failed with.
pub(super) async fn run(inner: &Arc<Inner>, networks: &Arc<Networks>) -> Result<(), TrialError> {
    let text = trial::read(inner, networks, proof::page()).await?.text;
    if proof::LINES.iter().all(|line| inner.dictionary.can_write(line)) {
        proof::check(&text)
            .map_err(|wrong| TrialError::Page(format!("{wrong}; check the model, PDFium and the fonts")))?;
    }
    let blank = blank_image().map_err(|error| TrialError::Page(format!("a blank image could not be made: {error}")))?;
    match trial::read(inner, networks, blank).await?.text.as_str() {
        "" => Ok(()),
        text => Err(TrialError::Page(format!("a blank image was read as {text:?}, expected nothing; check the model"))),
    }
}

fn blank_image() -> image::ImageResult<Vec<u8>> {
    let mut png = Vec::new();
    PngEncoder::new(&mut png).write_image(&vec![255; 3 * 100 * 100], 100, 100, ExtendedColorType::Rgb8)?;
    Ok(png)
}
