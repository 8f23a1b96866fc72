//! What a soak does to the cluster: each trouble as a value, and the steps it comes to on a node. Pure.

use std::fmt;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::faults::{Fault, Who};
use crate::timeline::NodeIndex;
use crate::world::VIP;

/// How many nodes there are.
pub(super) const NODES: usize = 3;
/// Away for no longer, a leader is still the leader when it returns: etcd's election takes a second.
pub(super) const SHORT: Duration = Duration::from_millis(900);

/// One trouble. A span says how long it lasts before it is mended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    /// SIGTERM to the daemon, started again after that span.
    Term(Duration),
    /// SIGKILL to the daemon; nobody cleans up behind it.
    Kill(Duration),
    /// SIGKILL to the daemon, then what its unit does: `vipd release`, and a start a second later.
    KillUnderUnit,
    /// The daemon is stopped and goes on.
    Freeze(Duration),
    /// The switch drops all the node's frames, both ways.
    CutOff(Duration),
    /// The node loses its carrier.
    Unplug(Duration),
    /// The carrier comes and goes so many times, down and up for that long.
    Flap(usize, Duration, Duration),
    /// No answer of etcd reaches the daemon; the node itself is well.
    EtcdSilent(Duration),
    /// Answers of etcd reach the daemon late by the first span.
    EtcdLate(Duration, Duration),
    /// The same for all daemons.
    EtcdLateForAll(Duration, Duration),
    /// The etcd member is killed and started again.
    MemberKilled(Duration),
    /// The etcd member is stopped and goes on.
    MemberFrozen(Duration),
    /// Two members are killed: no quorum.
    QuorumKilled(Duration),
    /// Two members are stopped: no quorum.
    QuorumFrozen(Duration),
    /// All daemons and members are killed and started again.
    AllKilled(Duration),
    /// The etcd member's disk takes nothing: a leader goes on acknowledging renewals.
    DiskStalled(Duration),
    /// Somebody deletes the address on a node.
    AddressDeleted,
    /// Somebody deletes the first candidate's key.
    KeyDeleted,
    /// Somebody revokes the first candidate's lease.
    LeaseRevoked,
}

/// What of a node a trouble is about. Two at once on the same part of a node would undo each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Part {
    /// The daemon.
    Daemon,
    /// The etcd member.
    Member,
    /// The way to the others.
    Cable,
    /// What the daemon hears of etcd.
    Answers,
    /// Nothing lasting: done by hand, over at once.
    Hand,
}

/// The smallest thing a soak does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// A fault, or what heals one. A start waits until what ran before has ended.
    Fault(Fault),
    /// `vipd release`, as soon as the daemon has ended.
    Release(NodeIndex),
    /// The etcd member's disk stalls, for that long at most.
    StallDisk(NodeIndex, Duration),
    /// And goes on.
    ReleaseDisk(NodeIndex),
    /// The first candidate's key is deleted.
    DeleteKey,
    /// The first candidate's lease is revoked.
    RevokeLease,
}

impl Trouble {
    /// It takes the node off the network. Such a trouble and one that [breaks etcd's promises](Self::breaks_promises)
    /// must not meet: that a holder which hears neither etcd nor ARP outlives its lease is what no lease can help.
    pub(super) fn cuts(self) -> bool {
        matches!(self, Self::CutOff(_) | Self::Unplug(_) | Self::Flap(..))
    }

    /// A key or a lease can end early: by hand, or because a leader that was away for longer than a TTL has missed all
    /// renewals, and on its return servers before 3.4.31 and 3.5.13 have it revoke those leases although another leads.
    pub(super) fn breaks_promises(self) -> bool {
        match self {
            Self::KeyDeleted | Self::LeaseRevoked => true,
            Self::MemberFrozen(span) | Self::QuorumFrozen(span) | Self::DiskStalled(span) => span > SHORT,
            _ => false,
        }
    }

