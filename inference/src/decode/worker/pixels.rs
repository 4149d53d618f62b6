//! Decoded samples to the pixels of a page: 8 bits, grey or RGB, over white, upright.

use image::{ColorType, metadata::Orientation};

use crate::decode::Failure;

/// Longest side of a page: what a JPEG and a GIF can have. A page of a million by one pixels has no text,
/// and scaled to a height that text needs it would be enormous.
pub(super) const MAX_SIDE: u32 = 65_535;

/// A page, ready to be sent.
pub(super) struct Rendered {
    pub width: u32,
    pub height: u32,
    /// One byte a pixel where true, three where false.
    pub grey: bool,
    pub pixels: Vec<u8>,
    pub dpi: Option<u32>,
    pub dpi_lowered: bool,
}

/// Memory for that many bytes, zeroed.
pub(super) fn allocate(bytes: u64) -> Result<Vec<u8>, Failure> {
    let length = usize::try_from(bytes).map_err(|_| Failure::OutOfMemory)?;
    let mut memory = Vec::new();
    memory.try_reserve_exact(length).map_err(|_| Failure::OutOfMemory)?;
    memory.resize(length, 0);
    Ok(memory)
}

/// Refuses a size over the limit, before anything is allocated for it.
pub(super) fn check_size(width: u32, height: u32, max_pixels: u64) -> Result<(), Failure> {
    match u64::from(width) * u64::from(height) {
        0 => Err(Failure::Malformed),
        pixels if pixels > max_pixels => Err(Failure::TooManyPixels { width, height }),
        _ if width.max(height) > MAX_SIDE => Err(Failure::SideTooLong { width, height }),
        _ => Ok(()),
    }
}

/// Bytes that decoding a page takes, from `samples` bytes a pixel that the decoder needs for itself and its result: they,
/// their form as a page, and its copy while it is turned upright. Not less than two copies of the page, since it is still
/// here while the other side takes it.
pub(super) fn cost((width, height): (u32, u32), samples: u64, color: ColorType, orientation: Orientation) -> u64 {
    let page = if color.has_color() { 3 } else { 1 };
    let as_page = if matches!(color, ColorType::L8 | ColorType::Rgb8) { 0 } else { page };
    let turned = if orientation == Orientation::NoTransforms { 0 } else { page };
    let bytes = (samples + as_page + turned).max(2 * page);
    (u64::from(width) * u64::from(height)).saturating_mul(bytes)
}

/// Makes a page of decoded samples.
pub(super) fn finish(
    (width, height): (u32, u32),
    color: ColorType,
    samples: Vec<u8>,
    orientation: Orientation,
) -> Result<Rendered, Failure> {
    let (grey, pixels) = flatten(color, samples)?;
    let (grey, pixels) = if grey { (true, pixels) } else { without_colour(pixels)? };
    let (width, height, pixels) = upright(width, height, grey, pixels, orientation)?;
    Ok(Rendered { width, height, grey, pixels, dpi: None, dpi_lowered: false })
}

/// Reduces samples to 8-bit grey (true) or RGB (false), over white.
fn flatten(color: ColorType, samples: Vec<u8>) -> Result<(bool, Vec<u8>), Failure> {
    let over = |[red, green, blue, alpha]: [u8; 4]| [red, green, blue].map(|value| over_white(value, alpha));
    Ok(match color {
        ColorType::L8 => (true, samples),
        ColorType::Rgb8 => (false, samples),
        ColorType::La8 => (true, convert(&samples, |[value, alpha]| [over_white(value, alpha)])?),
        ColorType::Rgba8 => (false, convert(&samples, over)?),
        ColorType::L16 => (true, convert(&samples, |[a, b]| [eight_bits(a, b)])?),
        ColorType::Rgb16 => {
            (false, convert(&samples, |[a, b, c, d, e, f]| [eight_bits(a, b), eight_bits(c, d), eight_bits(e, f)])?)
        }
        ColorType::La16 => (true, convert(&samples, |[a, b, c, d]| [over_white(eight_bits(a, b), eight_bits(c, d))])?),
        ColorType::Rgba16 => (
            false,
            convert(&samples, |[a, b, c, d, e, f, g, h]| {
                over([eight_bits(a, b), eight_bits(c, d), eight_bits(e, f), eight_bits(g, h)])
            })?,
        ),
        _ => return Err(Failure::Unsupported),
    })
}

