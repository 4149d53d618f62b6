//! A line of a page as the recogniser wants it: level, at the network's height, padded to a width that others share.

use ocr_api::{
    Quad,
    manifest::{Crop, LineOrientation, Normalise, Recogniser},
};

use super::{homography::Homography, level};
use crate::{
    decode::{Bitmap, Channels},
    detect::level_table,
    engine::Tensor,
};

/// A box at least this much taller than wide is a line that runs downwards, as PaddleOCR takes it.
pub(super) const TALL: f32 = 1.5;

/// What a network that is given lines wants them like.
#[derive(Clone, Copy, Debug)]
pub struct LineFormat {
    pub normalise: Normalise,
    pub crop: Crop,
    /// Height in pixels.
    pub height: u32,
    /// Widths are padded to a multiple of this.
    pub width_multiple: u32,
    pub min_width: u32,
    /// A longer line is squeezed to this width.
    pub max_width: u32,
}

impl From<&Recogniser> for LineFormat {
    fn from(recogniser: &Recogniser) -> Self {
        Self {
            normalise: recogniser.normalise,
            crop: recogniser.crop,
            height: recogniser.height,
            width_multiple: recogniser.width_multiple,
            min_width: recogniser.min_width,
            max_width: recogniser.max_width,
        }
    }
}

impl From<&LineOrientation> for LineFormat {
    fn from(classifier: &LineOrientation) -> Self {
        Self {
            normalise: classifier.normalise,
            crop: Crop::OneStep,
            height: classifier.height,
            width_multiple: 1,
            min_width: classifier.width,
            max_width: classifier.width,
        }
    }
}

/// How a line is cut out of its page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cut {
    /// Corners of the text in its own reading direction, in pixels of the page.
    pub corners: Quad,
    /// Width of the text at the network's height, in pixels.
    pub width: u32,
    /// Width of the network's input, the padding included.
    pub padded: u32,
    /// The box that is levelled first, where that is how it is cut.
    pub level: Option<Level>,
}

/// A box at its own size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Width and height of the box as it stands on the page, in whole pixels.
    pub width: u32,
    pub height: u32,
    /// The line runs downwards, so that the box is turned once it is level.
    pub downwards: bool,
}

/// Decides how the line in a box is cut out. A box much taller than wide is turned, so that its upper end comes
/// first.
#[must_use]
pub fn cut(corners: Quad, format: &LineFormat) -> Cut {
    match format.crop {
        Crop::OneStep => one_step(corners, format),
        Crop::Levelled => level::cut(corners, format),
    }
}

fn one_step(corners: Quad, format: &LineFormat) -> Cut {
    let sides =
        |[a, b, c, d]: Quad| (distance(a, b).max(distance(d, c)).max(1.0), distance(a, d).max(distance(b, c)).max(1.0));
    let (mut corners, (mut width, mut height)) = (corners, sides(corners));
    if height / width >= TALL {
        corners.rotate_left(1);
        (width, height) = (height, width);
    }
    #[expect(clippy::cast_precision_loss, reason = "sizes of a line are far below 2^24")]
    let scaled = (format.height as f32 * width / height).ceil();
    let longest = format.max_width.max(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float saturates; then it is clamped"
    )]
    let width = (scaled as u32).clamp(1, longest);
    let padded = width.max(format.min_width).next_multiple_of(format.width_multiple.max(1));
    Cut { corners, width, padded, level: None }
}

/// The network's input `[1, 3, height, padded]`; the padding is zero; channels are in the order blue, green, red.
///
/// Unless the box is levelled first, every pixel is taken from the page once, by the two nearest pixels a side, whatever
/// the angle.
#[must_use]
pub fn line(page: &Bitmap, cut: &Cut, format: &LineFormat) -> Tensor {
    match (&cut.level, page.channels()) {
        (Some(level), _) => level::line(page, cut, level, format),
        (None, Channels::Grey) => sample::<1>(page, cut, format),
        (None, Channels::Rgb) => sample::<3>(page, cut, format),
    }
}

fn sample<const N: usize>(page: &Bitmap, cut: &Cut, format: &LineFormat) -> Tensor {
    let (width, height, padded) = (cut.width as usize, format.height as usize, cut.padded as usize);
    let pixels: &[[u8; N]] = page.pixels().as_chunks().0;
    let stride = page.width() as usize;
    let normalise = &format.normalise;
    let scale = |channel: usize| {
        let table = level_table(normalise.mean[channel], normalise.std[channel]);
        (table[0], (table[255] - table[0]) / 255.0)
    };
    let scales = [scale(0), scale(1), scale(2)];
    let area = height * padded;
    let mut data = vec![0.0_f32; 3 * area];
    let map = Homography::onto(cut.corners);
    #[expect(clippy::cast_precision_loss, reason = "sizes of a line are far below 2^24")]
    let step = (1.0 / cut.width.max(1) as f32, 1.0 / format.height.max(1) as f32);
    let columns = Axis::new(page.width());
    let rows = Axis::new(page.height());
    for y in 0..height {
        for x in 0..width {
            // The middle of the pixel; on the page, middles of pixels are counted as whole numbers.
            #[expect(clippy::cast_precision_loss, reason = "sizes of a line are far below 2^24")]
            let (page_x, page_y) = map.at((x as f32 + 0.5) * step.0, (y as f32 + 0.5) * step.1);
            let (x0, x1, right) = columns.neighbours(page_x - 0.5);
            let (y0, y1, below) = rows.neighbours(page_y - 0.5);
            let [a, b] = [pixels[y0 * stride + x0], pixels[y0 * stride + x1]];
            let [c, d] = [pixels[y1 * stride + x0], pixels[y1 * stride + x1]];
            for channel in 0..3 {
                let from = if N == 1 { 0 } else { N - 1 - channel };
                let upper = f32::from(a[from]) + (f32::from(b[from]) - f32::from(a[from])) * right;
                let lower = f32::from(c[from]) + (f32::from(d[from]) - f32::from(c[from])) * right;
                let (offset, factor) = scales[channel];
                data[channel * area + y * padded + x] = offset + factor * (upper + (lower - upper) * below);
            }
        }
    }
    Tensor { shape: [1, 3, height, padded], data }
}

