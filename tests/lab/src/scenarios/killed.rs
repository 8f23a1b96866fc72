//! Holders that die, the next ones that die with them, and what comes back.

use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use crate::clock::{self, At};
use crate::faults::{Fault, Who};
use crate::measure::{Blow, Tally, stays_on};
use crate::probe::Probe;
use crate::scenario::Context;
use crate::world::{Options, VIP, World};

const PATIENCE: Duration = Duration::from_secs(15);
const WATCHED: Duration = Duration::from_secs(2);

/// The holder is killed, the next one in the middle of its takeover; then the old holder is started again with its old
/// runtime directory, and then the other one.
pub(super) fn during_takeover(lab: &Context) -> Result<()> {
    let mut world = lab.world(Options::default())?;
    world.one_holder(VIP, PATIENCE)?;
    let probe = world.probe(VIP)?;
    let mut tally = Tally::default();
    for round in 0..lab.rounds(1, 6) {
        world.all_daemons_back(VIP)?;
        clock::sleep(Duration::from_secs(1));
        let blow = Blow::now(&world, VIP, &probe)?;
        let (next, third) = world.queue_behind(blow.from)?;
        world.service(blow.from, Who::Vipd).kill();
        if round % 2 == 0 {
            // Its turn has just come: it asks the network.
            world.keys()?.gone(VIP, blow.at, PATIENCE).context("the killed holder's key stays")?;
        } else {
            // It has just put the address.
            blow.elsewhere(&world, PATIENCE)?;
        }
        world.service(next, Who::Vipd).kill();
        let came = world.monitor.wait(PATIENCE, |timeline| timeline.holder(VIP).filter(|holder| *holder == third));
        came.context("the third did not take over")?;
        let taken = clock::now();
        Fault::Start(blow.from, Who::Vipd).hit(&mut world)?;
        clock::sleep(Duration::from_secs(1));
        Fault::Start(next, Who::Vipd).hit(&mut world)?;
        stays_on(&world, VIP, third, taken, WATCHED, "dead daemons came back with their old state")?;
        tally.add(&blow.course(&world, PATIENCE)?);
    }
    lab.row("killed, and the next during its takeover", &tally, "the third holds; the old ones come back behind it")?;
    world.monitor.no_overlap(At::default(), clock::now())
}

/// The node is lost with all that runs on it, once not leading etcd and once leading it.
pub(super) fn node_lost(lab: &Context) -> Result<()> {
    let mut world = lab.world(Options::default())?;
    world.one_holder(VIP, PATIENCE)?;
    let probe = world.probe(VIP)?;
    let (mut followers, mut leaders) = (Tally::default(), Tally::default());
    for _ in 0..lab.rounds(1, 5) {
        lose_node(&mut world, &probe, false, &mut followers)?;
        lose_node(&mut world, &probe, true, &mut leaders)?;
    }
    lab.row("node lost (cable, daemon, etcd member)", &followers, "next holds; no flap when it is back")?;
    lab.row("node lost that led etcd", &leaders, "next holds; no flap when it is back")?;
    world.monitor.no_overlap(At::default(), clock::now())
}

fn lose_node(world: &mut World, probe: &Probe, leads: bool, tally: &mut Tally) -> Result<()> {
    let holder = world.all_daemons_back(VIP)?;
    world.lead(if leads { holder } else { (holder + 1) % 3 })?;
    clock::sleep(Duration::from_secs(1));
    let blow = Blow::now(world, VIP, probe)?;
    Fault::Unplug(holder).hit(world)?;
    world.service(holder, Who::Vipd).kill();
    Fault::Signal(holder, Who::Etcd, Signal::SIGKILL).hit(world)?;
    let next = blow.elsewhere(world, PATIENCE)?;
    world.service(holder, Who::Etcd).kill();
    let back = clock::now();
    Fault::Plug(holder).hit(world)?;
    Fault::Start(holder, Who::Etcd).hit(world)?;
    Fault::Start(holder, Who::Vipd).hit(world)?;
    stays_on(world, VIP, next, back, WATCHED, "the lost node came back")?;
    tally.add(&blow.course(world, PATIENCE)?);
    Ok(())
}
