//! Many worlds on all cores.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::case::Case;
use super::coverage::Coverage;
use super::faults::Trouble;
use super::shrink::shrink;
use super::verdict::Wrong;
use super::world::{Fate, Telling, Terms, World};

/// So many lines of a world are shown at the most, its last.
const TOLD_MOST: usize = 400;

/// A world that went wrong, or the way it went.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) case: Case,
    pub(super) terms: Terms,
}

impl Found {
    /// The same once more, told.
    pub(super) fn told(&self, telling: Telling) -> Fate {
        World::new(self.case.clone(), Terms { telling, ..self.terms.clone() }).run()
    }
}

impl Found {
    /// What is wrong with it.
    pub(super) fn wrong(&self) -> Wrong {
        self.told(Telling::Nothing).wrong.expect("a world is its case: it goes wrong again")
    }

    /// What it takes to go wrong in this way.
    pub(super) fn small(&self) -> Self {
        shrink(self, self.wrong().kind)
    }

    /// For people: the world, as a test to paste, and what happens in it. With `VIPD_TRACE` set, every fact and order.
    pub(super) fn report(&self) -> String {
        let telling = if std::env::var_os("VIPD_TRACE").is_some() { Telling::Everything } else { Telling::Story };
        let told = self.told(telling).told;
        let from = told.len().saturating_sub(TOLD_MOST);
        format!("{}\nin which\n{}", self.case, told[from..].join("\n"))
    }
}

/// Runs the worlds of these seeds: the first that goes wrong, and what happened in all of them.
pub(super) fn run(worlds: u64, seed: u64, terms: &Terms, trouble: Trouble) -> (Option<Found>, Coverage) {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let (first, all) = (AtomicU64::new(u64::MAX), Mutex::new(Coverage::default()));
    std::thread::scope(|scope| {
        for core in 0..cores {
            let (first, all) = (&first, &all);
            scope.spawn(move || {
                let mut mine = Coverage::default();
                for s in (seed + core..seed + worlds).step_by(cores as usize) {
                    if first.load(Ordering::Relaxed) <= s {
                        break;
                    }
                    let case = Case::new(s, trouble);
                    let mut fate = World::new(case.clone(), terms.clone()).run();
                    if fate.wrong.is_some() {
                        first.fetch_min(s, Ordering::Relaxed);
                    }
                    fate.coverage.see_world(&case);
                    mine.add(&fate.coverage);
                }
                all.lock().unwrap_or_else(PoisonError::into_inner).add(&mine);
            });
        }
    });
    let found = Some(first.into_inner()).filter(|s| *s != u64::MAX);
    let found = found.map(|s| Found { case: Case::new(s, trouble), terms: terms.clone() });
    (found, all.into_inner().unwrap_or_else(PoisonError::into_inner))
}
