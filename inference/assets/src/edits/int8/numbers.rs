//! From floats to bytes. The same arithmetic on every machine: single operations on 32-bit floats.

/// Which floats the 256 values of a byte stand for: `(byte - zero) * scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    pub scale: f32,
    pub zero: u8,
}

impl Grid {
    /// The grid over a range, which holds 0: it must be one of its values, because padding is made of it.
    #[must_use]
    pub fn over(low: f32, high: f32) -> Self {
        let scale = (high - low) / 255.0;
        let zero = (-low / scale).round_ties_even().clamp(0.0, 255.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number from 0 to 255")]
        let zero = zero as u8;
        Self { scale, zero }
    }

    /// What is left of a value, as `QuantizeLinear` rounds it.
    #[must_use]
    pub fn nearest(self, value: f32) -> f32 {
        let zero = f32::from(self.zero);
        (((value / self.scale).round_ties_even() + zero).clamp(0.0, 255.0) - zero) * self.scale
    }
}

/// What one step of signed bytes whose zero is 0 stands for, where they hold that range.
#[must_use]
pub fn symmetric_scale(low: f32, high: f32) -> f32 {
    low.abs().max(high.abs()) / 127.0
}

/// Weights in signed bytes, with a scale for each output channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// A row for each input channel, a column for each output channel.
    pub values: Vec<i8>,
    /// By output channel.
    pub scales: Vec<f32>,
}

impl Weights {
    /// Of a convolution's weights, which have a row for each output channel.
    #[must_use]
    pub fn of(weights: &[f32], inputs: usize) -> Self {
        let rows: Vec<&[f32]> = weights.chunks_exact(inputs.max(1)).collect();
        let scales: Vec<f32> = rows
            .iter()
            .map(|row| row.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs())))
            // Of a row of zeros any scale will do.
            .map(|largest| if largest > 0.0 { largest / 127.0 } else { 1.0 })
            .collect();
        let mut values = Vec::with_capacity(weights.len());
        for input in 0..inputs {
            values.extend(rows.iter().zip(&scales).map(|(row, scale)| {
                let value = row.get(input).copied().unwrap_or_default() / scale;
                #[expect(clippy::cast_possible_truncation, reason = "a whole number from -127 to 127")]
                let byte = value.round_ties_even().clamp(-127.0, 127.0) as i8;
                byte
            }));
        }
        Self { values, scales }
    }

    /// The values with a row for each output channel, as the convolution has them.
    #[must_use]
    pub fn by_output(&self) -> Vec<i8> {
        let outputs = self.scales.len();
        (0..outputs).flat_map(|output| self.values.iter().skip(output).step_by(outputs).copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_a_value_of_every_grid() {
        for (low, high) in [(0.0, 6.0), (-1.0, 0.0), (-0.3, 7.1), (-5.0, 0.01)] {
            let grid = Grid::over(low, high);
            assert_eq!(grid.nearest(0.0), 0.0);
            assert!((grid.nearest(low) - low).abs() <= grid.scale, "{low}");
            assert!((grid.nearest(high) - high).abs() <= grid.scale, "{high}");
        }
    }

    #[test]
    fn what_is_beyond_the_range_becomes_its_end() {
        let grid = Grid::over(-1.0, 254.0);
        assert_eq!(grid, Grid { scale: 1.0, zero: 1 });
        assert_eq!([-9.0, 0.4, 0.5, 1.5, 300.0].map(|value| grid.nearest(value)), [-1.0, 0.0, 0.0, 2.0, 254.0]);
    }

    #[test]
    fn a_range_around_zero_is_as_wide_as_its_longer_side() {
        assert_eq!([symmetric_scale(-1.0, 254.0), symmetric_scale(-254.0, 1.0)], [2.0, 2.0]);
    }

    #[test]
    fn weights_are_turned_and_scaled_by_the_largest_of_each_row() {
        let weights = Weights::of(&[127.0, -63.5, 0.0, 0.0, 2.0, -2.0], 2);
        assert_eq!(weights.scales, [1.0, 1.0, 2.0 / 127.0]);
        assert_eq!(weights.values, [127, 0, 127, -64, 0, -127]);
        assert_eq!(weights.by_output(), [127, -64, 0, 0, 127, -127]);
    }
}
