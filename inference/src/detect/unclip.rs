//! Boxes grown as PaddleOCR and RapidOCR grow them: by the Clipper library, which counts in whole pixels.

use std::f64::consts::PI;

use ocr_api::Quad;

/// How far an arc may lie from its true circle, in pixels: Clipper's default.
const ARC_TOLERANCE: f64 = 0.25;

/// The outline of a convex quadrilateral grown by a distance, round at its corners. Corners are truncated to whole
/// pixels first, and every point of the outline is rounded to one, as Clipper 6 does it with round joins.
///
/// Corners go clockwise as seen on the page. Two that fall on each other are one; without three there is no outline.
pub fn outline(corners: Quad, distance: f64) -> Vec<[i32; 2]> {
    #[expect(clippy::cast_possible_truncation, reason = "corners lie on the map or next to it")]
    let mut corners: Vec<[i32; 2]> = corners.iter().map(|[x, y]| [x.trunc() as i32, y.trunc() as i32]).collect();
    corners.dedup();
    if corners.len() > 1 && corners.first() == corners.last() {
        corners.pop();
    }
    if corners.len() < 3 || distance <= 0.0 {
        return Vec::new();
    }
    let outward: Vec<[f64; 2]> =
        corners.iter().zip(corners.iter().cycle().skip(1)).map(|(from, to)| normal(*from, *to)).collect();
    // The side before a corner ends there, the one of the same number begins there.
    let before = outward.iter().cycle().skip(outward.len() - 1);
    let mut outline = Vec::new();
    for ((corner, before), behind) in corners.iter().zip(before).zip(&outward) {
        let sine = before[0] * behind[1] - before[1] * behind[0];
        let cosine = before[0] * behind[0] + before[1] * behind[1];
        let flat = (sine * distance).abs() < 1.0 && cosine > 0.0;
        if !flat {
            outline.extend(arc(*corner, *before, sine.clamp(-1.0, 1.0).atan2(cosine), distance));
        }
        outline.push(moved(*corner, if flat { *before } else { *behind }, distance));
    }
    outline
}

/// The points of an arc around a corner from a normal onward, its end left out.
fn arc(corner: [i32; 2], from: [f64; 2], angle: f64, distance: f64) -> impl Iterator<Item = [i32; 2]> {
    let steps_of_circle = steps_of_circle(distance);
    let (sine, cosine) = (2.0 * PI / steps_of_circle).sin_cos();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float saturates; a circle has few steps"
    )]
    let steps = (steps_of_circle / (2.0 * PI) * angle.abs()).round().max(1.0) as usize;
    let turned = move |[x, y]: &[f64; 2]| Some([x * cosine - sine * y, x * sine + y * cosine]);
    std::iter::successors(Some(from), turned).take(steps).map(move |radius| moved(corner, radius, distance))
}

/// Steps of a whole circle within the tolerance; not always a whole number.
fn steps_of_circle(radius: f64) -> f64 {
    let tolerance = ARC_TOLERANCE.min(radius * ARC_TOLERANCE);
    (PI / (1.0 - tolerance / radius).acos()).min(radius * PI)
}

/// The unit vector to the left of the way from one point to another, which is outside for a clockwise outline (y runs
/// down).
fn normal(from: [i32; 2], to: [i32; 2]) -> [f64; 2] {
    let (dx, dy) = (f64::from(to[0] - from[0]), f64::from(to[1] - from[1]));
    let length = dx.hypot(dy);
    [dy / length, -dx / length]
}

fn moved(point: [i32; 2], direction: [f64; 2], distance: f64) -> [i32; 2] {
    // `round` goes away from zero at a half, as Clipper's does.
    #[expect(clippy::cast_possible_truncation, reason = "points next to the map")]
    [0, 1].map(|axis| (f64::from(point[axis]) + direction[axis] * distance).round() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::convex_hull;

    #[test]
    fn an_upright_box_grows_by_whole_pixels() {
        let outline = outline([[10.0, 8.0], [49.0, 8.0], [49.0, 15.0], [10.0, 15.0]], 3.86);
        let (left, right) = (outline.iter().map(|point| point[0]).min(), outline.iter().map(|point| point[0]).max());
        let (top, bottom) = (outline.iter().map(|point| point[1]).min(), outline.iter().map(|point| point[1]).max());
        assert_eq!((left, top, right, bottom), (Some(6), Some(4), Some(53), Some(19)));
    }

    #[test]
    fn a_slanted_box_has_the_outline_that_clipper_gives_it() {
        // pyclipper 1.4: PyclipperOffset, JT_ROUND, ET_CLOSEDPOLYGON, Execute(6.4) of the same corners
        let expected = [
            [81, 20],
            [84, 21],
            [86, 24],
            [86, 27],
            [84, 46],
            [83, 49],
            [80, 51],
            [77, 51],
            [7, 45],
            [4, 44],
            [2, 41],
            [2, 38],
            [4, 19],
            [5, 16],
            [8, 14],
            [11, 14],
        ];
        let found = outline([[10.7, 20.2], [80.9, 26.6], [78.3, 45.5], [8.1, 39.9]], 6.4);
        assert_eq!(convex_hull(&found), convex_hull(&expected));
    }

    #[test]
    fn corners_without_area_have_no_outline() {
        assert!(outline([[5.2, 5.2], [5.8, 5.2], [5.8, 5.8], [5.2, 5.8]], 4.0).is_empty());
        assert!(outline([[5.0, 5.0], [9.0, 5.0], [9.0, 5.4], [5.0, 5.4]], 4.0).is_empty());
        assert!(outline([[5.0, 5.0], [9.0, 5.0], [9.0, 9.0], [5.0, 9.0]], 0.0).is_empty());
    }
}
