//! Another plan while the election runs: VIPs that go, VIPs that come.
//!
//! A VIP that is taken out goes the way of every planned move: address off, the kernel's word, the key with the owner's
//! word; then the adapters forget it. One that comes begins like at the start, wished absent, but not before every older
//! one with an address of its own is given back: two of one node would take each other's address off. A VIP that changed
//! is one that goes and one that comes. All others are not touched.
//!
//! An order to stand may be carried out long after its VIP was forgotten. So who went is kept, unseen, to the end of the
//! session, for the one thing it still does: it gives back a key that comes late.

use super::Election;
use super::ending::Stop;
use crate::election::action::Action;
use crate::election::contender::{Contender, Wants};
use crate::election::event::Reconfiguration;
use crate::election::guards::Guard;
use crate::election::session::Session;
use crate::election::timings::Schedule;
use crate::moment::Moment;

impl Election {
    /// Whether the end has begun: nothing can be changed any more.
    pub fn is_ending(&self) -> bool {
        self.stop != Stop::No
    }

    pub(super) fn reconfigured(&mut self, new: Reconfiguration, now: Moment, wants: &mut Wants) {
        if self.is_ending() {
            return;
        }
        let Reconfiguration { margin, announce, on_conflict, vips } = new;
        (self.settings.margin, self.settings.on_conflict) = (margin, on_conflict);
        if self.settings.announce != announce {
            self.reschedule(announce, now);
        }
        let is_wanted = |c: &Contender| vips.iter().any(|(id, _)| *id == c.id);
        self.contenders.iter_mut().filter(|c| !is_wanted(c)).for_each(Contender::retire);
        // Who has not begun has nothing to give back.
        let never = self.coming.extract_if(.., |c| !is_wanted(c));
        wants.actions.extend(never.map(|c| Action::Forget { vip: c.id }));
        for (id, addresses) in vips {
            if !self.contenders.iter().chain(&self.coming).any(|c| c.id == id) {
                self.coming.extend(Contender::new(id, addresses));
            }
        }
    }

    fn reschedule(&mut self, announce: Schedule, now: Moment) {
        self.contenders.iter_mut().for_each(|c| c.reschedule(&announce, now));
        if let Session::Live(live) = &mut self.session {
            live.timings.announce = announce.clone();
        }
        self.settings.announce = announce;
    }

    /// Who has given all back is forgotten, and who waited for that begins.
    pub(super) fn forget_and_admit(&mut self, wants: &mut Wants) {
        while let Some(at) = self.contenders.iter().position(|c| self.is_given_back(c)) {
            let gone = self.contenders.remove(at);
            wants.actions.push(Action::Forget { vip: gone.id });
            self.ghosts.retain(|ghost| !ghost.is_named_like(&gone));
            if self.lease().is_some() {
                self.ghosts.push(gone);
            }
        }
        let guarded = self.settings.guards.on(Guard::GivenBackFirst);
        let waits = |new: &Contender| guarded && self.contenders.iter().any(|old| old.shares_address(new));
        let (waiting, free): (Vec<_>, Vec<_>) = std::mem::take(&mut self.coming).into_iter().partition(waits);
        self.coming = waiting;
        for new in free {
            // A late key of this name is its own to keep or to give back.
            self.ghosts.retain(|ghost| !ghost.is_named_like(&new));
            wants.actions.push(new.wish());
            self.contenders.push(new);
        }
    }

    fn is_given_back(&self, contender: &Contender) -> bool {
        contender.has_retired() && self.lease().is_none_or(|lease| self.has_no_key(contender, lease))
    }
}
