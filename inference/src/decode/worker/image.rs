//! Images of one page: JPEG, PNG, WebP, BMP, and the first frame of a GIF or of an animated WebP or PNG.
//!
//! The size is read from the header and checked before anything is allocated. Of metadata only the orientation is
//! read: a compressed text or profile can be a bomb.

use std::io::Cursor;

use image::{
    ImageDecoder, ImageError, Limits,
    codecs::{bmp::BmpDecoder, gif::GifDecoder, jpeg::JpegDecoder, png::PngDecoder, webp::WebPDecoder},
    error::LimitErrorKind,
    metadata::Orientation,
};

use super::{
    Document,
    jpeg::{self, Ending},
    pixels::{Rendered, allocate, check_size, cost, finish},
};
use crate::decode::{Failure, Kind, protocol::Open};

/// Bytes a pixel that a decoder may allocate beside the page: a GIF's frame is RGBA.
const SCRATCH_BYTES_PER_PIXEL: u64 = 4;

/// Bytes a pixel of a progressive JPEG's coefficients.
const PROGRESSIVE_BYTES_PER_PIXEL: u64 = 6;

/// Bytes that the PNG decoder may allocate beside the page: a few rows, and a colour profile, which it unpacks though
/// nobody asks for it.
const PNG_SCRATCH_BYTES: u64 = 16 * 1024 * 1024;

/// An image of one page.
pub(super) struct ImageDocument {
    bytes: Vec<u8>,
    kind: Kind,
    max_pixels: u64,
}

impl ImageDocument {
    pub(super) fn new(bytes: Vec<u8>, open: &Open) -> Self {
        Self { bytes, kind: open.kind, max_pixels: open.max_pixels }
    }

    /// The decoder of the image's kind; it has read the header and nothing else.
    fn decoder(&self) -> Result<Box<dyn ImageDecoder + '_>, Failure> {
        let source = Cursor::new(self.bytes.as_slice());
        Ok(match self.kind {
            Kind::Jpeg => Box::new(JpegDecoder::new(source).map_err(failure)?),
            Kind::Png => Box::new(PngDecoder::with_limits(source, self.limits()).map_err(failure)?),
            Kind::WebP => Box::new(WebPDecoder::new(source).map_err(failure)?),
            Kind::Bmp => Box::new(BmpDecoder::new(source).map_err(failure)?),
            Kind::Gif => Box::new(GifDecoder::new(source).map_err(failure)?),
            Kind::Tiff | Kind::Pdf => return Err(Failure::Unsupported),
        })
    }

    fn limits(&self) -> Limits {
        let scratch = SCRATCH_BYTES_PER_PIXEL.saturating_mul(self.max_pixels);
        allocating(if self.kind == Kind::Png { PNG_SCRATCH_BYTES } else { scratch })
    }

    fn measure(&self) -> Result<u64, Failure> {
        let mut decoder = self.decoder()?;
        let (width, height) = decoder.dimensions();
        check_size(width, height, self.max_pixels)?;
        let color = decoder.color_type();
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let scratch = match self.kind {
            Kind::Jpeg if jpeg::is_progressive(&self.bytes) => PROGRESSIVE_BYTES_PER_PIXEL,
            Kind::Gif | Kind::WebP => SCRATCH_BYTES_PER_PIXEL,
            _ => 0,
        };
        let samples = u64::from(color.bytes_per_pixel()) + scratch;
        Ok(cost((width, height), samples, color, orientation).saturating_add(self.bytes.len() as u64))
    }

    fn decode(&self) -> Result<Rendered, Failure> {
        let mut decoder = self.decoder()?;
        let (width, height) = decoder.dimensions();
        check_size(width, height, self.max_pixels)?;
        decoder.set_limits(self.limits()).map_err(failure)?;
        let color = decoder.color_type();
        // Metadata that cannot be read is no reason to refuse the page.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let mut samples = allocate(decoder.total_bytes())?;
        decoder.read_image(&mut samples).map_err(failure)?;
        let row_bytes = width as usize * usize::from(color.bytes_per_pixel());
        // The other decoders say themselves where bytes are missing.
        if self.kind == Kind::Jpeg && !Ending::of(&self.bytes).is_whole(&samples, row_bytes) {
            return Err(Failure::Truncated);
        }
        finish((width, height), color, samples, orientation)
    }
}

fn allocating(bytes: u64) -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(bytes);
    limits
}

impl Document for ImageDocument {
    fn page_count(&self) -> u32 {
        1
    }

    fn cost(&mut self, index: u32) -> Result<u64, Failure> {
        if index != 0 {
            return Err(Failure::PageOutOfRange { page_count: 1 });
        }
        self.measure()
    }

