//! Two things that must never be: a holder without its address, and an address without a lease.
//!
//! The election says who holds what and until when; the kernel says which addresses are there. Neither learns of the
//! other here: both are looked at from outside, whenever one of them changes and when a fence comes. What the normal order
//! brings for milliseconds (an address is put just before the VIP counts as held, and taken off just after it was let go)
//! is no fault, so both have to last.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::labels::{OfVip, vip_name};
use crate::election::contender::State;
use crate::election::event::VipId;
use crate::election::machine::Election;
use crate::election::session::Session;
use crate::moment::Moment;

/// So long a holder may be without an address: it is put back within milliseconds, and tried again for some tenths.
const PUT_BACK: Duration = Duration::from_secs(1);
/// So near its fence nothing is put any more, and the kernel takes off what is there.
const NEAR: Duration = Duration::from_secs(1);
/// So long an address may outlive the right to it: the kernel takes it off 1.05 s after its end at the latest, and the
/// lease outlives the fence by more than this.
const TAKEN_OFF: Duration = Duration::from_millis(1150);
/// How often what lasts is counted on.
const COUNT: Duration = Duration::from_secs(1);

/// What the election says of one VIP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Which.
    pub vip: VipId,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether this node holds it.
    pub holds: bool,
    /// Until when this node may have it, if it has its turn.
    pub until: Option<Moment>,
}

/// What the election says of all VIPs.
pub type Claims = Vec<Claim>;

/// Writes down what the election says now; whether it is news. Called after every fact, and nothing is allocated unless
/// the VIPs are others.
pub fn publish(election: &Election, claims: &mut Claims) -> bool {
    let fence = match election.session() {
        Session::Live(live) => live.fence,
        Session::Silent { .. } | Session::Asking { .. } => None,
    };
    let contenders = election.contenders();
    let same = |claims: &Claims| {
        claims.len() == contenders.len()
            && contenders.iter().zip(claims).all(|(c, claim)| c.id() == claim.vip && c.addresses() == claim.addresses)
    };
    let mut news = !same(claims);
    if news {
        let anew = contenders.iter().map(|c| Claim {
            vip: c.id(),
            addresses: c.addresses().to_vec(),
            holds: false,
            until: None,
        });
        *claims = anew.collect();
    }
    for (contender, claim) in contenders.iter().zip(claims.iter_mut()) {
        let (holds, has_turn) = match contender.state() {
            State::Holding { .. } => (true, true),
            // Being put, or being taken off: the turn is not over before the kernel's word.
            State::Taking { .. } | State::Paused { .. } | State::Leaving { .. } => (false, true),
            State::Idle | State::Standing { .. } | State::Queued { .. } | State::Proving(_) => (false, false),
        };
        let until = fence.filter(|_| has_turn);
        news |= (claim.holds, claim.until) != (holds, until);
        (claim.holds, claim.until) = (holds, until);
    }
    news
}

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// This node holds the VIP, and one of its addresses is not there.
    HolderWithoutAddress,
    /// An address is here, and this node has no turn or is past its fence.
    AddressWithoutLease,
}

/// A fault that just came to last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Begun {
    /// What.
    pub fault: Fault,
    /// Of which VIP.
    pub vip: String,
}

/// Holds what the election says against what the kernel says.
#[derive(Debug)]
pub struct Audit {
    without_address: Kind,
    without_lease: Kind,
}

#[derive(Debug)]
struct Kind {
    fault: Fault,
    grace: Duration,
    now: Family<OfVip, Gauge>,
    seconds: Family<OfVip, Counter<f64, AtomicU64>>,
    vips: BTreeMap<VipId, OfOne>,
}

/// One fault of one VIP.
#[derive(Debug)]
struct OfOne {
    addresses: Vec<IpAddr>,
    since: Option<Moment>,
    /// Up to when it was counted, if it lasts.
    counted: Option<Moment>,
    now: Gauge,
    seconds: Counter<f64, AtomicU64>,
}

