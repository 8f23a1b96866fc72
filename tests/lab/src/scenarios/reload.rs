//! `vipd reload`: what changed is applied, what did not is not touched, a bad file changes nothing.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use crate::clock::{self, At, millis};
use crate::figures::Figures;
use crate::measure::row;
use crate::scenario::Context;
use crate::timeline::NodeIndex;
use crate::world::{Options, VIP, Vip, World};

const PATIENCE: Duration = Duration::from_secs(10);
/// A VIP whose link changes, and one that comes and goes.
const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 101));
const THIRD: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 102));
/// What the config of a node says of the second one.
const ON_ETH1: &str = "      - interface: eth1\n        vip:\n          ip: 10.77.0.101\n";
const ON_ETH0: &str = "      - interface: eth0\n        vip:\n          ip: 10.77.0.101\n";
/// How many reloads there are under traffic, and how far apart they begin.
const OFTEN: u32 = 100;
const PACE: Duration = Duration::from_millis(200);

/// Add, change, remove, refuse, other endpoints, another TTL: the VIP that is in none of it never moves.
pub(super) fn reload(lab: &Context) -> Result<()> {
    let vips = [(VIP, "eth0"), (SECOND, "eth1")].map(|(ip, link)| Vip { ip, link: link.to_owned() });
    let world = lab.world(Options { vips: vips.to_vec(), ..Options::default() })?;
    let holder = world.one_holder(VIP, PATIENCE)?;
    world.one_holder(SECOND, PATIENCE)?;
    [VIP, SECOND].into_iter().try_for_each(|vip| world.all_stand(vip))?;
    let probe = world.probe(VIP)?;
    world.a_lease_later();
    let from = clock::now();
    comes(lab, &world)?;
    changes_its_link(lab, &world)?;
    goes(lab, &world)?;
    refused(lab, &world, holder)?;
    other_endpoints(lab, &world, holder)?;
    another_ttl(lab, &world, holder)?;
    by_signal(lab, &world, holder)?;
    let (to, timeline) = (clock::now(), world.monitor.timeline());
    let moved = timeline.changes(VIP, from);
    ensure!(moved.is_empty(), "{VIP}, which did not change, was off or elsewhere: {moved:?}");
    drop(timeline);
    lab.say(format_args!(
        "{VIP}, which did not change: never off, longest client gap in {} was {}",
        millis(to.since(from)),
        millis(probe.worst(from, to))
    ));
    world.monitor.no_overlap(At::default(), to)
}

/// A third VIP, on all nodes.
fn comes(lab: &Context, world: &World) -> Result<()> {
    for node in 0..world.nodes.len() {
        edit(world, node, "    interfaces:\n", &format!("    interfaces:\n{}", third()))?;
        let said = applied(lab, world, node)?;
        ensure!(said.contains("VIP 10.77.0.102 on eth0: added"), "it does not say what it did: {said}");
    }
    let holder = world.one_holder(THIRD, PATIENCE)?;
    world.all_stand(THIRD)?;
    lab.say(format_args!("added: {} holds {THIRD}, all stand for it", world.nodes[holder].name));
    Ok(())
}

/// The second one belongs on another link of its holder: given back there, and then at the end of the queue.
fn changes_its_link(lab: &Context, world: &World) -> Result<()> {
    let holder = world.one_holder(SECOND, PATIENCE)?;
    let from = clock::now();
    edit(world, holder, ON_ETH1, ON_ETH0)?;
    let said = applied(lab, world, holder)?;
    ensure!(said.contains("VIP 10.77.0.101 on eth0: changed"), "it does not say what it did: {said}");
    let next = world.monitor.wait(PATIENCE, |timeline| timeline.came(SECOND, from, Some(holder)));
    let next = next.context("nobody else takes the VIP whose link changed")?;
    let key = world.keys()?.gone(SECOND, from, PATIENCE).context("its key was not deleted")?;
    let off = world.monitor.timeline().left(SECOND, from, holder).context("it is still there")?;
    ensure!(off <= key, "the key was gone before the address");
    world.all_stand(SECOND)?;
    lab.say(format_args!(
        "link changed: off after {}, the next one holds after {}",
        millis(off.since(from)),
        millis(next.at.since(from))
    ));
    // The others follow; the one that waits now takes it over where it belongs.
    for node in (0..world.nodes.len()).filter(|node| *node != holder) {
        edit(world, node, ON_ETH1, ON_ETH0)?;
        applied(lab, world, node)?;
    }
    world.one_holder(SECOND, PATIENCE)?;
    world.all_stand(SECOND)
}

