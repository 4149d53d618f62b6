//! PDF, by pdfium.
//!
//! The library is built without JavaScript and without XFA, so a document cannot run anything. It is handed the bytes
//! and opens no file.

use std::path::Path;

use pdfium_render::prelude::{
    PdfBitmap, PdfBitmapFormat, PdfDocument, PdfPage, PdfRenderConfig, Pdfium, PdfiumError, PdfiumInternalError,
    PdfiumLibraryConfig,
};

use super::{
    Document,
    fonts::FontFolder,
    pixels::{Rendered, allocate, check_size, without_colour},
};
use crate::decode::{Failure, protocol::Open};

/// Why the library cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum LibraryError {
    #[error("failed to load the PDF library; need a libpdfium of version 8125 or later for this processor")]
    Load(#[source] Box<PdfiumError>),
    #[error("failed to list the fonts' folder")]
    Fonts(#[source] std::io::Error),
    #[error("the PDF library does not render its test page")]
    Warm(#[source] Box<PdfiumError>),
}

/// More is no scan any more, and a bound keeps the search for a lower resolution short.
const MAX_DPI: u32 = 2400;

/// Bytes a pixel of a page that is rendered: the page, a level of transparency over it, and the page without colour.
const BYTES_PER_PIXEL: u64 = 3 + 4 + 1;

/// Points of a PDF's unit in an inch.
const POINTS_PER_INCH: f64 = 72.0;

/// A page with a word in a font that it does not embed: rendering it shows that the library and our fonts work, and
/// brings into memory what every page needs.
const WARM_UP: &[u8] = b"%PDF-1.4
1 0 obj <</Type/Catalog/Pages 2 0 R>> endobj
2 0 obj <</Type/Pages/Kids[3 0 R]/Count 1>> endobj
3 0 obj <</Type/Page/Parent 2 0 R/MediaBox[0 0 40 20]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>> endobj
4 0 obj <</Length 33>> stream
BT /F 12 Tf 2 5 Td (ready) Tj ET 
endstream endobj
5 0 obj <</Type/Font/Subtype/TrueType/BaseFont/NoSuchFont/Encoding/WinAnsiEncoding>> endobj
trailer <</Root 1 0 R>>
%%EOF
";

/// Loads and starts the library. Once a process.
///
/// `read_fonts_ahead`: see [`FontFolder::open`].
pub(super) fn load_library(
    library: &Path,
    fonts: Option<&Path>,
    read_fonts_ahead: bool,
) -> Result<Pdfium, LibraryError> {
    let load = |error| LibraryError::Load(Box::new(error));
    let warm = |error| LibraryError::Warm(Box::new(error));
    let bindings = Pdfium::bind_to_library(library).map_err(load)?;
    let config = PdfiumLibraryConfig::new().set_renderer_anti_grain_geometry();
    let mut pdfium = Pdfium::new_with_config(bindings, config);
    if let Some(folder) = fonts {
        let folder = FontFolder::open(folder, read_fonts_ahead).map_err(LibraryError::Fonts)?;
        pdfium.set_custom_font_provider(Box::new(folder));
    }
    {
        let document = pdfium.load_pdf_from_byte_slice(WARM_UP, None).map_err(warm)?;
        let page = document.pages().get(0).map_err(warm)?;
        page.render_with_config(&PdfRenderConfig::new().set_target_width(40)).map_err(warm)?;
    }
    Ok(pdfium)
}

/// A PDF that is open.
pub(super) struct PdfPages<'a> {
    document: PdfDocument<'a>,
    page_count: u32,
    dpi: u32,
    max_pixels: u64,
}

/// Opens a PDF and counts its pages; renders nothing.
pub(super) fn open<'a>(pdfium: Option<&'a Pdfium>, bytes: Vec<u8>, open: &Open) -> Result<PdfPages<'a>, Failure> {
    let pdfium = pdfium.ok_or(Failure::NoPdfLibrary)?;
    // The library takes a C string.
    if open.password.as_ref().is_some_and(|password| password.contains('\0')) {
        return Err(Failure::PasswordWrong);
    }
    let document = pdfium.load_pdf_from_byte_vec(bytes, open.password.as_deref()).map_err(|error| match error {
        PdfiumError::PdfiumLibraryInternalError(PdfiumInternalError::PasswordError) => match open.password {
            Some(_) => Failure::PasswordWrong,
            None => Failure::PasswordRequired,
        },
        PdfiumError::PdfiumLibraryInternalError(PdfiumInternalError::SecurityError) => Failure::Unsupported,
        _ => Failure::Malformed,
    })?;
    let page_count = u32::try_from(document.pages().len()).map_err(|_| Failure::Malformed)?;
    if page_count == 0 {
        return Err(Failure::NoPages);
    }
    if page_count > open.max_pages {
        return Err(Failure::TooManyPages { at_least: page_count });
    }
    Ok(PdfPages { document, page_count, dpi: open.dpi.clamp(1, MAX_DPI), max_pixels: open.max_pixels })
}

impl Document for PdfPages<'_> {
    fn page_count(&self) -> u32 {
        self.page_count
    }

    fn cost(&mut self, index: u32) -> Result<u64, Failure> {
        let (_, scale) = self.scaled(index)?;
        Ok((u64::from(scale.width) * u64::from(scale.height)).saturating_mul(BYTES_PER_PIXEL))
    }

    fn page(&mut self, index: u32) -> Result<Rendered, Failure> {
        let (page, scale) = self.scaled(index)?;
        let mut rendered = render(&page, scale.width, scale.height)?;
        rendered.dpi = Some(scale.dpi);
        rendered.dpi_lowered = scale.dpi < self.dpi;
        Ok(rendered)
    }
}

