//! The safety simulation: 3-5 nodes with the real election over one virtual etcd, under random faults.
//!
//! Not a copy of the core: [`crate::election::machine::Election`] itself, its adapters replaced by a world in which
//! messages are late or lost, orders are carried out seconds after they were given up, clocks drift, processes freeze,
//! die and return, configs are reloaded, the network parts, links flap, the kernel gives no word, keys are deleted by hand, leaders stall
//! and backups are restored.
//!
//! The judge looks at the virtual kernels: no address on two nodes, ever (P1). As long as nobody meddles with etcd's keys,
//! every put must be founded: its end before that of its lease, its candidate first. Nobody has an address for long
//! without the turn, nobody gives a turn up blindly, and no session ends for a cause that is not so (P3). With one node
//! in trouble somebody has the address again in time, and TTL + 5 s after the last fault each address has one holder, and
//! everybody stands (P2); nodes may group the addresses differently, and then an address has none only while all who
//! could have it wait for another one of their groups. `verdict.rs` has the list.
//!
//! A world is its `Case`: a seed, nodes, weather and faults. One that goes wrong is shrunk to what it takes, printed as a
//! piece of Rust to paste into [`must_be_right`], with a transcript. What the worlds contained is counted; a kind of
//! fault, taking or end that never happened fails the test.
//!
//! `VIPD_WORLDS=100000 VIPD_SEED=7 cargo test --no-default-features --lib safety` runs more; one world again:
//! `VIPD_WORLDS=1 VIPD_SEED=<it>`, and with `VIPD_TRACE=1` every fact and order of it if it goes wrong.

mod case;
mod coverage;
mod etcd;
mod faults;
mod node;
mod rng;
mod runs;
mod shrink;
pub(super) mod store;
mod verdict;
mod world;

use std::io::Write;

use crate::election::guards::Guard;
use case::{Case, Rough, Spec};
use faults::{Fault, MS, Planned, SECOND, Step, Trouble, Whom};
use runs::{Found, run};
use verdict::{Kind, Wrong};
use world::{Telling, Terms, World};

/// In so many worlds everything on the coverage's list happens.
const ENOUGH: u64 = 10_000;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

#[test]
fn never_two_holders() {
    let (worlds, seed) = (number("VIPD_WORLDS", ENOUGH), number("VIPD_SEED", 1));
    let (bad, coverage) = run(worlds, seed, &Terms::STRICT, Trouble::Any);
    if let Some(found) = bad {
        let Wrong { kind, text } = found.wrong();
        panic!("world {}: {kind:?}: {text}\nIt shrinks to\n{}", found.case.seed, found.small().report());
    }
    // Not by println, which the test harness keeps to itself: what was covered belongs into every log.
    let takings = coverage.takings();
    let shown = writeln!(std::io::stdout(), "safety: {worlds} worlds from seed {seed}, {takings} takings\n{coverage}");
    shown.expect("standard output takes the coverage");
    if worlds >= ENOUGH {
        assert_eq!(coverage.gaps(), Vec::<&str>::new(), "never happened, or is not on the list");
    }
}

/// What a shrunk world that was found once becomes, when what was wrong is mended.
fn must_be_right(case: Case) {
    let found = Found { case, terms: Terms::STRICT };
    assert!(found.told(Telling::Nothing).wrong.is_none(), "{}", found.report());
}

#[test]
fn a_paused_turn_without_the_kernels_word_ends() {
    // The turn was kept for a TTL before the bound for the kernel's word began: nobody had the address for 12 s.
    let node = |id| Spec { id, vips: vec![vec![100]] };
    must_be_right(Case {
        seed: 1,
        nodes: vec![node(0), node(1)],
        rough: vec![],
        lasts: 0,
        faults: vec![
            Planned { at: 13 * SECOND, lasts: 13 * SECOND, fault: Fault::Wordless(Whom::Holder), chance: 0 },
            Planned { at: 15 * SECOND, lasts: 4 * SECOND, fault: Fault::Freeze(Whom::Holder), chance: 0 },
        ],
    });
}

#[test]
fn what_waits_through_two_freezes_comes_in_its_order() {
    // The link went and came while the process was frozen, and frozen again before it thawed: it heard of the coming first.
    must_be_right(Case {
        seed: 504_273,
        nodes: vec![Spec { id: 0, vips: vec![vec![101]] }],
        rough: vec![],
        lasts: 0,
        faults: vec![
            Planned { at: 10 * SECOND, lasts: 12 * SECOND, fault: Fault::Freeze(Whom::Next), chance: 0 },
            Planned { at: 10 * SECOND, lasts: 8 * SECOND, fault: Fault::LinkDeleted(Whom::Next), chance: 0 },
            Planned { at: 17 * SECOND, lasts: 6 * SECOND, fault: Fault::Freeze(Whom::Last), chance: 0 },
        ],
    });
}

