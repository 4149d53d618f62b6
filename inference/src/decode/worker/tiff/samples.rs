//! A TIFF page's samples to pixels.

use image::{ColorType, metadata::Orientation};
use tiff::{ColorType as TiffColors, decoder::DecodingResult};

use super::super::pixels::{Rendered, allocate, convert, finish, sixteen_to_eight, to_byte};
use crate::decode::Failure;

/// `ExtraSamples` of alpha that the colours are already multiplied by.
pub(super) const ASSOCIATED_ALPHA: u16 = 1;

/// How a page's samples are to be understood.
pub(super) struct Layout<'a> {
    pub size: (u32, u32),
    pub colors: TiffColors,
    /// Sections of the buffer, each with one sample of every pixel; 1 where the samples of a pixel are together.
    pub planes: usize,
    /// Colours of a palette: all reds, all greens, all blues, of 16 bits.
    pub color_map: Option<&'a [u16]>,
    /// True where the first extra sample is an alpha of either kind.
    pub has_alpha: bool,
    pub premultiplied: bool,
}

/// Makes a page of a page's samples.
pub(super) fn to_page(
    result: DecodingResult,
    layout: &Layout<'_>,
    orientation: Orientation,
) -> Result<Rendered, Failure> {
    let samples = to_eight_bits(result)?;
    if let (Some(colors), TiffColors::Gray(bits @ 1..=8)) = (layout.color_map, layout.colors) {
        let indices = unpack(samples, layout.size, bits, |index, _| index)?;
        let pixels = look_up(&indices, colors, bits)?;
        return finish(layout.size, ColorType::Rgb8, pixels, orientation);
    }
    let mut pixels = interleave(samples, layout.planes)?;
    let color = match layout.colors {
        TiffColors::Gray(bits @ (1 | 2 | 4)) => {
            pixels =
                unpack(pixels, layout.size, bits, |value, most| to_byte(u32::from(value) * 255 / u32::from(most)))?;
            ColorType::L8
        }
        TiffColors::Gray(_) => ColorType::L8,
        TiffColors::GrayA(_) => ColorType::La8,
        TiffColors::RGB(_) => ColorType::Rgb8,
        TiffColors::RGBA(_) if layout.premultiplied => {
            pixels = convert(&pixels, |[red, green, blue, alpha]: [u8; 4]| {
                [red, green, blue].map(|value| value.saturating_add(255 - alpha))
            })?;
            ColorType::Rgb8
        }
        TiffColors::RGBA(_) => ColorType::Rgba8,
        TiffColors::CMYK(_) => {
            pixels = convert(&pixels, |[cyan, magenta, yellow, black]| cmyk(cyan, magenta, yellow, black))?;
            ColorType::Rgb8
        }
        TiffColors::CMYKA(_) => {
            pixels = convert(&pixels, |[cyan, magenta, yellow, black, _]| cmyk(cyan, magenta, yellow, black))?;
            ColorType::Rgb8
        }
        TiffColors::YCbCr(_) => {
            pixels = convert(&pixels, |[luma, blue, red]| ycbcr(luma, blue, red))?;
            ColorType::Rgb8
        }
        // Grey with extra samples: an alpha, or something that is not seen.
        TiffColors::Multiband { num_samples: 2, .. } if layout.has_alpha => ColorType::La8,
        TiffColors::Multiband { num_samples, .. } => {
            pixels = pixels.chunks_exact(usize::from(num_samples)).map(|pixel| pixel[0]).collect();
            ColorType::L8
        }
        _ => return Err(Failure::Unsupported),
    };
    let (width, height) = (layout.size.0 as usize, layout.size.1 as usize);
    if pixels.len() != width * height * usize::from(color.bytes_per_pixel()) {
        return Err(Failure::Malformed);
    }
    finish(layout.size, color, pixels, orientation)
}

fn to_eight_bits(result: DecodingResult) -> Result<Vec<u8>, Failure> {
    match result {
        DecodingResult::U8(samples) => Ok(samples),
        DecodingResult::U16(samples) => Ok(samples.iter().copied().map(sixteen_to_eight).collect()),
        DecodingResult::U32(samples) => Ok(samples.iter().map(|sample| to_byte(sample >> 24)).collect()),
        DecodingResult::F32(samples) => Ok(samples.iter().copied().map(unit_to_byte).collect()),
        _ => Err(Failure::Unsupported),
    }
}

/// A sample between 0 and 1; not-a-number is 0.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0 ..= 255 before")]
fn unit_to_byte(sample: f32) -> u8 {
    (sample.clamp(0.0, 1.0) * 255.0).round() as u8
}

/// Puts the samples of a pixel together.
fn interleave(samples: Vec<u8>, planes: usize) -> Result<Vec<u8>, Failure> {
    if planes <= 1 {
        return Ok(samples);
    }
    let pixels = samples.len() / planes;
    let mut together = allocate(samples.len() as u64)?;
    for (index, plane) in samples.chunks_exact(pixels).take(planes).enumerate() {
        for (pixel, sample) in together.chunks_exact_mut(planes).zip(plane) {
            pixel[index] = *sample;
        }
    }
    Ok(together)
}

