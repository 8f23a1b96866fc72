//! `vipd release`: what a unit runs after its daemon is gone.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::clock::{self, At, millis};
use crate::faults::{Fault, Who};
use crate::figures::Figures;
use crate::measure::{Blow, Course, Tally, row};
use crate::probe::Probe;
use crate::scenario::Context;
use crate::timeline::NodeIndex;
use crate::world::{Options, VIP, World};

const PATIENCE: Duration = Duration::from_secs(10);
/// The figure is 100 ms; a busy machine gets more before it is called wrong.
const PROMPT: Duration = Duration::from_millis(500);

/// SIGKILL, and what the unit does then; and every other situation a unit can run it in.
pub(super) fn sigkill(lab: &Context) -> Result<()> {
    let mut world = lab.world(Options::default())?;
    world.one_holder(VIP, PATIENCE)?;
    world.all_stand(VIP)?;
    let probe = world.probe(VIP)?;
    world.a_lease_later();
    let (mut tally, mut took) = (Tally::default(), Figures::default());
    for _ in 0..lab.rounds(3, 20) {
        world.all_daemons_back(VIP)?;
        // The next in the queue was started two rounds ago: this pace makes it an old hand.
        clock::sleep(Duration::from_secs(3));
        let (course, release) = killed_and_released(lab, &mut world, &probe)?;
        tally.add(&course);
        took.add(release);
    }
    lab.row("SIGKILL, then `vipd release` (unit)", &tally, "next in the queue holds; nothing left")?;
    lab.say(row("  vipd release took", &took));
    let median = tally.outage.median();
    ensure!(median < PROMPT, "the client missed {} (median)", millis(median));

    let holder = world.all_daemons_back(VIP)?;
    beside_the_living(lab, &world, holder)?;
    without_etcd(lab, &mut world, &probe)?;
    world.monitor.no_overlap(At::default(), clock::now())
}

fn killed_and_released(lab: &Context, world: &mut World, probe: &Probe) -> Result<(Course, Duration)> {
    let blow = Blow::now(world, VIP, probe)?;
    let (key, _) = world.candidate(blow.from, VIP)?;
    world.service(blow.from, Who::Vipd).kill();
    let release = world.release(&lab.vipd, blow.from)?;
    ensure!(release.status.success(), "`vipd release` failed: {}", release.said);
    let next = blow.elsewhere(world, PATIENCE)?;
    let course = blow.course(world, PATIENCE)?;
    ensure!(course.holder == next, "{VIP} moved twice");
    let keys = crate::shell::output(world.etcdctl().args(["get", "--keys-only", &key]))?;
    ensure!(keys.trim().is_empty(), "the dead daemon's key is still there");
    ensure!(!memory(world, blow.from).exists(), "the runtime directory still speaks of a lease");
    Ok((course, release.took))
}

/// What the daemon notes for the next start.
fn memory(world: &World, node: NodeIndex) -> PathBuf {
    PathBuf::from(format!("/run/{}/vipd/session.json", world.nodes[node].name))
}

/// Refused, and told who lives; with nothing to do, done.
fn beside_the_living(lab: &Context, world: &World, holder: NodeIndex) -> Result<()> {
    let from = clock::now();
    let pid = world.nodes[holder].vipd.pid().context("the holder's daemon does not run")?;
    let refused = world.release(&lab.vipd, holder)?;
    ensure!(refused.status.code() == Some(1), "beside a living daemon: {}", refused.status);
    ensure!(refused.said.contains(&format!("pid {pid}")), "it does not say who lives: {}", refused.said);
    clock::sleep(Duration::from_secs(1));
    ensure!(world.monitor.timeline().changes(VIP, from).is_empty(), "`vipd release` moved {VIP} of a living daemon");
    lab.say(format_args!("beside a living daemon: {}, {}", refused.status, millis(refused.took)));
    Ok(())
}

/// The address goes all the same, in bounded time; then there is nothing more to do.
fn without_etcd(lab: &Context, world: &mut World, probe: &Probe) -> Result<()> {
    let blow = Blow::now(world, VIP, probe)?;
    for node in 0..world.nodes.len() {
        world.service(node, Who::Etcd).kill();
    }
    world.service(blow.from, Who::Vipd).kill();
    let release = world.release(&lab.vipd, blow.from)?;
    let off = blow.off(world, Duration::from_secs(1))?;
    ensure!(release.status.success(), "without etcd: {} {}", release.status, release.said);
    ensure!(release.said.contains("WARN"), "without etcd it does not warn: {}", release.said);
    ensure!(off < Duration::from_secs(1), "without etcd the address went after {}", millis(off));
    ensure!(release.took < Duration::from_secs(8), "without etcd it took {}", millis(release.took));
    ensure!(memory(world, blow.from).exists(), "what was not released was forgotten");
    lab.say(format_args!("without etcd: off after {}, exit 0 after {}", millis(off), millis(release.took)));

    fs::remove_file(memory(world, blow.from)).context("forget the session")?;
    let nothing = world.release(&lab.vipd, blow.from)?;
    ensure!(nothing.status.success(), "with nothing to do: {} {}", nothing.status, nothing.said);
    lab.say(format_args!("with nothing to do: {}, {}", nothing.status, millis(nothing.took)));

    for node in 0..world.nodes.len() {
        Fault::Start(node, Who::Etcd).hit(world)?;
    }
    let course = blow.course(world, Duration::from_secs(25))?;
    lab.row("the same with etcd down, later up", &Tally::of(&course), "off at once, exit 0; held again with etcd")
}
