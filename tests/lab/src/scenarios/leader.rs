//! Trouble with the one member that leads etcd.

use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::clock::{self, At};
use crate::faults::{Fault, Who};
use crate::measure::{Blow, Tally, stays_on};
use crate::probe::Probe;
use crate::scenario::Context;
use crate::timeline::NodeIndex;
use crate::world::{Options, VIP, World};

const PATIENCE: Duration = Duration::from_secs(20);
const STALL: Duration = Duration::from_secs(14);
const WATCHED: Duration = Duration::from_secs(3);

fn a_world(lab: &Context) -> Result<(World, Probe)> {
    let world = lab.world(Options::default())?;
    world.one_holder(VIP, PATIENCE)?;
    let probe = world.probe(VIP)?;
    Ok((world, probe))
}

/// Makes the member that stands `on` the holder's node or the next one lead, with all well; returns the holder.
fn led_from(world: &World, beside: usize) -> Result<NodeIndex> {
    let holder = world.one_holder(VIP, PATIENCE)?;
    world.all_stand(VIP)?;
    world.lead((holder + beside) % 3)?;
    clock::sleep(Duration::from_secs(1));
    Ok(holder)
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
    let mut tallies = [Tally::default(), Tally::default(), Tally::default()];
    let mut blinks = [0; 3];
    let rounds = lab.rounds(1, 10);
    for _ in 0..rounds {
        for (kind, tally) in tallies.iter_mut().enumerate() {
            let holder = led_from(&world, 1)?;
            let (leader, blow) = ((holder + 1) % 3, Blow::now(&world, VIP, &probe)?);
            trouble(&mut world, leader, kind)?;
            blinks[kind] += blow.stays(&world, WATCHED, "trouble with the etcd leader on another node")?;
            tally.add(&blow.course(&world, PATIENCE)?);
        }
    }
    let names = ["etcd leader (another node) killed", "etcd leader frozen for 8 s", "etcd leader's disk stalled 14 s"];
    for ((name, tally), blinks) in names.iter().zip(&tallies).zip(blinks) {
        lab.row(name, tally, &format!("stays; {blinks} blinks in {rounds}"))?;
    }
    world.monitor.no_overlap(At::default(), clock::now())
}

fn trouble(world: &mut World, leader: NodeIndex, kind: usize) -> Result<()> {
    match kind {
        0 => {
            world.service(leader, Who::Etcd).kill();
            clock::sleep(Duration::from_secs(5));
            Fault::Start(leader, Who::Etcd).hit(world)
        }
        1 => {
            Fault::Signal(leader, Who::Etcd, Signal::SIGSTOP).hit(world)?;
            clock::sleep(Duration::from_secs(8));
            Fault::Signal(leader, Who::Etcd, Signal::SIGCONT).hit(world)
        }
        _ => {
            let stall = world.stall_disk(leader, STALL)?;
            clock::sleep(STALL);
            drop(stall);
            Ok(())
        }
    }
}

/// The holder's own member leads and its disk stalls: it goes on acknowledging renewals. Then the daemon is frozen, or
/// the node cut off with that member.
pub(super) fn stalled_with_holder(lab: &Context) -> Result<()> {
    let (mut world, probe) = a_world(lab)?;
    let mut tallies = [Tally::default(), Tally::default()];
    for round in 0..lab.rounds(2, 10) {
        let holder = led_from(&world, 0)?;
        let blow = Blow::now(&world, VIP, &probe)?;
        let stall = world.stall_disk(holder, STALL)?;
        clock::sleep(Duration::from_millis(1500));
        let (hit, heal) = match round % 2 {
            0 => (Fault::Silence(holder), Fault::Unsilence(holder)),
            _ => {
                let signal = |signal| Fault::Signal(holder, Who::Vipd, signal);
                (signal(Signal::SIGSTOP), signal(Signal::SIGCONT))
            }
        };
        hit.hit(&mut world)?;
        let next = blow.elsewhere(&world, PATIENCE)?;
        clock::sleep_until(blow.at + STALL);
        drop(stall);
        let healed = clock::now();
        heal.hit(&mut world)?;
        stays_on(&world, VIP, next, healed, WATCHED, "the disk and the holder went on")?;
        tallies[round % 2].add(&blow.course(&world, PATIENCE)?);
    }
    lab.row("leader's disk stalled 14 s, holder beside it cut off", &tallies[0], "next holds; no flap")?;
    lab.row("leader's disk stalled 14 s, holder beside it frozen", &tallies[1], "next holds; no flap")?;
    world.monitor.no_overlap(At::default(), clock::now())
}
