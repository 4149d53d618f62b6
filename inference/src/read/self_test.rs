//! Proof, before the first request, that documents are decoded and text is read: a PDF and an image of our own.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use ocr_api::ErrorDetail;
use tokio_util::sync::CancellationToken;

use super::{ReadOptions, Reader};
use crate::plan::{Orientation, Turn};

/// What stands in the PDF; the second line is longer, so that another width is warmed.
const LINES: [&str; 2] = ["READY 2468", "THE PAGES OF THIS DOCUMENT ARE READ BEFORE ANY OTHER"];
/// Longest that the self-test may take.
const LIMIT: Duration = Duration::from_mins(1);

/// Reads the PDF, whose text must come out as it was written but for its spaces, which older models do not all see, and a
/// blank image of 100 x 100 pixels.
///
/// # Errors
/// What was expected and what came.
pub(super) async fn run(reader: &Reader) -> Result<(), String> {
    let text = read(reader, pdf()).await?;
    let is_readable = LINES.iter().all(|line| reader.inner.dictionary.can_write(line));
    let expected = LINES.join("\n");
    if is_readable && text.replace(' ', "") != expected.replace(' ', "") {
        return Err(format!(
            "a PDF of our own was read as {text:?}, expected {expected:?}; check the model, PDFium and the fonts"
        ));
    }
    let blank = blank_image().map_err(|error| format!("a blank image could not be made: {error}"))?;
    match read(reader, blank).await?.as_str() {
        "" => Ok(()),
        text => Err(format!("a blank image was read as {text:?}, expected nothing; check the model")),
    }
}

async fn read(reader: &Reader, bytes: Vec<u8>) -> Result<String, String> {
    let options = ReadOptions {
        pages: None,
        orientation: Orientation::Auto,
        dpi: None,
        password: None,
        min_confidence: 0.0,
        deadline: Instant::now() + LIMIT,
    };
    let failed = |error: &ErrorDetail| format!("{}: {}", error.code, error.message);
    let mut document =
        reader.open(bytes.into(), options, CancellationToken::new()).await.map_err(|error| failed(&error))?;
    let page = document.next_page().await.ok_or("a document of our own came without a page")?;
    page.error.as_ref().map_or(Ok(()), |error| Err(failed(error)))?;
    match page.orientation {
        turned if turned != Turn::None.degrees() => Err(format!("an upright page was turned by {turned} degrees")),
        _ => Ok(page.text),
    }
}

/// A PDF of one page, 500 x 120 points, in a standard font that it does not embed.
fn pdf() -> Vec<u8> {
    let content = format!("BT /F 14 Tf 20 80 Td ({}) Tj 0 -40 Td ({}) Tj ET", LINES[0], LINES[1]);
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 500 120] /Contents 4 0 R /Resources << /Font << /F 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ];
    let mut pdf = String::from("%PDF-1.4\n");
    let mut offsets = Vec::new();
    for (number, object) in (1..).zip(&objects) {
        offsets.push(pdf.len());
        let _ = write!(pdf, "{number} 0 obj\n{object}\nendobj\n");
    }
    let table = pdf.len();
    let _ = write!(pdf, "xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for offset in offsets {
        let _ = writeln!(pdf, "{offset:010} 00000 n ");
    }
    let _ = write!(pdf, "trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n", objects.len() + 1);
    pdf.into_bytes()
}

fn blank_image() -> image::ImageResult<Vec<u8>> {
    let mut png = Vec::new();
    PngEncoder::new(&mut png).write_image(&vec![255; 3 * 100 * 100], 100, 100, ExtendedColorType::Rgb8)?;
    Ok(png)
}