/// Makes pixels of `OUT` bytes of pixels of `IN` bytes.
pub(super) fn convert<const IN: usize, const OUT: usize>(
    pixels: &[u8],
    pixel: impl Fn([u8; IN]) -> [u8; OUT],
) -> Result<Vec<u8>, Failure> {
    let (source, _) = pixels.as_chunks::<IN>();
    let mut converted = allocate((source.len() * OUT) as u64)?;
    let (target, _) = converted.as_chunks_mut::<OUT>();
    for (to, from) in target.iter_mut().zip(source) {
        *to = pixel(*from);
    }
    Ok(converted)
}

/// Makes a grey page (true) of an RGB page whose pixels are all grey: a third of the bytes to send and to keep. The look
/// ends at the first pixel that is not.
pub(super) fn without_colour(rgb: Vec<u8>) -> Result<(bool, Vec<u8>), Failure> {
    let (pixels, _) = rgb.as_chunks::<3>();
    if pixels.iter().all(|[red, green, blue]| red == green && green == blue) {
        Ok((true, convert(&rgb, |[red, _, _]: [u8; 3]| [red])?))
    } else {
        Ok((false, rgb))
    }
}

/// A sample of 8 bits, with its opacity, over white paper.
pub(super) fn over_white(value: u8, alpha: u8) -> u8 {
    let (value, alpha) = (u32::from(value), u32::from(alpha));
    let sum = value * alpha + 255 * (255 - alpha);
    to_byte((sum + 127) / 255)
}

/// A 16-bit sample in the machine's byte order, rounded to 8 bits: 65535 is 255 as 257 × 255 is 65535.
fn eight_bits(first: u8, second: u8) -> u8 {
    sixteen_to_eight(u16::from_ne_bytes([first, second]))
}

pub(super) fn sixteen_to_eight(value: u16) -> u8 {
    to_byte((u32::from(value) + 128) / 257)
}

pub(super) fn to_byte(value: u32) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}

/// Applies the turn that the file's metadata asks for.
fn upright(
    width: u32,
    height: u32,
    grey: bool,
    mut pixels: Vec<u8>,
    orientation: Orientation,
) -> Result<(u32, u32, Vec<u8>), Failure> {
    let pixel_bytes = if grey { 1 } else { 3 };
    match orientation {
        Orientation::NoTransforms => Ok((width, height, pixels)),
        Orientation::Rotate180 | Orientation::FlipHorizontal | Orientation::FlipVertical => {
            let row_bytes = width as usize * pixel_bytes;
            if orientation != Orientation::FlipHorizontal {
                flip_rows(&mut pixels, row_bytes);
            }
            if orientation != Orientation::FlipVertical {
                for row in pixels.chunks_exact_mut(row_bytes) {
                    flip_row(row, pixel_bytes);
                }
            }
            Ok((width, height, pixels))
        }
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH => {
            let mut turned = allocate(pixels.len() as u64)?;
            let quarter = QuarterTurn {
                width: width as usize,
                height: height as usize,
                // The turned page's row is a column of the page; these tell from which end each is read.
                from_right: matches!(orientation, Orientation::Rotate270 | Orientation::Rotate270FlipH),
                from_bottom: matches!(orientation, Orientation::Rotate90 | Orientation::Rotate270FlipH),
            };
            if grey {
                quarter.turn::<1>(&pixels, &mut turned);
            } else {
                quarter.turn::<3>(&pixels, &mut turned);
            }
            Ok((height, width, turned))
        }
    }
}

fn flip_rows(pixels: &mut [u8], row_bytes: usize) {
    let rows = pixels.len() / row_bytes;
    for row in 0..rows / 2 {
        let (above, below) = pixels.split_at_mut((rows - 1 - row) * row_bytes);
        above[row * row_bytes..][..row_bytes].swap_with_slice(&mut below[..row_bytes]);
    }
}

fn flip_row(row: &mut [u8], pixel_bytes: usize) {
    row.reverse();
    for pixel in row.chunks_exact_mut(pixel_bytes) {
        pixel.reverse();
    }
}

struct QuarterTurn {
    width: usize,
    height: usize,
    from_right: bool,
    from_bottom: bool,
}

impl QuarterTurn {
    /// Side of the squares in which the page is walked, so that both sides' rows stay in the processor's cache.
    const BLOCK: usize = 32;

