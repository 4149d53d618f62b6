//! The detector's output to boxes around lines of text.

use ocr_api::{
    Quad,
    manifest::{Detector, Unclip},
};

use super::{
    components::components,
    rectangle::{convex_hull, min_area_rectangle, reading_corners},
    unclip::outline,
};

/// A component whose rectangle is thinner than this is noise, in pixels of the map.
const MIN_SIDE: f64 = 3.0;
/// A box thinner than this after it was grown is noise, in pixels of the map.
const MIN_GROWN_SIDE: f64 = MIN_SIDE + 2.0;

/// A box around a line of text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextBox {
    /// Corners in pixels of the page: top left, top right, bottom right, bottom left.
    pub corners: Quad,
    /// Mean probability of text inside, before it was grown.
    pub score: f32,
}

/// The boxes of a probability map, rows of `map_width`, of a page of `page_width` x `page_height` pixels; from top to
/// bottom.
///
/// A box is grown by area x ratio / perimeter on every side. For a rectangle that is what PaddleOCR's polygon offset
/// followed by another smallest rectangle amounts to, but for its rounding, which [`Unclip::WholePixels`] asks for.
#[must_use]
pub fn boxes(map: &[f32], map_width: usize, page_width: u32, page_height: u32, detector: &Detector) -> Vec<TextBox> {
    let map_height = map.len() / map_width.max(1);
    if map_height == 0 {
        return Vec::new();
    }
    #[expect(clippy::cast_precision_loss, reason = "sides of a page and a map are far below 2^24")]
    let [page_width, page_height, map_width_f, map_height_f] =
        [page_width as f32, page_height as f32, map_width as f32, map_height as f32];
    let (scale_x, scale_y) = (page_width / map_width_f, page_height / map_height_f);
    components(map, map_width, detector.threshold, detector.dilate)
        .iter()
        .take(detector.max_candidates as usize)
        .filter_map(|points| {
            let rectangle = min_area_rectangle(&convex_hull(points))?;
            if rectangle.shorter_side() < MIN_SIDE {
                return None;
            }
            let core = reading_corners(rectangle.corners());
            let score = mean_inside(map, map_width, map_height, core);
            if score < detector.box_threshold {
                return None;
            }
            let (area, perimeter) = (rectangle.width * rectangle.height, 2.0 * (rectangle.width + rectangle.height));
            let distance = area * f64::from(detector.unclip_ratio) / perimeter;
            let grown = match detector.unclip {
                Unclip::Exact => rectangle.grown(distance),
                Unclip::WholePixels => min_area_rectangle(&convex_hull(&outline(core, distance)))?,
            };
            if grown.shorter_side() < MIN_GROWN_SIDE {
                return None;
            }
            let corners = reading_corners(grown.corners()).map(|[x, y]| {
                [
                    (x * scale_x).round_ties_even().clamp(0.0, page_width),
                    (y * scale_y).round_ties_even().clamp(0.0, page_height),
                ]
            });
            Some(TextBox { corners, score })
        })
        .collect()
}

/// Mean of the map inside a convex quadrilateral, its border included; corners are truncated to whole pixels.
#[expect(clippy::cast_possible_truncation, reason = "corners lie on the map or next to it")]
fn mean_inside(map: &[f32], width: usize, height: usize, corners: Quad) -> f32 {
    let corners = corners.map(|[x, y]| [x.trunc() as i32, y.trunc() as i32]);
    let (mut sum, mut count) = (0.0_f64, 0_u32);
    let (top, bottom) = corners.iter().fold((i32::MAX, i32::MIN), |(a, b), [_, y]| (a.min(*y), b.max(*y)));
    for y in top.max(0)..=bottom {
        let Some((first, last)) = span(&corners, y) else { continue };
        let Some(row) =
            usize::try_from(y).ok().filter(|y| *y < height).and_then(|y| map.get(y * width..(y + 1) * width))
        else {
            break;
        };
        let first = usize::try_from(first).unwrap_or(0);
        let last = usize::try_from(last).unwrap_or(0).min(width - 1);
        for value in row.get(first..=last).unwrap_or_default() {
            sum += f64::from(*value);
            count += 1;
        }
    }
    if count == 0 { 0.0 } else { (sum / f64::from(count)) as f32 }
}