/// The third one is taken out again: no address, no key is left.
fn goes(lab: &Context, world: &World) -> Result<()> {
    let from = clock::now();
    for node in 0..world.nodes.len() {
        edit(world, node, &third(), "")?;
        let said = applied(lab, world, node)?;
        ensure!(said.contains("VIP 10.77.0.102 on eth0: removed"), "it does not say what it did: {said}");
    }
    world.nobody_holds(THIRD, PATIENCE)?;
    ensure!(clock::poll_until(PATIENCE, || world.candidates(THIRD) == 0), "a key is left");
    lab.say(format_args!("removed: no address and no key after {}", millis(clock::now().since(from))));
    Ok(())
}

/// Bad files, and one that needs a restart: exit code 78, said why, and nothing changed.
fn refused(lab: &Context, world: &World, node: NodeIndex) -> Result<()> {
    let good = fs::read_to_string(&world.nodes[node].config)?;
    let bad = [
        (good.replace("ip: 10.77.0.101", "ip: 10.77.0.300"), "10.77.0.300"),
        (good.replace("  node: ", "  nodes: "), "nodes"),
        (good.replace("  node: ", "  node: x"), "vipd.node: changed, and that needs a restart"),
        (good.replace("machine:", "machine: ["), "line"),
    ];
    for (text, word) in bad {
        fs::write(&world.nodes[node].config, text)?;
        let answer = ask(lab, world, node)?;
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        ensure!(answer.status.code() == Some(78), "a bad file: {:?}: {said}", answer.status);
        ensure!(said.contains(word) && said.contains("nothing was changed"), "it does not say {word:?}: {said}");
        world.logged(node, &["WARN", "the config is refused; nothing was changed", word], PATIENCE)?;
        let status = world.status(&lab.vipd, node).unwrap_or_default();
        let tells = status.contains("\"refused\":{");
        // This lab's daemons are where their config says, which a bad one does not; the next good one shows it.
        ensure!(tells || status.is_empty(), "the status does not tell of it: {status}");
    }
    fs::write(&world.nodes[node].config, &good)?;
    let status = world.status(&lab.vipd, node)?;
    ensure!(
        status.contains("\"refused\":{") && status.contains("\"refusals\":4"),
        "the status does not tell: {status}"
    );
    applied(lab, world, node)?;
    let status = world.status(&lab.vipd, node)?;
    ensure!(status.contains("\"refused\":null"), "a good one does not clear it: {status}");
    lab.say("four bad files: exit code 78 and the reason, in the log and the status too");
    Ok(())
}

/// The node's own member is no endpoint any more, and nobody is looked for: the others are asked, the lease goes on.
fn other_endpoints(lab: &Context, world: &World, node: NodeIndex) -> Result<()> {
    let text = fs::read_to_string(&world.nodes[node].config)?;
    let own = text.lines().find(|line| line.trim_start().starts_with("- http")).context("no endpoint in the config")?;
    let said_before = world.nodes[node].vipd.said_so_far();
    let without = text.replace(&format!("{own}\n"), "").replace("  etcd:\n", "  etcd:\n    discover: false\n");
    fs::write(&world.nodes[node].config, without)?;
    let said = applied(lab, world, node)?;
    ensure!(said.contains("vipd.etcd.endpoints: changed"), "it does not say what it did: {said}");
    world.logged(node, &["not asked any more", own.trim_start_matches([' ', '-'])], PATIENCE)?;
    clock::sleep(Duration::from_secs(6));
    let to_own = format!(" to {}:", world.nodes[node].address);
    let left: Vec<_> = world.connections(node)?.into_iter().filter(|ends| ends.contains(&to_own)).collect();
    ensure!(left.is_empty(), "it still talks to its own member: {left:?}");
    let said = world.nodes[node].vipd.said_since(said_before)?;
    ensure!(!said.contains("the session ended") && !said.contains("lets go"), "the session did not go on: {said}");
    lab.say("other endpoints: the session goes on, and nothing leads to the old one any more");
    fs::write(&world.nodes[node].config, text)?;
    applied(lab, world, node).map(drop)
}

/// A new TTL waits for the next session, and the status says so.
fn another_ttl(lab: &Context, world: &World, node: NodeIndex) -> Result<()> {
    edit(world, node, "    ttl: 5s\n", "    ttl: 8s\n")?;
    let said = applied(lab, world, node)?;
    ensure!(said.contains("vipd.lease.ttl: from the next session on"), "it does not say so: {said}");
    let status = world.status(&lab.vipd, node)?;
    ensure!(status.contains("vipd.lease.ttl: 8s, now 5s"), "the status does not say so: {status}");
    ensure!(status.contains("\"ttlMs\":5000"), "the session has another TTL already: {status}");
    edit(world, node, "    ttl: 8s\n", "    ttl: 5s\n")?;
    applied(lab, world, node)?;
    let status = world.status(&lab.vipd, node)?;
    ensure!(status.contains("\"later\":[]"), "nothing is due later any more: {status}");
    Ok(())
}

