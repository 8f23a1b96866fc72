//! What the daemons' metrics say while the VIP is lost, taken, repaired and put where it must not be; and what a flood of
//! scrapes does: nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::clock::{self, At, millis};
use crate::faults::{Fault, Who};
use crate::figures::Figures;
use crate::measure::{Blow, row};
use crate::netns::NetNs;
use crate::scenario::Context;
use crate::timeline::NodeIndex;
use crate::world::{Options, VIP, World, scrape};

const PATIENCE: Duration = Duration::from_secs(10);
/// The table for people.
const TABLE: &str = include_str!("../../../../config/METRICS.md");
/// The two that must be 0, as gauges and as seconds.
const ZERO: [&str; 4] = [
    "vipd_holder_without_address{",
    "vipd_address_without_lease{",
    "vipd_holder_without_address_seconds_total{",
    "vipd_address_without_lease_seconds_total{",
];

/// A page: each sample's value by its name and labels.
struct Page(BTreeMap<String, f64>);

impl Page {
    fn of(world: &World, node: NodeIndex) -> Result<Self> {
        let text = world.asked(node, "/metrics")?;
        let (head, body) = text.split_once("\r\n\r\n").context("no page")?;
        ensure!(head.starts_with("HTTP/1.0 200") && body.ends_with("# EOF\n"), "{text}");
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Ok(Self(body.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()))
    }

    /// The sum of all samples that begin so and have this in them.
    fn sum(&self, begin: &str, has: &str) -> f64 {
        let of = self.0.iter().filter(|(name, _)| name.starts_with(begin) && name.contains(has));
        of.map(|(_, value)| value).sum()
    }

    fn has(&self, metric: &str) -> bool {
        self.0
            .keys()
            .any(|name| name.strip_prefix(metric).is_some_and(|rest| rest.is_empty() || rest.starts_with(['{', '_'])))
    }
}

pub(super) fn scraped(lab: &Context) -> Result<()> {
    let mut world = lab.world(Options::default())?;
    let holder = world.one_holder(VIP, PATIENCE)?;
    world.all_stand(VIP)?;
    all_is_told(&world, &[0, 1, 2])?;

    let killed = clock::now();
    Fault::kill(holder).hit(&mut world)?;
    let others: Vec<_> = (0..3).filter(|node| *node != holder).collect();
    let taken = || world.monitor.timeline().came(VIP, killed, None);
    while taken().is_none() && clock::now().since(killed) < PATIENCE {
        others.iter().try_for_each(|node| must_be_zero(&world, *node))?;
        clock::sleep(Duration::from_millis(100));
    }
    let next = taken().context("nobody came")?.node;
    told(&world, next, "vipd_transitions_total{", "to=\"holding\",reason=\"probed\"", 1.0)?;
    told(&world, next, "vipd_holder{", "", 1.0)?;
    ensure!(Page::of(&world, next)?.sum("vipd_transitions_total{", "") == 1.0, "it was counted more than once");

    Fault::Delete(next, VIP).hit(&mut world)?;
    told(&world, next, "vipd_repairs_total{", "", 1.0)?;
    clock::sleep(Duration::from_millis(1500));
    others.iter().try_for_each(|node| must_be_zero(&world, *node))?;
    lab.say("the holder killed, the address deleted: counted by their reasons, and both that must be 0 stayed 0");
    world.all_daemons_back(VIP)?;
    flood(lab, &mut world)?;
    world.monitor.no_overlap(At::default(), clock::now())?;
    put_by_hand(lab, &mut world)
}

/// Every metric of the table is told by every node, one of them holds, and all are well.
fn all_is_told(world: &World, nodes: &[NodeIndex]) -> Result<()> {
    let documented: BTreeSet<&str> =
        TABLE.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    ensure!(documented.len() > 20, "{documented:?}");
    let mut holding = 0.0;
    for node in nodes {
        let page = Page::of(world, *node)?;
        let missing: Vec<_> = documented.iter().filter(|metric| !page.has(metric)).collect();
        ensure!(missing.is_empty(), "{} does not tell {missing:?}", world.names(&[*node]));
        holding += page.sum("vipd_holder{", "");
        must_be_zero(world, *node)?;
        for path in ["/healthz", "/readyz"] {
            let said = world.asked(*node, path)?;
            ensure!(said.starts_with("HTTP/1.0 200") && said.ends_with("\r\n\r\nok\n"), "{path}: {said}");
        }
        let left = page.sum("vipd_fence_left_seconds", "");
        ensure!((2.0..4.0).contains(&left), "fence in {left} s");
        ensure!(page.sum("vipd_pair_seconds_count", "") >= 1.0, "no pair was counted, and there is a fence");
        let certificates = page.0.keys().filter(|name| name.starts_with("vipd_certificate_expiry")).count();
        ensure!(certificates >= 3, "{certificates} certificates");
    }
    ensure!(holding == 1.0, "{holding} hold");
    Ok(())
}

