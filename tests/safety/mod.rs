//! The safety simulation: 3-5 nodes with the real election over one virtual etcd, under random faults.
//!
//! Not a copy of the core: [`crate::election::machine::Election`] itself, its adapters replaced by a world in which
//! messages are late or lost, orders are carried out seconds after they were given up, clocks drift, processes freeze,
//! die and return, the network parts, links flap, the kernel gives no word, keys are deleted by hand, leaders stall
//! and backups are restored. The judge looks at the virtual kernels only: no address on two nodes, ever.
//!
//! `VIPD_WORLDS=100000 VIPD_SEED=7 cargo test --lib safety` runs more; one world again: `VIPD_WORLDS=1 VIPD_SEED=<it>`.

mod etcd;
mod faults;
mod node;
mod rng;
mod world;

use crate::election::guards::{Guard, Guards};
use world::{Fate, World};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Runs worlds until one goes wrong; `None` if none does.
fn first_bad(worlds: u64, seed: u64, guards: &Guards) -> Option<(u64, Fate)> {
    (seed..seed + worlds).map(|s| (s, World::new(s, guards.clone()).run())).find(|(_, fate)| fate.wrong.is_some())
}

#[test]
fn never_two_holders() {
    let (worlds, seed) = (number("VIPD_WORLDS", 1500), number("VIPD_SEED", 1));
    let mut takes = 0;
    for s in seed..seed + worlds {
        let fate = World::new(s, Guards::default()).run();
        takes += fate.takes;
        if let Some(wrong) = fate.wrong {
            panic!("world {s}: {wrong}\n{}", fate.trace.join("\n"));
        }
    }
    println!("safety: {worlds} worlds from seed {seed}, {takes} takings, no overlap, one holder at every end");
    assert!(takes > worlds, "a world where nobody ever takes the VIP shows nothing");
}

/// The simulation bites: with a guard off it must find an overlap. A guard that nothing misses is untested.
fn must_miss(guard: Guard) {
    let found = first_bad(number("VIPD_WORLDS", 30_000), number("VIPD_SEED", 1), &Guards::without(guard));
    let (world, fate) = found.unwrap_or_else(|| panic!("nothing misses {guard:?}"));
    let wrong = fate.wrong.unwrap_or_default();
    println!("without {guard:?}: world {world}: {wrong}");
    assert!(wrong.contains("two nodes"), "{guard:?} is for safety, but what went wrong is: {wrong}");
}

#[test]
fn the_fence_is_missed() {
    must_miss(Guard::Fence);
}

#[test]
fn counting_from_the_send_is_missed() {
    must_miss(Guard::CountFromSend);
}

#[test]
fn off_before_release_is_missed() {
    must_miss(Guard::OffBeforeRelease);
}

#[test]
fn generations_are_missed() {
    must_miss(Guard::Generations);
}

#[test]
fn the_read_of_the_pair_is_missed() {
    must_miss(Guard::PairRead);
}

#[test]
fn the_term_of_the_pair_is_missed() {
    must_miss(Guard::PairTerm);
}

#[test]
fn the_owners_word_is_missed() {
    must_miss(Guard::OwnersWord);
}

#[test]
fn probes_are_missed() {
    must_miss(Guard::Probes);
}

#[test]
fn turns_that_end_once_are_missed() {
    must_miss(Guard::OneTurn);
}

#[test]
fn one_history_is_missed() {
    must_miss(Guard::OneHistory);
}
