//! The plan of a soak: phases of troubles, drawn from a seed. Pure, and the same for the same seed.
//!
//! In a phase either cables are cut or etcd's promises are broken, by hand or by an old leader's return, never both:
//! what that could do together no lease can help (see [`Trouble::cuts`]).

use std::time::Duration;

use super::random::Random;
use super::trouble::{NODES, SHORT, Trouble};
use crate::timeline::NodeIndex;

/// Whom a trouble is aimed at. Who that is shows only when it comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// Who has the address, or had it last.
    Holder,
    /// Whose member leads etcd.
    Leader,
    /// The node that the plan names.
    Anyone,
}

/// One trouble of the plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Planned {
    /// When, from the beginning of its phase.
    pub(super) after: Duration,
    /// What.
    pub(super) trouble: Trouble,
    /// To whom.
    pub(super) role: Role,
    /// The node, if nobody has that role.
    pub(super) node: NodeIndex,
}

/// Some troubles, one after another and overlapping; then all is healed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Phase {
    /// In the order of time.
    pub(super) troubles: Vec<Planned>,
    /// When to heal, from the beginning.
    pub(super) span: Duration,
}

/// All phases, without end.
pub(super) struct Plan(Random);

impl Plan {
    /// The plan of this seed.
    pub(super) fn of(seed: u64) -> Self {
        Self(Random::of(seed))
    }
}

impl Iterator for Plan {
    type Item = Phase;

    fn next(&mut self) -> Option<Phase> {
        let random = &mut self.0;
        let (span, broken) = (random.millis(15_000, 45_000), random.percent(45));
        let mut troubles = Vec::new();
        let mut after = random.millis(0, 500);
        while after + Duration::from_millis(500) < span {
            let kind = random.weighted(if broken { BROKEN_PROMISES } else { CUTS })?;
            let trouble = draw(kind, random);
            let (role, node) = (role(trouble, random), random.below(NODES));
            troubles.push(Planned { after, trouble, role, node });
            // Some fall on top of one another, most come when the one before has begun to bite.
            after += if random.percent(25) { random.millis(0, 400) } else { random.millis(900, 7_000) };
        }
        Some(Phase { troubles, span })
    }
}

/// A trouble without its spans.
#[derive(Clone, Copy)]
enum Kind {
    Term,
    Kill,
    KillUnderUnit,
    FreezeShort,
    FreezeLong,
    CutOff,
    Unplug,
    Flap,
    EtcdSilent,
    EtcdLate,
    EtcdLateForAll,
    MemberKilled,
    FrozenShort(Members),
    FrozenLong(Members),
    DiskStalled,
    QuorumKilled,
    AllKilled,
    AddressDeleted,
    KeyDeleted,
    LeaseRevoked,
}

/// One of etcd's members, or two.
#[derive(Clone, Copy)]
enum Members {
    One,
    Quorum,
}

/// Of every phase.
const COMMON: [(usize, Kind); 14] = [
    (10, Kind::Term),
    (8, Kind::Kill),
    (8, Kind::KillUnderUnit),
    (6, Kind::FreezeShort),
    (8, Kind::FreezeLong),
    (7, Kind::EtcdSilent),
    (4, Kind::EtcdLate),
    (3, Kind::EtcdLateForAll),
    (8, Kind::MemberKilled),
    (4, Kind::FrozenShort(Members::One)),
    (2, Kind::QuorumKilled),
    (1, Kind::FrozenShort(Members::Quorum)),
    (2, Kind::AllKilled),
    (5, Kind::AddressDeleted),
];

/// The common ones and one kind of the rest.
const fn and<const REST: usize, const ALL: usize>(rest: [(usize, Kind); REST]) -> [(usize, Kind); ALL] {
    let mut all = [(0, Kind::Term); ALL];
    let mut place = 0;
    while place < ALL {
        all[place] = if place < REST { rest[place] } else { COMMON[place - REST] };
        place += 1;
    }
    all
}

const CUTS: &[(usize, Kind)] = &and::<3, 17>([(14, Kind::CutOff), (7, Kind::Unplug), (6, Kind::Flap)]);
const BROKEN_PROMISES: &[(usize, Kind)] = &and::<5, 19>([
    (8, Kind::KeyDeleted),
    (8, Kind::LeaseRevoked),
    (9, Kind::FrozenLong(Members::One)),
    (3, Kind::FrozenLong(Members::Quorum)),
    (5, Kind::DiskStalled),
]);

