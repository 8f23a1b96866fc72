//! Trouble with the one member that leads etcd.

use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use crate::clock::{self, At};
use crate::faults::{Fault, Who};
use crate::measure::{Blow, Tally, led_from, stays_on};
use crate::probe::Probe;
use crate::scenario::Context;
use crate::timeline::NodeIndex;
use crate::world::{Options, VIP, World};

const PATIENCE: Duration = Duration::from_secs(20);
const STALL: Duration = Duration::from_secs(14);
const WATCHED: Duration = Duration::from_secs(2);

fn a_world(lab: &Context) -> Result<(World, Probe)> {
    let world = lab.world(Options::default())?;
    world.one_holder(VIP, PATIENCE)?;
    let probe = world.probe(VIP)?;
    Ok((world, probe))
}

/// Cut off by the switch, again and again, and always the one that leads.
pub(super) fn partitioned(lab: &Context) -> Result<()> {
    let (mut world, probe) = a_world(lab)?;
    let mut tally = Tally::default();
    for _ in 0..lab.rounds(1, 20) {
        let holder = led_from(&world, 0)?;
        let blow = Blow::now(&world, VIP, &probe)?;
        Fault::Silence(holder).hit(&mut world)?;
        let next = blow.elsewhere(&world, PATIENCE)?;
        clock::sleep(Duration::from_secs(1));
        let healed = clock::now();
        Fault::Unsilence(holder).hit(&mut world)?;
        stays_on(&world, VIP, next, healed, WATCHED, "the partition was healed")?;
        tally.add(&blow.course(&world, PATIENCE)?);
    }
    lab.row("holder that leads etcd cut off", &tally, "next holds; no flap when healed")?;
    world.monitor.no_overlap(At::default(), clock::now())
}

/// Another node's member leads; it dies, freezes for 8 s, or its disk stalls for 14 s.
pub(super) fn troubled(lab: &Context) -> Result<()> {
    let (mut world, probe) = a_world(lab)?;
    let kinds: [(&str, Trouble); 3] = [
        ("etcd leader (another node) killed", die),
        ("etcd leader (another node) frozen for 8 s", freeze),
        ("etcd leader's (another node's) disk stalled 14 s", stall),
    ];
    let rounds = lab.rounds(1, 5);
    for (name, trouble) in kinds {
        let (mut tally, mut blinks, mut early) = (Tally::default(), 0, 0);
        for _ in 0..rounds {
            let holder = led_from(&world, 1)?;
            let (leader, blow) = ((holder + 1) % 3, Blow::now(&world, VIP, &probe)?);
            let heal = trouble(&mut world, leader)?;
            led_by_another(&world, leader)?;
            blinks += blow.stays(&world, Duration::ZERO, "trouble with the etcd leader on another node")?;
            tally.add(&blow.course(&world, PATIENCE)?);
            heal(&mut world)?;
            early += usize::from(revoked_early(&world, holder)?);
        }
        lab.row(name, &tally, &format!("stays, {blinks} blinks{}", old_servers(early, rounds)))?;
    }
    world.monitor.no_overlap(At::default(), clock::now())
}

/// Does something to the etcd leader, for as long as it should be; returns what lets it go on.
type Trouble = fn(&mut World, NodeIndex) -> Result<Heal>;
type Heal = Box<dyn FnOnce(&mut World) -> Result<()>>;

fn die(world: &mut World, leader: NodeIndex) -> Result<Heal> {
    world.service(leader, Who::Etcd).kill();
    clock::sleep(Duration::from_secs(4));
    Ok(Box::new(move |world| Fault::Start(leader, Who::Etcd).hit(world)))
}

fn freeze(world: &mut World, leader: NodeIndex) -> Result<Heal> {
    Fault::Signal(leader, Who::Etcd, Signal::SIGSTOP).hit(world)?;
    clock::sleep(Duration::from_secs(8));
    Ok(Box::new(move |world| Fault::Signal(leader, Who::Etcd, Signal::SIGCONT).hit(world)))
}