    /// What it is about, for a node it is done to.
    pub(super) fn parts(self, node: NodeIndex) -> Vec<(NodeIndex, Part)> {
        match self {
            Self::Term(_) | Self::Kill(_) | Self::KillUnderUnit | Self::Freeze(_) => vec![(node, Part::Daemon)],
            Self::CutOff(_) | Self::Unplug(_) | Self::Flap(..) => vec![(node, Part::Cable)],
            Self::EtcdSilent(_) | Self::EtcdLate(..) => vec![(node, Part::Answers)],
            Self::EtcdLateForAll(..) => (0..NODES).map(|one| (one, Part::Answers)).collect(),
            Self::MemberKilled(_) | Self::MemberFrozen(_) | Self::DiskStalled(_) => vec![(node, Part::Member)],
            Self::QuorumKilled(_) | Self::QuorumFrozen(_) => vec![(node, Part::Member), (next(node), Part::Member)],
            Self::AllKilled(_) => (0..NODES).flat_map(|one| [(one, Part::Daemon), (one, Part::Member)]).collect(),
            Self::AddressDeleted | Self::KeyDeleted | Self::LeaseRevoked => vec![(node, Part::Hand)],
        }
    }

    /// What to do, and how long after the trouble began.
    pub(super) fn steps(self, node: NodeIndex) -> Vec<(Duration, Step)> {
        let stopped = |node, who| Fault::Signal(node, who, Signal::SIGSTOP);
        let killed = |node, who| Fault::Signal(node, who, Signal::SIGKILL);
        match self {
            Self::Term(span) => for_a_while([Fault::term(node)], span),
            Self::Kill(span) => for_a_while([killed(node, Who::Vipd)], span),
            Self::KillUnderUnit => vec![
                (Duration::ZERO, Step::Fault(killed(node, Who::Vipd))),
                (Duration::ZERO, Step::Release(node)),
                (Duration::from_secs(1), Step::Fault(Fault::Start(node, Who::Vipd))),
            ],
            Self::Freeze(span) => for_a_while([stopped(node, Who::Vipd)], span),
            Self::CutOff(span) => for_a_while([Fault::Silence(node)], span),
            Self::Unplug(span) => for_a_while([Fault::Unplug(node)], span),
            Self::Flap(times, down, up) => flap(node, times, down, up),
            Self::EtcdSilent(span) => for_a_while([Fault::FreezeEtcd(node, true)], span),
            Self::EtcdLate(late, span) => for_a_while([Fault::SlowEtcd(node, late)], span),
            Self::EtcdLateForAll(late, span) => for_a_while((0..NODES).map(|one| Fault::SlowEtcd(one, late)), span),
            Self::MemberKilled(span) => for_a_while([killed(node, Who::Etcd)], span),
            Self::MemberFrozen(span) => for_a_while([stopped(node, Who::Etcd)], span),
            Self::QuorumKilled(span) => for_a_while([node, next(node)].map(|one| killed(one, Who::Etcd)), span),
            Self::QuorumFrozen(span) => for_a_while([node, next(node)].map(|one| stopped(one, Who::Etcd)), span),
            Self::AllKilled(span) => {
                let all = (0..NODES).flat_map(|one| [killed(one, Who::Vipd), killed(one, Who::Etcd)]);
                for_a_while(all, span)
            }
            Self::DiskStalled(span) => {
                vec![(Duration::ZERO, Step::StallDisk(node, span)), (span, Step::ReleaseDisk(node))]
            }
            Self::AddressDeleted => vec![(Duration::ZERO, Step::Fault(Fault::Delete(node, VIP)))],
            Self::KeyDeleted => vec![(Duration::ZERO, Step::DeleteKey)],
            Self::LeaseRevoked => vec![(Duration::ZERO, Step::RevokeLease)],
        }
    }
}

fn next(node: NodeIndex) -> NodeIndex {
    (node + 1) % NODES
}