impl PdfPages<'_> {
    fn scaled(&self, index: u32) -> Result<(PdfPage<'_>, Scale), Failure> {
        if index >= self.page_count {
            return Err(Failure::PageOutOfRange { page_count: self.page_count });
        }
        let index = index.try_into().map_err(|_| Failure::Malformed)?;
        let page = self.document.pages().get(index).map_err(|_| Failure::Malformed)?;
        let points = (f64::from(page.width().value), f64::from(page.height().value));
        let scale = fit(points, self.dpi, self.max_pixels)?;
        Ok((page, scale))
    }
}

/// The size that a page is rendered at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scale {
    width: u32,
    height: u32,
    dpi: u32,
}

/// The greatest resolution up to `dpi` at which the page has at most `max_pixels`.
///
/// A4 at 150 dpi: 595.3 × 841.9 points are 1240 × 1754 pixels. A page of 200 × 200 inches would have 900 megapixels;
/// under a limit of 50 it is rendered at 35 dpi, 7000 × 7000.
fn fit((width, height): (f64, f64), dpi: u32, max_pixels: u64) -> Result<Scale, Failure> {
    if !(width.is_finite() && height.is_finite() && width > 0.0 && height > 0.0) {
        return Err(Failure::Malformed);
    }
    let at = |dpi: u32| {
        let pixels = |points: f64| to_pixels(points * f64::from(dpi) / POINTS_PER_INCH);
        Scale { width: pixels(width), height: pixels(height), dpi }
    };
    let fits = |scale: Scale| check_size(scale.width, scale.height, max_pixels);
    let full = at(dpi);
    if fits(full).is_ok() {
        return Ok(full);
    }
    let square_inches = width * height / (POINTS_PER_INCH * POINTS_PER_INCH);
    #[expect(clippy::cast_precision_loss, reason = "an estimate; the loop below makes it exact")]
    let mut lowered = to_pixels((max_pixels as f64 / square_inches).sqrt().ceil()).min(dpi);
    while lowered > 1 && fits(at(lowered)).is_err() {
        lowered -= 1;
    }
    let scale = at(lowered);
    fits(scale).map(|()| scale)
}

/// Rounds to whole pixels, at least one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what the target can hold")]
fn to_pixels(value: f64) -> u32 {
    value.round().clamp(1.0, f64::from(i32::MAX)) as u32
}

/// Renders a page over white, forms and annotations included.
fn render(page: &PdfPage<'_>, width: u32, height: u32) -> Result<Rendered, Failure> {
    let signed = |side: u32| i32::try_from(side).map_err(|_| Failure::TooManyPixels { width, height });
    // The library wants rows that begin at multiples of 4 bytes.
    let row_bytes = width as usize * 3;
    let stride = row_bytes.next_multiple_of(4);
    let mut pixels = allocate(stride as u64 * u64::from(height))?;
    {
        let mut bitmap = PdfBitmap::from_bytes(signed(width)?, signed(height)?, PdfBitmapFormat::BGR, &mut pixels)
            .map_err(|_| Failure::OutOfMemory)?;
        let config = PdfRenderConfig::new()
            .set_fixed_size(signed(width)?, signed(height)?)
            .set_format(PdfBitmapFormat::BGR)
            .set_reverse_byte_order(true)
            .render_form_data(true)
            .render_annotations(true);
        page.render_into_bitmap_with_config(&mut bitmap, &config).map_err(|_| Failure::Malformed)?;
    }
    if stride != row_bytes {
        for row in 1..height as usize {
            pixels.copy_within(row * stride..row * stride + row_bytes, row * row_bytes);
        }
        pixels.truncate(row_bytes * height as usize);
    }
    let (grey, pixels) = without_colour(pixels)?;
    Ok(Rendered { width, height, grey, pixels, dpi: None, dpi_lowered: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_rendered_as_asked_where_it_fits_and_lower_where_it_does_not() {
        let cases = [
            ((595.28, 841.89), 150, 50_000_000, Scale { width: 1240, height: 1754, dpi: 150 }),
            ((14_400.0, 14_400.0), 150, 50_000_000, Scale { width: 7000, height: 7000, dpi: 35 }),
            ((595.28, 841.89), 150, 2_174_960, Scale { width: 1240, height: 1754, dpi: 150 }),
            ((595.28, 841.89), 150, 2_174_959, Scale { width: 1232, height: 1742, dpi: 149 }),
            ((14_400.0, 7.2), 600, 50_000_000, Scale { width: 65_400, height: 33, dpi: 327 }),
            ((0.1, 0.1), 72, 10, Scale { width: 1, height: 1, dpi: 72 }),
        ];
        for (points, dpi, max_pixels, expected) in cases {
            assert_eq!(fit(points, dpi, max_pixels), Ok(expected), "{points:?} at {dpi} dpi");
        }
    }

    #[test]
    fn a_page_that_fits_at_no_resolution_is_refused() {
        assert!(matches!(fit((7.2e7, 7.2e7), 150, 50_000_000), Err(Failure::TooManyPixels { .. })));
        assert_eq!(fit((f64::NAN, 10.0), 150, 100), Err(Failure::Malformed));
        assert_eq!(fit((0.0, 10.0), 150, 100), Err(Failure::Malformed));
        assert_eq!(fit((f64::INFINITY, 10.0), 150, 100), Err(Failure::Malformed));
    }
}
