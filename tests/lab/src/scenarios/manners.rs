//! How the daemon behaves as a program: alone in its namespace, strict about its config, cheap when idle.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::clock::{self, millis};
use crate::scenario::Context;
use crate::world::{Node, Options, Service, VIP, World};

/// A second one beside n1's.
pub(super) fn second_daemon(lab: &Context) -> Result<()> {
    let world = lab.world(Options::default())?;
    let holder = world.one_holder(VIP, Duration::from_secs(5))?;
    let from = clock::now();
    for node in [holder, (holder + 1) % 3] {
        let node = &world.nodes[node];
        let mut second = another(lab, &world, node, &fs::read_to_string(&node.config)?)?;
        let status = second.ends(Duration::from_secs(5)).context("a second daemon was not refused")?;
        ensure!(!status.success(), "a second daemon ended with success");
        let (said, pid) = (second.said(), node.vipd.pid().context("the first one does not run")?);
        let named = said.split(|c: char| !c.is_ascii_digit()).any(|number| number == pid.to_string());
        ensure!(named, "it does not say who has it (process {pid}): {}", said.trim());
        lab.say(format_args!("on {}: {status}; it says: {}", node.name, second.tail(1).join("")));
    }
    clock::sleep(Duration::from_secs(1));
    ensure!(world.monitor.timeline().changes(VIP, from).is_empty(), "{VIP} moved because of a second daemon");
    Ok(())
}

/// Files that must be refused, each with a word that the refusal has to contain. The daemon's own tests have many
/// more; here it is about what happens on the wire: nothing.
const BAD: &[(&str, &str)] = &[
    ("machine: {}\n", "vip"),
    ("machine: {network: {interfaces: [{interface: eth0, vip: {ip: 10.77.0.100, colour: red}}]}}\n", "colour"),
    ("machine: {network: {interfaces: [{interface: eth0, vip: {ip: 224.0.0.1}}]}}\n", "224.0.0.1"),
    ("machine: {network: {interfaces: [{interface: eth0, vip: {ip: 10.77.0.100}}]}}\nvipd: {etdc: {}}\n", "etdc"),
    ("machine: [\n", "line 2"),
];

/// Bad configs: exit code 78, and not one packet.
pub(super) fn bad_config(lab: &Context) -> Result<()> {
    let world = lab.world(Options { etcd: false, vipd: false, ..Options::default() })?;
    let node = &world.nodes[0];
    // The kernel's own IPv6 chatter would be mistaken for the daemon's.
    node.ns.run(|| fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").context("turn off IPv6"))?;
    let (before, from) = (packets(node)?, clock::now());
    for (text, word) in BAD {
        let mut run = another(lab, &world, node, text)?;
        run.ends_with(78, Duration::from_secs(5)).with_context(|| format!("with the config {text:?}"))?;
        let said = run.tail(4).join(" ");
        ensure!(said.contains(word), "the refusal of {text:?} does not mention {word}: {said}");
    }
    let sent = packets(node)? - before;
    let changes = world.monitor.timeline().changes(VIP, from).len();
    lab.say(format_args!("{} bad configs: exit code 78, {sent} packets sent, {changes} address changes", BAD.len()));
    ensure!(sent == 0 && changes == 0, "a bad config must do nothing");
    Ok(())
}

/// One more daemon in a node's namespace, with that config and a runtime directory of its own.
fn another(lab: &Context, world: &World, node: &Node, config: &str) -> Result<Service> {
    let file = world.directory().join(format!("{}-another.yaml", node.name));
    fs::write(&file, config.replace(&format!("/run/{}/", node.name), "/run/another/"))?;
    fs::create_dir_all("/run/another/vipd")?;
    let mut command = Command::new(&lab.vipd);
    command.arg("run").arg("--config").arg(&file);
    let mut service = Service::new(&node.ns, "another", command, world.directory());
    service.start()?;
    Ok(service)
}

/// Packets sent on all links of a node.
fn packets(node: &Node) -> Result<u64> {
    // `/proc/net` would be the namespace of the process, not of the thread that stands in the node's.
    let table = node.ns.run(|| fs::read_to_string("/proc/thread-self/net/dev").context("read net/dev"))?;
    let sent = |line: &str| line.split_once(':')?.1.split_whitespace().nth(9)?.parse::<u64>().ok();
    Ok(table.lines().filter_map(sent).sum())
}

/// What it costs to do nothing.
pub(super) fn idle(lab: &Context) -> Result<()> {
    let mut world = lab.world(Options::default())?;
    let holder = world.one_holder(VIP, Duration::from_secs(5))?;
    world.all_stand(VIP)?;
    clock::sleep(Duration::from_secs(3));
    let span = Duration::from_secs(if lab.full { 60 } else { 20 });
    let pids: Vec<u32> = world.nodes.iter().filter_map(|node| node.vipd.pid()).collect();
    let before = pids.iter().map(|pid| processor_time(*pid)).collect::<Result<Vec<_>>>()?;
    let (puts, from) = (world.monitor.timeline().puts(VIP), clock::now());
    clock::sleep(span);
    let puts = world.monitor.timeline().puts(VIP) - puts;
    for ((node, pid), before) in world.nodes.iter().zip(&pids).zip(before) {
        let spent = processor_time(*pid)?.saturating_sub(before);
        let share = spent.as_secs_f64() / clock::now().since(from).as_secs_f64() * 100.0;
        let memory = resident(*pid)?;
        let role = if node.name == world.nodes[holder].name { "holder" } else { "waits" };
        lab.say(format_args!(
            "{} ({role}): {:.1} MiB resident, {share:.2} % of a core",
            node.name,
            memory as f64 / 1024.0
        ));
        ensure!(memory < 64 * 1024 && share < 10.0, "{}'s daemon is not idle", node.name);
    }
    let size = fs::metadata(&lab.vipd)?.len() as f64 / 1e6;
    lab.say(format_args!("binary: {size:.1} MB; address puts: {:.2} a second", puts as f64 / span.as_secs_f64()));
    ensure!(world.nodes.iter_mut().all(|node| node.vipd.runs()), "a daemon ended");
    ensure!(world.monitor.timeline().changes(VIP, from).is_empty(), "{VIP} moved within {}", millis(span));
    Ok(())
}

/// The processor time of all threads, in the scheduler's own nanoseconds.
fn processor_time(pid: u32) -> Result<Duration> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = fs::read_to_string(task?.path().join("schedstat")).context("read schedstat")?;
        let Some(ran) = stat.split_whitespace().next() else { bail!("an empty schedstat") };
        total += ran.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(total))
}

/// Resident memory in KiB.
fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.split_whitespace().next().context("an empty VmRSS")?.parse()?)
}
