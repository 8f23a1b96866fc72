//! Another host claims a VIP that is held here: what is done about it, and how often.
//!
//! The turn in etcd says that the VIP is ours, so it is kept and defended, as RFC 5227, 2.4 (c) has it for hosts that must
//! not give an address up: the network is told anew at once, and then at most once in `defend_every`. A claim that came
//! too soon for that is answered when the time is over, so that the last word is never the other's.

use super::{Contender, State, View, Wants};
use crate::election::action::{Action, Note, Occasion};
use crate::election::timings::Timings;
use crate::moment::Moment;

/// What was heard, and what was done about it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Defence {
    /// Claims since the daemon's start.
    claims: u64,
    /// When the last one was answered.
    defended_at: Option<Moment>,
    /// When the next answer is due.
    due: Option<Moment>,
    /// When people were last told, and of whom.
    told: Option<(Moment, String)>,
}

impl Defence {
    /// The VIP was taken: what was claimed before is no concern any more. The limits go on.
    pub(super) fn begin(&mut self) {
        self.due = None;
    }

    pub(super) fn due(&self) -> Option<Moment> {
        self.due
    }

    /// An answer at this moment, or as soon as the last one is long enough ago.
    fn call(&mut self, at: Moment, t: &Timings) {
        let free = self.defended_at.map_or(at, |last| (last + t.defend_every).max(at));
        self.due = Some(self.due.map_or(free, |due| due.min(free)));
    }

    /// Whether people should hear of this one, and not of every single one: the first, a new one as often as it is
    /// answered, and one in `claim_told_every`.
    fn is_news(&self, by: &str, now: Moment, t: &Timings) -> bool {
        let Some((at, who)) = &self.told else { return true };
        now >= *at + t.claim_told_every || (who != by && now >= *at + t.defend_every)
    }
}

impl Contender {
    /// How many claims of others were heard since the daemon's start while it held.
    pub fn claims(&self) -> u64 {
        self.defence.claims
    }

    /// Another host was heard to claim the VIP.
    pub fn claimed(&mut self, by: String, times: u32, view: &View<'_>, wants: &mut Wants) {
        let State::Holding { since, announcing, .. } = &self.state else { return };
        let (now, t) = (view.now, &view.live.timings);
        let settled = *since + t.claim_grace;
        if now < settled {
            // Its own frame may have been under way when the holder before let go, or slept with him. If nothing is
            // going to be announced soon anyway, then because of this, and no word about it.
            if announcing.due.is_none_or(|due| due > now + t.claim_grace) {
                self.defence.call(settled, t);
            }
            return;
        }
        self.defence.claims += u64::from(times);
        self.defence.call(now, t);
        if self.defence.is_news(&by, now, t) {
            self.defence.told = Some((now, by.clone()));
            wants.tell(Note::Claimed { vip: self.id, by, times: self.defence.claims });
        }
    }

    /// Tells the network anew, if that is due.
    pub(super) fn defend(&mut self, view: &View<'_>, wants: &mut Wants) {
        let (Some(link), Some(due)) = (self.link, self.defence.due) else { return };
        if view.now < due {
            return;
        }
        self.defence.due = None;
        self.defence.defended_at = Some(view.now);
        let announced = |action: &Action| matches!(action, Action::Announce { vip, .. } if *vip == self.id);
        // One that fell due at this moment says the same.
        if !wants.actions.iter().any(announced) {
            wants.actions.push(Action::Announce { vip: self.id, link, occasion: Occasion::Claimed });
        }
    }
}
