//! Which shapes of input the networks are given.

use std::str::FromStr;

use ocr_api::manifest::{Detector, LimitSide, Recogniser};

use super::{STRIDE, to_stride};
use crate::engine::BatchLimits;

/// Widths of a line's input are multiples of this, in pixels, in every bundle that we make. They are not filled up further:
/// multiples of 64 cost 0.003 of word F1, those of 128 0.006, and nine widths 0.010 (24 receipts, `pp-ocrv6-small`).
const LINE_STEP: u32 = 32;
/// Sides of a page's input are multiples of this where shapes are few, in pixels: five lengths up to 960.
const PAGE_STEP: u32 = 192;

/// How many shapes of input there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InputShapes {
    /// As many as there are pages and lines: inputs are no larger than they must be, which is what a CPU takes time for.
    #[default]
    Free,
    /// Some hundred that are known ahead, with pages filled up and lines in batches of a power of two: cuDNN looks for an
    /// algorithm for each shape that it has not seen, and TensorRT compiles.
    Fixed,
}

impl InputShapes {
    /// Size of the detector's input for a page of `width` x `height` pixels, at least that.
    #[must_use]
    pub const fn page(self, (width, height): (u32, u32)) -> (u32, u32) {
        match self {
            Self::Free => (width, height),
            Self::Fixed => (width.next_multiple_of(PAGE_STEP), height.next_multiple_of(PAGE_STEP)),
        }
    }

    /// Every shape that the detector is given, or the usual ones where only a page's shorter side has a limit; none where
    /// shapes are free. Batch, channels, height, width.
    #[must_use]
    pub fn of_detector(self, detector: &Detector) -> Vec<[usize; 4]> {
        let limit = to_stride(f64::from(detector.limit_length), detector.max_length);
        let steps =
            |from: u32, to: u32| (from.div_ceil(PAGE_STEP)..=to.div_ceil(PAGE_STEP)).map(|step| step * PAGE_STEP);
        let sizes: Vec<(u32, u32)> = match (self, detector.limit_side) {
            (Self::Free, _) => Vec::new(),
            (Self::Fixed, LimitSide::Max) => {
                steps(STRIDE, limit).flat_map(|width| steps(STRIDE, limit).map(move |height| (width, height))).collect()
            }
            // Up to twice as long as wide.
            (Self::Fixed, LimitSide::Min) => {
                let shorter = self.page((limit, limit)).0;
                let longer = steps(limit, (2 * limit).min(detector.max_length));
                longer.flat_map(|longer| [(shorter, longer), (longer, shorter)]).collect()
            }
        };
        extremes_first(sizes.into_iter().map(|(width, height)| [1, 3, height as usize, width as usize]).collect())
    }

    /// Every shape that the recogniser is given in such batches, or some where its widths are not multiples of 32; none where
    /// shapes are free. Batch, channels, height, width.
    #[must_use]
    pub fn of_recogniser(self, recogniser: &Recogniser, limits: BatchLimits) -> Vec<[usize; 4]> {
        if self == Self::Free {
            return Vec::new();
        }
        let step = recogniser.width_multiple.max(1).next_multiple_of(LINE_STEP);
        let last = recogniser.max_width.max(recogniser.min_width).div_ceil(step);
        let height = recogniser.height as usize;
        let shapes = (recogniser.min_width.div_ceil(step).max(1)..=last).flat_map(|number| {
            let width = (number * step) as usize;
            let most = limits.batch((limits.elements / (3 * height * width).max(1)).clamp(1, limits.items.max(1)));
            (0..=most.ilog2()).map(move |power| [1 << power, 3, height, width])
        });
        extremes_first(shapes.collect())
    }
}

