//! What a soak counted, and the lines it is told in. Pure.

use std::fmt;
use std::time::Duration;

use super::history::History;
use crate::figures::Figures;

/// The counts.
#[derive(Clone, Default, Debug)]
pub(super) struct Tally {
    /// How long it was to take.
    pub(super) minutes: u64,
    /// The seed.
    pub(super) seed: u64,
    /// Troubles done.
    pub(super) faults: usize,
    /// Healings.
    pub(super) heals: usize,
    /// Healings after which one holder was there in time, and stayed.
    pub(super) good: usize,
    /// What else did not go as it should.
    pub(super) problems: usize,
    /// From each healing to the holder that stayed.
    pub(super) settled: Figures,
}

impl Tally {
    /// Nothing was wrong.
    pub(super) fn passes(&self, history: &History) -> bool {
        history.overlap().is_zero() && self.good == self.heals && self.problems == 0
    }

    /// The verdict, in one line.
    pub(super) fn verdict(&self, history: &History) -> String {
        let Self { minutes, seed, faults, heals, good, problems, .. } = self;
        let failed = if self.passes(history) { "" } else { "FAILED: " };
        let after = if good == heals {
            format!("after each of {heals} heals")
        } else {
            format!("after {good} of {heals} heals")
        };
        let besides = if *problems == 0 { String::new() } else { format!("; {problems} problems") };
        format!(
            "soak: {failed}{minutes} min, seed {seed}: {faults} faults, {} moves, overlap {}, one holder {after}; longest time with none {:.1} s{besides}",
            history.moves,
            Seconds(history.overlap()),
            history.longest_none.as_secs_f64(),
        )
    }
}

/// `0.000 s`; what is more than nothing never shows as nothing.
pub(super) struct Seconds(pub(super) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.is_zero() && self.0 < Duration::from_millis(1) {
            write!(f, "{:.6} s", self.0.as_secs_f64())
        } else {
            write!(f, "{:.3} s", self.0.as_secs_f64())
        }
    }
}

/// `12:30`.
pub(super) fn minutes(span: Duration) -> String {
    format!("{}:{:02}", span.as_secs() / 60, span.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_soak_says_so_in_one_line() {
        let tally = Tally { minutes: 60, seed: 7, faults: 412, heals: 71, good: 71, ..Tally::default() };
        let history = History { moves: 388, longest_none: Duration::from_millis(14_200), ..History::default() };
        assert_eq!(
            tally.verdict(&history),
            "soak: 60 min, seed 7: 412 faults, 388 moves, overlap 0.000 s, one holder after each of 71 heals; longest time with none 14.2 s"
        );
    }

    #[test]
    fn a_bad_one_fails() {
        let tally = Tally { heals: 3, good: 2, problems: 1, ..Tally::default() };
        let verdict = tally.verdict(&History::default());
        assert!(
            verdict.starts_with("soak: FAILED")
                && verdict.contains("after 2 of 3 heals")
                && verdict.ends_with("1 problems")
        );
    }

    #[test]
    fn a_short_overlap_is_not_nothing() {
        assert_eq!(Seconds(Duration::from_micros(12)).to_string(), "0.000012 s");
    }
}
