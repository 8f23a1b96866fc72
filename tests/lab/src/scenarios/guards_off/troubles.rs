//! The troubles, each for a lab of its own. They say what the judge found, and hold nothing to be found.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use crate::clock::{self, At, millis};
use crate::disk::Stall;
use crate::faults::{Fault, Who};
use crate::scenario::Context;
use crate::shell;
use crate::timeline::NodeIndex;
use crate::world::{Options, VIP, Vip, World};

/// A lease, a lease's time of probing, and some more.
const PATIENCE: Duration = Duration::from_secs(20);

fn a_world(lab: &Context, options: Options) -> Result<(World, NodeIndex)> {
    let world = lab.world(options)?;
    let holder = world.one_holder(VIP, PATIENCE)?;
    world.all_stand(VIP)?;
    world.a_lease_later();
    Ok((world, holder))
}

/// The VIP on two nodes at once.
fn overlap(world: &World, from: At) -> Option<String> {
    let overlap = world.monitor.timeline().overlap(VIP, from, clock::now());
    (!overlap.is_zero()).then(|| format!("the VIP on two nodes for {}", millis(overlap)))
}

fn elsewhere(world: &World, from: At, holder: NodeIndex) -> Result<()> {
    let came = world.monitor.wait(PATIENCE, |timeline| timeline.came(VIP, from, Some(holder)));
    came.map(drop).context("no other node took the VIP")
}

/// The holder is killed and nobody cleans up.
pub(super) fn killed(lab: &Context) -> Result<Option<String>> {
    let (mut world, holder) = a_world(lab, Options::default())?;
    let from = clock::now();
    Fault::kill(holder).hit(&mut world)?;
    elsewhere(&world, from, holder)?;
    clock::sleep(Duration::from_secs(1));
    Ok(overlap(&world, from))
}

/// The holder is told to leave, and what it says to the kernel gets there late.
pub(super) fn slow_word(lab: &Context) -> Result<Option<String>> {
    let (mut world, holder) = a_world(lab, Options::default())?;
    let writer = writing_thread(world.nodes[holder].vipd.pid().context("the holder's daemon does not run")?)?;
    let stall = Stall::sends(writer, Duration::from_millis(700))?;
    let from = clock::now();
    Fault::term(holder).hit(&mut world)?;
    elsewhere(&world, from, holder)?;
    clock::sleep(Duration::from_secs(1));
    drop(stall);
    Ok(overlap(&world, from))
}

/// The daemon's one thread that writes addresses.
fn writing_thread(pid: u32) -> Result<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))?.flatten().map(|task| task.path());
    let named =
        |path: &std::path::PathBuf| fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "vipd-put");
    let task = tasks.into_iter().find(named).context("no thread that writes addresses")?;
    let number = task.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
    number.context("a thread without a number")
}

/// The holder stops itself between reading the clock and sending a put, until another node holds.
pub(super) fn held_up(lab: &Context) -> Result<Option<String>> {
    let mut world = lab.world(Options { vipd: false, ..Options::default() })?;
    // One put a second: by this one the others have come and stand.
    world.nodes[0].vipd.env("VIPD_PAUSE_AT", "put:clock:6");
    world.nodes[0].vipd.start()?;
    world.one_holder(VIP, PATIENCE)?;
    world.nodes[1].vipd.start()?;
    world.nodes[2].vipd.start()?;
    world.all_stand(VIP)?;
    let pid = world.nodes[0].vipd.pid().context("the holder's daemon does not run")?;
    ensure!(clock::poll_until(PATIENCE, || is_stopped(pid)), "the holder did not stop itself");
    elsewhere(&world, clock::now(), 0)?;
    let thawed = clock::now();
    Fault::Signal(0, Who::Vipd, Signal::SIGCONT).hit(&mut world)?;
    clock::sleep(Duration::from_secs(2));
    let back = world.monitor.timeline().came(VIP, thawed, None).filter(|change| change.node == 0);
    Ok(overlap(&world, thawed).or(back.map(|_| "put back after it thawed".to_owned())))
}

fn is_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
}

/// A node that waits loses its link and deletes its key; the order is held up on the way and given again through another
/// member. The node stands again, under a key of the same name, and then the first order is carried out.
pub(super) fn late_deletion(lab: &Context) -> Result<Option<String>> {
    let vips = vec![Vip { ip: VIP, link: "eth1".to_owned() }];
    let (world, holder) = a_world(lab, Options { vips, proxies: true, ..Options::default() })?;
    let waiting = (holder + 1) % 3;
    let own_member = &world.nodes[waiting].proxies[0];
    own_member.hold_orders(true);
    world.carrier(waiting, "eth1", false)?;
    let gone = || world.candidates(VIP) == 2;
    ensure!(clock::poll_until(PATIENCE, gone), "a node without its link stays in the queue");
    world.carrier(waiting, "eth1", true)?;
    world.all_stand(VIP)?;
    let before = created(&world, waiting)?;
    own_member.hold_orders(false);
    clock::sleep(Duration::from_secs(2));
    world.all_stand(VIP)?;
    let after = created(&world, waiting)?;
    Ok((before != after).then(|| "a candidate's new key deleted by its own old order".to_owned()))
}

/// The create revision of a node's key.
fn created(world: &World, node: NodeIndex) -> Result<u64> {
    let (key, _) = world.candidate(node, VIP)?;
    let answer = shell::output(world.etcdctl().args(["get", "--write-out=json", &key]))?;
    let value: serde_json::Value = serde_json::from_str(&answer)?;
    value["kvs"][0]["create_revision"].as_u64().context("a key without a create revision")
}

/// The holder is killed and started again with a config that names another VIP.
pub(super) fn another_config(lab: &Context) -> Result<Option<String>> {
    let (mut world, holder) = a_world(lab, Options::default())?;
    let config = world.nodes[holder].config.clone();
    let text = fs::read_to_string(&config)?;
    fs::write(&config, text.replace(&VIP.to_string(), "10.77.0.101"))?;
    let from = clock::now();
    Fault::kill(holder).hit(&mut world)?;
    world.service(holder, Who::Vipd).ends(Duration::from_secs(1)).context("a killed daemon runs")?;
    Fault::Start(holder, Who::Vipd).hit(&mut world)?;
    elsewhere(&world, from, holder)?;
    clock::sleep(Duration::from_secs(1));
    Ok(overlap(&world, from))
}

/// The operator has the same address on a node, for ever.
pub(super) fn operators_own(lab: &Context) -> Result<Option<String>> {
    let mut world = lab.world(Options { vipd: false, ..Options::default() })?;
    Fault::Put(0, VIP, 24).hit(&mut world)?;
    let from = clock::now();
    world.start_daemons()?;
    clock::sleep(Duration::from_secs(8));
    let timeline = world.monitor.timeline();
    if timeline.left(VIP, from, 0).is_some() {
        return Ok(Some("the operator's address taken off".to_owned()));
    }
    Ok(timeline.ends(VIP, 0).map(|_| "the operator's address given a lifetime".to_owned()))
}