/// The simulation bites: with a guard off it must find a world that goes wrong, and show by a small one what the guard is
/// for. A guard that nothing misses is untested.
fn must_miss(guard: Guard, kind: Kind, trouble: Trouble) {
    let terms = Terms { without: Some(guard), judges: Some(kind), ..Terms::STRICT };
    let (found, _) = run(20_000, 1, &terms, trouble);
    let found = found.unwrap_or_else(|| panic!("nothing misses {guard:?}"));
    println!("without {guard:?}: world {}: {}", found.case.seed, found.wrong().text);
    let fine = World::new(found.case.clone(), Terms::STRICT).run();
    assert!(fine.wrong.is_none(), "that world must be safe with {guard:?}: {:?}", fine.wrong);
    let small = found.small();
    println!("which shrinks to\n{}", small.report());
    assert_eq!(small.wrong().kind, kind);
    assert!(small.case.faults.len() <= found.case.faults.len().min(5), "{}", small.case);
}

#[test]
fn a_world_that_goes_wrong_shrinks_to_what_it_takes() {
    let terms = Terms { without: Some(Guard::OwnersWord), judges: Some(Kind::TwoHolders), ..Terms::STRICT };
    let (found, _) = run(20_000, 1, &terms, Trouble::Any);
    let found = found.expect("a world of any faults that misses the owner's word");
    let small = found.small();
    println!("world {} of {} faults shrinks to\n{}", found.case.seed, found.case.faults.len(), small.report());
    assert_eq!(small.wrong().kind, Kind::TwoHolders);
    assert!(small.case.faults.len() <= 2 && small.case.nodes.len() <= 3, "{}", small.case);
}

const HOLDER: Whom = Whom::Holder;

#[test]
fn the_fence_is_missed() {
    must_miss(Guard::Fence, Kind::TwoHolders, Trouble::Only(&[Fault::CutAll(HOLDER), Fault::Freeze(HOLDER)]));
}

#[test]
fn counting_from_the_send_is_missed() {
    must_miss(Guard::CountFromSend, Kind::TwoHolders, Trouble::Only(&[Fault::CutAll(HOLDER), Fault::Slow(HOLDER)]));
}

#[test]
fn off_before_release_is_missed() {
    must_miss(
        Guard::OffBeforeRelease,
        Kind::TwoHolders,
        Trouble::Only(&[Fault::Stop(HOLDER), Fault::Wordless(HOLDER)]),
    );
}

#[test]
fn the_kernels_word_is_missed() {
    // No word for ever so long: without it the session must end, else nobody gets the turn.
    let story: &[Step] = &[(7000, 30_000, Fault::Wordless(HOLDER)), (8000, 30_000, Fault::LinkDown(HOLDER))];
    must_miss(Guard::KernelsWord, Kind::Nobody, Trouble::Story(story));
}

#[test]
fn generations_are_missed() {
    // The link flaps; the kernel's word that the address is off comes a second time when it is on again.
    let story: &[Step] =
        &[(7000, 50, Fault::LinkDown(HOLDER)), (7700, 6000, Fault::Wordless(HOLDER)), (8400, 0, Fault::Stop(HOLDER))];
    must_miss(Guard::Generations, Kind::TwoHolders, Trouble::Story(story));
}

#[test]
fn the_read_of_the_pair_is_missed() {
    must_miss(Guard::PairRead, Kind::TwoHolders, Trouble::Only(&[Fault::Deaf(HOLDER), Fault::DeleteKey]));
}

#[test]
fn the_term_of_the_pair_is_missed() {
    // The stalled leader acknowledges renewals until the next one ends the lease, and then nobody hears of that.
    let story: &[Step] = &[(7000, 15_000, Fault::StallLeader), (12_900, 8000, Fault::CutAll(HOLDER))];
    must_miss(Guard::PairTerm, Kind::TwoHolders, Trouble::Story(story));
}

#[test]
fn the_owners_word_is_missed() {
    must_miss(Guard::OwnersWord, Kind::TwoHolders, Trouble::Only(&[Fault::DeleteKey, Fault::RevokeEarly]));
}

#[test]
fn having_seen_the_whole_ttl_is_missed() {
    // The holder's key is deleted and it does not hear of it. The second one stops, with its word, before it knows that
    // it is first; the third was not told of the holder's end, for its watch had just broken.
    let story: &[Step] = &[
        (7000, 3000, Fault::Deaf(HOLDER)),
        (7000, 3000, Fault::Lag(Whom::Next)),
        (7100, 0, Fault::WatchBreaks(Whom::Last)),
        (7110, 0, Fault::DeleteFirst),
        (7200, 0, Fault::Stop(Whom::First)),
    ];
    must_miss(Guard::WholeTtl, Kind::TwoHolders, Trouble::Exactly(story));
}

