//! etcd slow, shared with others, or not there yet.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use crate::clock::{self, At, millis};
use crate::faults::{Fault, Who};
use crate::measure::{Blow, Tally};
use crate::scenario::Context;
use crate::world::{Options, Service, VIP, World};

/// Half a second for every answer, for a quarter of a minute.
pub(super) fn slow(lab: &Context) -> Result<()> {
    let mut world = lab.world(Options { proxies: true, ..Options::default() })?;
    let holder = world.one_holder(VIP, Duration::from_secs(5))?;
    world.all_stand(VIP)?;
    let probe = world.probe(VIP)?;
    let span = Duration::from_secs(if lab.full { 60 } else { 15 });
    let from = clock::now();
    for node in 0..world.nodes.len() {
        Fault::SlowEtcd(node, Duration::from_millis(500)).hit(&mut world)?;
    }
    clock::sleep(span);
    let slow_until = clock::now();
    for node in 0..world.nodes.len() {
        Fault::SlowEtcd(node, Duration::ZERO).hit(&mut world)?;
    }
    clock::sleep(Duration::from_secs(2));
    let moves = world.monitor.timeline().changes(VIP, from).len();
    let mut tally = Tally::default();
    tally.gap.add(world.monitor.timeline().gap(VIP, from, slow_until));
    tally.outage.add(probe.worst(from, slow_until));
    lab.row("etcd slow, 0.5 s an answer", &tally, "stays")?;
    lab.say(format_args!("{span:?} of answers 500 ms late: {moves} address changes"));
    lab.say(format_args!("the client's worst gap meanwhile: {}", millis(probe.worst(from, slow_until))));
    ensure!(moves == 0, "{VIP} did not stay");
    ensure!(world.monitor.timeline().holder(VIP) == Some(holder), "{VIP} is not where it was");
    Ok(())
}

/// Both directions of standing beside `etcdctl elect`.
pub(super) fn elect(lab: &Context) -> Result<()> {
    let mut world = lab.world(Options::default())?;
    let holder = world.one_holder(VIP, Duration::from_secs(5))?;
    world.all_stand(VIP)?;
    let from = clock::now();
    let mut someone = stand(&world)?;
    clock::sleep(Duration::from_secs(2));
    ensure!(
        someone.said().is_empty(),
        "`etcdctl elect` won while {} holds: {}",
        world.names(&[holder]),
        someone.said()
    );
    ensure!(world.monitor.timeline().changes(VIP, from).is_empty(), "{VIP} moved because somebody stood behind");
    lab.say(format_args!("while {} holds, `etcdctl elect` waits", world.names(&[holder])));

    for node in 0..world.nodes.len() {
        Fault::term(node).hit(&mut world)?;
    }
    for node in 0..world.nodes.len() {
        world.service(node, Who::Vipd).ends_with(0, Duration::from_secs(5))?;
    }
    world.nobody_holds(VIP, Duration::from_secs(1))?;
    let won = clock::poll_until(Duration::from_secs(5), || someone.said().contains("someone"));
    ensure!(won, "all daemons left, but `etcdctl elect` did not win");
    world.start_daemons()?;
    let held = world.monitor.wait(Duration::from_secs(8), |timeline| timeline.holder(VIP));
    ensure!(held.is_none(), "{} took {VIP} though another stands first", world.names(&[held.unwrap_or(0)]));
    let loud = (0..world.nodes.len()).map(|node| world.logged(node, &["ERROR", "someone"], Duration::ZERO));
    let loud = loud.collect::<Result<Vec<_>>>().context("nobody has the VIP, and nobody is loud about it")?;
    lab.say(format_args!("with `etcdctl elect` first no daemon takes the address; one says: {}", loud[0]));

    let left = clock::now();
    someone.signal(Signal::SIGINT)?;
    let holder = world.one_holder(VIP, Duration::from_secs(10)).context("after `etcdctl elect` left")?;
    let came = world.monitor.timeline().came(VIP, left, None).map(|change| change.at.since(left));
    lab.say(format_args!(
        "it left: {} has the address after {}",
        world.names(&[holder]),
        millis(came.unwrap_or_default())
    ));
    let mut tally = Tally::default();
    tally.back.add(came.unwrap_or_default());
    lab.row("`etcdctl elect` first, then leaves", &tally, "nobody holds meanwhile, ERROR; then one holder")?;
    world.monitor.no_overlap(At::default(), clock::now())
}

