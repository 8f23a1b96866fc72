//! More that can be done to a node than one fault: its links made and unmade, its orders held back, its disk stalled.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::{World, http, wiring};
use crate::clock;
use crate::disk::Stall;
use crate::netns::NetNs;
use crate::shell;
use crate::timeline::NodeIndex;

/// Where a daemon tells its metrics if its config says nothing of it.
const METRICS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9815));

/// How a `vipd release` went.
pub(crate) struct Released {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// What it said.
    pub(crate) said: String,
    /// How long it took.
    pub(crate) took: Duration,
}

/// What the daemon in a namespace answers over HTTP, its head and all.
pub(crate) fn scrape(ns: &NetNs, path: &str) -> Result<String> {
    ns.run(|| http::get(METRICS, path).with_context(|| format!("GET {path} in {}", ns.name())))
}

impl World {
    /// `vipd release`, as a unit's ExecStopPost would run it.
    pub(crate) fn release(&self, vipd: &std::path::Path, node: NodeIndex) -> Result<Released> {
        let node = &self.nodes[node];
        let from = clock::now();
        let mut release = Command::new(vipd);
        release.arg("release").arg("--config").arg(&node.config);
        let answer = node.ns.run(|| release.output().context("start `vipd release`"))?;
        let said = String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).into_owned();
        Ok(Released { status: answer.status, said, took: clock::now().since(from) })
    }

    /// What `vipd check --live` reports on a node.
    pub(crate) fn check_live(&self, vipd: &std::path::Path, node: NodeIndex) -> Result<String> {
        let node = &self.nodes[node];
        let mut check = Command::new(vipd);
        check.args(["check", "--live", "--config"]).arg(&node.config);
        node.ns.run(|| shell::output(&mut check))
    }

    /// What `vipd status --json` prints on a node, whatever its exit code.
    pub(crate) fn status(&self, vipd: &std::path::Path, node: NodeIndex) -> Result<String> {
        let node = &self.nodes[node];
        let mut status = Command::new(vipd);
        status.args(["status", "--json", "--config"]).arg(&node.config);
        let answer = node.ns.run(|| status.output().context("start `vipd status`"))?;
        Ok(String::from_utf8_lossy(&answer.stdout).into_owned())
    }

    /// What a node's daemon answers over HTTP, its head and all.
    pub(crate) fn asked(&self, node: NodeIndex, path: &str) -> Result<String> {
        scrape(&self.nodes[node].ns, path)
    }

    /// Deletes a link of a node, whatever hangs on it.
    pub(crate) fn delete_link(&self, node: NodeIndex, link: &str) -> Result<()> {
        self.nodes[node].ns.ip(&format!("link del {link}"))
    }

    /// Makes it (again), with the addresses it has from the start.
    pub(crate) fn make_link(&mut self, node: NodeIndex, link: &str) -> Result<()> {
        let node = &mut self.nodes[node];
        match link {
            "eth0" => wiring::plug_in(&node.ns, node.address.octets()[3])?,
            _ => wiring::add_link(&node.ns, link)?,
        }
        node.mac = wiring::mac(&node.ns, "eth0")?;
        Ok(())
    }

    /// The far end of a link's cable: the node loses its carrier, or has it back.
    pub(crate) fn carrier(&self, node: NodeIndex, link: &str, up: bool) -> Result<()> {
        let name = &self.nodes[node].name;
        let port = if link == "eth0" { format!("p-{name}") } else { format!("p-{name}-{link}") };
        shell::run(&format!("ip link set {port} {}", if up { "up" } else { "down" }))
    }

    /// Nothing that a node's daemon says reaches etcd until it is let go (needs proxies).
    pub(crate) fn hold_orders(&self, node: NodeIndex, held: bool) {
        self.nodes[node].proxies.iter().for_each(|proxy| proxy.hold_orders(held));
    }

    /// The watches of a node's daemon hear nothing any more (needs proxies).
    pub(crate) fn deafen(&self, node: NodeIndex) {
        self.nodes[node].proxies.iter().for_each(crate::proxy::Proxy::deafen);
    }

    /// The disk under a node's etcd member stalls, with a write under way: a quiet etcd would not even notice.
    pub(crate) fn stall_disk(&self, node: NodeIndex, atmost: Duration) -> Result<Stall> {
        let stall = Stall::begin(self.nodes[node].etcd.pid().context("that etcd does not run")?, atmost)?;
        // It may well be answered: two members that write are a majority.
        let _ = shell::output(self.etcdctl().args(["--command-timeout=1s", "put", "lab/stall", "x"]));
        Ok(stall)
    }

    /// The key of a node's candidate for an address, and its lease in hexadecimal.
    pub(crate) fn candidate(&self, node: NodeIndex, vip: std::net::IpAddr) -> Result<(String, String)> {
        let prefix = format!("vipd/{vip}/");
        let listed = shell::output(self.etcdctl().args(["get", "--prefix", &prefix]))?;
        let lines: Vec<&str> = listed.lines().collect();
        let wanted = format!("\"{}\"", self.nodes[node].name);
        for pair in lines.chunks_exact(2) {
            if let (Some(lease), true) = (pair[0].strip_prefix(&prefix), pair[1].contains(&wanted)) {
                return Ok((pair[0].to_owned(), lease.to_owned()));
            }
        }
        bail!("{} has no candidate for {vip}: {listed}", self.nodes[node].name)
    }

    /// The two nodes that wait behind the holder, in the order of their turns.
    pub(crate) fn queue_behind(&self, holder: NodeIndex) -> Result<(NodeIndex, NodeIndex)> {
        let vip = self.options.vips.first().context("a world without a VIP")?.ip;
        let listed = shell::output(self.etcdctl().args([
            "get",
            "--prefix",
            "--sort-by=CREATE",
            "--print-value-only",
            &format!("vipd/{vip}/"),
        ]))?;
        let named = |line: &str| self.nodes.iter().position(|node| line.contains(&format!("\"{}\"", node.name)));
        let waiting: Vec<NodeIndex> = listed.lines().filter_map(named).filter(|node| *node != holder).collect();
        match waiting.as_slice() {
            [next, third] => Ok((*next, *third)),
            others => bail!("{} wait behind {}", self.names(others), self.names(&[holder])),
        }
    }

    /// How many candidates stand for an address.
    pub(crate) fn candidates(&self, vip: std::net::IpAddr) -> usize {
        let listed = shell::output(self.etcdctl().args(["get", "--prefix", "--keys-only", &format!("vipd/{vip}/")]));
        listed.unwrap_or_default().lines().filter(|line| !line.is_empty()).count()
    }

    /// Waits for a line of a daemon's log that has all of `words`.
    pub(crate) fn logged(&self, node: NodeIndex, words: &[&str], within: Duration) -> Result<String> {
        let service = &self.nodes[node].vipd;
        let find = || service.said().lines().find(|line| words.iter().all(|w| line.contains(w))).map(str::to_owned);
        clock::poll_until(within, || find().is_some());
        find().with_context(|| format!("{}'s vipd does not say {words:?}", self.nodes[node].name))
    }
}
