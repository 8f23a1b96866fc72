//! The model check: every story of two nodes with a few faults, one after the other, with the real election in it.
//!
//! Where the simulation (`tests/safety`) draws stories by chance, this walks through all of them: a fault at any step,
//! lasting for as long as it likes, in every order of what may happen next. For that the world is coarse: time goes on
//! in seconds, a lease lasts four of them, and the margin is two: for a kernel that is late by up to two, or by up to one
//! beside a clock that loses up to one in four. Nothing is left over, and whatever is counted too late shows.
//!
//! `tests/run --full` checks all pairs of faults, and three nodes as far as that goes. What goes wrong is shown by a
//! shortest story.

mod choice;
mod etcd;
mod relative;
mod search;
mod world;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::election::guards::{Guard, Guards};
use search::{Found, every_state, shortest};
use world::Kind::{self, *};
use world::{Rules, World};

const TICK: Duration = Duration::from_secs(1);
const TTL: Duration = Duration::from_secs(4);
const MARGIN: Duration = Duration::from_secs(2);

/// Whatever happens to machines, networks and etcd's members.
const APART: &[Kind] = &[Freeze, Kill, Stop, Cut, Lag, Deaf, Wordless, Link, Clock, Leader, Stall, Delay, PutFails];

/// Somebody meddles with etcd's keys. Then the promise holds for holders who hear etcd or answer ARP; so the network is
/// not cut as a whole, and no link is down.
const BY_HAND: &[Kind] = &[
    Freeze, Kill, Stop, CutEtcd, Lag, Deaf, Wordless, Clock, Leader, Stall, Delay, PutFails, DeleteKey, Revoke,
    Overwrite,
];

/// What may go wrong while everybody starts, in any order; the rest is left to stories that begin with a holder.
const STARTING: &[Kind] = &[Kill, DeleteKey];

/// How many states a search looks at, at the most.
const MOST: usize = 50_000_000;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn rules(faults: u8, kinds: &[Kind]) -> Rules {
    // By all that the margin has, but for what a clock may lose of it.
    let kernel_late = if kinds.contains(&Clock) { MARGIN - TICK } else { MARGIN };
    Rules { nodes: &[&[15], &[15]], faults, kinds: kinds.to_vec(), kernel_late, guards: Guards::default() }
}

fn settled(faults: u8, kinds: &[Kind]) -> World {
    World::settled(rules(faults, kinds))
}

/// Says how far a search went; panics with the story if something goes wrong.
#[expect(clippy::disallowed_methods, reason = "how long a search took is for people; nothing is decided by it")]
fn check(name: &str, search: impl FnOnce() -> Found) -> Found {
    let from = Instant::now();
    let found = search();
    let how = if found.whole { "all" } else { "the first" };
    let Found { states, steps, recovered, .. } = &found;
    println!("model: {name}: {how} {states} states, {steps} steps, {recovered} recovered, {:.1?}", from.elapsed());
    if let Some((wrong, story)) = &found.wrong {
        panic!("{name}: {wrong}\n{}", story.join("\n"));
    }
    found
}

/// Every state, or it is no proof.
fn check_all(name: &str, start: &World) -> usize {
    let found = check(name, || every_state(start, MOST));
    assert!(found.whole, "{name}: more than {MOST} states");
    found.states
}

#[test]
fn one_fault_of_any_kind() {
    let by_hand = BY_HAND.iter().filter(|kind| !APART.contains(kind));
    let states: usize =
        APART.iter().chain(by_hand).map(|kind| check_all(&format!("{kind:?}"), &settled(1, &[*kind]))).sum();
    println!("model: one fault of any kind: {states} states");
}

/// A node with a group and one with one of its addresses alone, whoever has it first.
const BESIDE: &[&[&[u8]]] = &[&[&[15, 16], &[15]], &[&[15], &[15, 16]]];

#[test]
fn one_fault_with_a_group_beside_a_single() {
    let by_hand = BY_HAND.iter().filter(|kind| !APART.contains(kind));
    for nodes in BESIDE {
        for kind in APART.iter().chain(by_hand.clone()) {
            let rules = Rules { nodes, ..rules(1, &[*kind]) };
            check_all(&format!("{kind:?} with {nodes:?}"), &World::settled(rules));
        }
    }
}

/// A group between two that have one of its addresses each, and two groups that overlap.
const BETWEEN: &[&[&[u8]]] = &[&[&[15], &[16], &[15, 16]], &[&[15, 16], &[15], &[16]], &[&[15, 16], &[16, 17], &[17]]];

/// Nobody waits for nothing.
#[test]
fn one_fault_with_a_group_between_two() {
    for nodes in BETWEEN {
        for kind in [Stop, Kill, DeleteKey] {
            let rules = Rules { nodes, ..rules(1, &[kind]) };
            check_all(&format!("{kind:?} with {nodes:?}"), &World::settled(rules));
        }
    }
}

#[test]
fn one_fault_while_all_start() {
    for kind in STARTING {
        check_all(&format!("{kind:?} while all start"), &World::starting(rules(1, &[*kind])));
    }
}