pub(super) fn distance(a: [f32; 2], b: [f32; 2]) -> f32 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

/// Interpolation along one side of a page.
struct Axis {
    last: usize,
    end: f32,
}

impl Axis {
    fn new(length: u32) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "sides of a page are far below 2^24")]
        Self { last: (length as usize).saturating_sub(1), end: length.saturating_sub(1) as f32 }
    }

    /// The two nearest pixels and the share of the second; beyond the border its pixel is repeated.
    fn neighbours(&self, position: f32) -> (usize, usize, f32) {
        let position = position.clamp(0.0, self.end);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the page")]
        let first = position as usize;
        #[expect(clippy::cast_precision_loss, reason = "sides of a page are far below 2^24")]
        (first.min(self.last), (first + 1).min(self.last), position - first as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recognise::tests::recogniser;

    fn format() -> LineFormat {
        LineFormat::from(&recogniser())
    }

    fn quad(x0: f32, y0: f32, x1: f32, y1: f32) -> Quad {
        [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
    }

    /// 255 where x is even, else 0: every resampling shows.
    fn stripes(width: u32, height: u32) -> Bitmap {
        let pixels = (0..height).flat_map(|_| (0..width).map(|x| if x % 2 == 0 { 255 } else { 0 })).collect();
        Bitmap::new(width, height, Channels::Grey, pixels).unwrap()
    }

    #[test]
    fn widths_are_padded_to_a_multiple_that_others_share() {
        let cut = |width| cut(quad(0.0, 0.0, width, 24.0), &format());
        assert_eq!((cut(100.0).width, cut(100.0).padded), (100, 112));
        assert_eq!((cut(20.0).width, cut(20.0).padded), (20, 48), "a short line is padded to the minimum");
        assert_eq!((cut(9000.0).width, cut(9000.0).padded), (640, 640), "a long line is squeezed");
    }

    #[test]
    fn a_tall_box_is_read_downwards() {
        let cut = cut(quad(10.0, 20.0, 34.0, 120.0), &format());
        assert_eq!(cut.corners[0], [34.0, 20.0], "the text's top left is the box's top right");
        assert_eq!(cut.width, 100);
    }

    #[test]
    fn a_line_at_its_final_size_is_taken_pixel_by_pixel() {
        let format = format();
        let cut = cut(quad(2.0, 0.0, 50.0, 24.0), &format);
        let tensor = line(&stripes(60, 24), &cut, &format);
        assert_eq!(tensor.shape, [1, 3, 24, 48]);
        let (white, black) = ((1.0 - 0.25) / 0.5, (0.0 - 0.25) / 0.5);
        for (x, value) in tensor.data[..48].iter().enumerate() {
            assert!((value - if x % 2 == 0 { white } else { black }).abs() < 1e-4, "{x}: {value}");
        }
    }

    #[test]
    fn padding_is_zero_after_normalising() {
        let format = format();
        let cut = cut(quad(0.0, 0.0, 50.0, 24.0), &format);
        let tensor = line(&stripes(60, 24), &cut, &format);
        assert_eq!(cut.padded, 64);
        assert!(tensor.data.chunks(64).all(|row| row[50..].iter().all(|&value| value == 0.0)));
    }

    #[test]
    fn a_slanted_line_comes_out_level() {
        // a bright band along y = x + 20
        let pixels =
            (0..100_i32).flat_map(|y| (0..100_i32).map(move |x| if (y - x - 20).abs() <= 6 { 255 } else { 0 }));
        let page = Bitmap::new(100, 100, Channels::Grey, pixels.collect()).unwrap();
        let format = format();
        let corners = [[13.0, 27.0], [63.0, 77.0], [57.0, 83.0], [7.0, 33.0]];
        let cut = cut(corners, &format);
        let tensor = line(&page, &cut, &format);
        let middle = &tensor.data[12 * cut.padded as usize..][..cut.width as usize];
        assert!(middle.iter().all(|&value| value > 1.0), "the band fills the middle row");
    }

    #[test]
    fn a_box_that_hangs_over_the_page_repeats_its_border() {
        let format = format();
        let page = Bitmap::new(4, 4, Channels::Grey, vec![255; 16]).unwrap();
        let tensor = line(&page, &cut(quad(-50.0, -50.0, 90.0, 20.0), &format), &format);
        assert!((tensor.data[0] - 1.5).abs() < 1e-5);
    }
}
