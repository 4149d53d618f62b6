//! Numbers that look random and are the same on every machine and with every version of every library (`SplitMix64`,
//! Steele and others 2014).

/// A sequence of numbers.
pub struct Random(u64);

impl Random {
    /// The sequence of that number: each has its own.
    pub fn of(number: u32) -> Self {
        let mut random = Self(u64::from(number));
        // Sequences of neighbouring numbers would be the same one, a step apart.
        random.0 = random.next() ^ random.next().rotate_left(32);
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// From 0 to less than `end`.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX) & u64::from(u32::MAX);
        usize::try_from(((self.next() >> 32) * end) >> 32).unwrap_or_default()
    }

    /// From `low` to `high`, both included.
    pub fn within(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// From `low` to less than `high`.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        let bits = u32::try_from(self.next() >> 40).unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "24 bits")]
        let unit = bits as f32 / 16_777_216.0;
        low + (high - low) * unit
    }

    /// True in so many of a hundred.
    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    /// One of them.
    pub fn pick<'list, T>(&mut self, list: &'list [T]) -> Option<&'list T> {
        list.get(self.below(list.len()))
    }

    /// About a normal distribution of deviation 1: the sum of four even ones.
    pub fn normal(&mut self) -> f32 {
        let sum: f32 = (0..4).map(|_| self.between(-1.0, 1.0)).sum();
        // Each has the variance 1/3.
        sum * 0.75_f32.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_sequence_and_another_number_another() {
        let sequence = |number| {
            let mut random = Random::of(number);
            (0..8).map(|_| random.next()).collect::<Vec<_>>()
        };
        assert_eq!(sequence(7), sequence(7));
        assert!(sequence(7).iter().all(|number| !sequence(8).contains(number)));
    }

    #[test]
    fn numbers_stay_within_their_bounds_and_reach_them() {
        let mut random = Random::of(1);
        let drawn: Vec<usize> = (0..1000).map(|_| random.within(3, 5)).collect();
        assert!((3..=5).all(|number| drawn.contains(&number)) && drawn.iter().all(|number| (3..=5).contains(number)));
        assert!((0..1000).map(|_| random.between(-1.0, 2.0)).all(|number| (-1.0..2.0).contains(&number)));
    }

    #[test]
    fn noise_has_the_mean_zero_and_the_deviation_one() {
        let mut random = Random::of(2);
        let noise: Vec<f32> = (0..10_000).map(|_| random.normal()).collect();
        let mean = noise.iter().sum::<f32>() / 10_000.0;
        let variance = noise.iter().map(|value| value * value).sum::<f32>() / 10_000.0;
        assert!(mean.abs() < 0.05 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }
}