/// First and last pixel of a convex polygon in row `y`, its border included.
fn span(corners: &[[i32; 2]; 4], y: i32) -> Option<(i32, i32)> {
    let mut ends: Option<(f64, f64)> = None;
    for (a, b) in corners.iter().zip(corners.iter().cycle().skip(1)) {
        let (upper, lower) = if a[1] <= b[1] { (a, b) } else { (b, a) };
        if !(upper[1]..=lower[1]).contains(&y) {
            continue;
        }
        // A steep edge crosses the row at one point; a flat one covers a stretch, half a row above to half a row below.
        let (x0, x1) = (f64::from(upper[0]), f64::from(lower[0]));
        let height = f64::from(lower[1] - upper[1]);
        let at = |row: f64| {
            if height == 0.0 { x1 } else { x0 + (x1 - x0) * ((row - f64::from(upper[1])) / height).clamp(0.0, 1.0) }
        };
        let (from, to) = if height == 0.0 { (x0, x1) } else { (at(f64::from(y) - 0.5), at(f64::from(y) + 0.5)) };
        let (low, high) = (from.min(to), from.max(to));
        ends = Some(ends.map_or((low, high), |(a, b)| (a.min(low), b.max(high))));
    }
    #[expect(clippy::cast_possible_truncation, reason = "between corners that are i32")]
    ends.map(|(low, high)| (low.round() as i32, high.round() as i32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::detector;

    /// A map of 64 x 32 with one block of `level` from (10, 8) to (49, 15), both included.
    fn map(level: f32) -> Vec<f32> {
        let mut map = vec![0.0; 64 * 32];
        for y in 8..16 {
            map[y * 64 + 10..y * 64 + 50].fill(level);
        }
        map
    }

    #[test]
    fn a_block_becomes_a_grown_box_in_pixels_of_the_page() {
        let found = boxes(&map(0.9), 64, 128, 96, &detector());
        // 39 x 7: grown by 273 * 1.3 / 92 = 3.86, then by 2 and 3 to the page
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].corners, [[12.0, 12.0], [106.0, 12.0], [106.0, 57.0], [12.0, 57.0]]);
        assert!((found[0].score - 0.9).abs() < 1e-6);
    }

    #[test]
    fn a_box_grown_in_whole_pixels_is_a_pixel_of_the_map_off_at_most() {
        let whole = Detector { unclip: Unclip::WholePixels, ..detector() };
        let found = boxes(&map(0.9), 64, 128, 96, &whole);
        // 3.86 becomes 4: (6, 4) to (53, 19)
        assert_eq!(found[0].corners, [[12.0, 12.0], [106.0, 12.0], [106.0, 57.0], [12.0, 57.0]]);
        let found = boxes(&map(0.9), 64, 640, 320, &whole);
        assert_eq!(found[0].corners, [[60.0, 40.0], [530.0, 40.0], [530.0, 190.0], [60.0, 190.0]]);
    }

    #[test]
    fn a_faint_block_is_no_text() {
        assert!(boxes(&map(0.5), 64, 128, 96, &detector()).is_empty());
        assert!(boxes(&map(0.2), 64, 128, 96, &detector()).is_empty());
    }

    #[test]
    fn a_speck_is_no_text() {
        let mut map = vec![0.0; 64 * 32];
        map[500..503].fill(1.0);
        assert!(boxes(&map, 64, 128, 96, &detector()).is_empty());
    }

    #[test]
    fn a_box_at_the_border_stays_on_the_page() {
        let found = boxes(&[1.0; 32 * 32], 32, 32, 32, &detector());
        assert_eq!(found[0].corners, [[0.0, 0.0], [32.0, 0.0], [32.0, 32.0], [0.0, 32.0]]);
    }

    #[test]
    fn only_the_first_candidates_are_looked_at() {
        let mut map = vec![0.0; 32 * 256];
        for block in 0..16 {
            for y in 0..8 {
                map[(block * 16 + y) * 32..][..32].fill(0.9);
            }
        }
        let few = Detector { max_candidates: 3, ..detector() };
        assert_eq!(boxes(&map, 32, 32, 256, &few).len(), 3);
    }

    #[test]
    fn the_mean_of_a_slanted_box_leaves_out_what_lies_beside_it() {
        let mut map = vec![0.0; 40 * 40];
        for i in 0..40_usize {
            for across in 0..7_usize {
                if let Some(value) = map.get_mut((i + across).min(39) * 40 + i) {
                    *value = 1.0;
                }
            }
        }
        let slanted = [[2.0, 3.0], [30.0, 31.0], [30.0, 35.0], [2.0, 7.0]];
        assert!(mean_inside(&map, 40, 40, slanted) > 0.95);
        assert_eq!(mean_inside(&map, 40, 40, [[-9.0, -9.0], [-2.0, -9.0], [-2.0, -2.0], [-9.0, -2.0]]), 0.0);
    }
}
