//! A group of an IPv4 and an IPv6 address: one node has both or none, in every kind of move.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use crate::arp::Announced;
use crate::clock::{self, At, millis};
use crate::faults::{Fault, Who};
use crate::figures::Figures;
use crate::measure::{Move, Moves, Watched, a_move, row};
use crate::probe::Probe;
use crate::scenario::Context;
use crate::shell;
use crate::timeline::NodeIndex;
use crate::world::{Options, VIP, VIP6, World};

const PATIENCE: Duration = Duration::from_secs(12);
/// Two addresses are put one after the other: microseconds, and a busy machine.
const TOGETHER: Duration = Duration::from_millis(100);
/// By so much the medians of both families may differ on a busy machine; 1 ms is the figure of an idle one.
const ALIKE: Duration = Duration::from_millis(20);

/// Moved by SIGTERM and by SIGKILL: outage in both families, both on one node at every moment.
pub(super) fn dual_stack(lab: &Context) -> Result<()> {
    let mut world = lab.world(Options { groups: vec![vec![VIP, VIP6]], ..Options::default() })?;
    let holder = both_on_one(&world)?;
    is_never_a_source(lab, &world, holder)?;
    let seen = Seen { heard: Announced::hear(&world.client)?, probe6: world.probe(VIP6)?, probe: world.probe(VIP)? };
    world.a_lease_later();
    for (name, signal, rounds, quiet) in [
        ("SIGTERM, a dual-stack group", Signal::SIGTERM, lab.rounds(3, 20), 3),
        ("SIGKILL, a dual-stack group", Signal::SIGKILL, lab.rounds(1, 10), 6),
    ] {
        let mut both = Both::default();
        for _ in 0..rounds {
            let holder = world.all_daemons_back(VIP)?;
            both_on_one(&world)?;
            ensure!(seen.probe6.answers(clock::now(), Duration::from_secs(3)), "no answer to a ping of {VIP6}");
            let watched = Watched { vip: VIP, probe: &seen.probe, quiet: Duration::from_secs(quiet), within: PATIENCE };
            let moved = a_move(&mut world, &watched, &Fault::Signal(holder, Who::Vipd, signal))?;
            both.add(&world, &seen, &moved)?;
            world.service(holder, Who::Vipd).ends(PATIENCE).context("the daemon did not end")?;
        }
        lab.row(name, &both.moves.tally(), "both on the next; never apart")?;
        lab.say_all(both.table());
        let (four, six) = (both.heard.median(), both.heard6.median());
        let apart = four.max(six).saturating_sub(four.min(six));
        lab.say(format_args!("medians of the first announcement are {} apart", millis(apart)));
        ensure!(apart < ALIKE, "IPv4 is announced after {}, IPv6 after {}", millis(four), millis(six));
    }
    let (from, to) = (At::default(), clock::now());
    let split = world.monitor.timeline().pair(VIP, VIP6, from, to).split;
    ensure!(split.is_zero(), "{VIP} and {VIP6} stood on two nodes for {}", millis(split));
    world.monitor.no_overlap(from, to)
}

/// Waits until one node has both, and says which.
pub(super) fn both_on_one(world: &World) -> Result<NodeIndex> {
    let holder = world.one_holder(VIP, PATIENCE)?;
    let holder6 = world.one_holder(VIP6, PATIENCE)?;
    ensure!(holder == holder6, "{VIP} is on {}, {VIP6} on {}", world.names(&[holder]), world.names(&[holder6]));
    Ok(holder)
}

/// Neither address is what the holder talks to others from: not by its routes, and not in a connection.
fn is_never_a_source(lab: &Context, world: &World, holder: NodeIndex) -> Result<()> {
    let ns = &world.nodes[holder].ns;
    let other = (holder + 1) % 3;
    for (there, family) in [(format!("fd77::{}", 11 + other), "-6"), (format!("10.77.0.{}", 11 + other), "-4")] {
        let there: IpAddr = there.parse()?;
        for to in [there.to_string(), if family == "-6" { "2001:db8::1" } else { "192.0.2.1" }.to_owned()] {
            let mut route = Command::new("ip");
            route.args(["-n", ns.name(), family, "route", "get", &to]);
            // To the world outside there may be no route at all, which is as good.
            let said = shell::output(&mut route).unwrap_or_default();
            let source = said.split_whitespace().skip_while(|word| *word != "src").nth(1).unwrap_or_default();
            ensure!(![VIP.to_string(), VIP6.to_string()].contains(&source.to_owned()), "to {to} from {source}");
            ensure!(to != there.to_string() || !source.is_empty(), "no route to {to}: {said}");
        }
        let from = ns.run(|| Ok(TcpStream::connect(SocketAddr::new(there, 6443))?.local_addr()?.ip()))?;
        ensure!(from != VIP && from != VIP6, "a connection to {there} comes from {from}");
        lab.say(format_args!("the holder's connection to {there} comes from {from}"));
    }
    Ok(())
}

/// What watches both.
struct Seen {
    heard: Announced,
    probe: Probe,
    probe6: Probe,
}

/// The figures of several moves of both addresses.
#[derive(Default)]
struct Both {
    moves: Moves,
    gap6: Figures,
    outage6: Figures,
    half: Figures,
    heard: Figures,
    heard6: Figures,
}

impl Both {
    fn add(&mut self, world: &World, seen: &Seen, moved: &Move) -> Result<()> {
        let (from, hit) = (moved.from, moved.hit);
        ensure!(seen.probe6.answers(moved.back, Duration::from_secs(3)), "the client gets no answer from {VIP6}");
        let end = clock::now();
        self.moves.add(moved);
        let timeline = world.monitor.timeline();
        let back6 = timeline.came(VIP6, hit, Some(from)).with_context(|| format!("{VIP6} did not move"))?;
        ensure!(back6.node == moved.to, "{VIP} went to {}, {VIP6} elsewhere", world.names(&[moved.to]));
        let pair = timeline.pair(VIP, VIP6, hit, end);
        ensure!(pair.split.is_zero(), "{VIP} and {VIP6} stood on two nodes for {}", millis(pair.split));
        // The kernel's clock may take the two off up to a second apart, with nobody there to see to it.
        let together = if timeline.left(VIP, hit, from) < timeline.left(VIP6, hit, from) { VIP6 } else { VIP };
        let gone = timeline.left(together, hit, from).unwrap_or(hit);
        let half = timeline.pair(VIP, VIP6, gone, end).half;
        ensure!(half < TOGETHER, "the new holder had one without the other for {}", millis(half));
        self.half.add(half);
        self.gap6.add(timeline.gap(VIP6, hit, end));
        drop(timeline);
        self.outage6.add(seen.probe6.worst(hit, end));
        for (ip, back, figures) in [(VIP, moved.back, &mut self.heard), (VIP6, back6.at, &mut self.heard6)] {
            let said = seen.heard.by(world.nodes[moved.to].mac, hit).into_iter().find(|said| said.ip == ip);
            figures.add(said.with_context(|| format!("{ip} was not announced"))?.at.since(back));
        }
        Ok(())
    }

    fn table(&self) -> Vec<String> {
        vec![
            row("gap, IPv6", &self.gap6),
            row("client outage, IPv6", &self.outage6),
            row("one without the other", &self.half),
            row("IPv4: up to first ARP", &self.heard),
            row("IPv6: up to first NA", &self.heard6),
        ]
    }
}