impl Audit {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let mut kind = |fault, grace, name: &str, help: &str| {
            let kind = Kind { fault, grace, now: Family::default(), seconds: Family::default(), vips: BTreeMap::new() };
            registry.register(name, help, kind.now.clone());
            registry.register_with_unit(name, format!("How long: {help}"), Unit::Seconds, kind.seconds.clone());
            kind
        };
        Self {
            without_address: kind(
                Fault::HolderWithoutAddress,
                PUT_BACK,
                "holder_without_address",
                "This node holds the VIP and lacks an address of it for more than 1 s, which must never be",
            ),
            without_lease: kind(
                Fault::AddressWithoutLease,
                TAKEN_OFF,
                "address_without_lease",
                "An address of the VIP is on this node for 1.15 s without its turn or past the fence, which must never be",
            ),
        }
    }

    /// Looks: `there` are the addresses that the kernel has. What just came to last, and when to look again.
    pub fn look(&mut self, claims: &Claims, there: &BTreeSet<IpAddr>, now: Moment) -> (Vec<Begun>, Option<Moment>) {
        let (mut begun, mut next) = (Vec::new(), Vec::new());
        self.without_address.forget_others(claims);
        self.without_lease.forget_others(claims);
        for claim in claims {
            let put_ends = claim.until.map(|until| until - NEAR);
            let lacks = claim.addresses.iter().any(|ip| !there.contains(ip));
            let has = claim.addresses.iter().any(|ip| there.contains(ip));
            let (may_put, may_have) = (put_ends.is_some_and(|at| now < at), claim.until.is_some_and(|at| now < at));
            next.extend(self.without_address.look(claim, claim.holds && lacks && may_put, now, &mut begun));
            next.extend(self.without_lease.look(claim, has && !may_have, now, &mut begun));
            next.extend([put_ends, claim.until].into_iter().flatten().filter(|at| *at > now));
        }
        (begun, next.into_iter().min())
    }
}

impl Kind {
    fn look(&mut self, claim: &Claim, is: bool, now: Moment, begun: &mut Vec<Begun>) -> Option<Moment> {
        if !self.vips.contains_key(&claim.vip) {
            self.adopt(claim);
        }
        let one = self.vips.get_mut(&claim.vip)?;
        let lasted = one.counted.is_some();
        let next = one.look(is, self.grace, now);
        if one.counted.is_some() && !lasted {
            begun.push(Begun { fault: self.fault, vip: vip_name(&claim.addresses) });
        }
        next
    }

    fn adopt(&mut self, claim: &Claim) {
        let of = OfVip { vip: vip_name(&claim.addresses) };
        let (now, seconds) = (self.now.get_or_create_owned(&of), self.seconds.get_or_create_owned(&of));
        let addresses = claim.addresses.clone();
        self.vips.insert(claim.vip, OfOne { addresses, since: None, counted: None, now, seconds });
    }

    /// Before others are adopted: one of them may have the same address under another number.
    fn forget_others(&mut self, claims: &Claims) {
        let fits = |(vip, one): (&VipId, &OfOne), claim: &Claim| *vip == claim.vip && one.addresses == claim.addresses;
        if self.vips.len() <= claims.len() && self.vips.iter().zip(claims).all(|(known, claim)| fits(known, claim)) {
            return;
        }
        let (now, seconds) = (&self.now, &self.seconds);
        self.vips.retain(|vip, one| {
            let stays = claims.iter().any(|claim| fits((vip, one), claim));
            if !stays {
                let of = OfVip { vip: vip_name(&one.addresses) };
                now.remove(&of);
                seconds.remove(&of);
            }
            stays
        });
    }
}

impl OfOne {
    fn look(&mut self, is: bool, grace: Duration, now: Moment) -> Option<Moment> {
        if let Some(counted) = self.counted {
            self.seconds.inc_by(now.since(counted).as_secs_f64());
        }
        if !is {
            (self.since, self.counted) = (None, None);
            self.now.set(0);
            return None;
        }
        let lasts = *self.since.get_or_insert(now) + grace;
        if now < lasts {
            return Some(lasts);
        }
        if self.counted.replace(now).is_none() {
            self.seconds.inc_by(now.since(lasts).as_secs_f64());
            self.now.set(1);
        }
        Some(now + COUNT)
    }
}

#[cfg(test)]
mod tests;
