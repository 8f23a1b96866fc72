//! What happens, in order: a start, moves by SIGTERM, a killed daemon, a node cut off, and the bill.

use std::fs;
use std::time::Duration;

use anyhow::Result;

use super::stage::Stage;
use crate::clock::{self, millis};
use crate::faults::{Fault, Who};
use crate::measure::{Move, Watched, a_move_seen};
use crate::timeline::NodeIndex;
use crate::world::{VIP, World};

/// Time for people to see what is.
const LOOK: Duration = Duration::from_secs(3);

/// Tells it, and returns the closing lines.
pub(super) fn tell(world: &mut World, stage: &Stage) -> Result<Vec<String>> {
    let from = clock::now();
    let mut costs = vec![format!("{:<46}{:>12}{:>14}{:>8}", "what was done", "on no node", "client missed", "noise")];
    let mut bill = |what: &str, moved: &Move| {
        let (gap, outage, noise) = (millis(moved.gap), millis(moved.outage), millis(moved.noise));
        costs.push(format!("{what:<46}{gap:>12}{outage:>14}{noise:>8}"));
    };
    begin(world, stage)?;
    for _ in 0..3 {
        let moved = told_to_leave(world, stage)?;
        bill("SIGTERM to the holder's daemon", &moved);
    }
    bill("SIGKILL, nobody cleans up, lease 5 s", &killed(world, stage)?);
    bill("the holder's node cut off, lease 5 s", &cut_off(world, stage)?);
    stage.doing("");
    world.monitor.no_overlap(from, clock::now())?;
    costs.push("at no moment did two nodes have the address".to_owned());
    Ok(costs)
}

fn begin(world: &mut World, stage: &Stage) -> Result<()> {
    stage.doing("three daemons start, each beside an etcd member");
    let from = clock::now();
    world.start_daemons()?;
    (0..3).for_each(|node| stage.vipd(node, "runs"));
    let holder = world.one_holder(VIP, Duration::from_secs(10))?;
    let came = world.monitor.timeline().came(VIP, from, None).map_or(from, |change| change.at);
    stage.log(&format!("{:<28}{:<9}after {}", "three daemons started", name(holder), millis(came.since(from))));
    world.all_stand(VIP)?;
    stage.probe().answers(came, Duration::from_secs(2));
    world.a_lease_later();
    Ok(())
}

fn told_to_leave(world: &mut World, stage: &Stage) -> Result<Move> {
    let holder = world.one_holder(VIP, Duration::from_secs(10))?;
    stage.doing(format!("SIGTERM to {}'s vipd, and it is started again", name(holder)));
    let moved = hit(world, stage, &Fault::term(holder), Duration::from_secs(2), || stage.vipd(holder, "stopped"))?;
    world.service(holder, Who::Vipd).ends_with(0, Duration::from_secs(3))?;
    clock::sleep(Duration::from_secs(1));
    again(world, stage, holder)?;
    Ok(moved)
}

fn killed(world: &mut World, stage: &Stage) -> Result<Move> {
    let holder = world.one_holder(VIP, Duration::from_secs(10))?;
    stage.doing(format!("SIGKILL to {}'s vipd: only the kernel is left to take the address off", name(holder)));
    let moved = hit(world, stage, &Fault::kill(holder), LOOK + LOOK, || stage.vipd(holder, "killed"))?;
    world.service(holder, Who::Vipd).ends(Duration::from_secs(1));
    clock::sleep(Duration::from_secs(1));
    again(world, stage, holder)?;
    Ok(moved)
}

fn cut_off(world: &mut World, stage: &Stage) -> Result<Move> {
    let holder = world.one_holder(VIP, Duration::from_secs(10))?;
    stage.doing(format!("{} is cut off: it cannot know what the others do, so it lets go in time", name(holder)));
    let moved = hit(world, stage, &Fault::Silence(holder), LOOK + LOOK, || stage.cable(holder, "cut off"))?;
    clock::sleep(Duration::from_secs(1));
    stage.doing(format!("{} is let back: the address stays where it is", name(holder)));
    Fault::Unsilence(holder).hit(world)?;
    stage.cable(holder, "");
    clock::sleep(LOOK + LOOK);
    Ok(moved)
}

fn hit(world: &mut World, stage: &Stage, fault: &Fault, quiet: Duration, done: impl FnOnce()) -> Result<Move> {
    let watched = Watched { vip: VIP, probe: stage.probe(), quiet, within: Duration::from_secs(20) };
    let moved = a_move_seen(world, &watched, fault, done)?;
    let way = format!("{} → {}", name(moved.from), name(moved.to));
    let (gap, outage) = (millis(moved.gap), millis(moved.outage));
    stage.log(&format!("{:<28}{way:<9}gap {gap:>8}   missed {outage:>8}", fault.to_string()));
    Ok(moved)
}

fn again(world: &mut World, stage: &Stage, node: NodeIndex) -> Result<()> {
    Fault::Start(node, Who::Vipd).hit(world)?;
    stage.vipd(node, "runs");
    world.all_stand(VIP)
}

fn name(node: NodeIndex) -> String {
    format!("n{}", node + 1)
}

/// Afterwards, with `--keep`: the lab stays up and the picture live until somebody ends it from outside.
pub(super) fn play(world: &mut World, stage: &Stage) {
    let pid = fs::read_to_string(world.directory().join("pid")).unwrap_or_default();
    stage.log("the lab is yours until Ctrl-C; in another terminal, as the same user:");
    let this = fs::read_link("/proc/self/exe").unwrap_or_default();
    stage.log(&format!("  {} shell n1", this.display()));
    stage.log("  (or n2, n3, client; no name: the bridge's side)");
    stage.log("  then: ip addr · pgrep -a vipd · kill -9 PID · ip link set eth0 down");
    stage.log(&format!("files in {}, first process {}", world.directory().display(), pid.trim()));
    stage.doing("the lab is kept: play");
    let mut known = world.monitor.timeline().holders(VIP);
    loop {
        for index in 0..world.nodes.len() {
            let state = if world.nodes[index].vipd.runs() { "runs" } else { "ended" };
            stage.vipd(index, state);
        }
        let holders = world.monitor.timeline().holders(VIP);
        if holders != known {
            stage.log(&format!("{VIP} is on: {}", world.names(&holders)));
            known = holders;
        }
        clock::sleep(Duration::from_millis(50));
    }
}
