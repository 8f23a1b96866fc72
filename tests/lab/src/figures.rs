//! Figures of several rounds: least, median, most.

use std::fmt;
use std::time::Duration;

use crate::clock::millis;

/// The measurements of one quantity.
#[derive(Clone, Default, Debug)]
pub(crate) struct Figures(Vec<Duration>);

impl Figures {
    /// Takes one more round in.
    pub(crate) fn add(&mut self, figure: Duration) {
        let place = self.0.partition_point(|known| *known <= figure);
        self.0.insert(place, figure);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The middle one; of an even number, the mean of the two in the middle.
    pub(crate) fn median(&self) -> Duration {
        let middle = self.0.len() / 2;
        match self.0.as_slice() {
            [] => Duration::ZERO,
            all if all.len() % 2 == 1 => all[middle],
            all => (all[middle - 1] + all[middle]) / 2,
        }
    }

    /// The least that so many in a hundred are no larger than (the nearest rank: always one that was measured).
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or_default()
    }

    /// How many there are in each `step`, each named by its beginning; those without any are left out.
    pub(crate) fn spread(&self, step: Duration) -> Vec<(Duration, usize)> {
        let mut spread: Vec<(Duration, usize)> = Vec::new();
        for figure in &self.0 {
            let begins = step * u32::try_from(figure.as_nanos() / step.as_nanos().max(1)).unwrap_or(u32::MAX);
            match spread.last_mut() {
                Some((last, count)) if *last == begins => *count += 1,
                _ => spread.push((begins, 1)),
            }
        }
        spread
    }

    /// The smallest.
    pub(crate) fn least(&self) -> Duration {
        self.0.first().copied().unwrap_or_default()
    }

    /// The largest.
    pub(crate) fn most(&self) -> Duration {
        self.0.last().copied().unwrap_or_default()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, median, most) = (millis(self.least()), millis(self.median()), millis(self.most()));
        write!(f, "min {least:>9}   median {median:>9}   max {most:>9}   ({} rounds)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[u64]) -> Figures {
        let mut figures = Figures::default();
        values.iter().for_each(|value| figures.add(Duration::from_millis(*value)));
        figures
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(of(&[9, 1, 5]).median(), Duration::from_millis(5));
        assert_eq!(of(&[8, 2, 4, 6]).median(), Duration::from_millis(5));
        assert_eq!(of(&[]).median(), Duration::ZERO);
    }

    #[test]
    fn a_percentile_is_one_of_the_figures() {
        let hundred = of(&(1..=100).collect::<Vec<_>>());
        assert_eq!(hundred.percentile(99), Duration::from_millis(99));
        assert_eq!(hundred.percentile(90), Duration::from_millis(90));
        assert_eq!((of(&[3, 9]).percentile(99), of(&[3, 9]).percentile(50)), (of(&[9]).most(), of(&[3]).most()));
        assert_eq!(of(&[]).percentile(99), Duration::ZERO);
    }

    #[test]
    fn a_spread_counts_by_steps() {
        let ms = Duration::from_millis;
        assert_eq!(of(&[1, 499, 1500, 1999]).spread(ms(500)), [(ms(0), 2), (ms(1500), 2)]);
    }

    #[test]
    fn least_and_most_stand_at_the_ends() {
        let figures = of(&[3, 7, 1]);
        assert_eq!((figures.least(), figures.most()), (Duration::from_millis(1), Duration::from_millis(7)));
    }
}