/// The member on the holder's own node dies; the others are known, so the address does not move. (If that member led,
/// they elect first; a split vote in that may outlast the fence, and the address blinks where it is.)
pub(super) fn own_member_dies(lab: &Context) -> Result<()> {
    let mut world = lab.world(Options::default())?;
    world.one_holder(VIP, Duration::from_secs(10))?;
    let (probe, mut tally) = (world.probe(VIP)?, Tally::default());
    for _ in 0..lab.rounds(1, 5) {
        let holder = world.one_holder(VIP, Duration::from_secs(10))?;
        world.all_stand(VIP)?;
        let led = world.etcd_leader() == Some(holder);
        let blow = Blow::now(&world, VIP, &probe)?;
        Fault::Signal(holder, Who::Etcd, Signal::SIGKILL).hit(&mut world)?;
        let blinks = blow.stays(&world, Duration::from_secs(10), "the holder's own etcd member died")?;
        tally.add(&blow.course(&world, Duration::from_secs(10))?);
        let role = if led { "leader" } else { "follower" };
        lab.say(format_args!("{}'s etcd member (a {role}) killed: 0 moves, {blinks} blinks", world.names(&[holder])));
        world.service(holder, Who::Etcd).ends(Duration::from_secs(1));
        Fault::Start(holder, Who::Etcd).hit(&mut world)?;
        clock::sleep(Duration::from_secs(3));
    }
    lab.row("holder's own etcd member dies, others known", &tally, "stays")?;
    world.monitor.no_overlap(At::default(), clock::now())
}

/// Someone stands for the VIP with nothing but etcd's own tool.
fn stand(world: &World) -> Result<Service> {
    let mut command = world.etcdctl();
    command.args(["elect", &format!("vipd/{VIP}"), "someone"]);
    let mut someone = Service::new(&world.client, "etcdctl", command, world.directory());
    someone.start()?;
    Ok(someone)
}

/// Daemons first, etcd later.
pub(super) fn late(lab: &Context) -> Result<()> {
    const ALONE: Duration = Duration::from_secs(8);
    let mut world = lab.world(Options { etcd: false, ..Options::default() })?;
    clock::sleep(ALONE);
    for node in &mut world.nodes {
        ensure!(node.vipd.runs(), "{}'s vipd did not wait for etcd: {}", node.name, node.vipd.tail(2).join(" | "));
        let lines = node.vipd.said().lines().filter(|line| line.to_lowercase().contains("etcd")).count();
        ensure!((1..=20).contains(&lines), "{}'s vipd said {lines} times in {ALONE:?} that etcd is away", node.name);
    }
    ensure!(world.monitor.timeline().holders(VIP).is_empty(), "somebody holds {VIP} without etcd");
    lab.say(format_args!(
        "{ALONE:?} without etcd: all wait, nobody holds; one says: {}",
        world.nodes[0].vipd.tail(1).join("")
    ));

    let from = clock::now();
    world.start_etcd()?;
    let answers = clock::now();
    let holder = world.one_holder(VIP, Duration::from_secs(15))?;
    let came = world.monitor.timeline().came(VIP, from, None).map(|change| change.at).unwrap_or_default();
    lab.say(format_args!("etcd answers: {} holds after {}", world.names(&[holder]), millis(came.since(answers))));
    world.monitor.no_overlap(At::default(), clock::now())
}