fn must_be_zero(world: &World, node: NodeIndex) -> Result<()> {
    let page = Page::of(world, node)?;
    for name in ZERO {
        ensure!(page.has(name.trim_end_matches('{')) && page.sum(name, "") == 0.0, "{}: {name}", world.names(&[node]));
    }
    Ok(())
}

/// Waits until a node tells this sum.
fn told(world: &World, node: NodeIndex, begin: &str, has: &str, want: f64) -> Result<()> {
    let now = || Page::of(world, node).map(|page| page.sum(begin, has));
    clock::poll_until(PATIENCE, || now().is_ok_and(|sum| sum == want));
    let sum = now()?;
    ensure!(sum == want, "{}: {begin}{has} is {sum}, not {want}", world.names(&[node]));
    Ok(())
}

/// Two clients at each node scrape as fast as they can while the VIP moves.
fn flood(lab: &Context, world: &mut World) -> Result<()> {
    world.a_lease_later();
    let probe = world.probe(VIP)?;
    let blow = Blow::now(world, VIP, &probe)?;
    let over = Arc::new(AtomicBool::new(false));
    let client = |n: usize| {
        let (over, ns) = (Arc::clone(&over), world.nodes[n % 3].ns.clone());
        thread::spawn(move || scrape_until(&over, &ns))
    };
    let clients: Vec<_> = (0..6).map(client).collect();
    clock::sleep(Duration::from_millis(500));
    let from = clock::now();
    Fault::term(blow.from).hit(world)?;
    let came = || Some(world.monitor.timeline().came(VIP, from, None)?.at.since(from));
    clock::poll_until(PATIENCE, || came().is_some());
    over.store(true, Relaxed);
    let mut took = Figures::default();
    clients.into_iter().flat_map(|client| client.join().unwrap_or_default()).for_each(|one| took.add(one));
    let came = came().context("nobody came")?;
    ensure!(came < Duration::from_secs(1), "under a flood of scrapes the move took {}", millis(came));
    lab.say(row("a scrape in a flood", &took));
    lab.say(format_args!("and the VIP moved within {} meanwhile", millis(came)));
    world.service(blow.from, Who::Vipd).ends_with(0, PATIENCE)?;
    world.all_daemons_back(VIP)?;
    Ok(())
}

/// How long each scrape took that was answered. The daemon that ends does not answer any more.
fn scrape_until(over: &AtomicBool, ns: &NetNs) -> Vec<Duration> {
    let mut took = Vec::new();
    while !over.load(Relaxed) {
        let from = clock::now();
        if scrape(ns, "/metrics").is_ok_and(|said| said.starts_with("HTTP/1.0 200")) {
            took.push(clock::now().since(from));
        }
    }
    took
}

/// Somebody puts the address on a node that does not hold it: told there, and only there, until it is gone.
fn put_by_hand(lab: &Context, world: &mut World) -> Result<()> {
    let holder = world.one_holder(VIP, PATIENCE)?;
    let wrong = (holder + 1) % 3;
    let from = clock::now();
    Fault::Put(wrong, VIP, 32).hit(world)?;
    told(world, wrong, "vipd_address_without_lease{", "", 1.0)?;
    let seen = clock::now().since(from);
    ensure!(seen > Duration::from_secs(1), "told after {} already: the kernel may need as long", millis(seen));
    let said = world.logged(wrong, &["ERROR", "which has no right to it"], PATIENCE)?;
    must_be_zero(world, (holder + 2) % 3)?;
    clock::sleep(Duration::from_secs(1));
    Fault::Delete(wrong, VIP).hit(world)?;
    told(world, wrong, "vipd_address_without_lease{", "", 0.0)?;
    let seconds = Page::of(world, wrong)?.sum("vipd_address_without_lease_seconds_total{", "");
    ensure!((0.8..5.0).contains(&seconds), "counted {seconds} s");
    lab.say(format_args!(
        "put by hand where it is not held: told after {}, {seconds:.1} s counted: {said}",
        millis(seen)
    ));
    Ok(())
}
