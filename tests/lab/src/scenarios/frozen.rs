//! Daemons that are stopped and go on: at any instant, for any time, two at once.

use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use crate::chance::Chance;
use crate::clock::{self, At, millis};
use crate::faults::{Fault, Who};
use crate::measure::{Blow, Tally, stays_on};
use crate::probe::Probe;
use crate::scenario::Context;
use crate::timeline::NodeIndex;
use crate::world::{Options, VIP, World};

/// With a lease of 5 s: so short that nobody may notice. (The kernel's clock may take the address off a second before
/// the fence, 3.8 s after the last renewal, and a renewal is due every half second.)
const SHORT: Duration = Duration::from_secs(2);
/// So long that the others have taken over.
const LONG: Duration = Duration::from_secs(7);
const PATIENCE: Duration = Duration::from_secs(12);
const THAWED: Duration = Duration::from_secs(3);

/// Short and long freezes, and some that end just about when the fence, the kernel's clock and the lease do.
pub(super) fn any_instant(lab: &Context) -> Result<()> {
    let mut world = lab.world(Options::default())?;
    world.one_holder(VIP, PATIENCE)?;
    let probe = world.probe(VIP)?;
    let mut chance = lab.chance();
    let (mut short, mut edge, mut long) = (Tally::default(), Tally::default(), Tally::default());
    for _ in 0..lab.rounds(1, 7) {
        let span = chance.between(Duration::from_millis(100), SHORT);
        brief(&mut world, &probe, &mut chance, span, &mut short)?;
        let span = chance.between(Duration::from_millis(2500), Duration::from_millis(6000));
        at_the_edge(&mut world, &probe, &mut chance, span, &mut edge)?;
        let span = chance.between(LONG, LONG + Duration::from_secs(2));
        lasting(&mut world, &probe, &mut chance, span, &mut long)?;
    }
    lab.row("SIGSTOP of the daemon, up to 2 s", &short, "stays; nothing happens")?;
    lab.row("SIGSTOP of the daemon, 2.5-6 s", &edge, "one holder")?;
    lab.row("SIGSTOP of the daemon, 7-9 s", &long, "next holds; thawed puts nothing back")?;
    world.monitor.no_overlap(At::default(), clock::now())
}

/// All stand, one holds, and some time has passed: any instant between two renewals.
fn blow<'a>(world: &World, probe: &'a Probe, chance: &mut Chance) -> Result<Blow<'a>> {
    world.one_holder(VIP, PATIENCE)?;
    world.all_stand(VIP)?;
    clock::sleep(chance.between(Duration::from_millis(500), Duration::from_millis(1500)));
    Blow::now(world, VIP, probe)
}

fn stop(world: &mut World, node: NodeIndex, signal: Signal) -> Result<()> {
    Fault::Signal(node, Who::Vipd, signal).hit(world)
}

fn brief(world: &mut World, probe: &Probe, chance: &mut Chance, span: Duration, tally: &mut Tally) -> Result<()> {
    let blow = blow(world, probe, chance)?;
    stop(world, blow.from, Signal::SIGSTOP)?;
    clock::sleep(span);
    stop(world, blow.from, Signal::SIGCONT)?;
    let blinks = blow.stays(world, Duration::from_secs(1), "a freeze shorter than the fence")?;
    ensure!(blinks == 0, "{VIP} blinked in a freeze of {}", millis(span));
    tally.add(&blow.course(world, PATIENCE)?);
    Ok(())
}

fn at_the_edge(world: &mut World, probe: &Probe, chance: &mut Chance, span: Duration, tally: &mut Tally) -> Result<()> {
    let blow = blow(world, probe, chance)?;
    stop(world, blow.from, Signal::SIGSTOP)?;
    clock::sleep(span);
    stop(world, blow.from, Signal::SIGCONT)?;
    clock::sleep(Duration::from_secs(3));
    tally.add(&blow.course(world, PATIENCE)?);
    Ok(())
}

fn lasting(world: &mut World, probe: &Probe, chance: &mut Chance, span: Duration, tally: &mut Tally) -> Result<()> {
    let blow = blow(world, probe, chance)?;
    stop(world, blow.from, Signal::SIGSTOP)?;
    clock::sleep(span);
    let next = blow.elsewhere(world, PATIENCE)?;
    let thawed = clock::now();
    stop(world, blow.from, Signal::SIGCONT)?;
    stays_on(world, VIP, next, thawed, THAWED, "the old holder thawed")?;
    tally.add(&blow.course(world, PATIENCE)?);
    Ok(())
}

/// The holder and the next in the queue.
pub(super) fn two(lab: &Context) -> Result<()> {
    let mut world = lab.world(Options::default())?;
    let mut chance = lab.chance();
    world.one_holder(VIP, PATIENCE)?;
    let probe = world.probe(VIP)?;
    let mut tally = Tally::default();
    for _ in 0..lab.rounds(1, 5) {
        let blow = blow(&world, &probe, &mut chance)?;
        let (next, third) = world.queue_behind(blow.from)?;
        stop(&mut world, blow.from, Signal::SIGSTOP)?;
        stop(&mut world, next, Signal::SIGSTOP)?;
        let holder = blow.elsewhere(&world, PATIENCE)?;
        ensure!(holder == third, "a frozen daemon took {VIP}");
        let thawed = clock::now();
        stop(&mut world, blow.from, Signal::SIGCONT)?;
        stop(&mut world, next, Signal::SIGCONT)?;
        stays_on(&world, VIP, third, thawed, THAWED, "two frozen daemons thawed")?;
        tally.add(&blow.course(&world, PATIENCE)?);
    }
    lab.row("holder and next frozen at once", &tally, "the third holds; thawed put nothing back")?;
    world.monitor.no_overlap(At::default(), clock::now())
}
