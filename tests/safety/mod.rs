//! The safety simulation: 3-5 nodes with the real election over one virtual etcd, under random faults.
//!
//! Not a copy of the core: [`crate::election::machine::Election`] itself, its adapters replaced by a world in which
//! messages are late or lost, orders are carried out seconds after they were given up, clocks drift, processes freeze,
//! die and return, the network parts, links flap, the kernel gives no word, keys are deleted by hand, leaders stall
//! and backups are restored. The judge looks at the virtual kernels: no address on two nodes, ever. As long as nobody
//! meddles with etcd's keys, every put must also be founded: its end before that of its lease, its candidate first.
//!
//! `VIPD_WORLDS=100000 VIPD_SEED=7 cargo test --lib safety` runs more; one world again: `VIPD_WORLDS=1 VIPD_SEED=<it>`.

mod etcd;
mod faults;
mod node;
mod rng;
pub(super) mod store;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::election::guards::{Guard, Guards};
use faults::{Fault, Step, Trouble};
use world::{Fate, World};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// What a world with two holders says.
const OVERLAP: &str = "two nodes";

/// Runs worlds on all cores; the first that goes wrong in this way, and how many takings there were in all.
fn run(worlds: u64, seed: u64, guards: &Guards, trouble: Trouble, wrong: &str) -> (Option<(u64, Fate)>, u64) {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let (found, takes) = (AtomicU64::new(u64::MAX), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for core in 0..cores {
            let (found, takes) = (&found, &takes);
            scope.spawn(move || {
                for s in (seed + core..seed + worlds).step_by(cores as usize) {
                    if found.load(Ordering::Relaxed) <= s {
                        return;
                    }
                    let fate = World::new(s, guards.clone(), trouble, false).run();
                    takes.fetch_add(fate.takes, Ordering::Relaxed);
                    if fate.wrong.is_some_and(|w| w.contains(wrong)) {
                        found.fetch_min(s, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let bad = Some(found.into_inner()).filter(|s| *s != u64::MAX);
    (bad.map(|s| (s, World::new(s, guards.clone(), trouble, true).run())), takes.into_inner())
}

#[test]
fn never_two_holders() {
    let (worlds, seed) = (number("VIPD_WORLDS", 5000), number("VIPD_SEED", 1));
    let (bad, takes) = run(worlds, seed, &Guards::default(), Trouble::Any, "");
    if let Some((world, fate)) = bad {
        panic!("world {world}: {}\n{}", fate.wrong.unwrap_or_default(), fate.trace.join("\n"));
    }
    println!("safety: {worlds} worlds from seed {seed}, {takes} takings, no overlap, one holder at every end");
    assert!(takes > worlds, "a world where nobody ever takes the VIP shows nothing");
}

/// The simulation bites: with a guard off it must find an overlap. A guard that nothing misses is untested.
fn must_miss(guard: Guard, faults: &'static [fn(usize) -> Fault]) {
    must_miss_in(guard, Trouble::Only(faults));
}

fn must_miss_in(guard: Guard, trouble: Trouble) {
    let (worlds, seed) = (number("VIPD_WORLDS", 20_000), number("VIPD_SEED", 1));
    let (found, _) = run(worlds, seed, &Guards::without(guard), trouble, OVERLAP);
    let (world, fate) = found.unwrap_or_else(|| panic!("nothing misses {guard:?}"));
    let wrong = fate.wrong.unwrap_or_default();
    println!("without {guard:?}: world {world}: {wrong}");
    let (fine, _) = run(1, world, &Guards::default(), trouble, "");
    assert!(fine.is_none(), "that world must be safe with {guard:?}");
}

#[test]
fn the_fence_is_missed() {
    must_miss(Guard::Fence, &[Fault::CutAll, Fault::Freeze]);
}

#[test]
fn counting_from_the_send_is_missed() {
    must_miss(Guard::CountFromSend, &[Fault::CutAll, Fault::Slow]);
}

#[test]
fn off_before_release_is_missed() {
    must_miss(Guard::OffBeforeRelease, &[Fault::Stop, Fault::Wordless]);
}

#[test]
fn generations_are_missed() {
    // The link flaps; the kernel's word that the address is off comes a second time when it is on again.
    let story: &[Step] = &[(7000, 50, Fault::LinkDown), (7700, 6000, Fault::Wordless), (8400, 0, Fault::Stop)];
    must_miss_in(Guard::Generations, Trouble::Story(story));
}

#[test]
fn the_read_of_the_pair_is_missed() {
    must_miss(Guard::PairRead, &[Fault::Deaf, |_| Fault::DeleteKey]);
}

#[test]
fn the_term_of_the_pair_is_missed() {
    // The stalled leader acknowledges renewals until the next one ends the lease, and then nobody hears of that.
    let story: &[Step] = &[(7000, 15_000, |_| Fault::StallLeader), (12_900, 8000, Fault::CutAll)];
    must_miss_in(Guard::PairTerm, Trouble::Story(story));
}

#[test]
fn one_history_is_missed() {
    // The holder freezes after a backup, another takes the VIP, the backup is restored: both have their turn in it.
    let story: &[Step] =
        &[(8000, 0, |_| Fault::BackUp), (8700, 14_000, Fault::Freeze), (16_000, 0, |_| Fault::Restore)];
    must_miss_in(Guard::OneHistory, Trouble::Story(story));
}

#[test]
fn the_owners_word_is_missed() {
    must_miss(Guard::OwnersWord, &[|_| Fault::DeleteKey, |_| Fault::RevokeEarly]);
}

#[test]
fn probes_are_missed() {
    must_miss(Guard::Probes, &[|_| Fault::DeleteKey, |_| Fault::RevokeEarly]);
}

#[test]
fn turns_that_end_once_are_missed() {
    must_miss(Guard::OneTurn, &[Fault::LinkDown, Fault::CutEtcd]);
}
