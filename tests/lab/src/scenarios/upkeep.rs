//! What operators and disks do to an etcd that keeps its quorum. None of it may move the VIP, nor take it off for a
//! moment; only where the members have to elect may a split vote make it blink where it is.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::calm::{AFTER, Calm, Kept, Vote, a_world};
use super::certificates::still_moves;
use crate::clock::{self, At, millis};
use crate::disk::Stall;
use crate::faults::{Fault, Who};
use crate::figures::Figures;
use crate::measure::{Blow, Tally, led_from};
use crate::scenario::Context;
use crate::timeline::NodeIndex;
use crate::world::{Options, VIP, World};

const PATIENCE: Duration = Duration::from_secs(30);
/// The followers first, the one that leads last: so it is handed over once, and not to a member that is the next to go.
fn leader_last(holder: NodeIndex, leader: NodeIndex) -> Vec<NodeIndex> {
    let mut order: Vec<NodeIndex> = (0..3).map(|step| (holder + step) % 3).filter(|node| *node != leader).collect();
    order.push(leader);
    order
}

/// Each member is restarted by its unit, one after the other: an upgrade.
pub(super) fn restarts(lab: &Context) -> Result<()> {
    let (mut world, probe) = a_world(lab, Options::default())?;
    let mut kept = Kept::new("etcd members restarted one by one", Vote::No);
    for _ in 0..lab.rounds(1, 5) {
        let holder = led_from(&world, 1)?;
        let calm = Calm::begins(&world, &probe)?;
        for node in leader_last(holder, (holder + 1) % 3) {
            world.restart_etcd(node)?;
            clock::sleep(AFTER);
        }
        kept.add(&world, &calm)?;
    }
    kept.tell(lab)?;
    world.monitor.no_overlap(At::default(), clock::now())
}

/// Every write of every member takes a fifth of a second to get to its disk, with others writing, too.
pub(super) fn slow_disks(lab: &Context) -> Result<()> {
    const LATE: Duration = Duration::from_millis(200);
    let (world, probe) = a_world(lab, Options::default())?;
    world.all_stand(VIP)?;
    let calm = Calm::begins(&world, &probe)?;
    let stalls: Vec<Stall> = (0..3)
        .map(|node| Stall::begin(world.nodes[node].etcd.pid().context("that etcd does not run")?, LATE))
        .collect::<Result<_>>()?;
    let until = clock::now() + Duration::from_secs(if lab.full { 60 } else { 10 });
    let mut writes = Figures::default();
    while clock::now() < until {
        let from = clock::now();
        world.fill_etcd(1)?;
        writes.add(clock::now().since(from));
    }
    drop(stalls);
    ensure!(writes.least() > LATE, "the disks were not slow: a megabyte was written in {}", millis(writes.least()));
    for node in 0..3 {
        world.etcd_answers(node)?;
    }
    let mut kept = Kept::new("every etcd disk slow, 0.2 s a write", Vote::No);
    kept.add(&world, &calm)?;
    kept.tell(lab)?;
    world.monitor.no_overlap(At::default(), clock::now())
}

/// All revisions are forgotten again and again, while answers come late and members are restarted: so every watch that
/// is opened anew begins at a revision that is no more. Afterwards the watches hear again.
pub(super) fn compacted(lab: &Context) -> Result<()> {
    let options =
        Options { proxies: true, log: Some("info,vipd::pair=trace,vipd::node::etcd=debug"), ..Options::default() };
    let mut world = lab.world(options)?;
    world.one_holder(VIP, PATIENCE)?;
    let probe = world.probe(VIP)?;
    let holder = led_from(&world, 1)?;
    let calm = Calm::begins(&world, &probe)?;
    world.compact()?;
    let compacting = world.compact_on_and_on();
    for node in 0..3 {
        Fault::SlowEtcd(node, Duration::from_millis(300)).hit(&mut world)?;
    }
    for node in [holder, (holder + 2) % 3] {
        world.restart_etcd(node)?;
        world.logged(node, &["the watch is behind a compaction"], Duration::from_secs(8))?;
    }
    let times = compacting.done();
    drop(compacting);
    for node in 0..3 {
        Fault::SlowEtcd(node, Duration::ZERO).hit(&mut world)?;
    }
    lab.say(format_args!("{times} compactions; the watches of two daemons began behind one"));
    let mut kept = Kept::new("compacted, also beyond what a watch begins at", Vote::No);
    kept.add(&world, &calm)?;
    kept.tell(lab)?;

    let blow = Blow::now(&world, VIP, &probe)?;
    Fault::term(holder).hit(&mut world)?;
    blow.elsewhere(&world, PATIENCE)?;
    let course = blow.course(&world, PATIENCE)?;
    ensure!(course.gap < Duration::from_secs(1), "a move took {}: a watch is still deaf", millis(course.gap));
    lab.say(format_args!("a planned move afterwards: {} on no node", millis(course.gap)));
    world.service(holder, Who::Vipd).ends_with(0, Duration::from_secs(5))?;
    world.monitor.no_overlap(At::default(), clock::now())
}

