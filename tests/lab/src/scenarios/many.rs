//! Many VIPs on one node, lost at once.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::arp::{Announced, Said};
use crate::clock::{self, At, millis};
use crate::faults::{Fault, Who};
use crate::figures::Figures;
use crate::measure::row;
use crate::scenario::Context;
use crate::shell;
use crate::timeline::{Change, NodeIndex};
use crate::world::{Options, Vip, World};

const MANY: usize = 100;
const PATIENCE: Duration = Duration::from_secs(20);
/// The last announcement after a taking is due after 5 s.
const ANNOUNCED: Duration = Duration::from_millis(6500);
/// Five times, in both forms of ARP.
const FRAMES: usize = 10;

/// 10.77.0.100 and so on.
fn ips() -> Vec<Ipv4Addr> {
    (0..MANY as u8).map(|i| Ipv4Addr::new(10, 77, 0, 100 + i)).collect()
}

/// A node that holds a hundred VIPs is killed, or told to leave: all are taken and announced, and no frame is lost to
/// our own limits.
pub(super) fn vips(lab: &Context) -> Result<()> {
    let vips = ips().into_iter().map(|ip| Vip { ip: ip.into(), link: "eth0".to_owned() }).collect();
    let mut world = lab.world(Options { vips, vipd: false, ..Options::default() })?;
    let heard = Announced::hear(&world.client)?;
    // One after another: the first one has them all, and the next one is next for all.
    for node in 0..3 {
        world.service(node, Who::Vipd).start()?;
        all_stand(&world, (node + 1) * MANY)?;
        all_on(&world, 0)?;
    }
    for _ in 0..lab.rounds(1, 10) {
        for (name, fault) in [("killed", Fault::kill as fn(NodeIndex) -> Fault), ("told to leave", Fault::term)] {
            world.a_lease_later();
            let holder = world.one_holder(IpAddr::V4(ips()[0]), PATIENCE)?;
            let lost = lose(&mut world, &heard, holder, &fault(holder))?;
            lab.say(format_args!("{MANY} VIPs, their node {name}:"));
            lab.say_all(lost.table());
            world.service(holder, Who::Vipd).ends(PATIENCE).context("the daemon did not end")?;
            world.service(holder, Who::Vipd).start()?;
            all_stand(&world, 3 * MANY)?;
        }
    }
    let given_up = said(&world, "not announced any more")?;
    ensure!(given_up.is_empty(), "frames were lost to our own limits: {given_up:?}");
    // Such an address was there and gone again before it was announced: slow for this reason.
    lab.say(format_args!("{} puts were answered late", said(&world, "a put was answered late")?.len()));
    world.monitor.no_overlap(At::default(), clock::now())
}

/// The lines of all daemons' logs that say this.
fn said(world: &World, words: &str) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for node in &world.nodes {
        let path = world.directory().join(format!("{}-vipd.log", node.name));
        let log = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        lines.extend(log.lines().filter(|line| line.contains(words)).map(str::to_owned));
    }
    Ok(lines)
}

/// What became of all of them.
#[derive(Default)]
struct Lost {
    /// From the fault to the first address elsewhere.
    first_back: Duration,
    /// To the last one.
    last_back: Duration,
    /// To the last one's first announcement, as a client heard it.
    last_heard: Duration,
    /// From each address to its first announcement.
    announced: Figures,
    /// Frames in all.
    frames: usize,
}

impl Lost {
    fn table(&self) -> Vec<String> {
        vec![
            format!("{:<28}{}", "first address back", millis(self.first_back)),
            format!("{:<28}{}", "last address back", millis(self.last_back)),
            format!("{:<28}{}", "last one announced", millis(self.last_heard)),
            row("address to announcement", &self.announced),
            format!("{:<28}{}", "frames heard by the client", self.frames),
        ]
    }
}

fn lose(world: &mut World, heard: &Announced, holder: NodeIndex, fault: &Fault) -> Result<Lost> {
    all_on(world, holder)?;
    let hit = clock::now();
    fault.hit(world)?;
    let mut back = BTreeMap::new();
    for ip in ips() {
        let came = world.monitor.wait(PATIENCE, |timeline| timeline.came(ip.into(), hit, Some(holder)));
        back.insert(ip, came.with_context(|| format!("{ip} did not come back"))?);
    }
    clock::sleep(ANNOUNCED);
    world.monitor.no_overlap(hit, clock::now())?;
    let after = back.values().map(|change| change.at.since(hit));
    let mut lost = Lost {
        first_back: after.clone().min().unwrap_or_default(),
        last_back: after.max().unwrap_or_default(),
        ..Lost::default()
    };
    for (ip, change) in back {
        let frames = frames_of(world, heard, ip, change);
        // More where the kernel was late and the address had to be put again, as on a busy machine.
        ensure!(frames.len() >= FRAMES, "{ip} on {}: {} frames", world.names(&[change.node]), frames.len());
        lost.frames += frames.len();
        lost.announced.add(frames[0].at.since(change.at));
        lost.last_heard = lost.last_heard.max(frames[0].at.since(hit));
    }
    Ok(lost)
}

/// What a client heard of a VIP from its new holder. The news of the address may be a little late.
fn frames_of(world: &World, heard: &Announced, ip: Ipv4Addr, change: Change) -> Vec<Said> {
    let said = heard.by(world.nodes[change.node].mac, change.at - Duration::from_millis(50));
    said.into_iter().filter(|said| said.ip == IpAddr::V4(ip)).collect()
}

/// All of them are on this node.
fn all_on(world: &World, node: NodeIndex) -> Result<()> {
    for ip in ips() {
        let there = world.monitor.wait(PATIENCE, |timeline| (timeline.holder(ip.into()) == Some(node)).then_some(()));
        there.with_context(|| format!("{ip} is not on {}", world.names(&[node])))?;
    }
    Ok(())
}

/// So many candidates stand, for all VIPs together.
fn all_stand(world: &World, wanted: usize) -> Result<()> {
    let mut seen = 0;
    clock::poll_every(Duration::from_millis(100), PATIENCE, || {
        let keys = shell::output(world.etcdctl().args(["get", "--prefix", "--keys-only", "vipd/10."]));
        seen = keys.unwrap_or_default().lines().filter(|line| !line.is_empty()).count();
        seen == wanted
    });
    ensure!(seen == wanted, "{seen} candidates of {wanted} stand");
    Ok(())
}
