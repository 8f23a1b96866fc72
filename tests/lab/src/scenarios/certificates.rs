//! Certificates that are swapped, rolled over to another authority, and left to expire, while a VIP is held.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::calm::{AFTER, Calm, Kept, Vote, a_world};
use crate::clock::{self, At, millis};
use crate::faults::Fault;
use crate::figures::Figures;
use crate::keys::Ctl;
use crate::measure::{Blow, Tally, led_from, row};
use crate::pki::{Authority, YEAR};
use crate::probe::Probe;
use crate::scenario::Context;
use crate::shell;
use crate::timeline::NodeIndex;
use crate::world::{Options, VIP, World};

/// A daemon that looks every few seconds has looked by then, and has its new connections.
const NOTICED: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until a daemon uses none of the connections it had, but others; how long it took.
fn reconnected(world: &World, node: NodeIndex, before: &BTreeSet<String>, from: At) -> Result<Duration> {
    let mut now = BTreeSet::new();
    let others = clock::poll_every(Duration::from_millis(50), NOTICED, || {
        now = world.connections(node).unwrap_or_default();
        !now.is_empty() && now.is_disjoint(before)
    });
    let name = world.names(&[node]);
    ensure!(others, "{name} had {before:?} and has {now:?}: the new certificate is not used after {NOTICED:?}");
    Ok(clock::now().since(from))
}

/// The holder's client certificate is replaced again and again, while etcd is written to and a client sends echoes.
pub(super) fn swapped(lab: &Context) -> Result<()> {
    let (world, probe) = a_world(lab, Options::default())?;
    let holder = led_from(&world, 1)?;
    let quiet = clock::now();
    clock::sleep(Duration::from_secs(3));
    let noise = probe.worst(quiet, clock::now());
    let (lease, calm) = (world.candidate(holder, VIP)?.1, Calm::begins(&world, &probe)?);
    let busy = world.compact_on_and_on();
    let (mut took, swaps) = (Figures::default(), lab.rounds(3, 50));
    for _ in 0..swaps {
        let (before, from) = (world.connections(holder)?, clock::now());
        world.access()?.sign_client(holder, &world.access()?.authority, YEAR)?;
        took.add(reconnected(&world, holder, &before, from)?);
    }
    drop(busy);
    let mut kept = Kept::new("client certificate swapped under load", Vote::No);
    kept.add(&world, &calm)?;
    kept.tell(lab)?;
    let now = world.candidate(holder, VIP)?.1;
    ensure!(now == lease, "the lease was {lease} and is {now}");
    lab.say(row("swap to new connections only", &took));
    lab.say(format_args!("{swaps} swaps, lease {lease} all the time; the probe's own noise was {}", millis(noise)));
    world.monitor.no_overlap(At::default(), clock::now())
}

/// Old authority, both, certificates by the new one, new authority only.
pub(super) fn rolled_over(lab: &Context) -> Result<()> {
    let (mut world, probe) = a_world(lab, Options::default())?;
    let mut kept = Kept::new("certificate authority rolled over", Vote::No);
    for _ in 0..lab.rounds(1, 3) {
        let next = Authority::new("etcd-ca-next")?;
        let calm = Calm::begins(&world, &probe)?;
        let both = format!("{}{}", world.access()?.authority.pem(), next.pem());
        trusted_everywhere(&mut world, &both)?;
        let former = world.access()?.keep_root()?;
        for node in 0..3 {
            let before = world.connections(node)?;
            world.access()?.sign_server(node, &next, YEAR)?;
            world.access()?.sign_client(node, &next, YEAR)?;
            reconnected(&world, node, &before, clock::now())?;
        }
        world.access()?.sign_root(&next)?;
        trusted_everywhere(&mut world, &next.pem())?;
        kept.add(&world, &calm)?;
        let former = Ctl { client: Some(former), ..world.ctl() };
        let refused = shell::output(former.command().args(["--command-timeout=2s", "get", "x"]));
        ensure!(refused.is_err(), "what the old authority signed is still good");
        world.access_mut()?.authority = next;
    }
    kept.tell(lab)?;
    still_moves(lab, &mut world, &probe)
}

