//! The holder's link is cut, in each of the ways there are: with etcd on another link, and with etcd on the same one.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::clock::{self, At, millis};
use crate::measure::{Blow, Tally, stays_on};
use crate::probe::Probe;
use crate::scenario::Context;
use crate::timeline::NodeIndex;
use crate::world::{Options, VIP, Vip, World};

const PATIENCE: Duration = Duration::from_secs(15);
/// A flap that ends before the fence.
const SHORT: Duration = Duration::from_secs(2);

/// How a node's link is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cut {
    /// Its cable has no other end any more.
    Carrier,
    /// Somebody takes it down.
    Down,
    /// Somebody deletes it.
    Deletion,
}

const WAYS: [Cut; 3] = [Cut::Carrier, Cut::Down, Cut::Deletion];

impl Cut {
    fn away(self, world: &World, node: NodeIndex, link: &str) -> Result<()> {
        match self {
            Self::Carrier => world.carrier(node, link, false),
            Self::Down => world.nodes[node].ns.ip(&format!("link set {link} down")),
            Self::Deletion => world.delete_link(node, link),
        }
    }

    fn back(self, world: &mut World, node: NodeIndex, link: &str) -> Result<()> {
        match self {
            Self::Carrier => world.carrier(node, link, true),
            Self::Down => world.nodes[node].ns.ip(&format!("link set {link} up")),
            Self::Deletion => world.make_link(node, link),
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Carrier => "carrier lost",
            Self::Down => "link taken down",
            Self::Deletion => "link deleted",
        })
    }
}

/// The VIP is on `eth1`, etcd on `eth0`. A node without `eth1` at its start does not stand until it comes; the holder
/// whose `eth1` goes gives its turn up at once.
pub(super) fn apart(lab: &Context) -> Result<()> {
    let vips = vec![Vip { ip: VIP, link: "eth1".to_owned() }];
    let mut world = lab.world(Options { vips, vipd: false, ..Options::default() })?;
    comes_later(lab, &mut world)?;
    let probe = world.probe(VIP)?;
    world.a_lease_later();
    for cut in WAYS {
        let mut tally = Tally::default();
        for _ in 0..lab.rounds(1, 20) {
            let (course, came) = loses(&mut world, &probe, cut, "eth1")?;
            ensure!(came < Duration::from_secs(3), "the turn was given up only after {}", millis(came));
            tally.add(&course);
        }
        let row = format!("{cut}, etcd reachable another way");
        lab.row(&row, &tally, "next holds; the old node queues again")?;
    }
    again_and_again(lab, &mut world)?;
    world.monitor.no_overlap(At::default(), clock::now())
}

/// The holder's link flaps: the VIP moves once, and the node stands again when its link has been sound for a while.
fn again_and_again(lab: &Context, world: &mut World) -> Result<()> {
    const TIMES: usize = 6;
    // No loss of this link before counts any more after a minute.
    clock::sleep(Duration::from_secs(if lab.full { 61 } else { 0 }));
    let holder = world.one_holder(VIP, PATIENCE)?;
    world.all_stand(VIP)?;
    let from = clock::now();
    let mut lost = from;
    for _ in 0..TIMES {
        lost = clock::now();
        world.carrier(holder, "eth1", false)?;
        clock::sleep(Duration::from_millis(200));
        world.carrier(holder, "eth1", true)?;
        clock::sleep(Duration::from_millis(200));
    }
    let next = world.one_holder(VIP, PATIENCE)?;
    ensure!(next != holder, "it is still on the node whose link flaps");
    clock::sleep_until(lost + Duration::from_secs(4));
    ensure!(world.candidates(VIP) == 2, "it stands again already");
    world.all_stand(VIP).context("after the link flapped")?;
    let stands = clock::now().since(lost);
    let moves = world.monitor.timeline().changes(VIP, from).iter().filter(|change| change.present).count();
    ensure!(moves == 1, "{VIP} moved {moves} times");
    lab.say(format_args!(
        "{TIMES} flaps in {}: 1 move; stands again {} after the last",
        millis(lost.since(from)),
        millis(stands)
    ));
    Ok(())
}

