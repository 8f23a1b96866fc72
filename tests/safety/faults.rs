//! What goes wrong, when, and for how long.

use super::rng::Rng;

pub(super) const MS: i64 = 1_000_000;
pub(super) const SECOND: i64 = 1000 * MS;

/// Whom a fault meets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Whom {
    /// Who has the first address when it happens; else who stands first for it.
    Holder,
    /// Who stands first for it, with or without the address.
    First,
    /// Who stands second for it.
    Next,
    /// Who stands last for it.
    Last,
    /// The node of this number.
    Node(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// The daemon's process stops at an arbitrary instant and goes on later.
    Freeze(Whom),
    /// The daemon is killed; nobody cleans up. It is started again later.
    Kill(Whom),
    /// The daemon is killed and its unit takes address and lease away. It is started again later.
    KillCleaned(Whom),
    /// SIGTERM; started again later.
    Stop(Whom),
    /// SIGTERM, and soon a second one; started again later.
    StopNow(Whom),
    /// No etcd for this node.
    CutEtcd(Whom),
    /// Nothing reaches this node.
    CutAll(Whom),
    /// The link goes down. etcd is reached another way.
    LinkDown(Whom),
    /// The link goes down, and with it the way to etcd.
    OnlyLinkDown(Whom),
    /// The link is deleted and made anew at once, under another number.
    LinkReplaced(Whom),
    /// The link is deleted and comes back later, under another number.
    LinkDeleted(Whom),
    /// Somebody takes the addresses off, again and again.
    Robbed(Whom),
    /// The kernel refuses to put addresses.
    Refuses(Whom),
    /// The watch tells up to 4 s late while reads are fresh.
    Lag(Whom),
    /// The watch goes silent while renewals go on.
    Deaf(Whom),
    /// The watch breaks; all is read again.
    WatchBreaks(Whom),
    /// The kernel neither deletes addresses nor answers.
    Wordless(Whom),
    /// Its config is changed, and changed back.
    Reload(Whom),
    /// etcd's answers take up to 1.5 s.
    Slow(Whom),
    /// Another host answers for the addresses.
    Squatter,
    LoseLeader,
    StallLeader,
    LoseQuorum,
    /// Somebody deletes a candidate key.
    DeleteKey,
    /// Somebody deletes the key that stands first for the first address.
    DeleteFirst,
    /// Somebody writes over a candidate key, without its lease.
    Overwrite,
    /// etcd revokes a lease too early.
    RevokeEarly,
    BackUp,
    Restore,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Planned {
    pub(super) at: i64,
    pub(super) lasts: i64,
    pub(super) fault: Fault,
    /// What the fault itself leaves to chance (which key, how long an election takes) is drawn from this.
    pub(super) chance: u64,
}

/// A step of a story: after so many milliseconds, for so many, what.
pub(super) type Step = (i64, i64, Fault);

/// Where a world's faults come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    /// Anything, any time.
    Any,
    /// Only these, close together: to show quickly that a guard is missed.
    Only(&'static [Fault]),
    /// These, at their times give or take a little.
    Story(&'static [Step]),
    /// These, at these very times.
    Exactly(&'static [Step]),
}

impl Fault {
    /// Whether it is somebody who meddles with etcd's keys or leases.
    pub(super) fn by_hand(self) -> bool {
        matches!(self, Self::DeleteKey | Self::DeleteFirst | Self::Overwrite | Self::RevokeEarly | Self::Restore)
    }

    /// Whom it meets, if that is a node.
    pub(super) fn whom(self) -> Option<Whom> {
        match self {
            Self::Freeze(n) | Self::Kill(n) | Self::KillCleaned(n) | Self::Stop(n) | Self::StopNow(n) => Some(n),
            Self::CutEtcd(n) | Self::CutAll(n) | Self::LinkDown(n) | Self::OnlyLinkDown(n) => Some(n),
            Self::LinkReplaced(n) | Self::LinkDeleted(n) | Self::Robbed(n) | Self::Refuses(n) => Some(n),
            Self::Lag(n) | Self::Deaf(n) | Self::WatchBreaks(n) | Self::Wordless(n) | Self::Slow(n) => Some(n),
            Self::Reload(n) => Some(n),
            Self::Squatter | Self::LoseLeader | Self::StallLeader | Self::LoseQuorum | Self::DeleteKey => None,
            Self::DeleteFirst | Self::Overwrite | Self::RevokeEarly | Self::BackUp | Self::Restore => None,
        }
    }
}

/// The faults of a world of these nodes. Key deletion, early revocation and restored backups are promised to be harmless
/// only while a holder can be reached by ARP: a world has those, or cut networks and addresses that somebody takes off,
/// not both.
pub(super) fn plan(nodes: usize, trouble: Trouble, lasts: i64, rng: &mut Rng) -> Vec<Planned> {
    let by_hand = rng.one_in(3);
    let start = rng.range(6 * SECOND, 8 * SECOND);
    let planned = |at, lasts, fault, rng: &mut Rng| Planned { at, lasts, fault, chance: rng.next() % 1000 };
    let mut faults: Vec<Planned> = match trouble {
        Trouble::Any => {
            let any = |rng: &mut Rng| {
                let (at, long) = (rng.range(0, lasts), length(rng));
                planned(at, long, one(nodes, by_hand, rng), rng)
            };
            let mut faults: Vec<_> = (0..rng.range(1, 9)).map(|_| any(rng)).collect();
            // A backup is restored only where there is one.
            if by_hand && rng.one_in(4) {
                let backed_up = rng.range(SECOND, lasts / 2);
                faults.push(planned(backed_up, 0, Fault::BackUp, rng));
                faults.push(planned(rng.range(backed_up, lasts), 0, Fault::Restore, rng));
            }
            faults
        }
        Trouble::Only(kinds) => (0..rng.range(1, 9))
            .map(|_| {
                let fault = kinds[rng.range(0, kinds.len() as i64) as usize];
                let (at, long) = (start + rng.range(0, 5 * SECOND), length(rng));
                planned(at, long, fault, rng)
            })
            .collect(),
        Trouble::Story(steps) => steps
            .iter()
            .map(|(at, long, fault)| {
                let little = rng.range(-300 * MS, 300 * MS);
                planned(at * MS + little, long * MS, *fault, rng)
            })
            .collect(),
        Trouble::Exactly(steps) => {
            steps.iter().map(|(at, long, fault)| planned(at * MS, long * MS, *fault, rng)).collect()
        }
    };
    faults.sort_by_key(|f| f.at);
    faults
}

fn length(rng: &mut Rng) -> i64 {
    match rng.range(0, 3) {
        0 => rng.range(MS, 300 * MS),
        1 => rng.range(300 * MS, 3 * SECOND),
        _ => rng.range(3 * SECOND, 14 * SECOND),
    }
}

fn one(nodes: usize, by_hand: bool, rng: &mut Rng) -> Fault {
    let n = match rng.range(0, 6) {
        0..=2 => Whom::Holder,
        3 => [Whom::First, Whom::Next, Whom::Last][rng.range(0, 3) as usize],
        _ => Whom::Node(rng.range(0, nodes as i64) as usize),
    };
    let also = rng.one_in(2);
    match rng.range(0, 24) {
        0 | 1 => Fault::Freeze(n),
        2 if also => Fault::Kill(n),
        2 => Fault::KillCleaned(n),
        3 | 4 if rng.one_in(3) => Fault::StopNow(n),
        3 | 4 => Fault::Stop(n),
        5 => Fault::CutEtcd(n),
        6 if by_hand && also => Fault::DeleteKey,
        6 if by_hand => Fault::DeleteFirst,
        7 if by_hand => Fault::RevokeEarly,
        8 if by_hand => Fault::BackUp,
        9 if by_hand => Fault::Restore,
        10 if by_hand => Fault::Overwrite,
        6 | 7 => Fault::CutAll(n),
        8 => Fault::LinkDown(n),
        9 if also => Fault::LinkDown(n),
        9 => Fault::OnlyLinkDown(n),
        10 => Fault::Deaf(n),
        11 => Fault::Wordless(n),
        12 => Fault::LoseLeader,
        13 => Fault::StallLeader,
        14 => Fault::Slow(n),
        15 if also => Fault::LinkReplaced(n),
        15 => Fault::LinkDeleted(n),
        16 if by_hand => Fault::Refuses(n),
        16 => Fault::Robbed(n),
        17 => Fault::Refuses(n),
        18 => Fault::Lag(n),
        19 => Fault::Squatter,
        20 => Fault::WatchBreaks(n),
        21 | 22 => Fault::Reload(n),
        _ => Fault::LoseQuorum,
    }
}
