//! A page as the detector wants it.

use fast_image_resize::{
    FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedImage, TypedImageRef},
    pixels::{U8, U8x3},
};
use ocr_api::manifest::{Normalise, Resample};

use super::bilinear::bilinear;
use crate::{
    decode::{Bitmap, Channels},
    engine::Tensor,
};

/// The network's input `[1, 3, height, width]` from a page that already has that size: normalised, channels in the
/// order blue, green, red.
#[must_use]
pub fn input(page: &Bitmap, normalise: &Normalise) -> Tensor {
    let area = page.width() as usize * page.height() as usize;
    let tables = [0, 1, 2].map(|channel| level_table(normalise.mean[channel], normalise.std[channel]));
    let mut data = Vec::with_capacity(3 * area);
    for (channel, table) in tables.iter().enumerate() {
        match page.channels() {
            Channels::Grey => data.extend(page.pixels().iter().map(|&level| table[usize::from(level)])),
            Channels::Rgb => {
                let pixels: &[[u8; 3]] = page.pixels().as_chunks().0;
                data.extend(pixels.iter().map(|pixel| table[usize::from(pixel[2 - channel])]));
            }
        }
    }
    Tensor { shape: [1, 3, page.height() as usize, page.width() as usize], data }
}

/// The value of each of the 256 levels: `(level / 255 - mean) / std`.
pub(crate) fn level_table(mean: f32, std: f32) -> [f32; 256] {
    let mut table = [0.0; 256];
    for (value, level) in table.iter_mut().zip(0_u8..=255) {
        *value = (f32::from(level) / 255.0 - mean) / std;
    }
    table
}

/// The page at another size, by plain bilinear interpolation of the two nearest pixels a side, as the networks were
/// trained with; no smoothing. The same page where the size is the same.
#[must_use]
pub fn resized(page: &Bitmap, width: u32, height: u32, resample: Resample) -> Bitmap {
    if (page.width(), page.height()) == (width, height) {
        return page.clone();
    }
    match resample {
        Resample::Fast => fast(page, width, height),
        Resample::Opencv => bilinear(page, width, height),
    }
}

fn fast(page: &Bitmap, width: u32, height: u32) -> Bitmap {
    let (width, height) = (width.max(1), height.max(1));
    let pixels = match page.channels() {
        Channels::Grey => interpolated::<U8>(page, width, height),
        Channels::Rgb => interpolated::<U8x3>(page, width, height),
    };
    debug_assert!(pixels.is_some(), "a bitmap's pixels always fit its size");
    pixels.and_then(|pixels| Bitmap::new(width, height, page.channels(), pixels)).unwrap_or_else(|| page.clone())
}

/// For one type of pixel: the library's call that takes any would bring the code of all of them along, and the compiler
/// makes another program at each build of that for floats.
fn interpolated<Pixel: PixelTrait>(page: &Bitmap, width: u32, height: u32) -> Option<Vec<u8>> {
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Interpolation(FilterType::Bilinear)).use_alpha(false);
    let source = TypedImageRef::<Pixel>::from_buffer(page.width(), page.height(), page.pixels()).ok()?;
    let mut pixels = vec![0; width as usize * height as usize * page.channels().bytes()];
    let mut target = TypedImage::<Pixel>::from_buffer(width, height, &mut pixels).ok()?;
    Resizer::new().resize_typed(&source, &mut target, &options).ok()?;
    Some(pixels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::detector;

    #[test]
    fn channels_are_blue_green_red() {
        let page = Bitmap::new(1, 1, Channels::Rgb, vec![255, 0, 51]).unwrap();
        let tensor = input(&page, &detector().normalise);
        let expected = [(0.2 - 0.4) / 0.2, (0.0 - 0.5) / 0.25, (1.0 - 0.6) / 0.5];
        assert_eq!(tensor.shape, [1, 3, 1, 1]);
        for (value, expected) in tensor.data.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-6, "{value} {expected}");
        }
    }

    #[test]
    fn a_grey_page_reads_as_its_colour_twin() {
        let levels = [10, 200, 30, 90];
        let grey = Bitmap::new(2, 2, Channels::Grey, levels.to_vec()).unwrap();
        let rgb = levels.iter().flat_map(|&level| [level; 3]).collect();
        let rgb = Bitmap::new(2, 2, Channels::Rgb, rgb).unwrap();
        assert_eq!(input(&grey, &detector().normalise), input(&rgb, &detector().normalise));
    }

    #[test]
    fn shrinking_takes_the_two_nearest_pixels_only() {
        // By halves, the middle of a target pixel lies between two source pixels: (10 + 30) / 2 and (50 + 90) / 2.
        // A smoothing filter would mix in their neighbours.
        let page = Bitmap::new(4, 1, Channels::Grey, vec![10, 30, 50, 90]).unwrap();
        for resample in [Resample::Fast, Resample::Opencv] {
            assert_eq!(resized(&page, 2, 1, resample).pixels(), [20, 70]);
            // By four, the middle lies between the second and third.
            assert_eq!(resized(&page, 1, 1, resample).pixels(), [40]);
        }
    }

    #[test]
    fn enlarging_repeats_the_border() {
        let page = Bitmap::new(2, 1, Channels::Grey, vec![0, 100]).unwrap();
        for resample in [Resample::Fast, Resample::Opencv] {
            assert_eq!(resized(&page, 4, 1, resample).pixels(), [0, 25, 75, 100]);
        }
    }
}
