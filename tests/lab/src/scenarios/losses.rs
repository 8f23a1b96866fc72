//! A holder that is lost to the others but lives: cut off, or frozen.

use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use crate::clock::{self, At};
use crate::faults::{Fault, Who};
use crate::measure::{Move, Moves, Watched, a_move};
use crate::probe::Probe;
use crate::scenario::Context;
use crate::timeline::NodeIndex;
use crate::world::{Options, VIP, World};

/// How long one watches after the healing for a flap.
const HEALED: Duration = Duration::from_secs(5);

/// The switch stops forwarding for the holder's node.
pub(super) fn cut_off(lab: &Context) -> Result<()> {
    without(lab, "node cut off, daemon running", Fault::Silence, Fault::Unsilence)
}

/// The holder's node loses its cable.
pub(super) fn unplugged(lab: &Context) -> Result<()> {
    without(lab, "node unplugged, daemon running", Fault::Unplug, Fault::Plug)
}

/// Loses the holder's node in one way or another, again and again.
fn without(lab: &Context, name: &str, cut: fn(NodeIndex) -> Fault, heal: fn(NodeIndex) -> Fault) -> Result<()> {
    let mut world = lab.world(Options::default())?;
    world.one_holder(VIP, Duration::from_secs(5))?;
    let probe = world.probe(VIP)?;
    let (mut moves, mut leaders, mut blinks) = (Moves::default(), 0, 0);
    let rounds = lab.rounds(1, 10);
    for _ in 0..rounds {
        let holder = world.one_holder(VIP, Duration::from_secs(10))?;
        world.all_stand(VIP)?;
        leaders += usize::from(world.etcd_leader() == Some(holder));
        let (moved, blinked) = lose(&mut world, &probe, &cut(holder), &heal(holder), Duration::ZERO)?;
        moves.add(&moved);
        blinks += blinked;
    }
    lab.say_all(moves.table());
    lab.row(name, &moves.tally(), "next holds; no flap when healed")?;
    lab.say(format_args!(
        "in {leaders} of {rounds} the node led etcd, too; {HEALED:?} after each healing: 0 moves, {blinks} blinks"
    ));
    world.monitor.no_overlap(At::default(), clock::now())
}

/// The holder's daemon is stopped, for longer than its lease, and goes on.
pub(super) fn freeze(lab: &Context) -> Result<()> {
    let mut world = lab.world(Options::default())?;
    world.one_holder(VIP, Duration::from_secs(5))?;
    let probe = world.probe(VIP)?;
    let mut moves = Moves::default();
    for _ in 0..lab.rounds(1, 10) {
        let holder = world.one_holder(VIP, Duration::from_secs(10))?;
        world.all_stand(VIP)?;
        let stop = Fault::Signal(holder, Who::Vipd, Signal::SIGSTOP);
        let go_on = Fault::Signal(holder, Who::Vipd, Signal::SIGCONT);
        moves.add(&lose(&mut world, &probe, &stop, &go_on, Duration::from_secs(2))?.0);
    }
    lab.say_all(moves.table());
    lab.row("SIGSTOP of the daemon, until 2 s after the move", &moves.tally(), "next holds; thawed put nothing back")?;
    lab.say(format_args!("thawed, it put nothing back in {HEALED:?}"));
    world.monitor.no_overlap(At::default(), clock::now())
}

/// Loses the holder, waits for the move and `longer`, heals, and watches that the address then stays where it is.
/// Also returns how often it blinked there: an etcd member that comes back with a higher term makes the others elect
/// anew, and a split vote in that may outlast a lease. A blink is seldom and harmless, a move would be wrong.
fn lose(world: &mut World, probe: &Probe, fault: &Fault, heal: &Fault, longer: Duration) -> Result<(Move, usize)> {
    let watched = Watched { vip: VIP, probe, quiet: Duration::from_secs(6), within: Duration::from_secs(20) };
    let moved = a_move(world, &watched, fault)?;
    clock::sleep(longer);
    let healed = clock::now();
    heal.hit(world)?;
    clock::sleep(HEALED);
    let changes = world.monitor.timeline().changes(VIP, healed);
    let elsewhere = changes.iter().any(|change| change.node != moved.to);
    ensure!(!elsewhere, "{VIP} did not stay on {} after: {heal}", world.names(&[moved.to]));
    world.monitor.no_overlap(moved.hit, clock::now())?;
    Ok((moved, changes.len() / 2))
}