    fn turn<const BYTES: usize>(&self, page: &[u8], turned: &mut [u8]) {
        for block_x in (0..self.width).step_by(Self::BLOCK) {
            for block_y in (0..self.height).step_by(Self::BLOCK) {
                for x in block_x..(block_x + Self::BLOCK).min(self.width) {
                    let row = if self.from_right { self.width - 1 - x } else { x };
                    for y in block_y..(block_y + Self::BLOCK).min(self.height) {
                        let column = if self.from_bottom { self.height - 1 - y } else { y };
                        turned[(row * self.height + column) * BYTES..][..BYTES]
                            .copy_from_slice(&page[(y * self.width + x) * BYTES..][..BYTES]);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(color: ColorType, pixels: &[u8]) -> (bool, Vec<u8>) {
        let width = u32::try_from(pixels.len()).unwrap() / u32::from(color.bytes_per_pixel());
        let page = finish((width, 1), color, pixels.to_vec(), Orientation::NoTransforms).unwrap();
        (page.grey, page.pixels)
    }

    fn wide(values: &[u16]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_ne_bytes()).collect()
    }

    #[test]
    fn every_kind_of_sample_becomes_grey_or_rgb_over_white() {
        let cases: Vec<(ColorType, Vec<u8>, bool, Vec<u8>)> = vec![
            (ColorType::L8, vec![0, 128, 255], true, vec![0, 128, 255]),
            (ColorType::La8, vec![0, 255, 0, 0, 0, 128], true, vec![0, 255, 127]),
            (ColorType::Rgb8, vec![1, 2, 3], false, vec![1, 2, 3]),
            (ColorType::Rgba8, vec![1, 2, 3, 255, 1, 2, 3, 0], false, vec![1, 2, 3, 255, 255, 255]),
            (ColorType::L16, wide(&[0, 32_768, 65_535, 300]), true, vec![0, 128, 255, 1]),
            (ColorType::Rgb16, wide(&[0, 257, 65_535]), false, vec![0, 1, 255]),
            (ColorType::La16, wide(&[0, 0, 0, 65_535]), true, vec![255, 0]),
            (ColorType::Rgba16, wide(&[0, 257, 65_535, 65_535]), false, vec![0, 1, 255]),
        ];
        for (color, pixels, grey, expected) in cases {
            assert_eq!(rendered(color, &pixels), (grey, expected), "{color:?}");
        }
    }

    #[test]
    fn a_colour_page_without_colour_becomes_grey() {
        assert_eq!(rendered(ColorType::Rgb8, &[7, 7, 7, 9, 9, 9]), (true, vec![7, 9]));
        assert_eq!(rendered(ColorType::Rgb8, &[7, 7, 7, 9, 9, 8]), (false, vec![7, 7, 7, 9, 9, 8]));
    }

    #[test]
    fn alpha_is_rounded_and_never_overflows() {
        for alpha in 0..=255 {
            assert_eq!(over_white(255, alpha), 255);
        }
        assert_eq!(over_white(100, 255), 100);
        assert_eq!(over_white(100, 0), 255);
    }

    /// The image crate's own turns are the oracle; they are slower.
    #[test]
    fn a_page_is_turned_as_exif_says() {
        let (width, height) = (37, 70);
        let pixels: Vec<u8> = (0..width * height * 3).map(|index| to_byte(index % 251)).collect();
        for tag in 1..=8 {
            let orientation = Orientation::from_exif(tag).unwrap();
            let source = image::RgbImage::from_raw(width, height, pixels.clone()).unwrap();
            let mut expected = image::DynamicImage::from(source);
            expected.apply_orientation(orientation);
            let page = finish((width, height), ColorType::Rgb8, pixels.clone(), orientation).unwrap();
            assert_eq!((page.width, page.height), (expected.width(), expected.height()), "tag {tag}");
            assert!(page.pixels == expected.as_bytes(), "tag {tag}");
        }
    }

    #[test]
    fn a_size_over_the_limit_is_refused() {
        assert_eq!(check_size(100, 100, 10_000), Ok(()));
        assert_eq!(check_size(101, 100, 10_000), Err(Failure::TooManyPixels { width: 101, height: 100 }));
        assert_eq!(check_size(0, 100, 10_000), Err(Failure::Malformed));
        assert_eq!(check_size(65_535, 1, 100_000), Ok(()));
        assert_eq!(check_size(1, 65_536, 100_000), Err(Failure::SideTooLong { width: 1, height: 65_536 }));
        let most = u32::MAX;
        assert_eq!(check_size(most, most, 10_000), Err(Failure::TooManyPixels { width: most, height: most }));
    }
}