#[test]
fn probes_are_missed() {
    must_miss(Guard::Probes, Kind::TwoHolders, Trouble::Only(&[Fault::DeleteKey, Fault::RevokeEarly]));
}

#[test]
fn the_fresh_pair_is_missed() {
    // The keys of the first two are deleted at once. The second one is told of the first deletion only: it and the third
    // ask the network at the same time, and nobody answers either.
    let story: &[Step] = &[(7000, 0, Fault::DeleteFirst), (7000, 0, Fault::DeleteFirst)];
    must_miss(Guard::FreshPair, Kind::TwoHolders, Trouble::Exactly(story));
}

#[test]
fn turns_that_end_once_are_missed() {
    must_miss(Guard::OneTurn, Kind::TwoHolders, Trouble::Only(&[Fault::LinkDown(HOLDER), Fault::CutEtcd(HOLDER)]));
}

#[test]
fn keys_that_stay_dead_are_missed() {
    // A key that was written over has our name and is nobody's: who takes it for its own never stands again.
    must_miss(Guard::OneTurn, Kind::DoesNotStand, Trouble::Only(&[Fault::Overwrite]));
}

#[test]
fn letting_go_with_the_key_is_missed() {
    must_miss(Guard::KeyGone, Kind::Silent, Trouble::Only(&[Fault::DeleteKey, Fault::Overwrite]));
}

#[test]
fn giving_up_only_when_etcd_was_heard_is_missed() {
    must_miss(Guard::HeardSince, Kind::GivenUpBlindly, Trouble::Only(&[Fault::OnlyLinkDown(HOLDER)]));
}

#[test]
fn giving_way_is_missed() {
    // Where a group waits for an address that another node has for good, somebody behind it could serve the other one.
    must_miss(Guard::GivesWay, Kind::NotHealed, Trouble::Only(&[Fault::Stop(HOLDER), Fault::LinkDown(HOLDER)]));
}

/// The first key was written over, and the backup undoes that: who took it for gone has the address beside it.
fn undone() -> Case {
    let plan = |at, lasts, fault, chance| Planned { at: at * SECOND, lasts: lasts * SECOND, fault, chance };
    Case {
        seed: 2,
        nodes: (0..5).map(|id| Spec { id, vips: vec![vec![100]] }).collect(),
        rough: vec![],
        lasts: 0,
        faults: vec![
            plan(4, 5, Fault::Wordless(HOLDER), 0),
            plan(8, 0, Fault::BackUp, 0),
            plan(9, 0, Fault::Overwrite, 399),
            plan(12, 3, Fault::LoseQuorum, 0),
            plan(14, 0, Fault::Restore, 390),
        ],
    }
}

#[test]
fn one_history_is_missed() {
    must_be_right(undone());
    // Two holders it takes no more: the read of everything past the fence shows who stands first.
    let terms = Terms { without: Some(Guard::OneHistory), judges: Some(Kind::Silent), ..Terms::STRICT };
    assert!(World::new(undone(), terms).run().wrong.is_some(), "nothing misses it");
}

/// A revision was lost with the backup, and another one came in its place: a short read agrees with what was known.
fn grown_back(seed: u64) -> Case {
    let plan = |at, fault, chance| Planned { at, lasts: 0, fault, chance };
    Case {
        seed,
        nodes: vec![
            Spec { id: 0, vips: vec![vec![100], vec![101]] },
            Spec { id: 1, vips: vec![vec![101], vec![100]] },
            Spec { id: 2, vips: vec![vec![100]] },
        ],
        rough: vec![Rough::Late, Rough::Twice, Rough::Waits, Rough::Drift, Rough::Rotates],
        lasts: 0,
        faults: vec![
            plan(3 * SECOND, Fault::BackUp, 0),
            plan(11_500 * MS, Fault::Restore, 929),
            plan(14_800 * MS, Fault::StallLeader, 0),
            plan(15 * SECOND, Fault::Overwrite, 552),
        ],
    }
}

#[test]
fn a_restored_backup_that_grew_to_what_was_known_is_noticed() {
    // With these seeds two had an address. The read past the fence notices it, and so does whoever reads a key as it was
    // before it was written over; that the first alone is enough shows in a transcript.
    for seed in [142, 143, 267, 422, 975, 1014, 1059, 1176, 1177, 1304, 1343, 1359, 1461, 1537, 1556] {
        must_be_right(grown_back(seed));
    }
}

#[test]
fn giving_back_before_standing_anew_is_missed() {
    // The kernel says late that the old address is off; the new one goes by the same key meanwhile.
    must_miss(
        Guard::GivenBackFirst,
        Kind::TwoHolders,
        Trouble::Only(&[Fault::Reload(HOLDER), Fault::Reload(HOLDER), Fault::Wordless(HOLDER)]),
    );
}