/// Gives each sample of `bits` bits a byte of its own. `scale` is given the sample and the largest one.
fn unpack(
    packed: Vec<u8>,
    (width, height): (u32, u32),
    bits: u8,
    scale: impl Fn(u8, u8) -> u8,
) -> Result<Vec<u8>, Failure> {
    if bits == 8 {
        return Ok(packed);
    }
    if !matches!(bits, 1 | 2 | 4) {
        return Err(Failure::Unsupported);
    }
    let most = (1_u8 << bits) - 1;
    let row_bytes = (width as usize * usize::from(bits)).div_ceil(8);
    let mut pixels = allocate(u64::from(width) * u64::from(height))?;
    for (row, packed) in pixels.chunks_exact_mut(width as usize).zip(packed.chunks_exact(row_bytes)) {
        for (x, pixel) in row.iter_mut().enumerate() {
            let bit = x * usize::from(bits);
            *pixel = scale(packed[bit / 8] >> (8 - usize::from(bits) - bit % 8) & most, most);
        }
    }
    Ok(pixels)
}

fn look_up(indices: &[u8], colors: &[u16], bits: u8) -> Result<Vec<u8>, Failure> {
    let count = 1_usize << bits;
    if colors.len() < 3 * count {
        return Err(Failure::Malformed);
    }
    // Some writers fill the table with 8-bit values.
    let eight_bits = colors.iter().all(|value| *value < 256);
    let reduce = |value: u16| if eight_bits { to_byte(value.into()) } else { sixteen_to_eight(value) };
    let table: Vec<[u8; 3]> =
        (0..count).map(|index| [0, 1, 2].map(|color| reduce(colors[color * count + index]))).collect();
    let mut pixels = allocate(indices.len() as u64 * 3)?;
    for (pixel, index) in pixels.chunks_exact_mut(3).zip(indices) {
        pixel.copy_from_slice(table.get(usize::from(*index)).ok_or(Failure::Malformed)?);
    }
    Ok(pixels)
}

/// Ink to light, without a profile: what a viewer without colour management shows.
fn cmyk(cyan: u8, magenta: u8, yellow: u8, black: u8) -> [u8; 3] {
    [cyan, magenta, yellow].map(|ink| {
        let light = u32::from(255 - ink) * u32::from(255 - black);
        to_byte((light + 127) / 255)
    })
}

/// ITU-R BT.601 over the full range, as JPEG has it; in 1/65536.
fn ycbcr(luma: u8, blue: u8, red: u8) -> [u8; 3] {
    let luma = i32::from(luma) << 16;
    let (blue, red) = (i32::from(blue) - 128, i32::from(red) - 128);
    [luma + 91_881 * red, luma - 22_554 * blue - 46_802 * red, luma + 116_130 * blue]
        .map(|value| u8::try_from(((value + (1 << 15)) >> 16).clamp(0, 255)).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ink_becomes_light() {
        let cases = [
            ([0, 0, 0, 0], [255, 255, 255]),
            ([0, 0, 0, 255], [0, 0, 0]),
            ([255, 0, 0, 0], [0, 255, 255]),
            ([0, 255, 255, 0], [255, 0, 0]),
        ];
        for ([cyan, magenta, yellow, black], expected) in cases {
            assert_eq!(cmyk(cyan, magenta, yellow, black), expected);
        }
    }

    #[test]
    fn luma_and_chroma_become_red_green_and_blue() {
        assert_eq!(ycbcr(0, 128, 128), [0, 0, 0]);
        assert_eq!(ycbcr(255, 128, 128), [255, 255, 255]);
        assert_eq!(ycbcr(76, 85, 255), [254, 0, 0]);
        assert_eq!(ycbcr(29, 255, 107), [0, 0, 254]);
    }

    #[test]
    fn packed_samples_get_a_byte_each_and_rows_end_at_a_byte() {
        let bits = unpack(vec![0b1010_0000, 0b0100_0000], (3, 2), 1, |value, most| value * 255 / most).unwrap();
        assert_eq!(bits, vec![255, 0, 255, 0, 255, 0]);
        let nibbles = unpack(vec![0x0f, 0x80], (3, 1), 4, |value, _| value).unwrap();
        assert_eq!(nibbles, vec![0, 15, 8]);
    }

    #[test]
    fn planes_are_put_together() {
        assert_eq!(interleave(vec![1, 2, 3, 4, 5, 6], 3).unwrap(), vec![1, 3, 5, 2, 4, 6]);
    }

    #[test]
    fn a_sample_that_is_no_number_is_black() {
        assert_eq!(unit_to_byte(f32::NAN), 0);
        assert_eq!(unit_to_byte(7.0), 255);
        assert_eq!(unit_to_byte(0.5), 128);
    }
}
