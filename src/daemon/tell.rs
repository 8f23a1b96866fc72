//! Notes of the election as log lines. INFO is a transition, WARN is "look today", ERROR is "wake up".

use std::collections::BTreeMap;

use tracing::{error, info, warn};

use crate::election::action::{Cause, Note};
use crate::election::event::VipId;
use crate::node::keeper::LinkView;
use crate::plan::{Plan, PlannedVip};

/// Tells people.
pub fn tell(note: Note, plan: &Plan, links: &BTreeMap<VipId, LinkView>) {
    let link = |vip: VipId| link(plan, links, vip);
    match note {
        Note::SessionBegan { .. } | Note::SessionEnded { .. } => session(note),
        Note::Queued { vip, behind } => info!(vip = name(plan, vip), behind, "stands in the queue"),
        Note::StrangerFirst { vip, who } => {
            error!(vip = name(plan, vip), who, "a candidate that is no vipd stands first: nobody has the VIP");
        }
        Note::TurnCame { vip, at_once } => {
            let next = if at_once { "taking the VIP at once" } else { "asking the network first" };
            info!(vip = name(plan, vip), "the turn has come: {next}");
        }
        Note::Took { vip } => info!(vip = name(plan, vip), link = link(vip), "holds the VIP"),
        Note::TookLoudly { vip, by } => {
            error!(
                vip = name(plan, vip),
                by, "somebody still answers for the VIP a whole TTL after its turn: taking it all the same"
            );
        }
        Note::SomebodyAnswers { vip, by } => {
            warn!(vip = name(plan, vip), by, "another host still answers for the VIP: not taking it for now");
        }
        Note::Claimed { vip, by, times } => {
            warn!(vip = name(plan, vip), by, times, "another host claims the VIP that is held here: announced again");
        }
        Note::LetGo { vip, cause, kept_place } => let_go(&name(plan, vip), &cause, kept_place),
        Note::LeftQueue { vip, cause } => info!(vip = name(plan, vip), "leaves the queue: {}", why(&cause)),
        Note::SteppedBack { vip } => info!(vip = name(plan, vip), "the VIP is free for others"),
        Note::Repaired { vip, times } => {
            warn!(
                vip = name(plan, vip),
                times_a_minute = times,
                "somebody took the address off, or changed it: it is as it should be"
            );
        }
        Note::LinkChanged { vip, up: true } => {
            info!(vip = name(plan, vip), link = link(vip), "the link can serve")
        }
        Note::LinkChanged { vip, up: false } => {
            warn!(vip = name(plan, vip), link = link(vip), "the link is down or gone");
        }
        Note::KeyIgnored { key, why } => warn!(%key, "a key under the prefix is ignored: {why}"),
        Note::WatchDeaf => warn!("etcd's watch told less than a read: reading all again"),
        Note::TermChanged => info!("etcd changed its leader: a renewal did not count"),
    }
}

fn session(note: Note) {
    match note {
        Note::SessionBegan { lease, ttl_ms, margin_ms } => info!(%lease, ttl_ms, margin_ms, "a session began"),
        Note::SessionEnded { lease, cause: cause @ Cause::NoKernelWord } => {
            error!(%lease, "the session ends, its lease is left to run out: {}", why(&cause));
        }
        Note::SessionEnded { lease, cause } => warn!(%lease, "the session ended: {}", why(&cause)),
        _ => {}
    }
}

fn let_go(vip: &str, cause: &Cause, kept_place: bool) {
    let why = why(cause);
    match cause {
        Cause::Stopping | Cause::Removed => info!(vip, "lets go of the VIP: {why}"),
        Cause::KeyGone
        | Cause::LeaseLost
        | Cause::Fenced
        | Cause::LinkDown
        | Cause::Fruitless
        | Cause::AnotherHistory
        | Cause::InTheWay
        | Cause::Unwanted => warn!(vip, kept_place, "lets go of the VIP: {why}"),
        Cause::PutFailed(_) | Cause::NotOurs(_) | Cause::Fought | Cause::Answered(_) | Cause::NoKernelWord => {
            error!(vip, kept_place, "lets go of the VIP: {why}");
        }
    }
}

/// A cause in words.
pub fn why(cause: &Cause) -> String {
    match cause {
        Cause::Stopping => "asked to stop".into(),
        Cause::Removed => "the config does not want it any more, or not in this way".into(),
        Cause::KeyGone => "its key is gone from etcd".into(),
        Cause::LeaseLost => "the lease is gone from etcd".into(),
        Cause::Fenced => "etcd was not heard for too long (past the fence)".into(),
        Cause::LinkDown => "the link is down or gone".into(),
        Cause::PutFailed(what) => format!("the address cannot be put: {what}"),
        Cause::NotOurs(what) => format!("the address is on this node and not ours: {what}"),
        Cause::Fought => "somebody keeps taking the address off".into(),
        Cause::Answered(by) => format!("another host answers for it: {by}"),
        Cause::Fruitless => "one TTL without holding".into(),
        Cause::AnotherHistory => "etcd's data is of another history (restored, or another cluster)".into(),
        Cause::NoKernelWord => "the kernel does not confirm that an address is off".into(),
        Cause::Unwanted => "its key is not wanted any more".into(),
        Cause::InTheWay => "another node can serve one of its addresses while it waits for the others".into(),
    }
}

/// A VIP for people: its addresses.
pub fn name(plan: &Plan, vip: VipId) -> String {
    // What is said of one that was forgotten is about a late key of its.
    plan.get(vip).map_or_else(|| "one that was removed".into(), PlannedVip::name)
}

/// A VIP's link for people: its name, or what is looked for.
fn link(plan: &Plan, links: &BTreeMap<VipId, LinkView>, vip: VipId) -> String {
    let name = links.get(&vip).map(|link| link.name.clone());
    name.or_else(|| plan.get(vip).map(|planned| planned.link.to_string())).unwrap_or_default()
}
