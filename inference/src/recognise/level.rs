//! Lines cut out as PaddleOCR and RapidOCR cut them: levelled at the box's own size, then resampled to the network's.
//!
//! For comparison with those programs; see [`ocr_api::manifest::Crop`].

use ocr_api::{Quad, manifest::Resample};

use super::{
    crop::{Cut, Level, LineFormat, TALL, distance},
    homography::Homography,
};
use crate::{
    decode::{Bitmap, Channels},
    detect::{input, resized},
    engine::Tensor,
    plan::{Turn, turned},
};

/// Decides how the line in a box is cut out: the box's sides are truncated to whole pixels before anything is made of
/// them, and an input longer than the shortest is truncated too.
pub fn cut(corners: Quad, format: &LineFormat) -> Cut {
    let [a, b, c, d] = corners;
    let (width, height) =
        (pixels(distance(a, b).max(distance(c, d))).max(1), pixels(distance(a, d).max(distance(b, c))).max(1));
    let downwards = f64::from(height) / f64::from(width) >= f64::from(TALL);
    let (mut corners, mut ratio) = (corners, f64::from(width) / f64::from(height));
    if downwards {
        corners.rotate_left(1);
        ratio = f64::from(height) / f64::from(width);
    }
    let net_height = f64::from(format.height);
    let shortest = f64::from(format.min_width) / net_height;
    #[expect(clippy::cast_possible_truncation, reason = "a float saturates; then it is clamped")]
    let [padded, filled] = [net_height * ratio.max(shortest), (net_height * ratio).ceil()].map(|x| pixels(x as f32));
    let padded = padded.clamp(1, format.max_width.max(1)).next_multiple_of(format.width_multiple.max(1));
    Cut { corners, width: filled.clamp(1, padded), padded, level: Some(Level { width, height, downwards }) }
}

/// Truncates a length to whole pixels.
fn pixels(length: f32) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float saturates")]
    let pixels = length as u32;
    pixels
}

/// The network's input `[1, 3, height, padded]`.
pub fn line(page: &Bitmap, cut: &Cut, level: &Level, format: &LineFormat) -> Tensor {
    let mut corners = cut.corners;
    if level.downwards {
        corners.rotate_right(1);
    }
    let mut text = levelled(page, corners, level.width, level.height);
    if level.downwards {
        text = turned(text, Turn::ThreeQuarters);
    }
    let unpadded = input(&resized(&text, cut.width, format.height, Resample::Opencv), &format.normalise);
    let padding = (cut.padded.saturating_sub(cut.width)) as usize;
    let mut data = Vec::with_capacity(3 * format.height as usize * cut.padded as usize);
    for row in unpadded.data.chunks_exact(cut.width.max(1) as usize) {
        data.extend_from_slice(row);
        data.extend(std::iter::repeat_n(0.0, padding));
    }
    Tensor { shape: [1, 3, format.height as usize, cut.padded as usize], data }
}

/// The box of a page as an upright rectangle of `width` x `height` pixels, by bicubic interpolation. Corners count as
/// middles of pixels: the first comes to lie on the first pixel, the others one behind the last.
fn levelled(page: &Bitmap, corners: Quad, width: u32, height: u32) -> Bitmap {
    let pixels = match page.channels() {
        Channels::Grey => sample::<1>(page, corners, width, height),
        Channels::Rgb => sample::<3>(page, corners, width, height),
    };
    Bitmap::new(width, height, page.channels(), pixels).unwrap_or_else(|| page.clone())
}

fn sample<const N: usize>(page: &Bitmap, corners: Quad, width: u32, height: u32) -> Vec<u8> {
    let source: &[[u8; N]] = page.pixels().as_chunks().0;
    let map = Homography::onto(corners);
    let (columns, rows) = (Axis::new(page.width()), Axis::new(page.height()));
    let stride = page.width() as usize;
    let mut target = Vec::with_capacity(N * width as usize * height as usize);
    #[expect(clippy::cast_precision_loss, reason = "sizes of a line are far below 2^24")]
    let share = |position: u32, length: u32| position as f32 / length.max(1) as f32;
    for y in 0..height {
        for x in 0..width {
            let (page_x, page_y) = map.at(share(x, width), share(y, height));
            let (across, down) = (columns.taps(page_x), rows.taps(page_y));
            let mut sums = [0.0_f32; N];
            for (row, weight_down) in down {
                for (column, weight_across) in across {
                    let pixel = &source[row * stride + column];
                    for (sum, level) in sums.iter_mut().zip(pixel) {
                        *sum += weight_down * weight_across * f32::from(*level);
                    }
                }
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float saturates")]
            target.extend(sums.map(|sum| sum.round() as u8));
        }
    }
    target
}

/// Bicubic interpolation along one side of a page.
struct Axis {
    last: f32,
}

impl Axis {
    fn new(length: u32) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "sides of a page are far below 2^24")]
        Self { last: length.saturating_sub(1) as f32 }
    }

    /// The four nearest pixels and their weights; beyond the border its pixel is repeated.
    fn taps(&self, position: f32) -> [(usize, f32); 4] {
        let first = position.floor();
        let [a, b, c, d] = cubic(position - first);
        [(-1.0, a), (0.0, b), (1.0, c), (2.0, d)].map(|(offset, weight): (f32, f32)| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the page")]
            let pixel = (first + offset).clamp(0.0, self.last) as usize;
            (pixel, weight)
        })
    }
}

