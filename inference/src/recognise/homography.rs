//! Projective maps.

use ocr_api::Quad;

/// The projective map from the unit square onto four corners (Heckbert, 1989, section 2.2.3).
pub struct Homography {
    x: [f32; 3],
    y: [f32; 3],
    w: [f32; 2],
}

impl Homography {
    /// The corners are those of (0, 0), (1, 0), (1, 1) and (0, 1).
    pub fn onto([p0, p1, p2, p3]: Quad) -> Self {
        let (dx1, dx2, sx) = (p1[0] - p2[0], p3[0] - p2[0], p0[0] - p1[0] + p2[0] - p3[0]);
        let (dy1, dy2, sy) = (p1[1] - p2[1], p3[1] - p2[1], p0[1] - p1[1] + p2[1] - p3[1]);
        let determinant = dx1 * dy2 - dx2 * dy1;
        let (g, h) = if determinant.abs() < f32::EPSILON {
            (0.0, 0.0)
        } else {
            ((sx * dy2 - dx2 * sy) / determinant, (dx1 * sy - sx * dy1) / determinant)
        };
        Self {
            x: [p1[0] - p0[0] + g * p1[0], p3[0] - p0[0] + h * p3[0], p0[0]],
            y: [p1[1] - p0[1] + g * p1[1], p3[1] - p0[1] + h * p3[1], p0[1]],
            w: [g, h],
        }
    }

    /// Where a point of the square comes to lie.
    pub fn at(&self, u: f32, v: f32) -> (f32, f32) {
        let w = self.w[0] * u + self.w[1] * v + 1.0;
        ((self.x[0] * u + self.x[1] * v + self.x[2]) / w, (self.y[0] * u + self.y[1] * v + self.y[2]) / w)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_map_to_corners_and_sides_foreshorten() {
        let corners = [[10.0, 20.0], [30.0, 22.0], [28.0, 40.0], [12.0, 36.0]];
        let map = Homography::onto(corners);
        for ((u, v), corner) in [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)].into_iter().zip(corners) {
            let (x, y) = map.at(u, v);
            assert!((x - corner[0]).abs() < 1e-4 && (y - corner[1]).abs() < 1e-4, "{x} {y}");
        }
        // The diagonals' crossing stays their crossing, which is not the mean of the corners.
        let (x, y) = map.at(0.5, 0.5);
        let on = |[ax, ay]: [f32; 2], [bx, by]: [f32; 2]| ((bx - ax) * (y - ay) - (by - ay) * (x - ax)).abs() < 1e-2;
        assert!(on(corners[0], corners[2]) && on(corners[1], corners[3]), "{x} {y}");
    }
}
