//! Notes of the election as log lines. INFO is a transition, WARN is "look today", ERROR is "wake up".

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::{debug, error, info, warn};

use crate::election::action::{Cause, Note};
use crate::election::event::{Answer, VipId};
use crate::metrics::reason;
use crate::moment::Moment;
use crate::node::keeper::{LinkState, LinkStates};
use crate::plan::{Plan, PlannedVip};

/// How often a cause on this node that lasts is told. Meanwhile the VIP stands, fails and steps back many times, and all of
/// that says nothing new.
const TELL: Duration = Duration::from_secs(60);

/// Tells people what happens, and what lasts only now and then.
#[derive(Debug, Default)]
pub struct Teller {
    lasting: BTreeMap<VipId, Lasting>,
}

/// A cause on this node for which a VIP failed.
#[derive(Debug)]
struct Lasting {
    cause: Cause,
    told_at: Moment,
    /// How often it failed for it since.
    times: u32,
}

impl Teller {
    /// Tells it, unless it is the same trouble again. `lasted`: for how long what it ends has, in milliseconds.
    pub fn tell(&mut self, note: Note, lasted: Option<u64>, plan: &Plan, links: &LinkStates, now: Moment) {
        if self.is_as_before(&note, now) {
            debug!(?note, "as before");
        } else {
            tell(note, lasted, plan, links);
        }
    }

    /// A VIP is no part of the plan any more.
    pub fn forget(&mut self, vip: VipId) {
        self.lasting.remove(&vip);
    }

    fn is_as_before(&mut self, note: &Note, now: Moment) -> bool {
        match note {
            Note::LetGo { vip, cause, .. } | Note::LeftQueue { vip, cause } => self.fails(*vip, cause, now),
            Note::Queued { vip, .. }
            | Note::TurnCame { vip, .. }
            | Note::SteppedBack { vip }
            | Note::SomebodyAnswers { vip, .. } => self.lasting.get(vip).is_some_and(|l| l.times > 0),
            Note::Took { vip } => {
                self.lasting.remove(vip);
                false
            }
            _ => false,
        }
    }

    fn fails(&mut self, vip: VipId, cause: &Cause, now: Moment) -> bool {
        if !is_of_this_node(cause) {
            self.lasting.remove(&vip);
            return false;
        }
        match self.lasting.get_mut(&vip) {
            Some(lasting) if lasting.cause == *cause => {
                lasting.times += 1;
                if now.since(lasting.told_at) < TELL {
                    return true;
                }
                lasting.told_at = now;
            }
            _ => drop(self.lasting.insert(vip, Lasting { cause: cause.clone(), told_at: now, times: 0 })),
        }
        false
    }
}

/// What another try does not mend by itself.
fn is_of_this_node(cause: &Cause) -> bool {
    matches!(cause, Cause::PutFailed(_) | Cause::NotOurs(_) | Cause::Fought | Cause::Answered(_))
}

fn tell(note: Note, lasted: Option<u64>, plan: &Plan, links: &LinkStates) {
    let link = |vip: VipId| link(plan, links, vip);
    match note {
        Note::SessionBegan { .. } | Note::SessionEnded { .. } => session(note),
        Note::Queued { vip, behind } => info!(vip = name(plan, vip), state = "waits", behind, "stands in the queue"),
        Note::StrangerFirst { vip, who } => {
            error!(vip = name(plan, vip), who, "a candidate that is no vipd stands first: nobody has the VIP");
        }
        Note::TurnCame { vip, at_once } => {
            let next = if at_once { "taking the VIP at once" } else { "asking the network first" };
            info!(vip = name(plan, vip), state = "takes", "the turn has come: {next}");
        }
        Note::Took { vip } => {
            info!(vip = name(plan, vip), state = "holds", link = link(vip), took_ms = lasted, "holds the VIP");
        }
        Note::TookLoudly { vip, by: Answer::Host(by) } => {
            error!(
                vip = name(plan, vip),
                by, "somebody still answers for the VIP a whole TTL after its turn: taking it all the same"
            );
        }
        Note::TookLoudly { vip, by: Answer::NotAsked(why) } => {
            error!(vip = name(plan, vip), "taking the VIP without having asked the network for a whole TTL: {why}");
        }
        Note::SomebodyAnswers { vip, by: Answer::Host(by) } => {
            warn!(vip = name(plan, vip), by, "another host still answers for the VIP: not taking it for now");
        }
        Note::SomebodyAnswers { vip, by: Answer::NotAsked(why) } => {
            warn!(vip = name(plan, vip), "the network cannot be asked whether somebody has the VIP: {why}");
        }
        Note::Claimed { vip, by, times } => {
            warn!(vip = name(plan, vip), by, times, "another host claims the VIP that is held here: announced again");
        }
        Note::LetGo { vip, cause, kept_place } => let_go(&name(plan, vip), &cause, kept_place, lasted),
        Note::LeftQueue { vip, cause } if is_of_this_node(&cause) => {
            error!(
                vip = name(plan, vip),
                state = "aside",
                "leaves the queue without having taken the VIP: {}",
                why(&cause)
            );
        }
        Note::LeftQueue { vip, cause } => {
            info!(vip = name(plan, vip), state = "aside", reason = reason(&cause), "leaves the queue: {}", why(&cause));
        }
        Note::SteppedBack { vip } => info!(vip = name(plan, vip), state = "aside", "the VIP is free for others"),
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
            error!(%lease, reason = reason(&cause), "the session ends, its lease is left to run out: {}", why(&cause));
        }
        Note::SessionEnded { lease, cause } => {
            warn!(%lease, reason = reason(&cause), "the session ended: {}", why(&cause))
        }
        _ => {}
    }
}

