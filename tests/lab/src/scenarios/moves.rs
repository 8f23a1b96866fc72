//! Coming up, and moving because a daemon ends.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::clock::{self, At, millis};
use crate::faults::{Fault, Who};
use crate::figures::Figures;
use crate::measure::{Move, Moves, Watched, a_move, row};
use crate::scenario::Context;
use crate::world::{Options, VIP, World};

/// The promise is 2 s; a busy CI machine gets more before it is called wrong.
const START: Duration = Duration::from_secs(5);

/// Three nodes, a bare snippet: one holder, and everybody can reach it.
pub(super) fn start(lab: &Context) -> Result<()> {
    let mut world = lab.world(Options { vipd: false, ..Options::default() })?;
    let from = clock::now();
    world.start_daemons()?;
    let holder = world.one_holder(VIP, START)?;
    let came = world.monitor.timeline().came(VIP, from, None).context("nobody came, yet somebody holds")?.at;
    lab.say(format_args!("{} holds {VIP}, {} after the start", world.names(&[holder]), millis(came.since(from))));

    let probe = world.probe(VIP)?;
    ensure!(probe.answers(came, Duration::from_secs(2)), "no answer to a ping");
    let named = world.call(VIP, Duration::from_secs(2))?;
    ensure!(named == world.nodes[holder].name, "port 6443 of {VIP} is answered by {named}");
    lab.say(format_args!("ping is answered, and port 6443 by {named}"));
    world.all_stand(VIP)?;
    let since = clock::now();
    clock::sleep(Duration::from_secs(1));
    ensure!(world.monitor.timeline().changes(VIP, since).is_empty(), "{VIP} moved with nothing done");

    let watched =
        Watched { vip: VIP, probe: &probe, quiet: Duration::from_millis(600), within: Duration::from_secs(10) };
    let moved = a_move(&mut world, &watched, &Fault::term(holder))?;
    let turned = neighbour_turned(&world, &moved)?;
    lab.say(format_args!("after a move the client's neighbour entry led to it within {}", millis(turned)));
    world.monitor.no_overlap(from, clock::now())
}

/// How long after the address came the client's entry led to the new node. A table that waits for its own timeout
/// needs 20 s and more.
fn neighbour_turned(world: &World, moved: &Move) -> Result<Duration> {
    let mac = world.nodes[moved.to].mac;
    let at = world.neighbours.led_to(VIP, mac, moved.hit).context("the client's neighbour entry did not change")?;
    let turned = at.since(moved.back);
    ensure!(turned < Duration::from_secs(2), "the client's neighbour entry changed only after {}", millis(turned));
    Ok(turned)
}

/// SIGTERM to the holder, again and again.
pub(super) fn sigterm(lab: &Context) -> Result<()> {
    let mut world = lab.world(Options::default())?;
    world.one_holder(VIP, START)?;
    let probe = world.probe(VIP)?;
    let (mut moves, mut order) = (Moves::default(), Figures::default());
    world.a_lease_later();
    for _ in 0..lab.rounds(3, 20) {
        let holder = world.all_daemons_back(VIP)?;
        // The next in the queue was started two rounds ago: this pace makes it an old hand.
        let watched =
            Watched { vip: VIP, probe: &probe, quiet: Duration::from_secs(3), within: Duration::from_secs(10) };
        let moved = a_move(&mut world, &watched, &Fault::term(holder))?;
        order.add(address_before_key(&world, &moved)?);
        world.service(holder, Who::Vipd).ends_with(0, Duration::from_secs(3))?;
        moves.add(&moved);
    }
    lab.say_all(moves.table());
    lab.row("SIGTERM to the holder's daemon", &moves.tally(), "next holds; exit 0")?;
    lab.say(row("address off to key gone", &order));
    world.monitor.no_overlap(At::default(), clock::now())
}

/// SIGKILL to the holder; nothing but the kernel takes the address off.
pub(super) fn sigkill(lab: &Context) -> Result<()> {
    let mut world = lab.world(Options::default())?;
    world.one_holder(VIP, START)?;
    let probe = world.probe(VIP)?;
    let (mut moves, mut order) = (Moves::default(), Figures::default());
    for _ in 0..lab.rounds(1, 10) {
        let holder = world.all_daemons_back(VIP)?;
        let watched =
            Watched { vip: VIP, probe: &probe, quiet: Duration::from_secs(6), within: Duration::from_secs(12) };
        let moved = a_move(&mut world, &watched, &Fault::kill(holder))?;
        order.add(address_before_key(&world, &moved)?);
        world.service(holder, Who::Vipd).ends(Duration::from_secs(1)).context("a killed daemon runs")?;
        moves.add(&moved);
    }
    lab.say_all(moves.table());
    lab.row("SIGKILL, nobody cleans up", &moves.tally(), "next holds; the kernel took it off")?;
    lab.say(row("address off to lease end", &order));
    world.monitor.no_overlap(At::default(), clock::now())
}

/// The order that keeps two from holding: when the key was gone the address was off. Returns by how much.
fn address_before_key(world: &World, moved: &Move) -> Result<Duration> {
    let key = world.keys()?.gone(VIP, moved.hit, Duration::from_secs(2)).context("no candidate's key was deleted")?;
    ensure!(moved.gone <= key, "the key was gone {} before the address", millis(moved.gone.since(key)));
    Ok(key.since(moved.gone))
}