/// A member is removed and another one added in its place, as a learner that is then promoted: one that follows, the one
/// on the holder's own node, and the one that leads.
pub(super) fn members(lab: &Context) -> Result<()> {
    let (mut world, probe) = a_world(lab, Options::default())?;
    let mut kinds = [
        (2, Kept::new("an etcd member replaced (removed, learner, promoted)", Vote::No)),
        (0, Kept::new("the holder's own etcd member replaced", Vote::No)),
        (1, Kept::new("the etcd leader (another node's member) replaced", Vote::Yes)),
    ];
    for _ in 0..lab.rounds(1, 5) {
        for (beside, kept) in &mut kinds {
            let holder = led_from(&world, 1)?;
            let calm = Calm::begins(&world, &probe)?;
            let node = (holder + *beside) % 3;
            world.remove_member(node)?;
            clock::sleep(AFTER);
            world.add_member(node)?;
            kept.add(&world, &calm)?;
        }
    }
    kinds.iter().try_for_each(|(_, kept)| kept.tell(lab))?;
    world.monitor.no_overlap(At::default(), clock::now())
}

/// Each member is defragmented with data in it, the one that leads last: it answers nobody meanwhile.
pub(super) fn defragmented(lab: &Context) -> Result<()> {
    let (world, probe) = a_world(lab, Options::default())?;
    world.fill_etcd(if lab.full { 200 } else { 20 })?;
    let (mut took, mut kept) = (Figures::default(), Kept::new("etcd members defragmented one by one", Vote::No));
    for _ in 0..lab.rounds(1, 5) {
        let holder = led_from(&world, 1)?;
        let calm = Calm::begins(&world, &probe)?;
        for node in leader_last(holder, (holder + 1) % 3) {
            took.add(world.defragment(node)?);
            clock::sleep(AFTER);
        }
        kept.add(&world, &calm)?;
    }
    lab.say(format_args!("a member's defragmentation took {} to {}", millis(took.least()), millis(took.most())));
    kept.tell(lab)?;
    world.monitor.no_overlap(At::default(), clock::now())
}

/// Election timeout 5 s and heartbeat 0.5 s, as k3s and RKE2 run etcd, and a config that says no TTL. Another node's
/// member leads and is killed: the election takes seconds, and nothing moves.
pub(super) fn k3s(lab: &Context) -> Result<()> {
    let (heartbeat, election) = (Duration::from_millis(500), Duration::from_secs(5));
    let (mut world, probe) = a_world(lab, Options { heartbeat, election, ttl: None, ..Options::default() })?;
    for node in 0..3 {
        let began = world.logged(node, &["a session began"], PATIENCE)?;
        ensure!(began.contains("ttl_ms=20000"), "`auto` is not 20 s: {began}");
    }
    lab.say("`auto` is 20 s on every node");
    let mut kept = Kept::new("k3s's etcd (5 s election): leader killed", Vote::Yes);
    for _ in 0..lab.rounds(1, 5) {
        let holder = led_from(&world, 1)?;
        let leader = (holder + 1) % 3;
        let calm = Calm::begins(&world, &probe)?;
        world.service(leader, Who::Etcd).kill();
        let elected = clock::poll_every(Duration::from_millis(100), PATIENCE, || world.leads_beside(leader));
        ensure!(elected, "the members did not elect another leader");
        clock::sleep(Duration::from_secs(2));
        Fault::Start(leader, Who::Etcd).hit(&mut world)?;
        world.etcd_answers(leader)?;
        kept.add(&world, &calm)?;
    }
    kept.tell(lab)?;
    world.monitor.no_overlap(At::default(), clock::now())
}

/// etcd is full: it renews leases and takes no new ones, nor anything else. The holder stays, who comes then waits; and
/// if the holder leaves, the next one has it.
pub(super) fn no_space(lab: &Context) -> Result<()> {
    const QUOTA: u64 = 8 << 20;
    let (mut world, probe) = a_world(lab, Options { quota: Some(QUOTA), ..Options::default() })?;
    let mut kept = Kept::new("etcd full (alarm NOSPACE)", Vote::No);
    let mut left = Tally::default();
    for _ in 0..lab.rounds(1, 5) {
        let holder = led_from(&world, 1)?;
        let calm = Calm::begins(&world, &probe)?;
        let refused = (0..40).find_map(|_| world.fill_etcd(1).err()).context("etcd is never full")?;
        ensure!(format!("{refused:#}").contains(FULL), "refused for another reason: {refused:#}");
        comes_and_waits(lab, &mut world, (holder + 2) % 3)?;
        kept.add(&world, &calm)?;

        let blow = Blow::now(&world, VIP, &probe)?;
        Fault::term(holder).hit(&mut world)?;
        blow.elsewhere(&world, PATIENCE)?;
        left.add(&blow.course(&world, PATIENCE)?);
        world.service(holder, Who::Vipd).ends(Duration::from_secs(10)).context("the daemon does not end")?;
        world.make_space()?;
        world.all_daemons_back(VIP)?;
    }
    kept.tell(lab)?;
    lab.row("SIGTERM to the holder's daemon, etcd full", &left, "next holds")?;
    still_moves(lab, &mut world, &probe)
}

/// What etcd says then.
const FULL: &str = "database space exceeded";

/// One that stood behind goes and comes back: it cannot have a lease, says why, and waits.
fn comes_and_waits(lab: &Context, world: &mut World, node: NodeIndex) -> Result<()> {
    Fault::term(node).hit(world)?;
    world.service(node, Who::Vipd).ends_with(0, Duration::from_secs(10))?;
    let before = world.nodes[node].vipd.said_so_far();
    Fault::Start(node, Who::Vipd).hit(world)?;
    clock::sleep(Duration::from_secs(6));
    let (name, said) = (world.names(&[node]), world.nodes[node].vipd.said_since(before)?);
    ensure!(world.candidates(VIP) == 2, "{name} stands though etcd is full");
    let why = said.lines().find(|line| line.contains(FULL));
    lab.say(format_args!("{name} comes and says: {}", why.context("it does not say why it waits")?));
    Ok(())
}