/// All faults at once, and after a while what heals them.
fn for_a_while(faults: impl IntoIterator<Item = Fault>, span: Duration) -> Vec<(Duration, Step)> {
    let faults: Vec<Fault> = faults.into_iter().collect();
    let healed: Vec<Fault> = faults.iter().filter_map(Fault::healed_by).collect();
    let at = |after| move |fault| (after, Step::Fault(fault));
    faults.into_iter().map(at(Duration::ZERO)).chain(healed.into_iter().map(at(span))).collect()
}

fn flap(node: NodeIndex, times: usize, down: Duration, up: Duration) -> Vec<(Duration, Step)> {
    let mut steps = Vec::new();
    let mut after = Duration::ZERO;
    for _ in 0..times {
        steps.push((after, Step::Fault(Fault::Unplug(node))));
        steps.push((after + down, Step::Fault(Fault::Plug(node))));
        after += down + up;
    }
    steps
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Term(span) => write!(f, "SIGTERM to vipd, back after {span:?}"),
            Self::Kill(span) => write!(f, "SIGKILL to vipd, nobody cleans up, back after {span:?}"),
            Self::KillUnderUnit => write!(f, "SIGKILL to vipd, its unit cleans up"),
            Self::Freeze(span) => write!(f, "vipd frozen for {span:?}"),
            Self::CutOff(span) => write!(f, "cut off for {span:?}"),
            Self::Unplug(span) => write!(f, "unplugged for {span:?}"),
            Self::Flap(times, down, up) => write!(f, "link flaps {times} times, {down:?} down, {up:?} up"),
            Self::EtcdSilent(span) => write!(f, "vipd does not hear etcd for {span:?}"),
            Self::EtcdLate(late, span) => write!(f, "vipd hears etcd {late:?} late for {span:?}"),
            Self::EtcdLateForAll(late, span) => write!(f, "all hear etcd {late:?} late for {span:?}"),
            Self::MemberKilled(span) => write!(f, "etcd member killed, back after {span:?}"),
            Self::MemberFrozen(span) => write!(f, "etcd member frozen for {span:?}"),
            Self::QuorumKilled(span) => write!(f, "two etcd members killed, back after {span:?}"),
            Self::QuorumFrozen(span) => write!(f, "two etcd members frozen for {span:?}"),
            Self::AllKilled(span) => write!(f, "every vipd and etcd killed, back after {span:?}"),
            Self::DiskStalled(span) => write!(f, "etcd member's disk stalled for {span:?}"),
            Self::AddressDeleted => write!(f, "address deleted by hand"),
            Self::KeyDeleted => write!(f, "first key deleted by hand"),
            Self::LeaseRevoked => write!(f, "first lease revoked by hand"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(3);

    #[test]
    fn what_is_stopped_goes_on() {
        let steps = Trouble::QuorumFrozen(SPAN).steps(2);
        let stopped = |node, signal| Step::Fault(Fault::Signal(node, Who::Etcd, signal));
        assert_eq!(steps[0], (Duration::ZERO, stopped(2, Signal::SIGSTOP)));
        assert_eq!(steps[1], (Duration::ZERO, stopped(0, Signal::SIGSTOP)));
        assert_eq!(steps[3], (SPAN, stopped(0, Signal::SIGCONT)));
    }

    #[test]
    fn a_flap_ends_plugged_in() {
        let steps = Trouble::Flap(4, SPAN, SPAN).steps(1);
        assert_eq!(steps.len(), 8);
        assert_eq!(steps.last(), Some(&(SPAN * 7, Step::Fault(Fault::Plug(1)))));
    }

    #[test]
    fn killing_all_concerns_all() {
        assert_eq!(Trouble::AllKilled(SPAN).parts(1).len(), 2 * NODES);
        assert_eq!(Trouble::AllKilled(SPAN).steps(1).len(), 4 * NODES);
    }
}
