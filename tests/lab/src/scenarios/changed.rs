//! What others do to the address that a node holds, other than deleting it, and to its link, other than cutting it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::clock::{self, At, millis};
use crate::faults::Fault;
use crate::figures::Figures;
use crate::measure::{Blow, Tally, row, stays_on};
use crate::probe::Probe;
use crate::scenario::Context;
use crate::world::{Options, VIP, Vip, World};

const PATIENCE: Duration = Duration::from_secs(10);
/// The figures are milliseconds.
const PROMPT: Duration = Duration::from_secs(1);
/// From one meddling to the next: more than ten a minute are a fight, and another scenario.
const PACE: Duration = Duration::from_millis(6500);
/// The same, for so few that they are none.
const BRISK: Duration = Duration::from_millis(500);

/// The VIP is on `eth1`, etcd on `eth0`, which nobody touches.
pub(super) fn meddled(lab: &Context) -> Result<()> {
    let vips = vec![Vip { ip: VIP, link: "eth1".to_owned() }];
    let mut world = lab.world(Options { vips, ..Options::default() })?;
    world.one_holder(VIP, PATIENCE)?;
    let probe = world.probe(VIP)?;
    world.all_stand(VIP)?;
    world.a_lease_later();
    let rounds = lab.rounds(1, 20);
    another_life(lab, &world, rounds)?;
    flushed(lab, &world, &probe, rounds)?;
    another_mac(lab, &world, &probe, rounds)?;
    // From here on there are two with the address, and one of them is not ours.
    world.monitor.no_overlap(At::default(), clock::now())?;
    for beside in [format!("{VIP}/24 dev eth1"), format!("{VIP}/32 dev eth0")] {
        operators_own(lab, &mut world, &beside)?;
    }
    Ok(())
}

fn pace(rounds: usize) -> Duration {
    if rounds > 3 { PACE } else { BRISK }
}

/// `ip address change ... valid_lft forever`: put right where it is, without a moment's absence.
fn another_life(lab: &Context, world: &World, rounds: usize) -> Result<()> {
    let holder = world.one_holder(VIP, PATIENCE)?;
    let mut right = Figures::default();
    for _ in 0..rounds {
        clock::sleep(pace(rounds));
        let from = clock::now();
        world.nodes[holder].ns.ip(&format!("addr change {VIP}/32 dev eth1 valid_lft forever preferred_lft forever"))?;
        let finite = world.monitor.wait(PROMPT, |timeline| timeline.ends(VIP, holder));
        finite.context("its lifetime is still for ever")?;
        right.add(clock::now().since(from));
        clock::sleep(Duration::from_millis(100));
        let changes = world.monitor.timeline().changes(VIP, from);
        ensure!(changes.is_empty(), "it was off, or elsewhere: {changes:?}");
    }
    world.logged(holder, &["WARN", "somebody changed an address of ours"], PROMPT)?;
    lab.say(row("for ever, to put right", &right));
    Ok(())
}

/// `ip address flush` of the link.
fn flushed(lab: &Context, world: &World, probe: &Probe, rounds: usize) -> Result<()> {
    let holder = world.one_holder(VIP, PATIENCE)?;
    let mut tally = Tally::default();
    for _ in 0..rounds {
        clock::sleep(pace(rounds));
        let blow = Blow::now(world, VIP, probe)?;
        // It looks again until nothing is left, up to ten times, and may well say that it could not do it.
        drop(world.nodes[holder].ns.ip("addr flush dev eth1"));
        let back = world.monitor.wait(PROMPT, |timeline| timeline.came(VIP, blow.at, None));
        ensure!(back.context("it did not come back")?.node == holder, "it came back elsewhere");
        tally.add(&blow.course(world, PATIENCE)?);
    }
    lab.row("`ip address flush` of the link", &tally, "back on the same node")
}

/// The link gets another hardware address: clients are told at once.
fn another_mac(lab: &Context, world: &World, probe: &Probe, rounds: usize) -> Result<()> {
    let holder = world.one_holder(VIP, PATIENCE)?;
    let (mut turned, mut outage) = (Figures::default(), Figures::default());
    let started = clock::now();
    for round in 0..rounds {
        clock::sleep(Duration::from_secs(1));
        let mac = [2, 0, 0, 0, 7, 1 + round as u8];
        let from = clock::now();
        world.nodes[holder].ns.ip(&format!("link set eth1 address 02:00:00:00:07:{:02x}", mac[5]))?;
        let entry = || world.neighbours.led_to(VIP, mac, from);
        ensure!(clock::poll_until(PROMPT, || entry().is_some()), "the client still goes to the old address");
        turned.add(entry().map(|at| at.since(from)).unwrap_or_default());
        clock::sleep(Duration::from_millis(400));
        outage.add(probe.worst(from, clock::now()));
    }
    let changes = world.monitor.timeline().changes(VIP, started);
    ensure!(changes.is_empty(), "it was off, or elsewhere: {changes:?}");
    lab.say(row("another MAC, to the client", &turned));
    lab.say(row("  client outage", &outage));
    lab.row("holder's link gets another MAC", &Tally { outage, ..Tally::default() }, "announced anew, nothing moves")
}

/// The operator's own address of the same IP, put beside ours: ours goes, his is not touched, and another node has the
/// turn. Once his is gone, the node stands as before.
fn operators_own(lab: &Context, world: &mut World, beside: &str) -> Result<()> {
    let holder = world.one_holder(VIP, PATIENCE)?;
    world.all_stand(VIP)?;
    clock::sleep(Duration::from_secs(1));
    let from = clock::now();
    world.nodes[holder].ns.ip(&format!("addr add {beside}"))?;
    let next = world.monitor.wait(PATIENCE, |timeline| timeline.came(VIP, from, Some(holder)));
    let next = next.with_context(|| format!("{beside}: nobody else takes it"))?;
    let said = world.logged(holder, &["ERROR", "the address is on this node and not ours"], PROMPT)?;
    clock::sleep(Duration::from_secs(4));
    let shown = std::process::Command::new("ip")
        .args(["-n", world.nodes[holder].ns.name(), "-o", "addr", "show", "to", &VIP.to_string()])
        .output()
        .context("look at the node's addresses")?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    ensure!(shown.lines().count() == 1, "not his address alone is on the node: {shown}");
    ensure!(shown.contains("valid_lft forever"), "his address was touched: {shown}");
    lab.say(format_args!("{beside}: {} later the next one holds; {}", millis(next.at.since(from)), said.trim()));
    Fault::Delete(holder, VIP).hit(world)?;
    let gone = clock::now();
    world.all_stand(VIP)?;
    stays_on(world, VIP, next.node, gone + Duration::from_millis(50), Duration::from_secs(2), "his address is gone")?;
    Ok(())
}
