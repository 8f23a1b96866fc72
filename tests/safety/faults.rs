//! What goes wrong, when, and for how long.

use super::rng::Rng;

const MS: i64 = 1_000_000;
const SECOND: i64 = 1000 * MS;

#[derive(Clone, Copy, Debug)]
pub enum Fault {
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
    /// The watch goes silent while renewals go on.
    Deaf(usize),
    /// The kernel neither deletes addresses nor answers.
    Wordless(usize),
    LoseLeader,
    StallLeader,
    LoseQuorum,
    /// Somebody deletes a candidate key.
    DeleteKey,
    /// etcd revokes a lease too early.
    RevokeEarly,
    BackUp,
    Restore,
}

#[derive(Clone, Copy, Debug)]
pub struct Planned {
    pub at: i64,
    pub lasts: i64,
    pub fault: Fault,
}

/// One world's faults. Key deletion, early revocation and restored backups are promised to be harmless only while a
/// holder can be reached by ARP: a world has those, or cut networks, not both.
pub fn plan(nodes: usize, rng: &mut Rng) -> Vec<Planned> {
    let by_hand = rng.one_in(3);
    let mut faults: Vec<Planned> = (0..rng.range(1, 9))
        .map(|_| {
            let lasts = match rng.range(0, 3) {
                0 => rng.range(MS, 300 * MS),
                1 => rng.range(300 * MS, 3 * SECOND),
                _ => rng.range(3 * SECOND, 14 * SECOND),
            };
            Planned { at: rng.range(0, 20 * SECOND), lasts, fault: one(nodes, by_hand, rng) }
        })
        .collect();
    faults.sort_by_key(|f| f.at);
    faults
}

fn one(nodes: usize, by_hand: bool, rng: &mut Rng) -> Fault {
    let n = rng.range(0, nodes as i64) as usize;
    match rng.range(0, 15) {
        0 | 1 => Fault::Freeze(n),
        2 => Fault::Kill(n),
        3 | 4 => Fault::Stop(n),
        5 => Fault::CutEtcd(n),
        6 if by_hand => Fault::DeleteKey,
        7 if by_hand => Fault::RevokeEarly,
        8 if by_hand => Fault::BackUp,
        9 if by_hand => Fault::Restore,
        6 | 7 => Fault::CutAll(n),
        8 | 9 => Fault::LinkDown(n),
        10 => Fault::Deaf(n),
        11 => Fault::Wordless(n),
        12 => Fault::LoseLeader,
        13 => Fault::StallLeader,
        _ => Fault::LoseQuorum,
    }
}
