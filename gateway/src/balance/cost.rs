//! What a request is estimated to cost before it is read, learnt from what such requests did cost.

/// What a body is, by its first bytes; kinds differ in how much work a byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Jpeg,
    Png,
    Pdf,
    Other,
}

impl Kind {
    const COUNT: usize = 4;

    /// By the first bytes of a body.
    #[must_use]
    pub fn of(first: &[u8]) -> Self {
        match first {
            [0xFF, 0xD8, 0xFF, ..] => Self::Jpeg,
            [0x89, b'P', b'N', b'G', ..] => Self::Png,
            [b'%', b'P', b'D', b'F', b'-', ..] => Self::Pdf,
            _ => Self::Other,
        }
    }
}

/// Sizes are told apart by the power of two above them; the last has all that are larger.
const SIZES: usize = 32;

/// Units that a request is estimated at before any was measured: a receipt.
const FIRST: f64 = 1.0;

/// Weight of a new measurement in the mean.
const WEIGHT: f64 = 0.1;

/// Mean cost of requests by kind and size.
#[derive(Clone, Debug)]
pub struct Costs {
    means: [[Option<f64>; SIZES]; Kind::COUNT],
    all: Option<f64>,
}

impl Default for Costs {
    fn default() -> Self {
        Self { means: [[None; SIZES]; Kind::COUNT], all: None }
    }
}

impl Costs {
    /// Units that a request is estimated at: those of its kind and size, else of the nearest size of its kind, else of all.
    #[must_use]
    pub fn estimate(&self, kind: Kind, bytes: u64) -> f64 {
        let size = size(bytes);
        let of_kind = &self.means[kind as usize];
        (0..SIZES)
            .find_map(|distance| {
                let smaller = size.checked_sub(distance).and_then(|size| of_kind.get(size).copied().flatten());
                smaller.or_else(|| of_kind.get(size + distance).copied().flatten())
            })
            .or(self.all)
            .unwrap_or(FIRST)
    }

    /// Learns what a request did cost. What is no cost is not taken.
    pub fn learn(&mut self, kind: Kind, bytes: u64, units: f64) {
        if !units.is_finite() || units < 0.0 {
            return;
        }
        let learn = |mean: &mut Option<f64>| *mean = Some(mean.map_or(units, |mean| mean + (units - mean) * WEIGHT));
        learn(&mut self.means[kind as usize][size(bytes)]);
        learn(&mut self.all);
    }
}

/// Which size it is: below `SIZES`.
fn size(bytes: u64) -> usize {
    usize::try_from(bytes.max(1).ilog2()).unwrap_or(SIZES).min(SIZES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_known_by_its_first_bytes() {
        assert_eq!(Kind::of(&[0xFF, 0xD8, 0xFF, 0xE0]), Kind::Jpeg);
        assert_eq!(Kind::of(b"\x89PNG\r\n"), Kind::Png);
        assert_eq!(Kind::of(b"%PDF-1.7"), Kind::Pdf);
        assert_eq!([&b""[..], b"%PDF", b"GIF89a"].map(Kind::of), [Kind::Other; 3]);
    }

    #[test]
    fn an_estimate_is_that_of_the_nearest_known() {
        let mut costs = Costs::default();
        assert_eq!(costs.estimate(Kind::Jpeg, 100_000), FIRST);
        costs.learn(Kind::Jpeg, 100_000, 3.0);
        costs.learn(Kind::Jpeg, 4_000_000, 60.0);
        assert_eq!(costs.estimate(Kind::Jpeg, 90_000), 3.0);
        assert_eq!(costs.estimate(Kind::Jpeg, 200_000), 3.0);
        assert_eq!(costs.estimate(Kind::Jpeg, 3_000_000), 60.0);
        assert_eq!(costs.estimate(Kind::Jpeg, u64::MAX), 60.0);
        // Of another kind nothing is known but what all cost.
        assert!((costs.estimate(Kind::Png, 1) - 8.7).abs() < 1e-9);
    }

    #[test]
    fn a_mean_follows_and_what_is_no_cost_is_not_learnt() {
        let mut costs = Costs::default();
        costs.learn(Kind::Pdf, 0, 10.0);
        costs.learn(Kind::Pdf, 1, 20.0);
        assert_eq!(costs.estimate(Kind::Pdf, 1), 11.0);
        for wrong in [f64::NAN, f64::INFINITY, -1.0] {
            costs.learn(Kind::Pdf, 1, wrong);
        }
        assert_eq!(costs.estimate(Kind::Pdf, 1), 11.0);
    }
}
