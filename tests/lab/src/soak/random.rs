//! What a plan draws from a seed.

use std::time::Duration;

use crate::chance::Chance;

/// A stream of draws, the same for the same seed.
pub(super) struct Random(Chance);

impl Random {
    /// The stream of this seed.
    pub(super) fn of(seed: u64) -> Self {
        Self(Chance::new(seed))
    }

    /// One of `0..count`. (That the first ones are drawn a hair more often does not matter here.)
    pub(super) fn below(&mut self, count: usize) -> usize {
        (self.0.number() % count.max(1) as u64) as usize
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
    fn what_has_no_weight_is_not_drawn() {
        let mut random = Random::of(1);
        assert!((0..100).all(|_| random.weighted(&[(0, 'a'), (3, 'b'), (0, 'c')]) == Some('b')));
        assert!((0..100).all(|_| (5..=9).contains(&random.millis(5, 9).as_millis())));
    }
}
