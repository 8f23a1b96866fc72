//! Keys, leases, watches and orders that somebody or something meddles with.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::clock::{self, At, millis};
use crate::faults::{Fault, Who};
use crate::measure::{Blow, Tally, stays_on};
use crate::probe::Probe;
use crate::scenario::Context;
use crate::shell;
use crate::world::{Options, VIP, World};

const PATIENCE: Duration = Duration::from_secs(12);
/// The figure is some milliseconds.
const PROMPT: Duration = Duration::from_secs(1);

fn a_world(lab: &Context, proxies: bool) -> Result<(World, Probe)> {
    let world = lab.world(Options { proxies, ..Options::default() })?;
    world.one_holder(VIP, PATIENCE)?;
    let probe = world.probe(VIP)?;
    world.all_stand(VIP)?;
    clock::sleep(Duration::from_secs(1));
    Ok((world, probe))
}

fn blow<'a>(world: &World, probe: &'a Probe) -> Result<Blow<'a>> {
    world.one_holder(VIP, PATIENCE)?;
    world.all_stand(VIP)?;
    clock::sleep(Duration::from_secs(1));
    Blow::now(world, VIP, probe)
}

/// `etcdctl del` of the holder's key, `etcdctl lease revoke` of its lease.
pub(super) fn keys(lab: &Context) -> Result<()> {
    let (world, probe) = a_world(lab, false)?;
    let (mut deleted, mut revoked) = (Tally::default(), Tally::default());
    for _ in 0..lab.rounds(1, 10) {
        meddle(&world, &probe, &mut deleted, |key, _| vec!["del".to_owned(), key])?;
        meddle(&world, &probe, &mut revoked, |_, lease| vec!["lease".to_owned(), "revoke".to_owned(), lease])?;
    }
    lab.row("holder's key deleted by hand", &deleted, "next holds after its probes")?;
    lab.row("holder's lease revoked under it", &revoked, "next holds after its probes")?;
    world.monitor.no_overlap(At::default(), clock::now())
}

fn meddle(
    world: &World,
    probe: &Probe,
    tally: &mut Tally,
    order: impl FnOnce(String, String) -> Vec<String>,
) -> Result<()> {
    let blow = blow(world, probe)?;
    let (key, lease) = world.candidate(blow.from, VIP)?;
    let order = order(key, lease);
    // Anew: `etcdctl` above took its time.
    let blow = Blow::now(world, VIP, probe)?;
    shell::output(world.etcdctl().args(&order))?;
    let off = blow.off(world, PATIENCE)?;
    ensure!(off < PROMPT, "{order:?}: off only after {}", millis(off));
    blow.elsewhere(world, PATIENCE)?;
    tally.add(&blow.course(world, PATIENCE)?);
    Ok(())
}

/// The watch hears nothing any more while renewals are answered: on the holder, whose key is deleted then, and on the
/// next in the queue, whose turn comes then.
pub(super) fn deaf(lab: &Context) -> Result<()> {
    let (mut world, probe) = a_world(lab, true)?;
    let (mut holders, mut waiting) = (Tally::default(), Tally::default());
    for _ in 0..lab.rounds(1, 10) {
        let (key, _) = world.candidate(world.one_holder(VIP, PATIENCE)?, VIP)?;
        let deaf = blow(&world, &probe)?;
        world.deafen(deaf.from);
        clock::sleep(Duration::from_millis(300));
        let deaf = Blow::now(&world, VIP, &probe)?;
        shell::output(world.etcdctl().args(["del", &key]))?;
        let off = deaf.off(&world, PATIENCE)?;
        ensure!(off < Duration::from_millis(2500), "a deaf holder let go only after {}", millis(off));
        deaf.elsewhere(&world, PATIENCE)?;
        holders.add(&deaf.course(&world, PATIENCE)?);

        let before = blow(&world, &probe)?;
        let (next, _) = world.queue_behind(before.from)?;
        world.deafen(next);
        clock::sleep(Duration::from_millis(300));
        let before = Blow::now(&world, VIP, &probe)?;
        Fault::term(before.from).hit(&mut world)?;
        let taken = before.elsewhere(&world, PATIENCE)?;
        ensure!(taken == next, "the deaf one lost its turn");
        let course = before.course(&world, PATIENCE)?;
        ensure!(course.gap < Duration::from_millis(2500), "a deaf one took only after {}", millis(course.gap));
        waiting.add(&course);
        world.service(before.from, Who::Vipd).ends_with(0, Duration::from_secs(5))?;
        world.all_daemons_back(VIP)?;
    }
    lab.row("watch deaf on the holder, its key deleted", &holders, "noticed by the next pair; next holds")?;
    lab.row("watch deaf on the next, its turn comes", &waiting, "noticed by the next pair; it holds")?;
    world.monitor.no_overlap(At::default(), clock::now())
}

