//! etcd as a whole: without a quorum, restored from a backup, replaced by another cluster.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::clock::{self, At, millis};
use crate::faults::{Fault, Who};
use crate::measure::{Blow, Course, Tally, stays_on};
use crate::probe::Probe;
use crate::scenario::Context;
use crate::shell;
use crate::world::{Options, VIP, World};

const PATIENCE: Duration = Duration::from_secs(30);

/// A TTL, less what a daemon may have noticed before the address was seen to go.
const SILENCE: Duration = Duration::from_millis(4500);

/// Two members of three are killed. Nobody can know who else has the VIP, so nobody has it.
pub(super) fn no_quorum(lab: &Context) -> Result<()> {
    let mut world = lab.world(Options::default())?;
    world.one_holder(VIP, PATIENCE)?;
    let probe = world.probe(VIP)?;
    let (mut tally, mut healed) = (Tally::default(), Tally::default());
    for _ in 0..lab.rounds(1, 2) {
        let holder = world.one_holder(VIP, PATIENCE)?;
        world.all_stand(VIP)?;
        clock::sleep(Duration::from_secs(1));
        let blow = Blow::now(&world, VIP, &probe)?;
        for node in [1, 2].map(|beside| (holder + beside) % 3) {
            world.service(node, Who::Etcd).kill();
        }
        // TTL - margin, and the kernel's lateness; it may go a second earlier.
        let off = blow.off(&world, Duration::from_secs(7))?;
        ensure!(off < Duration::from_millis(5500), "off only after {}", millis(off));
        clock::sleep_until(blow.at + Duration::from_secs(if lab.full { 60 } else { 20 }));
        let since = world.monitor.timeline().changes(VIP, blow.at);
        ensure!(since.len() == 1, "somebody took {VIP} without a quorum: {since:?}");
        let back = clock::now();
        for node in [1, 2].map(|beside| (holder + beside) % 3) {
            Fault::Start(node, Who::Etcd).hit(&mut world)?;
        }
        let course = blow.course(&world, PATIENCE)?;
        let came = world.monitor.timeline().came(VIP, back, None).context("nobody came")?.at;
        healed.back.add(came.since(back));
        healed.outage.add(came.since(back));
        tally.add(&course);
    }
    lab.row("quorum lost for a while (fault to back)", &tally, "gone at the fence; held again by itself")?;
    lab.row("  the same, from the members' start", &healed, "one holder")?;
    world.monitor.no_overlap(At::default(), clock::now())
}

/// A backup is restored under running daemons; then another cluster stands behind the endpoints.
pub(super) fn another(lab: &Context) -> Result<()> {
    let mut world = lab.world(Options::default())?;
    world.one_holder(VIP, PATIENCE)?;
    let probe = world.probe(VIP)?;
    let (mut restored, mut replaced) = (Tally::default(), Tally::default());
    for round in 0..lab.rounds(1, 5) {
        restored.add(&restore(&mut world, &probe)?);
        let token = ["one", "two", "three", "four", "five"][round % 5];
        replaced.add(&swap(&mut world, &probe, |world| world.replace_etcd(token))?);
    }
    lab.row("etcd restored from a backup", &restored, "a TTL of silence, then one holder")?;
    lab.row("another cluster behind the endpoints", &replaced, "a TTL of silence, then one holder")?;
    world.monitor.no_overlap(At::default(), clock::now())
}

/// The backup knows another holder: its key, long released, stands first again.
fn restore(world: &mut World, probe: &Probe) -> Result<Course> {
    let file = world.directory().join("backup.db");
    let _ = std::fs::remove_file(&file);
    let former = world.all_daemons_back(VIP)?;
    world.back_up(&file)?;
    Fault::term(former).hit(world)?;
    world.service(former, Who::Vipd).ends_with(0, Duration::from_secs(5))?;
    world.all_daemons_back(VIP)?;
    for number in 0..20 {
        shell::output(world.etcdctl().args(["put", "lab/number", &number.to_string()]))?;
    }
    swap(world, probe, |world| world.restore(&file))
}

fn swap(world: &mut World, probe: &Probe, how: impl FnOnce(&mut World) -> Result<()>) -> Result<Course> {
    world.one_holder(VIP, PATIENCE)?;
    world.all_stand(VIP)?;
    clock::sleep(Duration::from_secs(1));
    let blow = Blow::now(world, VIP, probe)?;
    how(world)?;
    blow.off(world, PATIENCE)?;
    let holder = world.one_holder(VIP, PATIENCE)?;
    world.all_stand(VIP)?;
    stays_on(world, VIP, holder, clock::now(), Duration::from_secs(2), "all began anew")?;
    let course = blow.course(world, PATIENCE)?;
    // A node that could not see the change might have held by the old history for as long.
    ensure!(course.gap > SILENCE, "{VIP} was held again after {}: no TTL of silence", millis(course.gap));
    Ok(course)
}
