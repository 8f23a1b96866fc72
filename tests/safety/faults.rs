//! What goes wrong, when, and for how long.

use super::rng::Rng;

const MS: i64 = 1_000_000;
const SECOND: i64 = 1000 * MS;

#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// The daemon's process stops at an arbitrary instant and goes on later.
    Freeze(usize),
    /// The daemon is killed; nobody cleans up. It is started again later.
    Kill(usize),
    /// SIGTERM; started again later.
    Stop(usize),
    /// No etcd for this node.
    CutEtcd(usize),
    /// Nothing reaches this node.
    CutAll(usize),
    LinkDown(usize),
    /// The link is deleted and made anew, under another number.
    LinkReplaced(usize),
    /// Somebody takes the addresses off.
    Robbed(usize),
    /// The kernel refuses to put addresses.
    Refuses(usize),
    /// The watch tells up to 4 s late while reads are fresh.
    Lag(usize),
    /// The watch goes silent while renewals go on.
    Deaf(usize),
    /// The kernel neither deletes addresses nor answers.
    Wordless(usize),
    /// etcd's answers take up to 1.5 s.
    Slow(usize),
    LoseLeader,
    StallLeader,
    LoseQuorum,
    /// Somebody deletes a candidate key.
    DeleteKey,
    /// Somebody writes over a candidate key, without its lease.
    Overwrite,
    /// etcd revokes a lease too early.
    RevokeEarly,
    BackUp,
    Restore,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    pub(super) at: i64,
    pub(super) lasts: i64,
    pub(super) fault: Fault,
}

/// Stands for "whoever has the first VIP when it happens".
pub(super) const HOLDER: usize = usize::MAX;

/// A step of a story: after so many milliseconds, for so many, what.
pub(super) type Step = (i64, i64, fn(usize) -> Fault);

/// Where a world's faults come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    /// Anything, any time.
    Any,
    /// Only these, close together, at whoever holds: to show quickly that a guard is missed.
    Only(&'static [fn(usize) -> Fault]),
    /// These, at their times give or take a little.
    Story(&'static [Step]),
}

/// Whether it is somebody who meddles with etcd's keys or leases.
pub(super) fn by_hand(fault: Fault) -> bool {
    matches!(fault, Fault::DeleteKey | Fault::Overwrite | Fault::RevokeEarly | Fault::Restore)
}

/// One world's faults. Key deletion, early revocation and restored backups are promised to be harmless only while a
/// holder can be reached by ARP: a world has those, or cut networks, not both.
pub(super) fn plan(nodes: usize, trouble: Trouble, rng: &mut Rng) -> Vec<Planned> {
    let by_hand = rng.one_in(3);
    let start = rng.range(6 * SECOND, 8 * SECOND);
    let any =
        |rng: &mut Rng| Planned { at: rng.range(0, 20 * SECOND), lasts: length(rng), fault: one(nodes, by_hand, rng) };
    let mut faults: Vec<Planned> = match trouble {
        Trouble::Any => (0..rng.range(1, 9)).map(|_| any(rng)).collect(),
        Trouble::Only(kinds) => (0..rng.range(1, 9))
            .map(|_| {
                let kind = kinds[rng.range(0, kinds.len() as i64) as usize];
                Planned { at: start + rng.range(0, 5 * SECOND), lasts: length(rng), fault: kind(HOLDER) }
            })
            .collect(),
        Trouble::Story(steps) => steps
            .iter()
            .map(|(at, lasts, kind)| {
                let little = rng.range(-300 * MS, 300 * MS);
                Planned { at: at * MS + little, lasts: lasts * MS, fault: kind(HOLDER) }
            })
            .collect(),
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
    let n = if rng.one_in(2) { HOLDER } else { rng.range(0, nodes as i64) as usize };
    match rng.range(0, 20) {
        0 | 1 => Fault::Freeze(n),
        2 => Fault::Kill(n),
        3 | 4 => Fault::Stop(n),
        5 => Fault::CutEtcd(n),
        6 if by_hand => Fault::DeleteKey,
        7 if by_hand => Fault::RevokeEarly,
        8 if by_hand => Fault::BackUp,
        9 if by_hand => Fault::Restore,
        10 if by_hand => Fault::Overwrite,
        6 | 7 => Fault::CutAll(n),
        8 | 9 => Fault::LinkDown(n),
        10 => Fault::Deaf(n),
        11 => Fault::Wordless(n),
        12 => Fault::LoseLeader,
        13 => Fault::StallLeader,
        14 => Fault::Slow(n),
        15 => Fault::LinkReplaced(n),
        16 => Fault::Robbed(n),
        17 => Fault::Refuses(n),
        18 => Fault::Lag(n),
        _ => Fault::LoseQuorum,
    }
}