    fn page(&mut self, index: u32) -> Result<Rendered, Failure> {
        if index != 0 {
            return Err(Failure::PageOutOfRange { page_count: 1 });
        }
        self.decode()
    }
}

fn failure(error: ImageError) -> Failure {
    match error {
        ImageError::Limits(limit) => match limit.kind() {
            LimitErrorKind::InsufficientMemory => Failure::OutOfMemory,
            _ => Failure::Unsupported,
        },
        ImageError::Unsupported(_) => Failure::Unsupported,
        ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Failure::Truncated,
        _ => Failure::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, GrayImage, ImageFormat, RgbImage, RgbaImage};

    use super::*;

    fn opening(kind: Kind, max_pixels: u64) -> Open {
        Open { kind, body_bytes: 0, password: None, dpi: 150, max_pixels, max_pages: 1 }
    }

    fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn picture() -> DynamicImage {
        RgbImage::from_fn(40, 30, |x, y| image::Rgb([u8::try_from(x * 6).unwrap(), u8::try_from(y * 8).unwrap(), 9]))
            .into()
    }

    const FORMATS: [(Kind, ImageFormat); 5] = [
        (Kind::Jpeg, ImageFormat::Jpeg),
        (Kind::Png, ImageFormat::Png),
        (Kind::WebP, ImageFormat::WebP),
        (Kind::Bmp, ImageFormat::Bmp),
        (Kind::Gif, ImageFormat::Gif),
    ];

    #[test]
    fn every_kind_is_decoded_and_can_be_asked_for_twice() {
        for (kind, format) in FORMATS {
            let bytes = encoded(&picture(), format);
            let mut document = ImageDocument::new(bytes, &opening(kind, 10_000));
            let first = document.page(0).unwrap();
            assert_eq!((first.width, first.height, first.grey), (40, 30, false), "{kind:?}");
            assert_eq!(document.page(0).unwrap().pixels, first.pixels, "{kind:?}");
            assert!(matches!(document.page(1), Err(Failure::PageOutOfRange { page_count: 1 })));
            if !matches!(kind, Kind::Jpeg | Kind::Gif) {
                assert_eq!(first.pixels, picture().as_bytes(), "{kind:?}");
            }
        }
    }

    #[test]
    fn a_page_over_the_limit_is_refused_whatever_its_kind() {
        for (kind, format) in FORMATS {
            let result = ImageDocument::new(encoded(&picture(), format), &opening(kind, 1199)).page(0);
            assert_eq!(result.err(), Some(Failure::TooManyPixels { width: 40, height: 30 }), "{kind:?}");
        }
    }

    #[test]
    fn half_a_file_is_an_error_whatever_its_kind() {
        for (kind, format) in FORMATS {
            let bytes = encoded(&picture(), format);
            let result = ImageDocument::new(bytes[..bytes.len() / 2].to_vec(), &opening(kind, 10_000)).page(0);
            assert!(matches!(result.err(), Some(Failure::Truncated | Failure::Malformed)), "{kind:?}");
        }
    }

    #[test]
    fn grey_stays_grey_and_alpha_is_over_white() {
        let grey = DynamicImage::from(GrayImage::from_pixel(4, 4, image::Luma([77])));
        let mut document = ImageDocument::new(encoded(&grey, ImageFormat::Png), &opening(Kind::Png, 100));
        let page = document.page(0).unwrap();
        assert!(page.grey);
        assert_eq!(page.pixels, vec![77; 16]);

        let clear = DynamicImage::from(RgbaImage::from_pixel(4, 4, image::Rgba([0, 0, 0, 0])));
        let mut document = ImageDocument::new(encoded(&clear, ImageFormat::Png), &opening(Kind::Png, 100));
        assert_eq!(document.page(0).unwrap().pixels, vec![255; 16]);
    }

    #[test]
    fn a_jpeg_that_lacks_only_its_end_marker_is_read_and_one_that_lacks_rows_is_not() {
        let page = DynamicImage::from(GrayImage::from_fn(200, 200, |x, y| {
            image::Luma([u8::try_from((x * 7 + y * 13) % 256).unwrap()])
        }));
        let bytes = encoded(&page, ImageFormat::Jpeg);
        let read = |length: usize| ImageDocument::new(bytes[..length].to_vec(), &opening(Kind::Jpeg, 100_000)).page(0);
        assert!(read(bytes.len() - 2).is_ok());
        for part in [3, 5, 8, 9] {
            assert_eq!(read(bytes.len() * part / 10).err(), Some(Failure::Truncated), "{part} tenths");
        }
    }
}
