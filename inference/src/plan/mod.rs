//! Decides what is done to a page before its text is searched. Pure: sizes in, sizes out.
//!
//! Everything that changes a page's pixels is decided here and nowhere else, so that a page is resampled at most once
//! on its way to the detector and a line at most once on its way to the recogniser.

mod shapes;
mod turn;
mod upright;

pub use shapes::InputShapes;
pub use turn::{Orientation, OrientationError, Turn, turned};
pub use upright::{orientation_input, upright_turn};

use ocr_api::{
    Quad,
    manifest::{Detector, LimitSide, PageSize},
};

/// The networks' strides: both sides of the detector's input are multiples of this.
const STRIDE: u32 = 32;

/// Size of the detector's input for a page, in pixels: width, height.
///
/// As PaddleOCR does it: one factor for both sides, truncated, then each side rounded half to even to a multiple of 32,
/// at least 32. A page of 1000 x 700 with a limit of 960 on the longer side becomes 960 x 672.
#[must_use]
pub fn detector_size(width: u32, height: u32, detector: &Detector) -> (u32, u32) {
    let (width, height) = (f64::from(width), f64::from(height));
    let limit = f64::from(detector.limit_length);
    let factor = match detector.limit_side {
        LimitSide::Max => (limit / width.max(height)).min(1.0),
        LimitSide::Min => (limit / width.min(height)).max(1.0),
    };
    let longest = width.max(height) * factor;
    let factor = factor * (f64::from(detector.max_length) / longest).min(1.0);
    (to_stride(width * factor, detector.max_length), to_stride(height * factor, detector.max_length))
}

/// Size that a page is brought to before its text is searched, in pixels: width, height. The page's own where nothing is
/// to be done. As RapidOCR does it: 932 x 2683 between 30 and 2000 becomes 704 x 1984.
#[must_use]
pub fn page_size(width: u32, height: u32, limits: &PageSize) -> (u32, u32) {
    let (longer, shorter) = (width.max(height), width.min(height));
    let scaled = |from: u32, to: u32| {
        let factor = f64::from(to) / f64::from(from.max(1));
        [width, height].map(|side| to_stride(f64::from(side) * factor, limits.max_length))
    };
    let [width, height] = if longer > limits.max_length {
        scaled(longer, limits.max_length)
    } else if shorter < limits.min_length {
        scaled(shorter, limits.min_length)
    } else {
        [width, height]
    };
    (width, height)
}

/// Corners on a page that was resampled from one size to another, both as width and height in pixels.
#[must_use]
pub fn resampled_corners(corners: Quad, from: (u32, u32), to: (u32, u32)) -> Quad {
    if from == to {
        return corners;
    }
    #[expect(clippy::cast_precision_loss, reason = "sides of a page are far below 2^24")]
    let factor = |from: u32, to: u32| to as f32 / from.max(1) as f32;
    let (across, down) = (factor(from.0, to.0), factor(from.1, to.1));
    corners.map(|[x, y]| [x * across, y * down])
}

fn to_stride(side: f64, max_length: u32) -> u32 {
    let steps = (side.trunc() / f64::from(STRIDE)).round_ties_even();
    let most = f64::from((max_length / STRIDE).max(1));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 1..=max_length / 32")]
    let steps = steps.clamp(1.0, most) as u32;
    steps * STRIDE
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::detect::tests::detector;

    fn limited(limit_side: LimitSide, limit_length: u32) -> Detector {
        Detector { limit_side, limit_length, max_length: 4000, ..detector() }
    }

    #[test]
    fn the_longer_side_is_reduced_to_the_limit() {
        assert_eq!(detector_size(1000, 700, &limited(LimitSide::Max, 960)), (960, 672));
    }

    #[test]
    fn a_small_page_keeps_its_size_to_the_next_stride() {
        assert_eq!(detector_size(463, 640, &limited(LimitSide::Max, 960)), (448, 640));
    }

    #[test]
    fn half_a_stride_rounds_to_the_even_multiple() {
        // 80 / 32 = 2.5 and 112 / 32 = 3.5, as Python rounds them
        assert_eq!(detector_size(80, 112, &limited(LimitSide::Max, 960)), (64, 128));
    }

    #[test]
    fn the_shorter_side_is_enlarged_to_the_limit() {
        assert_eq!(detector_size(368, 500, &limited(LimitSide::Min, 736)), (736, 992));
    }

    #[test]
    fn a_page_within_the_limits_keeps_its_size() {
        let limits = PageSize { max_length: 2000, min_length: 30 };
        assert_eq!(page_size(463, 797, &limits), (463, 797));
        assert_eq!(page_size(2000, 30, &limits), (2000, 30));
    }

    #[test]
    fn a_page_beyond_the_limits_is_brought_to_a_multiple_of_the_stride() {
        let limits = PageSize { max_length: 2000, min_length: 30 };
        // 2000 / 32 = 62.5 rounds to the even 62; 932 * 2000 / 2683 = 694 rounds to 22 * 32
        assert_eq!(page_size(932, 2683, &limits), (704, 1984));
        assert_eq!(page_size(100, 15, &limits), (192, 32));
        assert_eq!(page_size(1, 9000, &limits), (32, 1984), "no side vanishes");
    }

    #[test]
    fn corners_follow_a_resampled_page() {
        let corners = [[10.0, 20.0], [20.0, 20.0], [20.0, 30.0], [10.0, 30.0]];
        let back = resampled_corners(corners, (100, 50), (200, 150));
        assert_eq!(back, [[20.0, 60.0], [40.0, 60.0], [40.0, 90.0], [20.0, 90.0]]);
        assert_eq!(resampled_corners(corners, (7, 7), (7, 7)), corners);
    }

    proptest! {
        #[test]
        fn every_size_is_a_multiple_of_the_stride_within_the_limit(
            width in 1_u32..70_000, height in 1_u32..70_000, min in any::<bool>(),
        ) {
            let side = if min { LimitSide::Min } else { LimitSide::Max };
            let (w, h) = detector_size(width, height, &limited(side, 736));
            prop_assert!(w % STRIDE == 0 && h % STRIDE == 0);
            prop_assert!((STRIDE..=4000).contains(&w) && (STRIDE..=4000).contains(&h));
        }
    }
}
