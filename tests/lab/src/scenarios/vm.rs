//! What takes a machine of its own: other kernels, VLANs, pauses, suspends, clocks.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::clock::{self, At, millis};
use crate::faults::{Fault, Who};
use crate::figures::Figures;
use crate::measure::row;
use crate::netlink::News;
use crate::scenario::Context;
use crate::timeline::NodeIndex;
use crate::vm::{Machine, Release, Vm};
use crate::world::{Client, Options, VIP, Vip, World};

/// The machine's place: behind the three namespaces.
pub(super) const GUEST: NodeIndex = 3;
/// A machine in software emulation is slow, and so is the daemon's start in it.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const TTL: Duration = Duration::from_secs(5);
/// A pause or sleep: longer than the lease, and than etcd and its candidates need to notice.
const AWAY: Duration = Duration::from_secs(9);

/// Both kernels, each alone with an etcd of its own.
pub(super) fn boot(lab: &Context) -> Result<()> {
    let world = lab.world(Options { etcd: false, vipd: false, ..Options::default() })?;
    for (node, release) in [(GUEST, Release::Bookworm), (GUEST + 1, Release::Bullseye)] {
        let config = world.config_for("guest", &["http://127.0.0.1:2379".to_owned()], None);
        let machine = Machine { release, node, config: &config, files: Vec::new() };
        let mut vm = Vm::boot(lab, &world.monitor, &machine)?;
        vm.sh("etcd --data-dir /run/etcd --logger zap --log-level warn > /run/etcd.log 2>&1 < /dev/null &")?;
        able(&mut vm)?;
        checked(lab, &mut vm)?;
        let has_mark = release == Release::Bookworm;
        taken(lab, &world, &mut vm, has_mark)?;
        leftover_cleaned(lab, &world, &mut vm)?;
        given_back(lab, &world, &mut vm)?;
        operators_kept(lab, &world, &mut vm)?;
    }
    Ok(())
}

