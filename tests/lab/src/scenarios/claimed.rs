//! A neighbour on the segment uses the VIP that a node holds.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::arp::Announced;
use crate::clock::{self, At, millis};
use crate::figures::Figures;
use crate::measure::{row, stays_on};
use crate::neighbour::Mac;
use crate::scenario::Context;
use crate::shell;
use crate::timeline::NodeIndex;
use crate::world::{Options, TTL, VIP, World};

const PATIENCE: Duration = Duration::from_secs(10);
/// A claim is answered at once if none was for this long.
const DEFEND_EVERY: Duration = Duration::from_secs(10);
/// The figure is a few milliseconds.
const PROMPT: Duration = Duration::from_secs(1);
/// Somebody who is not there.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 250));

/// The lab's own machine, which has a leg on the segment, is given the address and talks to somebody: all who hear its
/// question take it for the owner, until the holder speaks up.
pub(super) fn claimed(lab: &Context) -> Result<()> {
    let world = lab.world(Options::default())?;
    let holder = world.one_holder(VIP, PATIENCE)?;
    world.all_stand(VIP)?;
    let heard = Announced::hear(&world.client)?;
    // The announcements after the taking are over then.
    world.a_lease_later();
    let from = clock::now();
    let before = candidates(&world)?;
    let mut lured = Figures::default();
    for round in 0..lab.rounds(1, 20) {
        if round > 0 {
            clock::sleep(DEFEND_EVERY);
        }
        lured.add(claim_once(&world, holder)?);
    }
    let said = world.logged(holder, &["WARN", "another host claims the VIP", &text(bridge()?)], PROMPT)?;
    lab.say(said.trim());
    lab.say(row("client led astray for", &lured));
    insist(lab, &world, holder, &heard)?;
    stays_on(&world, VIP, holder, from, clock::now().since(from), "a neighbour claimed it")?;
    ensure!(candidates(&world)? == before, "etcd was touched");
    world.monitor.no_overlap(At::default(), clock::now())
}

/// What stands for the VIP in etcd, revisions and all.
fn candidates(world: &World) -> Result<String> {
    let listed =
        shell::output(world.etcdctl().args(["get", "--prefix", &format!("vipd/{VIP}/"), "--write-out=fields"]))?;
    // The header says how far etcd is, the rest is about the keys.
    let about_keys = |line: &&str| line.contains("Key") || line.contains("Revision\" :") && !line.starts_with("\"Rev");
    Ok(listed.lines().filter(about_keys).collect::<Vec<_>>().join("\n"))
}

/// One claim; for how long the client believed it.
fn claim_once(world: &World, holder: NodeIndex) -> Result<Duration> {
    world.call(VIP, PROMPT)?;
    // A client does not believe the next one within a second of the last.
    clock::sleep(Duration::from_millis(1200));
    let from = clock::now();
    claim()?;
    let led = |mac| {
        clock::poll_until(PROMPT, || world.neighbours.led_to(VIP, mac, from).is_some());
        world.neighbours.led_to(VIP, mac, from)
    };
    let astray = led(bridge()?).context("the client did not take the claim for true")?;
    let back = led(world.nodes[holder].mac).context("the client was not led back")?;
    ensure!(back >= astray, "led back before it was led astray");
    let named = world.call(VIP, PROMPT)?;
    ensure!(named == world.nodes[holder].name, "{VIP} is answered by {named}");
    Ok(back.since(astray))
}

/// Twenty claims within four seconds: two answers in ten seconds, and the last word is the holder's.
fn insist(lab: &Context, world: &World, holder: NodeIndex, heard: &Announced) -> Result<()> {
    clock::sleep(DEFEND_EVERY);
    let from = clock::now();
    for _ in 0..20 {
        claim()?;
        clock::sleep(Duration::from_millis(200));
    }
    let last_claim = clock::now();
    clock::sleep(DEFEND_EVERY);
    let said = heard.by(world.nodes[holder].mac, from);
    let frames = said.len();
    lab.say(format_args!("20 claims within {}: {frames} frames against them", millis(last_claim.since(from))));
    // A refresh may have fallen due as well: two frames each.
    ensure!((4..=6).contains(&frames), "{frames} frames against 20 claims");
    ensure!(said.last().is_some_and(|last| last.at > last_claim), "the last word was the neighbour's");
    let named = world.call(VIP, PROMPT)?;
    ensure!(named == world.nodes[holder].name, "{VIP} is answered by {named}");
    Ok(())
}

/// The address is in use before any daemon starts. Each of them gets the turn, and none of them takes it; what they say of
/// it does not grow with the turns.
pub(super) fn refused(lab: &Context) -> Result<()> {
    let mut world = lab.world(Options { vipd: false, ..Options::default() })?;
    shell::run(&format!("ip addr add {VIP}/32 dev br0"))?;
    world.start_daemons()?;
    // Nobody of us answers for longer than a TTL: after two the daemons of before insisted.
    clock::sleep(TTL * 4);
    let puts = world.monitor.timeline().puts(VIP);
    ensure!(puts == 0, "{puts} times the VIP was put beside the neighbour's");
    let refusal = ["ERROR", "leaves the queue", &text(bridge()?)];
    let said = (0..world.nodes.len()).map(|node| world.logged(node, &refusal, Duration::ZERO));
    let said: Vec<String> = said.filter_map(Result::ok).collect();
    ensure!(said.len() > 1, "{} nodes say that they refuse", said.len());
    lab.say(said[0].trim());
    for node in &world.nodes {
        let lines = node.vipd.said().lines().filter(|line| line.contains(&VIP.to_string())).count();
        ensure!(lines < 20, "{} wrote {lines} lines about it within {}", node.name, millis(TTL * 4));
    }
    shell::run(&format!("ip addr del {VIP}/32 dev br0"))?;
    let from = clock::now();
    let holder = world.one_holder(VIP, PATIENCE)?;
    lab.say(format_args!(
        "the neighbour is gone: {} has it after {}",
        world.nodes[holder].name,
        millis(clock::now().since(from))
    ));
    world.monitor.no_overlap(At::default(), clock::now())
}

/// The lab's own leg gets the address, asks for somebody as an owner does, and loses it.
fn claim() -> Result<()> {
    shell::run(&format!("ip addr add {VIP}/32 dev br0"))?;
    // Who is known to be missing is not asked for.
    let _ = shell::run(&format!("ip neigh del {NOBODY} dev br0"));
    let asked = UdpSocket::bind((VIP, 0)).and_then(|socket| socket.send_to(b"x", (NOBODY, 9)));
    shell::run(&format!("ip addr del {VIP}/32 dev br0"))?;
    asked.map(drop).context("talk from the VIP")
}

/// The link-layer address of the lab's own leg.
fn bridge() -> Result<Mac> {
    let shown = shell::output(Command::new("ip").args(["-o", "link", "show", "br0"]))?;
    let text = shown.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).context("no link/ether")?;
    let bytes: Vec<u8> = text.split(':').map(|part| u8::from_str_radix(part, 16)).collect::<Result<_, _>>()?;
    bytes.try_into().ok().context("a link-layer address of six bytes")
}

/// As people and logs have it.
fn text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