/// Daemons and tools at once, members one by one: they read it when they start.
fn trusted_everywhere(world: &mut World, bundle: &str) -> Result<()> {
    let leader = world.etcd_leader().unwrap_or_default();
    world.access()?.trust(bundle)?;
    world.access()?.trust_of_members(bundle)?;
    for node in [leader + 1, leader + 2, leader].map(|node| node % 3) {
        world.restart_etcd(node)?;
        clock::sleep(AFTER);
    }
    Ok(())
}

/// A planned move afterwards: all connections are good for everything.
pub(super) fn still_moves(lab: &Context, world: &mut World, probe: &Probe) -> Result<()> {
    let holder = world.one_holder(VIP, PATIENCE)?;
    world.all_stand(VIP)?;
    let blow = Blow::now(world, VIP, probe)?;
    Fault::term(holder).hit(world)?;
    blow.elsewhere(world, PATIENCE)?;
    let course = blow.course(world, PATIENCE)?;
    ensure!(course.gap < Duration::from_secs(1), "a planned move took {}", millis(course.gap));
    lab.say(format_args!("a planned move afterwards: {} on no node", millis(course.gap)));
    world.monitor.no_overlap(At::default(), clock::now())
}

/// The holder's certificate expires. Its connections stand, and so does the VIP; once they break it cannot come back,
/// and the next one holds. A fresh certificate heals it.
pub(super) fn expired(lab: &Context) -> Result<()> {
    /// From the short-lived certificate to its end.
    const LIVES: Duration = Duration::from_secs(8);
    let (mut world, probe) = a_world(lab, Options::default())?;
    let holder = led_from(&world, 1)?;
    let calm = Calm::begins(&world, &probe)?;
    let (before, from) = (world.connections(holder)?, clock::now());
    world.access()?.sign_client(holder, &world.access()?.authority, LIVES)?;
    reconnected(&world, holder, &before, from)?;
    let said = world.logged(holder, &["ERROR", "certificate"], Duration::from_secs(5))?;
    lab.say(format_args!("with {LIVES:?} left it says: {said}"));
    clock::sleep_until(from + LIVES + Duration::from_secs(3));
    let mut kept = Kept::new("the holder's certificate expires, its connections stand", Vote::No);
    kept.add(&world, &calm)?;
    kept.tell(lab)?;

    let blow = Blow::now(&world, VIP, &probe)?;
    for node in [holder, (holder + 2) % 3, (holder + 1) % 3] {
        world.restart_etcd(node)?;
    }
    blow.elsewhere(&world, PATIENCE)?;
    let said = world.logged(holder, &["WARN", "refuses our client certificate"], Duration::from_secs(5))?;
    lab.say(format_args!("its connections broken, it says: {said}"));
    lab.row("and then its connections break", &Tally::of(&blow.course(&world, PATIENCE)?), "next holds")?;

    let from = clock::now();
    world.access()?.sign_client(holder, &world.access()?.authority, YEAR)?;
    world.all_stand(VIP)?;
    lab.say(format_args!("a fresh certificate: it stands again after {}", millis(clock::now().since(from))));
    world.monitor.no_overlap(At::default(), clock::now())
}

/// All members' certificates expire: the same, for everybody.
pub(super) fn servers_expired(lab: &Context) -> Result<()> {
    const LIVE: Duration = Duration::from_secs(5);
    let (mut world, probe) = a_world(lab, Options::default())?;
    let holder = led_from(&world, 1)?;
    let calm = Calm::begins(&world, &probe)?;
    let from = clock::now();
    for node in 0..3 {
        world.access()?.sign_server(node, &world.access()?.authority, LIVE)?;
    }
    clock::sleep_until(from + LIVE + Duration::from_secs(3));
    let mut kept = Kept::new("the members' certificates expire, connections stand", Vote::No);
    kept.add(&world, &calm)?;
    kept.tell(lab)?;
    // The holder's own member's connection breaks, and no member can be connected to.
    world.restart_etcd(holder)?;
    let said = world.logged(holder, &["expired"], Duration::from_secs(10))?;
    lab.say(format_args!("its own member restarted, the holder says: {said}"));
    for node in 0..3 {
        world.access()?.sign_server(node, &world.access()?.authority, YEAR)?;
    }
    world.one_holder(VIP, PATIENCE)?;
    world.all_stand(VIP)?;
    still_moves(lab, &mut world, &probe)
}