fn let_go(vip: &str, cause: &Cause, kept_place: bool, held_ms: Option<u64>) {
    let (why, reason, state) = (why(cause), reason(cause), if kept_place { "paused" } else { "letsGo" });
    match cause {
        Cause::Stopping | Cause::Removed => info!(vip, state, reason, held_ms, "lets go of the VIP: {why}"),
        Cause::KeyGone
        | Cause::LeaseLost
        | Cause::Fenced
        | Cause::LinkDown
        | Cause::Fruitless
        | Cause::AnotherHistory
        | Cause::InTheWay
        | Cause::Unwanted => warn!(vip, state, reason, held_ms, "lets go of the VIP: {why}"),
        Cause::PutFailed(_) | Cause::NotOurs(_) | Cause::Fought | Cause::Answered(_) | Cause::NoKernelWord => {
            error!(vip, state, reason, held_ms, "lets go of the VIP: {why}");
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
        Cause::Answered(Answer::Host(by)) => format!("another host answers for it: {by}"),
        Cause::Answered(Answer::NotAsked(why)) => {
            format!("the network could not be asked whether somebody has it: {why}")
        }
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
fn link(plan: &Plan, links: &LinkStates, vip: VipId) -> String {
    let name = links.get(&vip).and_then(LinkState::serves).map(|link| link.name.clone());
    name.or_else(|| plan.get(vip).map(|planned| planned.link.to_string())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: VipId = VipId(0);

    fn told(teller: &mut Teller, note: Note, second: u64) -> bool {
        !teller.is_as_before(&note, Moment::default() + Duration::from_secs(second))
    }

    fn fails(what: &str) -> Note {
        Note::LeftQueue { vip: VIP, cause: Cause::PutFailed(what.into()) }
    }

    #[test]
    fn a_cause_that_lasts_is_told_once_a_minute_and_another_one_at_once() {
        let mut teller = Teller::default();
        let queued = || Note::Queued { vip: VIP, behind: 0 };
        assert!(told(&mut teller, queued(), 0) && told(&mut teller, fails("no IPv6"), 0));
        assert!(told(&mut teller, queued(), 0), "after a first failure the next try is news");
        assert!(!told(&mut teller, fails("no IPv6"), 0), "not twice within milliseconds");
        assert!(!told(&mut teller, queued(), 1) && !told(&mut teller, fails("no IPv6"), 1));
        assert!(told(&mut teller, Note::Queued { vip: VipId(1), behind: 0 }, 1), "of another VIP");
        assert!(told(&mut teller, fails("no IPv6"), 61) && !told(&mut teller, fails("no IPv6"), 62));
        assert!(told(&mut teller, fails("no memory"), 63));
        assert!(told(&mut teller, queued(), 63));
    }

    #[test]
    fn who_holds_begins_anew() {
        let mut teller = Teller::default();
        assert!(told(&mut teller, fails("x"), 0) && !told(&mut teller, fails("x"), 1));
        assert!(told(&mut teller, Note::Took { vip: VIP }, 2) && told(&mut teller, fails("x"), 3));
        let link_down = Note::LeftQueue { vip: VIP, cause: Cause::LinkDown };
        assert!(told(&mut teller, link_down.clone(), 4) && told(&mut teller, link_down, 5));
    }
}