/// What later scenarios build on: links of every kind, and a bad network.
fn able(vm: &mut Vm) -> Result<()> {
    vm.sh("set -e
        for kind in dummy bond bridge veth; do ip link add x type $kind; ip link del x; done
        ip link add link eth0 name x type vlan id 7
        ip link del x
        /bin/tc qdisc add dev eth0 root netem delay 1ms
        /bin/tc qdisc del dev eth0 root")
        .map(|_| ())
}

/// `vipd check`, once etcd is there.
fn checked(lab: &Context, vm: &mut Vm) -> Result<()> {
    vm.sh("for i in $(seq 20); do etcdctl --command-timeout=1s endpoint health > /dev/null && exit 0; sleep 0.2; done
        tail -n 3 /run/etcd.log
        exit 1")
        .context("etcd in the guest")?;
    let said = vm.sh("vipd check").context("vipd check")?;
    lab.say_all(said.lines().map(|line| format!("  check: {line}")));
    Ok(())
}

/// The address as the protocol wants it: host mask, no preference, a lifetime within the lease, no route of its own.
fn taken(lab: &Context, world: &World, vm: &mut Vm, has_mark: bool) -> Result<()> {
    let from = clock::now();
    vm.start_vipd()?;
    held(world, vm)?;
    let shown = vm.show(VIP)?;
    for wanted in [&format!("{VIP}/32"), "deprecated", "noprefixroute", "preferred_lft 0sec"] {
        ensure!(shown.contains(wanted), "no `{wanted}` in: {shown}");
    }
    let valid = valid_for(&shown).with_context(|| format!("no lifetime in: {shown}"))?;
    ensure!(valid <= TTL, "it would live {valid:?}, longer than the lease");
    let mark = match vm.events(VIP).last().map(|event| &event.news) {
        Some(News::AddressPut { mark, .. }) => *mark,
        other => bail!("not the last news of an address that is held: {other:?}"),
    };
    ensure!((mark != 0) == has_mark, "its mark is {mark}, not as this kernel should have it");
    let mark = if has_mark { format!("marked {mark}") } else { "not marked: this kernel keeps no mark".to_owned() };
    lab.say(format_args!(
        "held {} after the daemon's start, for {valid:?} more, deprecated, /32, {mark}",
        millis(came(world, vm, from)?.since(from))
    ));
    Ok(())
}

/// The daemon is killed; its next life takes the address off first, mark or no mark.
fn leftover_cleaned(lab: &Context, world: &World, vm: &mut Vm) -> Result<()> {
    // Fresh from a top-up, so that it lives on until the next daemon has started.
    clock::sleep(Duration::from_secs(2));
    vm.signal_vipd("KILL")?;
    vm.vipd_ends()?;
    let from = clock::now();
    vm.start_vipd()?;
    let left = world.monitor.wait(PATIENCE, |timeline| timeline.left(VIP, from, vm.node));
    let left = left.context("the left-over is still there")?;
    ensure!(vm.vipd_says("earlier life left"), "the kernel was quicker than the daemon: nothing was shown");
    held(world, vm)?;
    lab.say(format_args!(
        "killed and started again: the left-over is gone after {}, held again after {}",
        millis(left.since(from)),
        millis(came(world, vm, left)?.since(from))
    ));
    Ok(())
}

/// SIGTERM.
fn given_back(lab: &Context, world: &World, vm: &mut Vm) -> Result<()> {
    let from = clock::now();
    vm.signal_vipd("TERM")?;
    let left = world.monitor.wait(PATIENCE, |timeline| timeline.left(VIP, from, vm.node));
    let left = left.context("SIGTERM, but the address is still there")?;
    vm.vipd_ends()?;
    lab.say(format_args!("SIGTERM: gone after {}", millis(left.since(from))));
    Ok(())
}

/// The same address, put by hand and for ever, with the daemon's own mask: the nearest to ours that it can be.
fn operators_kept(lab: &Context, world: &World, vm: &mut Vm) -> Result<()> {
    vm.sh(&format!("ip addr add {VIP}/32 dev eth0"))?;
    let before = vm.show(VIP)?;
    let from = clock::now();
    vm.start_vipd()?;
    clock::sleep(Duration::from_secs(8));
    let after = vm.show(VIP)?;
    ensure!(before == after, "the operator's address was touched; before: {before}; after: {after}");
    ensure!(world.monitor.timeline().changes(VIP, from).is_empty(), "the operator's address was off for a moment");
    vm.signal_vipd("TERM")?;
    vm.vipd_ends()?;
    ensure!(vm.show(VIP)? == before, "the daemon took the operator's address along when it left");
    vm.sh(&format!("ip addr del {VIP}/32 dev eth0"))?;
    lab.say("an operator's address of the same IP is as it was, with the daemon there and after it");
    Ok(())
}

/// The hypervisor stops the machine, and lets it go on.
pub(super) fn paused(lab: &Context) -> Result<()> {
    let (mut world, mut vm) = guest_first(lab)?;
    let mut figures = Away::default();
    for round in 0..lab.rounds(2, 10) {
        holds_again(&mut world, &vm)?;
        // Not at the same place between two renewals each time: where it is stopped there, it goes on.
        clock::sleep(Duration::from_millis(170) * round as u32);
        let hit = clock::now();
        vm.pause()?;
        let to = taken_over(&world, hit)?;
        clock::sleep_until(hit + AWAY);
        let said = vm.vipd_said().len();
        let woken = vm.go_on()?;
        let left = figures.add(&world, hit, woken)?;
        stays(&world, left, to)?;
        why(lab, &vm, said);
        let lived = left.since(woken);
        ensure!(lived < TTL / 10 + Duration::from_secs(1), "it lived on for {}", millis(lived));
    }
    lab.say_all(figures.table("paused"));
    lab.say("a pause is not covered by the promise: no clock of the guest moved meanwhile");
    Ok(())
}

/// The machine suspends itself, and is woken up.
pub(super) fn suspended(lab: &Context) -> Result<()> {
    let (mut world, mut vm) = guest_first(lab)?;
    let states = vm.sh("cat /sys/power/state /sys/power/mem_sleep")?;
    lab.say(format_args!("the kernel offers: {}", states.split_whitespace().collect::<Vec<_>>().join(" ")));
    let (mut figures, mut lived) = (Away::default(), Figures::default());
    for _ in 0..lab.rounds(2, 10) {
        holds_again(&mut world, &vm)?;
        let hit = clock::now();
        vm.suspend()?;
        let to = taken_over(&world, hit)?;
        clock::sleep_until(hit + AWAY);
        let said = vm.vipd_said().len();
        let (woken, answer) = vm.wake()?;
        let left = figures.add(&world, hit, woken)?;
        let gone = vm.events(VIP).last().map(|event| event.inside).context("no event")?;
        stays(&world, left, to)?;
        why(lab, &vm, said);
        let alive = gone.saturating_sub(answer.ended);
        ensure!(alive < Duration::from_millis(500), "awake, it lived on for {}", millis(alive));
        lived.add(alive);
    }
    lab.say_all(figures.table("asleep"));
    lab.say(row("its shell runs to off", &lived));
    lab.say("0.0 there: off before the shell that had put it to sleep came to its next line");
    Ok(())
}

/// What is measured of a machine that was away.
#[derive(Default)]
struct Away {
    lived: Figures,
    overlap_away: Figures,
    overlap_back: Figures,
}

impl Away {
    /// Waits until the address is off the machine that was away since `hit` and told to go on at `woken`; returns
    /// when it was.
    fn add(&mut self, world: &World, hit: At, woken: At) -> Result<At> {
        let left = world.monitor.wait(PATIENCE, |timeline| timeline.left(VIP, woken, GUEST));
        let left = left.context("the address is still on the machine that was away")?;
        let timeline = world.monitor.timeline();
        self.lived.add(left.since(woken));
        self.overlap_away.add(timeline.overlap(VIP, hit, woken));
        self.overlap_back.add(timeline.overlap(VIP, woken, left));
        Ok(left)
    }

    /// The overlaps stand there as they are: a machine that does not run answers nobody, but has its address.
    fn table(&self, away: &str) -> Vec<String> {
        vec![
            row("told to go on, to off", &self.lived),
            row(&format!("overlap while {away}"), &self.overlap_away),
            row("overlap after that", &self.overlap_back),
        ]
    }
}

/// `date -s`, hours ahead and back.
pub(super) fn clock_stepped(lab: &Context) -> Result<()> {
    let (world, mut vm) = guest_first(lab)?;
    let from = clock::now();
    for hours in [3, -7, 4] {
        let seconds = hours * 3600;
        let said = vm.sh(&format!("date; date -s @$(( $(date +%s) + {seconds} ))"))?;
        clock::sleep(TTL + Duration::from_secs(1));
        let changes = world.monitor.timeline().changes(VIP, from);
        ensure!(changes.is_empty(), "{VIP} did not stay when the clock was stepped by {hours} h: {changes:?}");
        lab.say(format_args!("{hours:+} h ({}): nothing moved", said.lines().collect::<Vec<_>>().join(" to ")));
    }
    // Of etcd's version it warns in any case.
    let warns = |line: &str| line.contains("WARN") && !line.contains("has a known fault");
    ensure!(!vm.vipd_said().lines().any(warns), "the daemon warns: {}", vm.vipd_said());
    world.monitor.no_overlap(At::default(), clock::now())
}

/// A subinterface that is there before the daemon.
pub(super) fn vlan(lab: &Context) -> Result<()> {
    const ID: u16 = 100;
    let IpAddr::V4(ip) = VIP else { bail!("the VIP is an IPv4 address") };
    let vips = vec![Vip { ip: VIP, link: format!("eth0.{ID}") }];
    let world = lab.world(Options { vips, vipd: false, ..Options::default() })?;
    let mut vm = guest(lab, &world)?;
    vm.sh(&format!(
        "ip link add link eth0 name eth0.{ID} type vlan id {ID} && ip link set eth0.{ID} up && ip addr add 10.78.0.1/24 dev eth0.{ID}"
    ))?;
    vm.start_vipd()?;
    held(&world, &vm)?;
    let shown = vm.show(VIP)?;
    ensure!(shown.contains(&format!("eth0.{ID}@eth0")), "not on the VLAN: {shown}");
    // The announcements of the first seconds.
    clock::sleep(Duration::from_secs(6));
    let claims: Vec<_> = vm.frames()?.into_iter().filter(|frame| frame.claims(ip)).collect();
    let tagged = claims.iter().filter(|frame| frame.vlan() == Some(ID)).count();
    lab.say(format_args!("{VIP} is on eth0.{ID}; on the wire {tagged} announcements, tagged {ID}"));
    ensure!(tagged > 0, "nothing announces {VIP} in VLAN {ID}");
    ensure!(tagged == claims.len(), "{} announcements are not tagged {ID}", claims.len() - tagged);
    world.monitor.no_overlap(At::default(), clock::now())
}

/// A machine with Linux 6.1 that finds etcd at the world's members.
pub(super) fn guest(lab: &Context, world: &World) -> Result<Vm> {
    guest_with(lab, world, GUEST, str::to_owned)
}

/// The same, at another place, with something else in its config.
pub(super) fn guest_with(lab: &Context, world: &World, node: NodeIndex, change: impl Fn(&str) -> String) -> Result<Vm> {
    // It stands in for one of the nodes, as etcd sees it.
    let client = world.client_of(0);
    let config = change(&world.config_for("guest", &world.endpoints(), client.as_ref()));
    let files = client.iter().flat_map(Client::files).cloned().collect();
    let machine = Machine { release: Release::Bookworm, node, config: &config, files };
    Vm::boot(lab, &world.monitor, &machine)
}

/// A world in which the machine holds the address, and n1 and n2 stand behind it.
fn guest_first(lab: &Context) -> Result<(World, Vm)> {
    let mut world = lab.world(Options { vipd: false, ..Options::default() })?;
    let mut vm = guest(lab, &world)?;
    vm.start_vipd()?;
    held(&world, &vm)?;
    for node in &mut world.nodes[..2] {
        node.vipd.start()?;
    }
    world.all_stand(VIP)?;
    world.a_lease_later();
    Ok((world, vm))
}

/// The machine has the address (again): whoever took it over goes, and comes back to stand behind it.
fn holds_again(world: &mut World, vm: &Vm) -> Result<()> {
    for _ in 0..world.nodes.len() {
        let holder = world.one_holder(VIP, PATIENCE)?;
        if holder == vm.node {
            world.all_stand(VIP)?;
            world.a_lease_later();
            return held(world, vm);
        }
        Fault::term(holder).hit(world)?;
        world.service(holder, Who::Vipd).ends_with(0, PATIENCE)?;
        // Somebody else has it before this one comes back.
        world.monitor.wait(PATIENCE, |timeline| timeline.holder(VIP).filter(|now| *now != holder));
        Fault::Start(holder, Who::Vipd).hit(world)?;
    }
    held(world, vm)
}

pub(super) fn held(world: &World, vm: &Vm) -> Result<()> {
    let holder = world.one_holder(VIP, PATIENCE)?;
    ensure!(holder == vm.node, "{} has {VIP}, not {}", world.names(&[holder]), vm.name);
    Ok(())
}

/// What the daemon itself says of it, first thing.
fn why(lab: &Context, vm: &Vm, said: usize) {
    let log = vm.vipd_said();
    let line = log.get(said..).unwrap_or_default().lines().next().unwrap_or("nothing");
    lab.say(format_args!("its daemon: {line}"));
}

fn came(world: &World, vm: &Vm, from: At) -> Result<At> {
    let came = world.monitor.timeline().came(VIP, from, None).filter(|change| change.node == vm.node);
    came.map(|change| change.at).context("it did not come")
}

/// Who took the address over from the machine that is away.
fn taken_over(world: &World, from: At) -> Result<NodeIndex> {
    let change = world.monitor.wait(AWAY, |timeline| timeline.came(VIP, from, Some(GUEST)));
    change.map(|change| change.node).context("nobody took over")
}

/// From `from` on nothing moves any more, and clients are served. They were not asked before: a thousand pings wait on
/// the cable of a machine that is away, and when it is back it answers them first, for a third of a second here.
fn stays(world: &World, from: At, on: NodeIndex) -> Result<()> {
    let probe = world.probe(VIP)?;
    clock::sleep(TTL);
    let later = from + Duration::from_millis(1);
    let changes = world.monitor.timeline().changes(VIP, later);
    ensure!(changes.is_empty(), "{VIP} did not stay on {}: {changes:?}", world.names(&[on]));
    ensure!(world.monitor.timeline().holder(VIP) == Some(on), "{VIP} is not where it was");
    ensure!(probe.answers(from, Duration::from_secs(3)), "clients get no answer");
    Ok(())
}

/// `valid_lft 3sec`.
fn valid_for(shown: &str) -> Option<Duration> {
    let after = shown.split("valid_lft ").nth(1)?;
    let seconds = after.split("sec").next()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}