/// The smallest, the largest, and then the others: TensorRT compiles again for a shape outside the range of those before.
fn extremes_first(mut shapes: Vec<[usize; 4]>) -> Vec<[usize; 4]> {
    shapes.sort_by_key(|shape| shape.iter().product::<usize>());
    shapes.dedup();
    if let Some(largest) = shapes.pop() {
        shapes.insert(usize::from(!shapes.is_empty()), largest);
    }
    shapes
}

impl FromStr for InputShapes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "free" => Ok(Self::Free),
            "fixed" => Ok(Self::Fixed),
            _ => Err("shapes are auto, free or fixed".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        detect::tests::detector,
        plan::detector_size,
        recognise::{LineFormat, cut, tests::recogniser},
    };

    fn limits(items: usize, elements: usize) -> BatchLimits {
        BatchLimits { items, elements, powers_of_two: true }
    }

    #[test]
    fn a_page_is_filled_up_on_both_sides() {
        assert_eq!(InputShapes::Fixed.page((672, 960)), (768, 960));
        assert_eq!(InputShapes::Fixed.page((32, 192)), (192, 192));
        assert_eq!(InputShapes::Free.page((672, 960)), (672, 960));
    }

    #[test]
    fn the_smallest_and_the_largest_shape_are_run_first() {
        let detector = Detector { limit_length: 576, ..detector() };
        let shapes = InputShapes::Fixed.of_detector(&detector);
        assert_eq!(shapes.len(), 9);
        assert_eq!(shapes[..2], [[1, 3, 192, 192], [1, 3, 576, 576]]);
        let recogniser = Recogniser { width_multiple: 32, min_width: 32, max_width: 110, ..recogniser() };
        let shapes = InputShapes::Fixed.of_recogniser(&recogniser, limits(6, 3 * 24 * 140));
        assert_eq!(shapes[..2], [[1, 3, 24, 32], [1, 3, 24, 128]]);
        let all: HashSet<_> = shapes.iter().map(|shape| (shape[0], shape[3])).collect();
        assert_eq!(all, HashSet::from([(1, 32), (2, 32), (4, 32), (1, 64), (2, 64), (1, 96), (1, 128)]));
    }

    #[test]
    fn free_shapes_are_not_run_ahead() {
        assert!(InputShapes::Free.of_detector(&detector()).is_empty());
        assert!(InputShapes::Free.of_recogniser(&recogniser(), limits(32, usize::MAX)).is_empty());
    }

    #[test]
    fn shapes_have_names() {
        assert_eq!("free".parse(), Ok(InputShapes::Free));
        assert_eq!("fixed".parse(), Ok(InputShapes::Fixed));
        assert!("some".parse::<InputShapes>().is_err());
    }

    proptest! {
        #[test]
        fn every_page_has_a_shape_that_was_run_ahead(
            width in 1_u32..20_000, height in 1_u32..20_000, limit in 64_u32..1300,
        ) {
            let detector = Detector { limit_length: limit, ..detector() };
            let (width, height) = InputShapes::Fixed.page(detector_size(width, height, &detector));
            let shape = [1, 3, height as usize, width as usize];
            prop_assert!(InputShapes::Fixed.of_detector(&detector).contains(&shape), "{shape:?}");
        }

        #[test]
        fn every_batch_has_a_shape_that_was_run_ahead(
            width in 1.0_f32..2000.0, waiting in 1_usize..100, items in 1_usize..40,
        ) {
            let recogniser = Recogniser { width_multiple: 32, min_width: 32, ..recogniser() };
            let cut = cut([[0.0, 0.0], [width, 0.0], [width, 24.0], [0.0, 24.0]], &LineFormat::from(&recogniser));
            let limits = limits(items, 3 * 24 * 2000);
            let most = (limits.elements / (3 * 24 * cut.padded as usize)).clamp(1, items);
            let shape = [limits.batch(waiting.min(most)), 3, 24, cut.padded as usize];
            prop_assert!(InputShapes::Fixed.of_recogniser(&recogniser, limits).contains(&shape), "{shape:?}");
        }
    }
}
