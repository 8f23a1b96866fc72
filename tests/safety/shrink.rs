//! Makes a world that goes wrong smaller, as long as it goes wrong in the same way: what is left is what it takes.
//!
//! Leaving something out changes who sends what when, so that chance falls otherwise for the rest. A smaller world is
//! therefore tried with a few other seeds as well before it is given up.

use super::case::{Case, Rough};
use super::faults::{MS, Planned, SECOND, Whom};
use super::runs::Found;
use super::verdict::Kind;
use super::world::{Telling, Terms, World};

/// With so many other seeds a smaller world is tried.
const SEEDS: u64 = 12;
/// So many worlds are run at the most: some ten seconds.
const RUNS_MOST: u32 = 6000;

/// The smallest world found that goes wrong in this way.
pub(super) fn shrink(found: &Found, kind: Kind) -> Found {
    let mut shrinking = Shrinking { case: found.case.clone(), terms: found.terms.clone(), kind, left: RUNS_MOST };
    // Only this verdict counts, also where a smaller world goes wrong in another way first.
    shrinking.terms = Terms { judges: Some(kind), telling: Telling::Nothing, ..shrinking.terms };
    while shrinking.one_round() {}
    Found { case: shrinking.case, terms: shrinking.terms }
}

struct Shrinking {
    case: Case,
    terms: Terms,
    kind: Kind,
    left: u32,
}

impl Shrinking {
    /// Tries everything once, the largest steps first; whether anything helped.
    fn one_round(&mut self) -> bool {
        let before = self.case.clone();
        self.drop_rough();
        self.drop_faults();
        self.drop_nodes();
        self.drop_vips();
        self.shorten();
        self.round();
        self.case != before && self.left > 0
    }

    /// Takes a smaller case for good if it still goes wrong, with its own seed or another.
    fn take(&mut self, smaller: Case) -> bool {
        if smaller == self.case {
            return false;
        }
        let seeds = std::iter::once(smaller.seed).chain(1..=SEEDS);
        for seed in seeds {
            if self.left == 0 {
                return false;
            }
            self.left -= 1;
            let case = Case { seed, ..smaller.clone() };
            if self.is_wrong(&case) {
                self.case = case;
                return true;
            }
        }
        false
    }

    /// A world without a guard must also be right with it: else it says nothing about the guard.
    fn is_wrong(&self, case: &Case) -> bool {
        let wrong = |terms: &Terms| World::new(case.clone(), terms.clone()).run().wrong;
        wrong(&self.terms).is_some_and(|w| w.kind == self.kind)
            && (self.terms.without.is_none() || wrong(&Terms::STRICT).is_none())
    }

    fn drop_rough(&mut self) {
        self.take(Case { rough: Vec::new(), ..self.case.clone() });
        for rough in self.case.rough.clone() {
            let keep = |r: &Rough| *r != rough;
            self.take(Case { rough: self.case.rough.iter().copied().filter(keep).collect(), ..self.case.clone() });
        }
    }

    fn drop_faults(&mut self) {
        for i in (0..self.case.faults.len()).rev() {
            let mut smaller = self.case.clone();
            smaller.faults.remove(i);
            self.take(smaller);
        }
    }

    /// A node, with the faults that met it.
    fn drop_nodes(&mut self) {
        for i in (0..self.case.nodes.len()).rev() {
            if self.case.nodes.len() <= 1 {
                return;
            }
            let mut smaller = self.case.clone();
            let gone = Whom::Node(smaller.nodes.remove(i).id);
            smaller.faults.retain(|f| f.fault.whom() != Some(gone));
            self.take(smaller);
        }
    }

    /// A VIP on all nodes, or an address of a group; where nodes differ, all like the first.
    fn drop_vips(&mut self) {
        let alike = self.case.nodes[0].vips.clone();
        self.take_vips(|vips| *vips = alike.clone());
        let most = self.case.nodes.iter().map(|n| n.vips.len()).max().unwrap_or(0);
        for v in (0..most).rev() {
            self.take_vips(|vips| {
                if vips.len() > 1 && v < vips.len() {
                    vips.remove(v);
                }
            });
            self.take_vips(|vips| {
                if let Some(group) = vips.get_mut(v) {
                    group.truncate(1);
                }
            });
        }
    }

    fn take_vips(&mut self, change: impl Fn(&mut Vec<Vec<u8>>)) {
        let mut smaller = self.case.clone();
        smaller.nodes.iter_mut().for_each(|n| change(&mut n.vips));
        self.take(smaller);
    }

    fn shorten(&mut self) {
        self.take(Case { lasts: 0, ..self.case.clone() });
        for i in 0..self.case.faults.len() {
            while self.case.faults[i].lasts > MS && self.take_fault(i, |f| f.lasts /= 2) {}
        }
    }

    /// Round times are easier to read.
    fn round(&mut self) {
        for i in 0..self.case.faults.len() {
            let round = |n: i64, unit: i64| (n + unit / 2) / unit * unit;
            let Planned { at, lasts, .. } = self.case.faults[i];
            // The coarsest that will do.
            let units = [SECOND, 100 * MS, 10 * MS, MS];
            let _ = units.iter().any(|u| round(at, *u) == at || self.take_fault(i, |f| f.at = round(at, *u)));
            let _ =
                units.iter().any(|u| round(lasts, *u) == lasts || self.take_fault(i, |f| f.lasts = round(lasts, *u)));
            self.take_fault(i, |f| f.chance = 0);
        }
    }

    fn take_fault(&mut self, i: usize, change: impl FnOnce(&mut Planned)) -> bool {
        let mut smaller = self.case.clone();
        change(&mut smaller.faults[i]);
        self.take(smaller)
    }
}
