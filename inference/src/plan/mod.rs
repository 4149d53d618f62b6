//! Decides what is done to a page before its text is searched. Pure: sizes in, sizes out.
//!
//! Everything that changes a page's pixels is decided here and nowhere else, so that a page is resampled at most once
//! on its way to the detector and a line at most once on its way to the recogniser.

mod turn;
mod upright;

pub use turn::{Orientation, OrientationError, Turn, turned};
pub use upright::{orientation_input, upright_turn};

use ocr_api::manifest::{Detector, LimitSide};

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
