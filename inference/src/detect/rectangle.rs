//! The smallest rectangle, at any angle, around a set of points.

use ocr_api::{Point, Quad};

/// A rectangle at any angle. `width` runs along `direction`, `height` along its normal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rectangle {
    pub centre: [f64; 2],
    /// Unit vector of the side `width`.
    pub direction: [f64; 2],
    pub width: f64,
    pub height: f64,
}

impl Rectangle {
    /// The rectangle with `by` added on every side.
    #[must_use]
    pub fn grown(self, by: f64) -> Self {
        Self { width: self.width + 2.0 * by, height: self.height + 2.0 * by, ..self }
    }

    /// Length of the shorter side.
    #[must_use]
    pub fn shorter_side(self) -> f64 {
        self.width.min(self.height)
    }

    /// The corners, in no order that says anything of reading; see [`reading_corners`].
    #[must_use]
    pub fn corners(self) -> [[f64; 2]; 4] {
        let [ux, uy] = self.direction;
        [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)].map(|(along, across)| {
            let (a, b) = (along * self.width, across * self.height);
            [self.centre[0] + a * ux - b * uy, self.centre[1] + a * uy + b * ux]
        })
    }
}

/// The corners of the convex hull, counter-clockwise in a y-up view, by Andrew's monotone chain. No three are in line.
#[must_use]
pub fn convex_hull(points: &[[i32; 2]]) -> Vec<[i32; 2]> {
    let mut sorted = points.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() < 3 {
        return sorted;
    }
    let turn = |o: [i32; 2], a: [i32; 2], b: [i32; 2]| {
        let (ax, ay) = (i64::from(a[0] - o[0]), i64::from(a[1] - o[1]));
        let (bx, by) = (i64::from(b[0] - o[0]), i64::from(b[1] - o[1]));
        ax * by - ay * bx
    };
    let half = |points: &mut dyn Iterator<Item = [i32; 2]>| {
        let mut chain: Vec<[i32; 2]> = Vec::new();
        for point in points {
            while let [.., before, last] = chain[..] {
                if turn(before, last, point) > 0 {
                    break;
                }
                chain.pop();
            }
            chain.push(point);
        }
        chain.pop();
        chain
    };
    let mut hull = half(&mut sorted.iter().copied());
    hull.extend(half(&mut sorted.iter().rev().copied()));
    hull
}

/// The rectangle of least area around the points of a convex hull: one of its sides lies on an edge of the hull
/// (Freeman and Shapira, 1975). `None` without points.
#[must_use]
pub fn min_area_rectangle(hull: &[[i32; 2]]) -> Option<Rectangle> {
    let first = *hull.first()?;
    let next = hull.iter().cycle().skip(1);
    hull.iter()
        .zip(next)
        .map(|(a, b)| along_edge(hull, *a, *b))
        .chain((hull.len() < 2).then(|| along_edge(hull, first, first)))
        .min_by(|a, b| (a.width * a.height).total_cmp(&(b.width * b.height)))
}

fn along_edge(hull: &[[i32; 2]], a: [i32; 2], b: [i32; 2]) -> Rectangle {
    let (dx, dy) = (f64::from(b[0] - a[0]), f64::from(b[1] - a[1]));
    let length = dx.hypot(dy);
    let direction = if length > 0.0 { [dx / length, dy / length] } else { [1.0, 0.0] };
    let [ux, uy] = direction;
    let (mut along, mut across) = ((f64::MAX, f64::MIN), (f64::MAX, f64::MIN));
    for &[x, y] in hull {
        let (x, y) = (f64::from(x), f64::from(y));
        let (s, t) = (x * ux + y * uy, y * ux - x * uy);
        along = (along.0.min(s), along.1.max(s));
        across = (across.0.min(t), across.1.max(t));
    }
    let (s, t) = (f64::midpoint(along.0, along.1), f64::midpoint(across.0, across.1));
    Rectangle {
        centre: [s * ux - t * uy, s * uy + t * ux],
        direction,
        width: along.1 - along.0,
        height: across.1 - across.0,
    }
}

/// The corners as top left, top right, bottom right, bottom left: of the two leftmost the upper one is top left, of the
/// two rightmost the upper one top right (as PaddleOCR orders them).
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "pixels fit f32")]
pub fn reading_corners(corners: [[f64; 2]; 4]) -> Quad {
    let mut sorted = corners;
    sorted.sort_by(|a, b| a[0].total_cmp(&b[0]));
    let [mut left_a, mut left_b, mut right_a, mut right_b] = sorted;
    if left_a[1] > left_b[1] {
        std::mem::swap(&mut left_a, &mut left_b);
    }
    if right_a[1] > right_b[1] {
        std::mem::swap(&mut right_a, &mut right_b);
    }
    [left_a, right_a, right_b, left_b].map(|[x, y]| -> Point { [x as f32, y as f32] })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_upright_block_is_its_own_rectangle() {
        let hull = convex_hull(&[[2, 3], [9, 3], [2, 5], [9, 5], [4, 4]]);
        assert_eq!(hull.len(), 4);
        let rectangle = min_area_rectangle(&hull).unwrap();
        assert_eq!(reading_corners(rectangle.corners()), [[2.0, 3.0], [9.0, 3.0], [9.0, 5.0], [2.0, 5.0]]);
    }

    #[test]
    fn a_diamond_is_taken_at_its_angle() {
        let rectangle = min_area_rectangle(&convex_hull(&[[5, 0], [10, 5], [5, 10], [0, 5]])).unwrap();
        assert!((rectangle.width * rectangle.height - 50.0).abs() < 1e-9, "{rectangle:?}");
    }

    #[test]
    fn a_point_and_a_line_are_flat_rectangles() {
        assert_eq!(min_area_rectangle(&convex_hull(&[[4, 4]])).unwrap().shorter_side(), 0.0);
        let line = min_area_rectangle(&convex_hull(&[[0, 0], [3, 4]])).unwrap();
        assert!((line.width - 5.0).abs() < 1e-9 && line.height < 1e-9, "{line:?}");
        assert!(min_area_rectangle(&[]).is_none());
    }

    proptest! {
        #[test]
        fn the_rectangle_holds_every_point(points in prop::collection::vec([0..200_i32, 0..200_i32], 1..40)) {
            let rectangle = min_area_rectangle(&convex_hull(&points)).unwrap();
            let [ux, uy] = rectangle.direction;
            for [x, y] in points {
                let (dx, dy) = (f64::from(x) - rectangle.centre[0], f64::from(y) - rectangle.centre[1]);
                prop_assert!((dx * ux + dy * uy).abs() <= rectangle.width / 2.0 + 1e-6);
                prop_assert!((dy * ux - dx * uy).abs() <= rectangle.height / 2.0 + 1e-6);
            }
        }
    }
}
