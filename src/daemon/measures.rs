//! The loop's hand on the metrics: what passes by is counted, and what the election says now is shown to the auditor.
//!
//! Nothing here waits, and nothing takes a lock that a scrape holds, but when a VIP comes or goes: then for as long as one
//! metric is written down.

use tokio::sync::watch;

use crate::election::action::Note;
use crate::election::event::{Event, LeaseId, VipId};
use crate::election::machine::Election;
use crate::metrics::{Claims, Happened, publish};
use crate::moment::Moment;
use crate::node::announce::Counts;
use crate::plan::Plan;

/// What the loop counts and shows.
#[derive(Debug)]
pub struct Measures {
    happened: Happened,
    claims: watch::Sender<Claims>,
}

impl Measures {
    pub(super) fn new(mut happened: Happened, plan: &Plan) -> Self {
        happened.adopt(plan);
        Self { happened, claims: watch::Sender::default() }
    }

    /// What the election says, for the auditor.
    pub(super) fn claims(&self) -> watch::Receiver<Claims> {
        self.claims.subscribe()
    }

    /// Other VIPs from now on.
    pub(super) fn adopt(&mut self, plan: &Plan) {
        self.happened.adopt(plan);
    }

    pub(super) fn event(&mut self, event: &Event) {
        self.happened.event(event);
    }

    pub(super) fn note(&mut self, note: &Note) {
        self.happened.note(note);
    }

    pub(super) fn announced(&self, vip: VipId) {
        self.happened.announced(vip);
    }

    /// The newest counted pair of the session before and after a fact: its lease, and when its renewal was sent.
    pub(super) fn pair(&self, before: Option<(LeaseId, Moment)>, after: Option<(LeaseId, Moment)>, at: Moment) {
        if let Some((_, sent)) = after.filter(|_| after != before) {
            self.happened.pair(sent, at);
        }
    }

    /// The loop went round once more.
    pub(super) fn round(&self, election: &Election, frames: Counts) {
        self.happened.frames(frames);
        self.claims.send_if_modified(|claims| publish(election, claims));
    }
}