/// What the holder says to etcd is held back from the moment it is told to leave (2.5 s), or gives its turn up because
/// somebody keeps deleting the address (for less and for more than its lease): its orders are carried out late.
pub(super) fn late_orders(lab: &Context) -> Result<()> {
    let (mut world, probe) = a_world(lab, true)?;
    let (mut stopped, mut fought) = (Tally::default(), Tally::default());
    for round in 0..lab.rounds(1, 5) {
        let blow = blow(&world, &probe)?;
        world.hold_orders(blow.from, true);
        Fault::term(blow.from).hit(&mut world)?;
        clock::sleep(Duration::from_millis(2500));
        world.hold_orders(blow.from, false);
        let next = blow.elsewhere(&world, PATIENCE)?;
        world.service(blow.from, Who::Vipd).ends_with(0, Duration::from_secs(6))?;
        stays_on(&world, VIP, next, clock::now(), Duration::from_secs(1), "the leaver's orders came late")?;
        stopped.add(&blow.course(&world, PATIENCE)?);
        world.all_daemons_back(VIP)?;

        // Once for less than a lease, once for more.
        let held = Duration::from_millis(if round % 2 == 0 { 2500 } else { 7000 });
        fought.add(&fight(&mut world, &probe, Some(held))?);
    }
    lab.row("SIGTERM, its orders reach etcd 2.5 s late", &stopped, "next holds after the word")?;
    lab.row("turn given up, orders reach etcd late", &fought, "next holds; nothing put under the old key")?;
    world.monitor.no_overlap(At::default(), clock::now())
}

/// Somebody deletes the address many times a minute: the turn is given up, loudly, and the next one has it.
pub(super) fn fought(lab: &Context) -> Result<()> {
    let (mut world, probe) = a_world(lab, false)?;
    let mut tally = Tally::default();
    for _ in 0..lab.rounds(1, 3) {
        tally.add(&fight(&mut world, &probe, None)?);
    }
    lab.row("address deleted 11 times in a minute", &tally, "next holds, ERROR on the old one")?;
    world.monitor.no_overlap(At::default(), clock::now())
}

/// Deletes the address until its holder gives up; its orders are held back for `held` from just before that.
fn fight(world: &mut World, probe: &Probe, held: Option<Duration>) -> Result<crate::measure::Course> {
    const PATIENT: usize = 10;
    blow(world, probe)?;
    let mut last = Blow::now(world, VIP, probe)?;
    let holder = last.from;
    for time in 0..=PATIENT {
        last = Blow::now(world, VIP, probe)?;
        ensure!(last.from == holder, "given up after {time} deletions already");
        if time == PATIENT {
            world.hold_orders(holder, held.is_some());
        }
        Fault::Delete(holder, VIP).hit(world)?;
        if time < PATIENT {
            let back = world.monitor.wait(PATIENCE, |timeline| timeline.came(VIP, last.at, None));
            ensure!(back.context("it did not come back")?.node == holder, "it came back elsewhere");
            clock::sleep(Duration::from_millis(100));
        }
    }
    clock::sleep(held.unwrap_or_default());
    world.hold_orders(holder, false);
    let next = last.elsewhere(world, PATIENCE)?;
    stays_on(world, VIP, next, clock::now(), Duration::from_secs(3), "the turn was given up")?;
    let error = world.logged(holder, &["ERROR", "keeps taking the address off"], PROMPT)?;
    let again = world.monitor.timeline().changes(VIP, last.at + PROMPT).into_iter().any(|change| change.node == holder);
    ensure!(!again, "{} put {VIP} again after giving its turn up ({error})", world.names(&[holder]));
    last.course(world, PATIENCE)
}
