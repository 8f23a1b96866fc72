//! Links that flap, go, come late, or do not take the address.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::chance::Chance;
use crate::clock::{self, At, millis};
use crate::faults::{Fault, Who};
use crate::measure::{Blow, Tally, stays_on};
use crate::probe::Probe;
use crate::scenario::Context;
use crate::world::{Options, VIP, VIP6, Vip, World};

const PATIENCE: Duration = Duration::from_secs(15);

/// The holder's only link loses its carrier again and again, then is deleted with its addresses and made again.
pub(super) fn flapping(lab: &Context) -> Result<()> {
    let mut world = lab.world(Options::default())?;
    world.one_holder(VIP, PATIENCE)?;
    let probe = world.probe(VIP)?;
    let mut chance = lab.chance();
    let (mut flapped, mut deleted) = (Tally::default(), Tally::default());
    for _ in 0..lab.rounds(1, 2) {
        flap(&world, &probe, &mut chance, Duration::from_secs(if lab.full { 60 } else { 10 }), &mut flapped)?;
        recreate(&mut world, &probe, &mut deleted)?;
    }
    lab.row("holder's link flaps", &flapped, "one holder")?;
    lab.row("holder's link deleted, made again", &deleted, "next holds; the old node queues again")?;
    world.monitor.no_overlap(At::default(), clock::now())
}

fn flap(world: &World, probe: &Probe, chance: &mut Chance, span: Duration, tally: &mut Tally) -> Result<()> {
    let holder = world.one_holder(VIP, PATIENCE)?;
    world.all_stand(VIP)?;
    clock::sleep(Duration::from_secs(1));
    let blow = Blow::now(world, VIP, probe)?;
    while clock::now() < blow.at + span {
        for up in [false, true] {
            world.carrier(holder, "eth0", up)?;
            clock::sleep(chance.between(Duration::from_millis(50), Duration::from_millis(900)));
        }
    }
    // A turn given up in the last of it may still be on its way: a lease, and some more.
    clock::sleep(Duration::from_secs(8));
    let course = blow.course(world, PATIENCE)?;
    stays_on(world, VIP, course.holder, clock::now(), Duration::from_secs(2), "the flapping ended")?;
    tally.add(&course);
    Ok(())
}

fn recreate(world: &mut World, probe: &Probe, tally: &mut Tally) -> Result<()> {
    let holder = world.one_holder(VIP, PATIENCE)?;
    world.all_stand(VIP)?;
    clock::sleep(Duration::from_secs(1));
    let blow = Blow::now(world, VIP, probe)?;
    world.delete_link(holder, "eth0")?;
    let off = blow.off(world, PATIENCE)?;
    ensure!(off < Duration::from_secs(1), "the address outlived its link by {}", millis(off));
    let next = blow.elsewhere(world, PATIENCE)?;
    let made = clock::now();
    world.make_link(holder, "eth0")?;
    stays_on(world, VIP, next, made, Duration::from_secs(3), "the link was made again")?;
    world.all_stand(VIP).context("after the link was made again")?;
    tally.add(&blow.course(world, PATIENCE)?);
    Ok(())
}

/// A node that cannot put the address (IPv6 is switched off on its link) and has its turn first.
pub(super) fn refused(lab: &Context) -> Result<()> {
    const UNABLE: usize = 0;
    let vips = vec![Vip { ip: VIP6, link: "eth0".to_owned() }];
    // What is told only once a minute is to be counted.
    let log = Some("info,vipd::daemon::tell=debug");
    let mut world = lab.world(Options { vips, vipd: false, log, ..Options::default() })?;
    ipv6(&world, UNABLE, false)?;
    let from = clock::now();
    world.nodes[UNABLE].vipd.start()?;
    let error = world.logged(UNABLE, &["ERROR", "cannot be put"], PATIENCE)?;
    lab.say(format_args!("n1 alone says: {}", error.trim()));
    clock::sleep(Duration::from_secs(3));
    let alone = times(&world, UNABLE);
    ensure!((2..=12).contains(&alone), "alone it tried {alone} times in some seconds");
    let errors = world.nodes[UNABLE].vipd.said().lines().filter(|line| line.contains("ERROR")).count();
    ensure!(errors == 1, "of one lasting cause {errors} errors were told within seconds");
    for node in 1..3 {
        world.nodes[node].vipd.start()?;
    }
    let holder = world.one_holder(VIP6, PATIENCE)?;
    let held = world.monitor.timeline().came(VIP6, from, None).map(|change| change.at.since(from));
    let seen = times(&world, UNABLE);
    world.all_stand(VIP6)?;
    clock::sleep(Duration::from_secs(5));
    ensure!(world.monitor.timeline().holder(VIP6) == Some(holder), "{VIP6} did not stay");
    let more = times(&world, UNABLE) - seen;
    lab.say(format_args!(
        "{} holds {} after n1's start; n1 tried {alone} times alone, {more} times since",
        world.names(&[holder]),
        millis(held.unwrap_or_default())
    ));

    ipv6(&world, UNABLE, true)?;
    for node in 1..3 {
        Fault::term(node).hit(&mut world)?;
        world.service(node, Who::Vipd).ends_with(0, Duration::from_secs(5))?;
    }
    let healed = world.one_holder(VIP6, Duration::from_secs(45)).context("after IPv6 was switched on again")?;
    ensure!(healed == UNABLE, "somebody holds whose daemon ended");
    lab.row("the add is refused (EACCES)", &Tally::default(), "ERROR, back-off; the others hold; healed it holds")?;
    world.monitor.no_overlap(At::default(), clock::now())
}

fn times(world: &World, node: usize) -> usize {
    world.nodes[node].vipd.said().lines().filter(|line| line.contains("cannot put")).count()
}

fn ipv6(world: &World, node: usize, on: bool) -> Result<()> {
    let value = if on { "0" } else { "1" };
    world.nodes[node]
        .ns
        .run(|| std::fs::write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", value).context("switch IPv6 on a link"))
}
