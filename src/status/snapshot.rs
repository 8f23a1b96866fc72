//! From the election's state to a [`Status`].

use super::story::Story;
use super::{Candidate, Config, FORMAT, Here, Session, Status, Vip};
use crate::election::contender::{Contender, State};
use crate::election::event::{Entry, LeaseId, Record, VipId};
use crate::election::machine::Election;
use crate::election::record::node_key;
use crate::election::session;
use crate::moment::Moment;
use crate::plan::Plan;

/// What a snapshot needs beside the election.
pub struct Beside<'a> {
    /// This node's name.
    pub node: &'a str,
    /// The daemon's version.
    pub version: &'a str,
    /// What to do on this node.
    pub plan: &'a Plan,
    /// The name of a VIP's link, if it can serve; else why not.
    pub link: &'a dyn Fn(VipId) -> Result<String, String>,
    /// What happened so far.
    pub story: &'a Story,
    /// How the config stands.
    pub config: Config,
}

/// A snapshot at `now`.
pub fn snapshot(election: &Election, beside: &Beside<'_>, now: Moment) -> Status {
    // In the config's order; those that came with a reload stand last among the contenders.
    let place = |c: &&Contender| beside.plan.vips.iter().position(|planned| planned.id == c.id);
    let mut contenders: Vec<_> = election.contenders().iter().collect();
    contenders.sort_by_key(place);
    let vips = contenders.into_iter().map(|contender| vip(election, contender, beside, now)).collect();
    Status {
        format: FORMAT,
        node: beside.node.to_owned(),
        version: beside.version.to_owned(),
        etcd: of_session(election.session(), now),
        config: beside.config.clone(),
        vips,
    }
}

fn of_session(session: &session::Session, now: Moment) -> Session {
    match session {
        session::Session::Silent { until } => Session::Silent { left_ms: millis(now, *until) },
        session::Session::Asking { .. } => Session::Asking,
        session::Session::Live(live) => Session::Live {
            lease: live.lease.to_string(),
            ttl_ms: u64::try_from(live.timings.ttl.as_millis()).unwrap_or(u64::MAX),
            fence_left_ms: live.fence.map_or(0, |fence| millis(now, fence)),
            proven_ms_ago: live.proven_at.map(|at| millis(at, now)),
        },
    }
}

fn millis(from: Moment, to: Moment) -> u64 {
    u64::try_from(to.since(from).as_millis()).unwrap_or(u64::MAX)
}

fn vip(election: &Election, contender: &Contender, beside: &Beside<'_>, now: Moment) -> Vip {
    let addresses = contender.addresses().to_vec();
    let up = (beside.link)(contender.id());
    let wanted = beside.plan.get(contender.id()).map(|planned| planned.link.to_string()).unwrap_or_default();
    let own = own_lease(election);
    let (first_since, moves) = beside.story.of(contender.id());
    Vip {
        queue: election.picture().candidates(&addresses).iter().filter_map(|e| candidate(election, e, own)).collect(),
        addresses,
        link_up: up.is_ok(),
        link_lack: up.as_ref().err().cloned(),
        link: up.unwrap_or(wanted),
        here: here(contender.state()),
        passed_on: passed_on(election, contender, now),
        first_since,
        moves,
    }
}

fn passed_on(election: &Election, contender: &Contender, now: Moment) -> bool {
    match election.session() {
        session::Session::Live(live) => election.picture().is_passed_on(contender.addresses(), now, live.timings.ttl),
        session::Session::Silent { .. } | session::Session::Asking { .. } => false,
    }
}

/// The lease of the session, if there is one.
pub(super) fn own_lease(election: &Election) -> Option<LeaseId> {
    match election.session() {
        session::Session::Live(live) => Some(live.lease),
        session::Session::Silent { .. } | session::Session::Asking { .. } => None,
    }
}

fn candidate(election: &Election, entry: &Entry, own: Option<LeaseId>) -> Option<Candidate> {
    let Record::Candidate { lease, who, .. } = &entry.record else { return None };
    Some(Candidate {
        node: who.clone(),
        this: own == Some(*lease),
        vipd: election.picture().node(&node_key(election.prefix(), *lease)).is_some(),
        create: entry.create,
    })
}

/// What this node does about a VIP.
pub(super) fn here(state: &State) -> Here {
    match state {
        State::Idle => Here::Aside,
        State::Standing { .. } | State::Queued { .. } => Here::Waits,
        State::Proving(_) | State::Taking { .. } => Here::Takes,
        State::Holding { .. } => Here::Holds,
        State::Paused { .. } => Here::Paused,
        State::Leaving { .. } => Here::LetsGo,
    }
}