fn stall(world: &mut World, leader: NodeIndex) -> Result<Heal> {
    let until = clock::now() + STALL;
    let stall = world.stall_disk(leader, STALL + WATCHED)?;
    clock::sleep_until(until);
    Ok(Box::new(move |_| {
        drop(stall);
        Ok(())
    }))
}

/// Else the trouble was none. (The old leader may still call itself one.)
fn led_by_another(world: &World, leader: NodeIndex) -> Result<()> {
    ensure!(world.leads_beside(leader), "the members did not elect another leader");
    Ok(())
}

/// A leader that was away for longer than a TTL has missed all renewals, and on its return servers before 3.4.31 and
/// 3.5.13 have it revoke those leases although another leads. That breaks etcd's own promise: the VIP then goes in
/// milliseconds and the next one has it after its probes. It may move for that cause only. Also waits for all to stand.
fn revoked_early(world: &World, holder: NodeIndex) -> Result<bool> {
    let returned = clock::now();
    clock::sleep(WATCHED);
    world.one_holder(VIP, PATIENCE)?;
    world.all_stand(VIP)?;
    let changes = world.monitor.timeline().changes(VIP, returned);
    let moved = changes.iter().any(|change| change.node != holder);
    if moved {
        let gone = world.keys()?.gone(VIP, returned, Duration::ZERO);
        ensure!(gone.is_some(), "{VIP} moved after the old leader's return, though no key was deleted");
    }
    world.monitor.no_overlap(returned, clock::now())?;
    Ok(moved)
}

fn old_servers(early: usize, rounds: usize) -> String {
    match early {
        0 => String::new(),
        _ => format!("; in {early} of {rounds} the returning leader revoked leases early, and it moved"),
    }
}

/// The holder's own member leads and its disk stalls: it goes on acknowledging renewals. Then the node is cut off with
/// that member, or the daemon frozen. Never two holders, whatever that leader does when it goes on.
pub(super) fn stalled_with_holder(lab: &Context) -> Result<()> {
    let (mut world, probe) = a_world(lab)?;
    let (mut cut, mut frozen) = ((Tally::default(), 0), (Tally::default(), 0));
    let rounds = lab.rounds(1, 5);
    for _ in 0..rounds {
        stalled_round(&mut world, &probe, &Fault::Silence, &Fault::Unsilence, &mut cut)?;
        if lab.full {
            let signal = |signal| move |node| Fault::Signal(node, Who::Vipd, signal);
            stalled_round(&mut world, &probe, &signal(Signal::SIGSTOP), &signal(Signal::SIGCONT), &mut frozen)?;
        }
    }
    let end = |early| format!("next holds{}", old_servers(early, rounds));
    lab.row("leader's disk stalled 14 s, holder beside it cut off", &cut.0, &end(cut.1))?;
    if lab.full {
        lab.row("leader's disk stalled 14 s, holder beside it frozen", &frozen.0, &end(frozen.1))?;
    }
    world.monitor.no_overlap(At::default(), clock::now())
}

fn stalled_round(
    world: &mut World,
    probe: &Probe,
    hit: &dyn Fn(NodeIndex) -> Fault,
    heal: &dyn Fn(NodeIndex) -> Fault,
    (tally, early): &mut (Tally, usize),
) -> Result<()> {
    let holder = led_from(world, 0)?;
    let blow = Blow::now(world, VIP, probe)?;
    let stall = world.stall_disk(holder, STALL + WATCHED)?;
    clock::sleep(Duration::from_millis(1500));
    hit(holder).hit(world)?;
    let next = blow.elsewhere(world, PATIENCE)?;
    clock::sleep_until(blow.at + STALL);
    led_by_another(world, holder)?;
    tally.add(&blow.course(world, PATIENCE)?);
    drop(stall);
    heal(holder).hit(world)?;
    *early += usize::from(revoked_early(world, next)?);
    Ok(())
}
