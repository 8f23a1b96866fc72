//! Numbers that look random and are the same for the same seed, on every machine and for ever: SplitMix64.

use std::time::Duration;

/// A stream of numbers.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// The stream of this seed.
    pub(super) fn of(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..count`. (That the first ones are drawn a hair more often does not matter here.)
    pub(super) fn below(&mut self, count: usize) -> usize {
        (self.next() % count.max(1) as u64) as usize
    }

    /// Yes, in so many of a hundred.
    pub(super) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    /// A span of so many milliseconds, both ends in.
    pub(super) fn millis(&mut self, least: usize, most: usize) -> Duration {
        Duration::from_millis((least + self.below(most - least + 1)) as u64)
    }

    /// One of several, by weight.
    pub(super) fn weighted<T: Copy>(&mut self, choices: &[(usize, T)]) -> Option<T> {
        let mut drawn = self.below(choices.iter().map(|(weight, _)| weight).sum());
        for (weight, choice) in choices {
            if drawn < *weight {
                return Some(*choice);
            }
            drawn -= weight;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_stream() {
        let (mut one, mut same, mut other) = (Random::of(7), Random::of(7), Random::of(8));
        let drawn: Vec<u64> = (0..5).map(|_| one.next()).collect();
        assert_eq!(drawn, (0..5).map(|_| same.next()).collect::<Vec<_>>());
        assert_ne!(drawn, (0..5).map(|_| other.next()).collect::<Vec<_>>());
    }

    #[test]
    fn what_has_no_weight_is_not_drawn() {
        let mut random = Random::of(1);
        assert!((0..100).all(|_| random.weighted(&[(0, 'a'), (3, 'b'), (0, 'c')]) == Some('b')));
        assert!((0..100).all(|_| (5..=9).contains(&random.millis(5, 9).as_millis())));
    }
}