/// VIP and etcd are on `eth0`: a cut that lasts is as a lost node; one of two seconds costs those, and nothing moves.
pub(super) fn same(lab: &Context) -> Result<()> {
    let mut world = lab.world(Options::default())?;
    world.one_holder(VIP, PATIENCE)?;
    let probe = world.probe(VIP)?;
    world.a_lease_later();
    for cut in WAYS {
        let (mut lasting, mut short) = (Tally::default(), Tally::default());
        let mut moved = 0;
        for _ in 0..lab.rounds(1, 20) {
            moved += usize::from(flaps(&mut world, &probe, cut, &mut short)?);
        }
        lab.row(&format!("{cut} for 2 s, etcd on the same link"), &short, "the same turn goes on")?;
        lab.say(format_args!("the VIP moved in {moved} of them"));
        // Each takes a lease and more, and what comes of it is the same for all: once in short.
        for _ in 0..lab.rounds(usize::from(cut == Cut::Down), 20) {
            lasting.add(&loses(&mut world, &probe, cut, "eth0")?.0);
        }
        if lasting.off.count() > 0 {
            lab.row(&format!("{cut}, etcd on the same link"), &lasting, "next holds, as for a lost node")?;
        }
    }
    world.monitor.no_overlap(At::default(), clock::now())
}

/// The link comes back before the fence. Says whether the VIP moved all the same: etcd may be busy with itself when one
/// of its members comes back.
fn flaps(world: &mut World, probe: &Probe, cut: Cut, tally: &mut Tally) -> Result<bool> {
    let holder = world.one_holder(VIP, PATIENCE)?;
    world.all_stand(VIP)?;
    clock::sleep(Duration::from_secs(3));
    let blow = Blow::now(world, VIP, probe)?;
    cut.away(world, holder, "eth0")?;
    let off = blow.off(world, PATIENCE)?;
    ensure!(off < Duration::from_millis(500), "{cut}: off only after {}", millis(off));
    clock::sleep_until(blow.at + SHORT);
    let back = clock::now();
    cut.back(world, holder, "eth0")?;
    let came = world.monitor.wait(PATIENCE, |timeline| timeline.came(VIP, back, None)).context("nobody has it")?;
    clock::sleep(Duration::from_secs(6));
    let course = blow.course(world, PATIENCE)?;
    ensure!(came.node == holder, "{cut}: another node was first after the link had come back");
    ensure!(came.at.since(back) < Duration::from_secs(1), "back only {} after its link", millis(came.at.since(back)));
    tally.add(&course);
    Ok(course.holder != holder)
}

fn comes_later(lab: &Context, world: &mut World) -> Result<()> {
    const WITHOUT: usize = 0;
    world.delete_link(WITHOUT, "eth1")?;
    world.nodes[WITHOUT].vipd.start()?;
    clock::sleep(Duration::from_secs(2));
    ensure!(world.candidates(VIP) == 0, "a node without the link stands");
    ensure!(world.nodes[WITHOUT].vipd.runs(), "it did not wait for the link");
    for node in 1..3 {
        world.nodes[node].vipd.start()?;
    }
    let holder = world.one_holder(VIP, PATIENCE)?;
    ensure!(clock::poll_until(PATIENCE, || world.candidates(VIP) == 2), "not both nodes with the link stand");
    clock::sleep(Duration::from_secs(1));
    ensure!(holder != WITHOUT && world.candidates(VIP) == 2, "a node without the link stands");
    let came = clock::now();
    world.make_link(WITHOUT, "eth1")?;
    world.all_stand(VIP).context("after the link came")?;
    ensure!(world.monitor.timeline().changes(VIP, came).is_empty(), "{VIP} moved because a link came");
    lab.say(format_args!(
        "n1 has no link at its start and does not stand; {} after it came all stand",
        millis(clock::now().since(came))
    ));
    Ok(())
}

/// The holder's link is cut until another node has the VIP, and heals. Gives what came of it, and when the next one held.
fn loses(world: &mut World, probe: &Probe, cut: Cut, link: &str) -> Result<(crate::measure::Course, Duration)> {
    let holder = world.one_holder(VIP, PATIENCE)?;
    world.all_stand(VIP)?;
    clock::sleep(Duration::from_secs(3));
    let blow = Blow::now(world, VIP, probe)?;
    cut.away(world, holder, link)?;
    let next = blow.elsewhere(world, PATIENCE)?;
    let came = clock::now().since(blow.at);
    let course = blow.course(world, PATIENCE)?;
    let healed = clock::now();
    cut.back(world, holder, link)?;
    stays_on(world, VIP, next, healed, Duration::from_secs(2), "the link came back")?;
    world.all_stand(VIP).context("after the link came back")?;
    Ok((course, came))
}
