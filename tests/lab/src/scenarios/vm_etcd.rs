//! What takes a machine of its own on one side of etcd: a long and lossy line, and etcd's own time of day.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::vm::{GUEST, PATIENCE, TTL, guest, held};
use crate::clock::{self, At, millis};
use crate::figures::Figures;
use crate::measure::{Tally, row};
use crate::pairs::{self, longest_silence, pairs};
use crate::scenario::Context;
use crate::vm::{self, Machine, Release, Vm};
use crate::world::{Known, Options, Security, VIP};

/// The holder is a machine, and everything it sends takes 0.2 s more, if it is not lost.
pub(super) fn far(lab: &Context) -> Result<()> {
    let mut world = lab.world(Options { vipd: false, ..Options::default() })?;
    let mut vm = guest(lab, &world)?;
    vm.start_vipd_saying(pairs::LOG)?;
    held(&world, &vm)?;
    for node in &mut world.nodes[..2] {
        node.vipd.start()?;
    }
    world.all_stand(VIP)?;
    vm.sh("/bin/tc qdisc add dev eth0 root netem delay 200ms loss 5%")?;
    // Until what was said before is over.
    clock::sleep(Duration::from_secs(1));
    let (from, said, span) = (clock::now(), vm.vipd_said().len(), Duration::from_secs(if lab.full { 600 } else { 20 }));
    clock::sleep(span);
    let changes = world.monitor.timeline().changes(VIP, from);
    vm.sh("/bin/tc -s qdisc show dev eth0; /bin/tc qdisc del dev eth0 root").map(|shown| {
        shown.lines().filter(|line| line.contains("dropped")).for_each(|line| lab.say(line.trim()));
    })?;
    // The log's last lines come over a serial line.
    clock::sleep(Duration::from_secs(2));
    let counted = pairs(vm.vipd_said().get(said..).unwrap_or_default());
    let took = counted.iter().map(|pair| pair.counted.since(pair.sent)).fold(Figures::default(), |mut all, one| {
        all.add(one);
        all
    });
    let silence = longest_silence(&counted, At::default()).context("no two pairs were counted")?;
    lab.say(row("renewal to counted pair", &took));
    ensure!(took.median() >= Duration::from_millis(200), "the line was not long: {}", millis(took.median()));
    let mut tally = Tally::default();
    tally.gap.add(world.monitor.timeline().gap(VIP, from, clock::now()));
    let end = format!("stays; etcd silent for {} at most", millis(silence));
    lab.row("etcd 200 ms away, 5 % lost", &tally, &end)?;
    ensure!(changes.is_empty(), "{VIP} did not stay within {span:?}: {changes:?}");
    world.monitor.no_overlap(At::default(), clock::now())
}

/// The one etcd there is runs in a machine whose time of day is stepped.
pub(super) fn clock_stepped(lab: &Context) -> Result<()> {
    let options =
        Options { etcd: false, vipd: false, security: Security::Tls, known: Known::Guest, ..Options::default() };
    let mut world = lab.world(options)?;
    let (arguments, files) = world.access()?.for_guest(GUEST)?;
    let machine = Machine { release: Release::Bookworm, node: GUEST, config: "", files };
    let mut vm = Vm::boot(lab, &world.monitor, &machine)?;
    start_etcd(&mut vm, &arguments)?;
    world.start_daemons()?;
    let holder = world.one_holder(VIP, PATIENCE)?;
    clock::sleep(TTL);
    let from = clock::now();
    for hours in [3, -7, 4] {
        let said = vm.sh(&format!("date; date -s @$(( $(date +%s) + {} ))", hours * 3600))?;
        clock::sleep(TTL + Duration::from_secs(1));
        let changes = world.monitor.timeline().changes(VIP, from);
        ensure!(changes.is_empty(), "{VIP} did not stay when etcd's clock was stepped by {hours} h: {changes:?}");
        lab.say(format_args!("{hours:+} h ({}): nothing moved", said.lines().collect::<Vec<_>>().join(" to ")));
    }
    ensure!(world.monitor.timeline().holder(VIP) == Some(holder), "{VIP} is not where it was");
    let mut tally = Tally::default();
    tally.gap.add(world.monitor.timeline().gap(VIP, from, clock::now()));
    lab.row("etcd's time of day stepped by hours", &tally, "stays")?;
    world.monitor.no_overlap(At::default(), clock::now())
}

fn start_etcd(vm: &mut Vm, arguments: &[String]) -> Result<()> {
    let url = format!("https://{}:2379", vm::address(GUEST));
    let listen = format!("--listen-client-urls {url} --advertise-client-urls {url}");
    let health = "--listen-metrics-urls http://127.0.0.1:2381 --logger zap --log-level warn";
    let run = format!("etcd --data-dir /run/etcd {listen} {health} {}", arguments.join(" "));
    vm.sh(&format!("{run} > /run/etcd.log 2>&1 < /dev/null &"))?;
    let health = "wget -q -O - http://127.0.0.1:2381/health | grep -q true";
    vm.sh(&format!("for i in $(seq 100); do {health} && exit 0; sleep 0.2; done; tail -n 3 /run/etcd.log; exit 1"))
        .context("etcd in the guest")?;
    Ok(())
}