/// SIGHUP does the same, for the log.
fn by_signal(lab: &Context, world: &World, node: NodeIndex) -> Result<()> {
    edit(world, node, "  lease:\n", "  onConflict: claim\n  lease:\n")?;
    let pid = world.nodes[node].vipd.pid().context("it does not run")?;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), Signal::SIGHUP)?;
    let said = world.logged(node, &["INFO", "reloaded", "vipd.onConflict: changed"], PATIENCE)?;
    lab.say(said.trim());
    Ok(())
}

/// A hundred reloads under traffic, each of which changes something, against as long without.
pub(super) fn often(lab: &Context) -> Result<()> {
    let world = lab.world(Options::default())?;
    let holder = world.one_holder(VIP, PATIENCE)?;
    let probe = world.probe(VIP)?;
    world.all_stand(VIP)?;
    world.a_lease_later();
    let (mut calm, mut busy, mut took) = (Figures::default(), Figures::default(), Figures::default());
    for _ in 0..lab.rounds(1, 5) {
        let from = clock::now();
        clock::sleep(PACE * OFTEN);
        let end = clock::now();
        clock::sleep(Duration::from_millis(50));
        calm.add(probe.worst(from, end));
        let from = clock::now();
        for number in 0..OFTEN {
            let begins = from + PACE * number;
            clock::sleep_until(begins);
            toggle(&world, holder, number)?;
            let asked = clock::now();
            applied(lab, &world, holder)?;
            took.add(clock::now().since(asked));
        }
        let end = clock::now();
        clock::sleep(Duration::from_millis(50));
        busy.add(probe.worst(from, end));
        let moved = world.monitor.timeline().changes(VIP, from);
        ensure!(moved.is_empty(), "it was off, or elsewhere: {moved:?}");
    }
    lab.say(row("longest gap, no reload", &calm));
    lab.say(row("longest gap, 100 reloads", &busy));
    lab.say(row("one reload, to its answer", &took));
    // Loose: the machine's own noise is a few milliseconds, and differs from run to run.
    let most = calm.most() * 2 + Duration::from_millis(20);
    ensure!(busy.most() <= most, "the longest gap was {}", millis(busy.most()));
    world.monitor.no_overlap(At::default(), clock::now())
}

/// In turn: a VIP comes or goes, the announcements change, the endpoints change their order.
fn toggle(world: &World, node: NodeIndex, number: u32) -> Result<()> {
    let text = fs::read_to_string(&world.nodes[node].config)?;
    let switched = |what: &str, after: &str| {
        if text.contains(what) { text.replace(what, "") } else { text.replace(after, &format!("{after}{what}")) }
    };
    let new = match number % 3 {
        0 => switched(&third(), "    interfaces:\n"),
        1 => switched("  announce: {refresh: 30s}\n", "vipd:\n"),
        _ => {
            let urls: Vec<_> = text.lines().filter(|line| line.trim_start().starts_with("- http")).collect();
            let (first, last) = urls.first().zip(urls.last()).context("no endpoints in the config")?;
            text.replace(first, "FIRST").replace(last, first).replace("FIRST", last)
        }
    };
    ensure!(new != text, "nothing to toggle in {text}");
    Ok(fs::write(&world.nodes[node].config, new)?)
}

fn third() -> String {
    format!("      - interface: eth0\n        vip:\n          ip: {THIRD}\n")
}

/// Writes something else into a node's config.
fn edit(world: &World, node: NodeIndex, what: &str, with: &str) -> Result<()> {
    let config = &world.nodes[node].config;
    let text = fs::read_to_string(config)?;
    ensure!(text.contains(what), "there is no {what:?} in {text}");
    Ok(fs::write(config, text.replacen(what, with, 1))?)
}

/// `vipd reload` on a node, as its unit would.
fn ask(lab: &Context, world: &World, node: NodeIndex) -> Result<Output> {
    let node = &world.nodes[node];
    let mut reload = Command::new(&lab.vipd);
    reload.args(["reload", "--config"]).arg(&node.config).env("RUNTIME_DIRECTORY", format!("/run/{}/vipd", node.name));
    node.ns.run(|| reload.output().context("start `vipd reload`"))
}

/// One that must be applied; what it says.
fn applied(lab: &Context, world: &World, node: NodeIndex) -> Result<String> {
    let answer = ask(lab, world, node)?;
    let said = String::from_utf8_lossy(&answer.stdout).into_owned();
    ensure!(answer.status.success(), "`vipd reload`: {}: {}", answer.status, String::from_utf8_lossy(&answer.stderr));
    Ok(said)
}
