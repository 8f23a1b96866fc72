//! What happened to each VIP of late: who came to stand first, when and why.
//!
//! Fed with the election's notes and looked at after each fact. It is for people: it decides nothing.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use super::Move;
use super::snapshot::own_lease;
use crate::election::action::{Cause, Note};
use crate::election::contender::Contender;
use crate::election::event::{Entry, LeaseId, Record, VipId};
use crate::election::machine::Election;
use crate::election::picture::Said;
use crate::moment::Moment;

/// How many moves of each VIP are remembered.
const KEPT: usize = 8;

/// The story of all VIPs.
#[derive(Debug, Default)]
pub struct Story {
    vips: BTreeMap<VipId, OfVip>,
    /// How far the picture went that was looked at last.
    looked: Option<i64>,
}

#[derive(Debug, Default)]
struct OfVip {
    /// Who stands first, by create revision and lease; none before the first look.
    first: Option<Option<First>>,
    since: Option<u64>,
    moves: VecDeque<Move>,
    /// Why this node let go last, until somebody else stands first.
    let_go: Option<String>,
    /// When this node's turn came, and when it took the VIP.
    turn: Option<Moment>,
    took: Option<Moment>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct First {
    create: i64,
    lease: LeaseId,
    node: String,
}

impl Story {
    /// Something is told to people. Returns for how long what it ends has lasted, in milliseconds: the taking, or the
    /// holding.
    pub fn note(&mut self, note: &Note, words: impl Fn(&Cause) -> String, now: Moment) -> Option<u64> {
        let millis = |from: Moment| u64::try_from(now.since(from).as_millis()).unwrap_or(u64::MAX);
        match note {
            Note::TurnCame { vip, .. } => self.vip(*vip).turn = Some(now),
            Note::LeftQueue { vip, cause } => self.vip(*vip).let_go = Some(words(cause)),
            Note::LetGo { vip, cause, .. } => {
                let of = self.vip(*vip);
                of.let_go = Some(words(cause));
                return of.took.take().map(millis);
            }
            Note::Took { vip } => {
                let of = self.vip(*vip);
                of.took = Some(now);
                let took = of.turn.take().map(millis);
                if let (Some(newest), Some(_)) = (of.moves.front_mut(), took) {
                    newest.took_ms = took;
                }
                return took;
            }
            _ => {}
        }
        None
    }

    /// A fact was handled: `at` by the calendar, in milliseconds since 1970.
    pub fn look(&mut self, election: &Election, at: u64) {
        let picture = election.picture();
        if !picture.is_known() || self.looked.replace(picture.revision()) == Some(picture.revision()) {
            return;
        }
        let firsts = picture.firsts();
        for contender in election.contenders() {
            let first = first(contender, &firsts);
            let of = self.vip(contender.id());
            match &of.first {
                Some(before) if *before == first => {}
                before => {
                    let known = of.first.is_some();
                    let end = election.picture().last_end(contender.addresses());
                    let before = before.as_ref().and_then(Option::as_ref);
                    let why = why(before, of.let_go.as_deref(), own_lease(election), end);
                    of.first = Some(first.clone());
                    if known {
                        of.moved(first, why, at);
                    }
                }
            }
        }
    }

    /// A VIP is no part of the plan any more.
    pub fn forget(&mut self, vip: VipId) {
        self.vips.remove(&vip);
    }

    /// Since when who stands first does, and the last moves, newest first.
    pub(super) fn of(&self, vip: VipId) -> (Option<u64>, Vec<Move>) {
        self.vips.get(&vip).map_or((None, Vec::new()), |of| (of.since, of.moves.iter().cloned().collect()))
    }

    fn vip(&mut self, vip: VipId) -> &mut OfVip {
        self.vips.entry(vip).or_default()
    }
}

impl OfVip {
    fn moved(&mut self, to: Option<First>, why: String, at: u64) {
        (self.since, self.let_go) = (Some(at), None);
        self.moves.push_front(Move { at, to: to.map(|first| first.node), why, took_ms: None });
        self.moves.truncate(KEPT);
    }
}

fn first(contender: &Contender, firsts: &BTreeMap<IpAddr, &Entry>) -> Option<First> {
    let of_each = contender.addresses().iter().filter_map(|address| firsts.get(address));
    let first = of_each.min_by_key(|entry| entry.create)?;
    match &first.record {
        Record::Candidate { lease, who, .. } => Some(First { create: first.create, lease: *lease, node: who.clone() }),
        Record::Node { .. } | Record::Ignored(_) => None,
    }
}

/// Why the one before stands first no more, as far as this node knows.
fn why(before: Option<&First>, let_go: Option<&str>, own: Option<LeaseId>, end: Option<Option<Said>>) -> String {
    match (before, let_go, end) {
        (None, ..) => "nobody stood before".into(),
        (Some(first), Some(cause), _) if own == Some(first.lease) => format!("this node let go: {cause}"),
        (Some(First { lease, .. }), None, Some(None)) if own == Some(*lease) => "this node's key was deleted".into(),
        (Some(First { node, .. }), _, Some(Some(Said::Passed))) => format!("{node} had the turn and did not take it"),
        (Some(First { node, .. }), _, Some(Some(Said::Word))) => format!("{node} gave it up in order"),
        (Some(First { node, .. }), _, Some(None)) => format!("{node}'s key is gone without its word: it was lost"),
        (Some(First { node, .. }), _, None) => format!("{node} is gone from the queue"),
    }
}
