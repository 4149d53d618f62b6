//! From what was seen to the record: ranges, and corrections of what rounding to them adds.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use ocr_assets::edits::int8::{Entry, Grid, Record, Target, Weights};

use crate::collect::Seen;
use crate::network::Tapped;

/// Shares of the range seen that are tried, in 24 steps from a fifth to all of it.
const STEPS: u16 = 24;
/// Most values of a tensor that are tried.
const MOST_VALUES: usize = 400_000;
/// A tensor that hardly goes below zero keeps its lower end: it comes from a Gelu, whose lowest value is -0.17.
const HARDLY_BELOW: f32 = -0.5;
/// How much wider a range becomes than the best for the lines seen: other lines have values beyond theirs. Too narrow is
/// worse than too wide. On 120 lines of receipts, the small network's probabilities were 0.0037 off on average with the
/// best ranges, 0.0100 with ranges of 0.93 times their width, 0.085 at 0.87, and 0.0038 at 1.07 and 1.15 times.
const MARGIN: f32 = 1.1;

/// The record of what was seen.
pub fn record(network: &Tapped, seen: &[Seen], lines: u32) -> Result<Record> {
    let mut tensors = Vec::new();
    for seen in seen {
        let (low, high) = range(seen);
        let mut corrections = BTreeMap::new();
        for target in network.targets.iter().filter(|target| target.input == seen.tensor) {
            let weights = network.weights(&target.convolution)?;
            let found = self::corrections(seen, Grid::over(low, high), target, &weights);
            corrections.insert(target.convolution.clone(), found.with_context(|| target.convolution.clone())?);
        }
        tensors.push(Entry { tensor: seen.tensor.clone(), low, high, corrections });
    }
    Ok(Record { schema: Record::SCHEMA.to_owned(), network: network.digest.clone(), lines, tensors })
}

/// The range that changes the values least on the whole, by the mean of squares, and [`MARGIN`]: what is beyond it is cut
/// off, and the narrower it is the finer are its steps.
fn range(seen: &Seen) -> (f32, f32) {
    let stride = seen.pixels.len().div_ceil(MOST_VALUES).max(1);
    let values: Vec<f32> = seen.pixels.iter().copied().step_by(stride).collect();
    let keeps_low = seen.lowest > HARDLY_BELOW;
    let mut best = (f64::INFINITY, (seen.lowest, seen.highest));
    for step in 0..=STEPS {
        let share = 0.2 + 0.8 * f32::from(step) / f32::from(STEPS);
        let low = if keeps_low { seen.lowest } else { seen.lowest * share };
        let tried = (rounded(low), rounded(seen.highest * share));
        let grid = Grid::over(tried.0, tried.1);
        let error: f64 = values.iter().map(|&value| f64::from(grid.nearest(value) - value).powi(2)).sum();
        if error < best.0 {
            best = (error, tried);
        }
    }
    let (low, high) = best.1;
    (if keeps_low { low } else { rounded(low * MARGIN) }, rounded(high * MARGIN))
}

/// To four digits: more would only be noise in the file.
fn rounded(value: f32) -> f32 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

/// What has to be added to each output channel, in units of the product of two bytes, so that its mean is what it was.
fn corrections(seen: &Seen, grid: Grid, target: &Target, weights: &[f32]) -> Result<Vec<i32>> {
    let channels = seen.channels.max(1);
    let (mut exact, mut rounded) = (vec![0.0_f64; channels], vec![0.0_f64; channels]);
    for pixel in seen.pixels.chunks_exact(channels) {
        for ((&value, exact), rounded) in pixel.iter().zip(&mut exact).zip(&mut rounded) {
            *exact += f64::from(value);
            *rounded += f64::from(grid.nearest(value));
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let count = (seen.pixels.len() / channels).max(1) as f64;
    let bytes = Weights::of(weights, target.inputs);
    let rows = weights.chunks_exact(target.inputs.max(1));
    let columns = bytes.scales.iter().enumerate();
    rows.zip(columns)
        .map(|(row, (column, &scale))| {
            let of_bytes = bytes.values.iter().skip(column).step_by(target.outputs);
            let with_bytes: f64 =
                of_bytes.zip(&rounded).map(|(&byte, value)| f64::from(byte) * f64::from(scale) * value).sum();
            let with_floats: f64 = row.iter().zip(&exact).map(|(&weight, value)| f64::from(weight) * value).sum();
            let unit = f64::from(grid.scale) * f64::from(scale);
            whole((with_floats - with_bytes) / count / unit).context("the correction is too large")
        })
        .collect()
}

fn whole(value: f64) -> Option<i32> {
    let value = value.round();
    #[expect(clippy::cast_possible_truncation, reason = "compared with the bounds first")]
    let whole = value as i32;
    (f64::from(whole) - value).abs().lt(&0.5).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(channels: usize, pixels: Vec<f32>) -> Seen {
        let fold = |choose: fn(f32, f32) -> f32| pixels.iter().copied().fold(0.0, choose);
        Seen { tensor: "t".into(), lowest: fold(f32::min), highest: fold(f32::max), channels, pixels }
    }

    #[test]
    fn a_single_value_far_out_is_cut_off() {
        let mut pixels: Vec<f32> =
            (0..399_999_u32).map(|number| f32::from(u16::try_from(number % 100).unwrap()) / 100.0).collect();
        pixels.push(4.0);
        let (low, high) = range(&seen(1, pixels));
        assert_eq!(low, 0.0);
        assert!(high < 3.0, "{high}");
    }

    #[test]
    fn values_spread_evenly_keep_their_range_and_get_the_margin() {
        let (low, high) = range(&seen(1, (0..=1000_u16).map(|number| f32::from(number) / 100.0 - 5.0).collect()));
        assert_eq!((low, high), (-5.5, 5.5));
    }

    #[test]
    fn the_mean_of_a_channel_is_what_it_was_after_the_correction() {
        // Always a third of a step above a byte's value.
        let grid = Grid::over(0.0, 255.0);
        let seen = seen(2, vec![10.3, 20.3, 30.3, 40.3]);
        let target = Target { convolution: "w".into(), input: "t".into(), output: "y".into(), inputs: 2, outputs: 1 };
        // In bytes 127 and 64 (rounded from 63.5), with the scale 2.
        let found = corrections(&seen, grid, &target, &[254.0, 127.0]).unwrap();
        let exact = 254.0 * 20.3 + 127.0 * 30.3;
        let bytes = (127.0 * 20.0 + 64.0 * 30.0) * 2.0;
        assert_eq!(found.iter().copied().map(f64::from).collect::<Vec<_>>(), [((exact - bytes) / 2.0_f64).round()]);
    }

    #[test]
    fn a_correction_beyond_all_bounds_is_none() {
        assert_eq!((whole(-2.4), whole(1e12), whole(f64::NAN)), (Some(-2), None, None));
    }
}