/// Weights of the four nearest pixels, the position `t` of 0 to 1 being between the second and the third: the cubic
/// convolution of Keys (1981) with the slope -0.75, which is OpenCV's.
fn cubic(t: f32) -> [f32; 4] {
    const SLOPE: f32 = -0.75;
    let near = |x: f32| ((SLOPE + 2.0) * x - (SLOPE + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((SLOPE * x - 5.0 * SLOPE) * x + 8.0 * SLOPE) * x - 4.0 * SLOPE;
    [far(1.0 + t), near(t), near(1.0 - t), far(2.0 - t)]
}

#[cfg(test)]
mod tests {
    use ocr_api::manifest::Crop;

    use super::*;
    use crate::recognise::tests::recogniser;

    fn format() -> LineFormat {
        LineFormat { crop: Crop::Levelled, height: 48, width_multiple: 1, min_width: 320, ..(&recogniser()).into() }
    }

    fn quad(x0: f32, y0: f32, x1: f32, y1: f32) -> Quad {
        [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
    }

    fn grey(width: u8, height: u8, level: impl Fn(u8, u8) -> u8) -> Bitmap {
        let level = &level;
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| level(x, y))).collect();
        Bitmap::new(width.into(), height.into(), Channels::Grey, pixels).unwrap()
    }

    /// A page in which no two places look alike.
    fn page() -> Bitmap {
        grey(16, 12, |x, y| (7 * x + 13 * y).wrapping_add(if (x / 2 + y) % 3 == 0 { 40 } else { 0 }))
    }

    #[test]
    fn an_upright_box_is_taken_pixel_by_pixel() {
        let text = levelled(&page(), quad(3.0, 2.0, 8.0, 4.0), 5, 2);
        let rows: Vec<u8> = page().pixels().chunks(16).skip(2).take(2).flat_map(|row| row[3..8].to_vec()).collect();
        assert_eq!(text.pixels(), rows);
    }

    #[test]
    fn a_slanted_box_is_levelled_as_opencv_does_it() {
        // cv2.warpPerspective 5.0.0 of getPerspectiveTransform, INTER_CUBIC, BORDER_REPLICATE
        let expected = [
            [87_i16, 53, 59, 90, 105, 107, 109, 104],
            [57, 71, 85, 112, 120, 98, 99, 149],
            [66, 105, 129, 104, 91, 128, 162, 148],
            [129, 114, 89, 111, 144, 150, 142, 143],
            [90, 101, 123, 139, 153, 149, 137, 158],
        ];
        let text = levelled(&page(), [[3.0, 2.0], [11.0, 3.0], [10.0, 8.0], [2.0, 7.0]], 8, 5);
        for (found, expected) in text.pixels().iter().zip(expected.as_flattened()) {
            assert!((i16::from(*found) - expected).abs() <= 2, "{:?}", text.pixels());
        }
    }

    #[test]
    fn a_box_that_hangs_over_the_page_repeats_its_border() {
        let text = levelled(&page(), quad(-3.0, -2.0, 1.0, 1.0), 4, 3);
        let corner = page().pixels()[0];
        assert_eq!(text.pixels()[..3], [corner; 3]);
        assert_eq!(text.pixels()[11], corner);
    }

    #[test]
    fn sides_are_truncated_and_a_short_line_is_padded() {
        let cut = cut(quad(0.0, 0.0, 100.6, 23.9), &format());
        assert_eq!(cut.level, Some(Level { width: 100, height: 23, downwards: false }));
        // 48 * 100 / 23 = 208.7
        assert_eq!((cut.width, cut.padded), (209, 320));
    }

    #[test]
    fn a_long_line_fills_an_input_of_truncated_length() {
        // 48 * 301 / 20 = 722.4
        let cut = cut(quad(0.0, 0.0, 301.0, 20.0), &LineFormat { max_width: 4000, ..format() });
        assert_eq!((cut.width, cut.padded), (722, 722));
        let squeezed = super::cut(quad(0.0, 0.0, 3000.0, 20.0), &format());
        assert_eq!((squeezed.width, squeezed.padded), (640, 640));
    }

    #[test]
    fn a_box_without_area_is_a_pixel() {
        let cut = cut(quad(5.0, 5.0, 5.0, 5.0), &format());
        assert_eq!(cut.level, Some(Level { width: 1, height: 1, downwards: false }));
        assert_eq!(super::super::line(&page(), &cut, &format()).shape, [1, 3, 48, 320]);
    }

    #[test]
    fn a_tall_box_is_read_downwards_and_its_padding_is_zero() {
        // brighter from the top to the bottom, so from the left to the right once it is turned
        let page = grey(20, 100, |_, y| 100 + y);
        let cut = cut(quad(0.0, 0.0, 20.0, 100.0), &format());
        assert_eq!((cut.corners[0], cut.width, cut.padded), ([20.0, 0.0], 240, 320));
        let tensor = super::super::line(&page, &cut, &format());
        assert_eq!(tensor.shape, [1, 3, 48, 320]);
        let (text, padding) = tensor.data[320 * 20..][..320].split_at(240);
        assert!(text.first() < text.last() && text.is_sorted(), "{text:?}");
        assert!(padding.iter().all(|value| *value == 0.0));
    }

    #[test]
    fn weights_of_a_place_add_up_to_one() {
        for step in 0_u8..=32 {
            let sum: f32 = cubic(f32::from(step) / 32.0).iter().sum();
            assert!((sum - 1.0).abs() < 1e-6, "{step}: {sum}");
        }
        assert_eq!(cubic(0.5), [-0.09375, 0.59375, 0.59375, -0.09375]);
    }
}
