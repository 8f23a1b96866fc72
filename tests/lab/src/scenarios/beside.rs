//! One node has a group, the others one of its addresses alone: a cluster whose config is being changed.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::clock::{self, At, millis};
use crate::faults::{Fault, Who};
use crate::figures::Figures;
use crate::measure::row;
use crate::scenario::Context;
use crate::timeline::NodeIndex;
use crate::world::{Options, VIP, VIP6, Vip, World};

const PATIENCE: Duration = Duration::from_secs(12);
/// Who has which.
const GROUP: NodeIndex = 0;
const FOUR: NodeIndex = 1;
const SIX: NodeIndex = 2;

/// n1 has the group, n2 the IPv4 address alone, n3 the IPv6 one.
pub(super) fn single(lab: &Context) -> Result<()> {
    let alone = |ip| vec![Vip { ip, link: "eth0".to_owned() }];
    let apart = vec![(FOUR, alone(VIP)), (SIX, alone(VIP6))];
    let options = Options { groups: vec![vec![VIP, VIP6]], apart, vipd: false, ..Options::default() };
    let mut world = lab.world(options)?;
    for (node, vip) in [(FOUR, VIP), (SIX, VIP6)] {
        world.service(node, Who::Vipd).start()?;
        on(&world, vip, node)?;
    }
    world.service(GROUP, Who::Vipd).start()?;
    world.logged(GROUP, &["stands in the queue", "behind=2"], PATIENCE)?;
    world.a_lease_later();
    gives_way(lab, &mut world)?;
    takes_both(lab, &mut world)?;
    steps_back(lab, &mut world)?;
    troubles(lab, &mut world)?;
    never_half(&world)?;
    world.monitor.no_overlap(At::default(), clock::now())
}

fn on(world: &World, vip: IpAddr, node: NodeIndex) -> Result<At> {
    let there = world.monitor.wait(PATIENCE, |timeline| {
        let change = timeline.came(vip, At::default(), None)?;
        (timeline.holder(vip) == Some(node)).then_some(change)
    });
    there.with_context(|| format!("{vip} did not come to {}", world.names(&[node])))?;
    let timeline = world.monitor.timeline();
    let came = timeline.changes(vip, At::default()).into_iter().rfind(|change| change.present && change.node == node);
    Ok(came.context("it is there and never came")?.at)
}

fn stop(world: &mut World, node: NodeIndex) -> Result<()> {
    Fault::term(node).hit(world)?;
    world.service(node, Who::Vipd).ends_with(0, PATIENCE)
}

/// n2 is restarted. The group now stands first for its address, but waits for n3's; so it gives way, and n2 is served.
fn gives_way(lab: &Context, world: &mut World) -> Result<()> {
    let mut back = Figures::default();
    for _ in 0..lab.rounds(2, 10) {
        stop(world, FOUR)?;
        world.nobody_holds(VIP, PATIENCE)?;
        let from = clock::now();
        world.service(FOUR, Who::Vipd).start()?;
        back.add(on(world, VIP, FOUR)?.since(from));
        ensure!(world.monitor.timeline().holder(VIP6) == Some(SIX), "{VIP6} moved");
        world.a_lease_later();
    }
    world.logged(GROUP, &["leaves the queue", "another node can serve one of its addresses"], PATIENCE)?;
    lab.say(row("restarted, to served again", &back));
    Ok(())
}

/// n2 and n3 leave: the group's turn has come for both addresses, and neither was there without the other.
fn takes_both(lab: &Context, world: &mut World) -> Result<()> {
    stop(world, FOUR)?;
    clock::sleep(Duration::from_secs(1));
    ensure!(world.monitor.timeline().holders(VIP).is_empty(), "the group has one of its addresses");
    let from = clock::now();
    stop(world, SIX)?;
    let (four, six) = (on(world, VIP, GROUP)?.since(from), on(world, VIP6, GROUP)?.since(from));
    lab.say(format_args!("both free: the group has them after {} and {}", millis(four), millis(six)));
    for node in [FOUR, SIX] {
        world.service(node, Who::Vipd).start()?;
        world.logged(node, &["stands in the queue", "behind=1"], PATIENCE)?;
    }
    world.a_lease_later();
    Ok(())
}

/// The group leaves: each address goes to who has it alone.
fn steps_back(lab: &Context, world: &mut World) -> Result<()> {
    let from = clock::now();
    Fault::term(GROUP).hit(world)?;
    let (four, six) = (on(world, VIP, FOUR)?.since(from), on(world, VIP6, SIX)?.since(from));
    lab.say(format_args!("SIGTERM to the group: back after {} and {}", millis(four), millis(six)));
    world.service(GROUP, Who::Vipd).ends_with(0, PATIENCE)?;
    world.service(GROUP, Who::Vipd).start()?;
    Ok(())
}

/// Killed and told to leave in any order: whatever comes of it, in the end every address is on one node.
fn troubles(lab: &Context, world: &mut World) -> Result<()> {
    let mut chance = lab.chance();
    for _ in 0..lab.rounds(4, 40) {
        let node = (chance.number() % 3) as NodeIndex;
        let fault = if chance.number().is_multiple_of(2) { Fault::kill(node) } else { Fault::term(node) };
        fault.hit(world)?;
        world.service(node, Who::Vipd).ends(PATIENCE).context("the daemon did not end")?;
        clock::sleep(chance.between(Duration::ZERO, Duration::from_secs(7)));
        world.service(node, Who::Vipd).start()?;
        clock::sleep(chance.between(Duration::ZERO, Duration::from_secs(3)));
    }
    for vip in [VIP, VIP6] {
        let holder = world.one_holder(vip, PATIENCE)?;
        lab.say(format_args!("in the end {} has {vip}", world.names(&[holder])));
    }
    Ok(())
}

/// The node with the group never had one of the addresses for longer than it takes to put or to take off the other; the
/// kernel alone, after a kill, may take a second.
fn never_half(world: &World) -> Result<()> {
    let timeline = world.monitor.timeline();
    let on_group = |vip| timeline.changes(vip, At::default()).into_iter().filter(|change| change.node == GROUP);
    let (four, six): (Vec<_>, Vec<_>) = (on_group(VIP).collect(), on_group(VIP6).collect());
    ensure!(four.len() == six.len() && !four.is_empty(), "{} changes of {VIP}, {} of {VIP6}", four.len(), six.len());
    for (a, b) in four.iter().zip(&six) {
        let apart = a.at.since(b.at).max(b.at.since(a.at));
        ensure!(a.present == b.present, "{VIP} and {VIP6} came and went in another order");
        let most = Duration::from_millis(if a.present { 100 } else { 1200 });
        ensure!(apart < most, "one of the group's addresses alone for {}", millis(apart));
    }
    Ok(())
}
