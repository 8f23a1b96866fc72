//! What `vipd status` says on every node while the VIP moves, and what a flood of junk at its socket does: nothing.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::clock::{self, At, millis};
use crate::faults::{Fault, Who};
use crate::figures::Figures;
use crate::measure::{Blow, row};
use crate::scenario::Context;
use crate::timeline::NodeIndex;
use crate::world::{Options, VIP, World};

const PATIENCE: Duration = Duration::from_secs(10);
/// Malformed requests while the VIP moves.
const JUNK: usize = 10_000;
/// What a daemon may have grown by all of them, in KiB: the allocator's, not a byte for each.
const GROWN: u64 = 4096;

/// All nodes tell of the same holder soon after it has the address; then the same under a flood of junk.
pub(super) fn status(lab: &Context) -> Result<()> {
    let mut world = lab.world(Options::default())?;
    world.one_holder(VIP, PATIENCE)?;
    world.all_stand(VIP)?;
    world.a_lease_later();
    let probe = world.probe(VIP)?;
    let mut agreed = Figures::default();
    for _ in 0..lab.rounds(3, 20) {
        let from = world.all_daemons_back(VIP)?;
        world.all_stand(VIP)?;
        let blow = Blow::now(&world, VIP, &probe)?;
        Fault::term(from).hit(&mut world)?;
        let others: Vec<_> = (0..world.nodes.len()).filter(|node| *node != from).collect();
        let told = soon(|| {
            let names: BTreeSet<_> = others.iter().map(|node| holder(lab, &world, *node).unwrap_or_default()).collect();
            names.len() == 1 && !names.contains("") && !names.contains(&world.nodes[from].name)
        });
        ensure!(told, "the others do not tell of one holder");
        let agree = clock::now();
        let came = world.monitor.timeline().came(VIP, blow.at, None).context("nobody came")?.at;
        agreed.add(agree.since(came));
        world.service(from, Who::Vipd).ends_with(0, PATIENCE)?;
    }
    lab.say(row("address there to all tell of it", &agreed));
    flood(lab, &mut world)?;
    world.monitor.no_overlap(At::default(), clock::now())
}

/// Whether it becomes true; asked again and again, because milliseconds are what is measured.
fn soon(is: impl Fn() -> bool) -> bool {
    let from = clock::now();
    while clock::now().since(from) < PATIENCE {
        if is() {
            return true;
        }
    }
    false
}

/// Who holds the VIP, as this node's daemon tells.
fn holder(lab: &Context, world: &World, node: NodeIndex) -> Result<String> {
    let text = world.status(&lab.vipd, node)?;
    let told: Value = serde_json::from_str(&text)?;
    let vip = &told["vips"][0];
    let holds = vip["here"] == "holds" || vip["here"] == "waits";
    ensure!(holds, "nobody: {text}");
    Ok(vip["queue"][0]["node"].as_str().unwrap_or_default().to_owned())
}

fn flood(lab: &Context, world: &mut World) -> Result<()> {
    let from = world.all_daemons_back(VIP)?;
    world.all_stand(VIP)?;
    world.a_lease_later();
    let to = (0..world.nodes.len()).find(|node| *node != from).context("another node")?;
    let sockets: Vec<PathBuf> =
        world.nodes.iter().map(|node| format!("/run/{}/vipd/control.sock", node.name).into()).collect();
    let before = memory(world, to)?;
    let flooding: Vec<_> = sockets.into_iter().map(|socket| thread::spawn(move || junk(&socket))).collect();
    clock::sleep(Duration::from_millis(200));
    let hit = clock::now();
    Fault::term(from).hit(world)?;
    let came = || Some(world.monitor.timeline().came(VIP, hit, None)?.at);
    clock::poll_until(PATIENCE, || came().is_some());
    let came = came().context("nobody came")?;
    let answered: usize = flooding.into_iter().map(|one| one.join().unwrap_or(0)).sum();
    ensure!(answered > JUNK, "only {answered} of {} malformed requests were answered", 3 * JUNK);
    ensure!(came.since(hit) < Duration::from_secs(1), "the move took {}", millis(came.since(hit)));
    let grown = memory(world, to)?.saturating_sub(before);
    ensure!(grown < GROWN, "a daemon grew by {grown} KiB");
    lab.say(format_args!(
        "under a flood: moved within {}; {answered} malformed requests answered, a daemon grew by {grown} KiB",
        millis(came.since(hit))
    ));
    Ok(())
}

/// How many of the malformed requests were answered at all.
fn junk(socket: &PathBuf) -> usize {
    let ask = |n: usize| -> std::io::Result<usize> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let request = match n % 4 {
            0 => b"\xff\xfe\x00\n".to_vec(),
            1 => [b"[".repeat(n % 5000), b"\n".to_vec()].concat(),
            2 => b"{\"command\":\"reboot\"}\n".to_vec(),
            _ => b"{\"command\":".to_vec(),
        };
        stream.write_all(&request)?;
        stream.shutdown(std::net::Shutdown::Write)?;
        stream.read_to_end(&mut Vec::new())
    };
    (0..JUNK).filter(|n| ask(*n).is_ok_and(|bytes| bytes > 0)).count()
}

/// A daemon's resident memory, in KiB.
fn memory(world: &mut World, node: NodeIndex) -> Result<u64> {
    let pid = world.nodes[node].vipd.pid().context("it does not run")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    line.trim().trim_end_matches(" kB").parse().context("VmRSS")
}