fn draw(kind: Kind, random: &mut Random) -> Trouble {
    match kind {
        Kind::Term => Trouble::Term(random.millis(50, 5_000)),
        Kind::Kill => Trouble::Kill(random.millis(50, 9_000)),
        Kind::KillUnderUnit => Trouble::KillUnderUnit,
        Kind::FreezeShort => Trouble::Freeze(random.millis(20, 3_000)),
        Kind::FreezeLong => Trouble::Freeze(random.millis(3_000, 14_000)),
        Kind::CutOff => Trouble::CutOff(random.millis(200, 14_000)),
        Kind::Unplug => Trouble::Unplug(random.millis(200, 12_000)),
        Kind::Flap => Trouble::Flap(2 + random.below(6), random.millis(50, 900), random.millis(50, 1_200)),
        Kind::EtcdSilent => Trouble::EtcdSilent(random.millis(300, 12_000)),
        Kind::EtcdLate => Trouble::EtcdLate(random.millis(50, 1_500), random.millis(2_000, 12_000)),
        Kind::EtcdLateForAll => Trouble::EtcdLateForAll(random.millis(50, 900), random.millis(2_000, 12_000)),
        Kind::MemberKilled => Trouble::MemberKilled(random.millis(200, 12_000)),
        Kind::FrozenShort(members) => frozen(members, random.millis(100, SHORT.as_millis() as usize)),
        Kind::FrozenLong(members) => frozen(members, random.millis(1_000, 14_000)),
        Kind::DiskStalled => Trouble::DiskStalled(random.millis(3_000, 14_000)),
        Kind::QuorumKilled => Trouble::QuorumKilled(random.millis(1_000, 10_000)),
        Kind::AllKilled => Trouble::AllKilled(random.millis(100, 4_000)),
        Kind::AddressDeleted => Trouble::AddressDeleted,
        Kind::KeyDeleted => Trouble::KeyDeleted,
        Kind::LeaseRevoked => Trouble::LeaseRevoked,
    }
}

fn frozen(members: Members, span: Duration) -> Trouble {
    match members {
        Members::One => Trouble::MemberFrozen(span),
        Members::Quorum => Trouble::QuorumFrozen(span),
    }
}

/// What hits the holder tells most; etcd's troubles tell most at its leader.
fn role(trouble: Trouble, random: &mut Random) -> Role {
    let (holder, leader) = match trouble {
        Trouble::AddressDeleted | Trouble::KeyDeleted | Trouble::LeaseRevoked => (100, 0),
        Trouble::MemberKilled(_) | Trouble::MemberFrozen(_) => (30, 40),
        Trouble::DiskStalled(_) => (10, 80),
        Trouble::CutOff(_) => (50, 25),
        _ => (65, 5),
    };
    let drawn = random.below(100);
    if drawn < holder {
        Role::Holder
    } else if drawn < holder + leader {
        Role::Leader
    } else {
        Role::Anyone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_plan() {
        let plan = |seed| Plan::of(seed).take(20).collect::<Vec<_>>();
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn no_phase_cuts_cables_and_breaks_promises() {
        for phase in Plan::of(1).take(500) {
            let cuts = phase.troubles.iter().any(|planned| planned.trouble.cuts());
            let breaks = phase.troubles.iter().any(|planned| planned.trouble.breaks_promises());
            assert!(!(cuts && breaks), "{phase:?}");
        }
    }

    #[test]
    fn every_kind_comes_before_long() {
        let drawn: Vec<Trouble> =
            Plan::of(3).take(100).flat_map(|phase| phase.troubles).map(|one| one.trouble).collect();
        let kinds: std::collections::HashSet<_> = drawn.iter().map(std::mem::discriminant).collect();
        assert_eq!(kinds.len(), 19);
        assert!(drawn.len() > 500, "only {} troubles in a hundred phases", drawn.len());
    }

    #[test]
    fn troubles_come_in_order_and_within_their_phase() {
        for phase in Plan::of(5).take(50) {
            assert!(phase.troubles.is_sorted_by_key(|planned| planned.after));
            assert!(phase.troubles.iter().all(|planned| planned.after < phase.span));
        }
    }
}