/// Every pair of kinds, so every story of two faults: with `VIPD_MODEL_PAIRS=all`, or those with one kind in them
/// (`VIPD_MODEL_PAIRS=Freeze`); else a few.
#[test]
fn two_faults() {
    let wanted = std::env::var("VIPD_MODEL_PAIRS").unwrap_or_default();
    let names = |kind: &Kind| format!("{kind:?}") == wanted;
    let is_wanted = |pair: &[Kind; 2]| match wanted.as_str() {
        "" => QUICK.contains(pair),
        "all" => true,
        _ => pair.iter().any(names),
    };
    let pairs: Vec<_> = pairs().into_iter().filter(is_wanted).collect();
    assert!(!pairs.is_empty(), "VIPD_MODEL_PAIRS={wanted} is no kind of fault");
    let (next, states, whole) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(pair) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = check(&format!("two faults of {pair:?}"), || every_state(&settled(2, pair), MOST));
                    assert!(found.whole || !QUICK.contains(pair), "{pair:?}: more states than can be looked at");
                    states.fetch_add(found.states, Ordering::Relaxed);
                    whole.fetch_add(found.whole.into(), Ordering::Relaxed);
                }
            });
        }
    });
    let (states, whole) = (states.into_inner(), whole.into_inner());
    println!("model: {} pairs of faults, {whole} of them with all their states: {states} states", pairs.len());
}

/// The pairs that are checked each time.
const QUICK: &[[Kind; 2]] = &[
    [Freeze, Kill],
    [Freeze, Stop],
    [Freeze, Cut],
    [Freeze, DeleteKey],
    [Stop, Wordless],
    [Stop, Delay],
    [Cut, Clock],
    [Link, Delay],
    [Delay, DeleteKey],
];

/// All pairs of what happens apart, and all with a hand in them.
fn pairs() -> Vec<[Kind; 2]> {
    let mut pairs = Vec::new();
    for (i, a) in APART.iter().enumerate() {
        pairs.extend(APART[i..].iter().map(|b| [*a, *b]));
    }
    for hand in [DeleteKey, Revoke, Overwrite] {
        pairs.extend(BY_HAND.iter().filter(|kind| **kind <= hand).map(|kind| [*kind, hand]));
    }
    pairs
}

/// Three nodes have too many stories for all of them; these are the shortest.
#[test]
#[ignore = "takes minutes and gigabytes: tests/run --full"]
fn three_nodes() {
    let most = number("VIPD_STATES", 3_000_000);
    for kinds in [APART, BY_HAND] {
        let rules = Rules { nodes: &[&[15], &[15], &[15]], ..rules(2, kinds) };
        check("three nodes and two faults", || shortest(&World::settled(rules), most));
    }
}

/// A clock that is off beat and a kernel that is late together leave nothing of the margin.
#[test]
#[ignore = "takes minutes and gigabytes: tests/run --full"]
fn a_kernel_and_a_clock() {
    for [a, b] in [[Kill, Cut], [Freeze, Cut]] {
        check("a late kernel and an odd clock", || every_state(&settled(3, &[a, b, Clock]), MOST));
    }
}

/// Nothing of the margin is left over: a kernel that is later than it makes two holders.
#[test]
fn the_margin_is_missed() {
    let rules = Rules { kernel_late: MARGIN + TICK, ..rules(2, &[Kill, Cut]) };
    let (wrong, _) = shortest(&World::settled(rules), MOST).wrong.expect("nothing misses it");
    assert!(wrong.starts_with("two nodes"), "{wrong}");
}

/// The model bites: without a guard there is a story that ends with two holders. Prints a shortest one.
#[test]
fn every_guard_is_missed() {
    let cases: &[(Guard, u8, &[Kind])] = &[
        (Guard::Fence, 1, &[Cut]),
        (Guard::CountFromSend, 2, &[Delay, Cut]),
        (Guard::PairRead, 2, &[Deaf, DeleteKey]),
        (Guard::PairTerm, 2, &[Stall, Cut]),
        (Guard::OffBeforeRelease, 1, &[Stop]),
        (Guard::OwnersWord, 1, &[DeleteKey]),
        (Guard::Probes, 1, &[DeleteKey]),
        (Guard::OneTurn, 2, &[Link, CutEtcd]),
        (Guard::Generations, 3, &[Link, Delay, Stop]),
    ];
    for (guard, faults, kinds) in cases {
        let mut guards = Guards::without(*guard);
        if *guard == Guard::CountFromSend {
            // Time is coarse here: an answer that is late enough to matter comes past the fence, where it meets another guard.
            guards = guards.nor(Guard::ReadPastFence);
        }
        let rules = Rules { guards, ..rules(*faults, kinds) };
        let found = shortest(&World::settled(rules), MOST);
        let (wrong, story) = found.wrong.unwrap_or_else(|| panic!("nothing misses {guard:?}"));
        assert!(wrong.starts_with("two nodes"), "without {guard:?}: {wrong}");
        println!("model: without {guard:?}: {wrong}, after {} states:\n{}", found.states, story.join("\n"));
    }
}
