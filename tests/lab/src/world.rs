//! What stands in a lab: a bridge, three nodes with etcd and vipd, a client, and somebody who takes note of it all.
//!
//! ```text
//!   n1 10.77.0.11     n2 .12     n3 .13          client .200
//!   etcd vipd :6443   ...        ...             probe, neighbour table
//!      └─ eth0 ─ p-n1 ──── br0 (10.77.0.1, the lab's own namespace) ─┘
//! ```

mod access;
mod config;
mod etcd;
mod hello;
mod history;
mod http;
mod node;
mod options;
mod paths;
mod service;
mod trouble;
mod upkeep;
mod wiring;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

pub(crate) use self::access::{Access, BY_PASSWORD, Client};
pub(crate) use self::etcd::Member;
pub(crate) use self::node::Node;
pub(crate) use self::options::{Known, Options, Security, TTL, VIP, VIP6, Vip};
pub(crate) use self::paths::Cut;
pub(crate) use self::service::Service;
pub(crate) use self::trouble::scrape;
use crate::clock::{self, millis};
use crate::faults::Who;
use crate::keys::{Ctl, Keys};
use crate::monitor::Monitor;
use crate::neighbour::Neighbours;
use crate::netns::NetNs;
use crate::probe::Probe;
use crate::shell;
use crate::timeline::NodeIndex;

/// The whole of it. Its processes end when it is dropped; namespaces and files go with the lab.
pub(crate) struct World {
    /// n1, n2, n3.
    pub(crate) nodes: Vec<Node>,
    /// Where the client stands.
    pub(crate) client: NetNs,
    /// The client's neighbour table.
    pub(crate) neighbours: Neighbours,
    /// Who had which address, when.
    pub(crate) monitor: Monitor,
    options: Options,
    directory: PathBuf,
    access: Option<Access>,
    keys: Option<Keys>,
}

impl World {
    /// Builds what `options` ask for, and starts what they want started.
    pub(crate) fn build(directory: &Path, vipd: &Path, options: Options) -> Result<Self> {
        ensure!(vipd.is_file(), "there is no daemon at {} (build it, or name it with --vipd)", vipd.display());
        wiring::lay_bridge()?;
        let client = wiring::attach("client", 200, &[])?;
        let links = extra_links(&options);
        let guarded = options.security != Security::Plain;
        let access = if guarded { Some(Access::create(directory)?) } else { None };
        let mut nodes = Vec::new();
        let monitor = Monitor::default();
        options.groups.iter().for_each(|group| monitor.as_one(group));
        for index in 0..3 {
            let node = Node::build(index, directory, vipd, &options, &links)?;
            monitor.watch(index, &node.ns)?;
            nodes.push(node);
        }
        let neighbours = Neighbours::watch(&client)?;
        let directory = directory.to_owned();
        let mut world = Self { nodes, client, neighbours, monitor, options, directory, access, keys: None };
        world.start_what_is_wanted()?;
        Ok(world)
    }

    fn start_what_is_wanted(&mut self) -> Result<()> {
        if self.options.etcd {
            self.start_etcd()?;
        }
        if self.options.vipd {
            self.start_daemons()?;
        }
        Ok(())
    }

    /// Starts all etcd members, waits until they answer, and begins to watch the keys.
    pub(crate) fn start_etcd(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            node.etcd.start()?;
        }
        (0..self.nodes.len()).try_for_each(|node| self.etcd_answers(node))?;
        if self.options.security == Security::Rbac {
            self.switch_on_users()?;
        }
        self.keys = Some(Keys::watch(self.ctl(), &self.monitor)?);
        Ok(())
    }

    /// Starts all daemons.
    pub(crate) fn start_daemons(&mut self) -> Result<()> {
        self.nodes.iter_mut().try_for_each(|node| node.vipd.start())
    }

    /// All members' URLs.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        (0..self.nodes.len()).map(|node| self.client_url(node)).collect()
    }

    /// A member's URL.
    fn client_url(&self, node: NodeIndex) -> String {
        self.nodes[node].member.client_url(self.nodes[node].address, self.options.security)
    }

    /// The daemon's config for a machine that stands beside the world's nodes.
    pub(crate) fn config_for(&self, name: &str, endpoints: &[String], client: Option<&Client>) -> String {
        config::yaml(name, endpoints, client, Path::new("/run/vipd"), &self.options)
    }

    /// What asks the cluster.
    pub(crate) fn ctl(&self) -> Ctl {
        self.ctl_at(&self.endpoints())
    }

    /// What asks these members only.
    fn ctl_at(&self, urls: &[String]) -> Ctl {
        Ctl { endpoints: urls.join(","), client: access::of_root(&self.directory, self.options.security) }
    }

    /// `etcdctl` against the cluster, from the lab's own namespace.
    pub(crate) fn etcdctl(&self) -> std::process::Command {
        self.ctl().command()
    }

    /// The node whose member leads etcd.
    pub(crate) fn etcd_leader(&self) -> Option<NodeIndex> {
        leader_among(&self.members())
    }

    /// The members as they are now.
    pub(crate) fn members(&self) -> Vec<Member> {
        self.nodes.iter().map(|node| node.member).collect()
    }

    /// What etcd said; there is nothing to hear before it was started.
    pub(crate) fn keys(&self) -> Result<&Keys> {
        self.keys.as_ref().context("etcd was not started in this world")
    }

    /// One program of one node.
    pub(crate) fn service(&mut self, node: NodeIndex, who: Who) -> &mut Service {
        match who {
            Who::Vipd => &mut self.nodes[node].vipd,
            Who::Etcd => &mut self.nodes[node].etcd,
        }
    }

    /// Begins to probe an address from the client.
    pub(crate) fn probe(&self, target: IpAddr) -> Result<Probe> {
        Probe::start(&self.client, target)
    }

    /// Waits until exactly one node has the address, and for it to stay so for a moment.
    pub(crate) fn one_holder(&self, vip: IpAddr, within: Duration) -> Result<NodeIndex> {
        let deadline = clock::now() + within;
        while let Some(node) = self.monitor.wait(deadline.since(clock::now()), |timeline| timeline.holder(vip)) {
            clock::sleep(Duration::from_millis(100));
            if self.monitor.timeline().holder(vip) == Some(node) {
                return Ok(node);
            }
        }
        let holders = self.monitor.timeline().holders(vip);
        bail!("no single holder of {vip} within {}; holders: {}", millis(within), self.names(&holders))
    }

    /// Waits until no node has the address.
    pub(crate) fn nobody_holds(&self, vip: IpAddr, within: Duration) -> Result<()> {
        let gone = self.monitor.wait(within, |timeline| timeline.holders(vip).is_empty().then_some(()));
        gone.with_context(|| format!("{vip} is still on a node after {}", millis(within)))
    }

    /// Starts every daemon that does not run, and waits for one holder.
    pub(crate) fn all_daemons_back(&mut self, vip: IpAddr) -> Result<NodeIndex> {
        for node in &mut self.nodes {
            if !node.vipd.runs() {
                node.vipd.start()?;
            }
        }
        let holder = self.one_holder(vip, Duration::from_secs(10))?;
        self.all_stand(vip)?;
        Ok(holder)
    }

    /// Lets a lease's time pass. A daemon that has not watched for as long does not know how the turns before ended,
    /// and asks the wire first (0.1 s): right, but not the figure that a move between old hands has.
    pub(crate) fn a_lease_later(&self) {
        clock::sleep(self.options.ttl.unwrap_or(TTL) + Duration::from_secs(1));
    }

    /// Waits until every node has a candidate key for the address: a move now finds somebody to go to.
    pub(crate) fn all_stand(&self, vip: IpAddr) -> Result<()> {
        let standing =
            || shell::output(self.etcdctl().args(["get", "--prefix", "--keys-only", &format!("vipd/{vip}/")]));
        let wanted = self.nodes.iter().filter(|node| node.vipd.is_started()).count();
        let mut seen = 0;
        let all = clock::poll_until(Duration::from_secs(10), || {
            seen = standing().map_or(0, |keys| keys.lines().filter(|line| !line.is_empty()).count());
            seen >= wanted
        });
        ensure!(all, "only {seen} of {wanted} candidates stand for {vip}");
        Ok(())
    }

    /// The links a VIP can be on.
    pub(crate) fn links(&self) -> Vec<String> {
        let mut links = vec!["eth0".to_owned()];
        links.extend(extra_links(&self.options));
        links
    }

    /// Where its files are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Names of nodes, for people.
    pub(crate) fn names(&self, nodes: &[NodeIndex]) -> String {
        // Behind the namespaces come virtual machines, which are not the world's own.
        let name =
            |node: &NodeIndex| self.nodes.get(*node).map_or_else(|| format!("v{}", node + 1), |n| n.name.clone());
        let names: Vec<String> = nodes.iter().map(name).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    /// Connects to port 6443 of an address from the client; the answer is the name of the node that took the call.
    pub(crate) fn call(&self, ip: IpAddr, within: Duration) -> Result<String> {
        self.client.run(|| hello::call(ip, within))
    }
}

/// The node whose member leads, of these.
pub(crate) fn leader_among(members: &[Member]) -> Option<NodeIndex> {
    members.iter().find(|member| member.leads()).map(|member| member.node)
}

fn extra_links(options: &Options) -> Vec<String> {
    let mut links: Vec<String> =
        options.vips.iter().map(|vip| vip.link.clone()).filter(|link| link != "eth0").collect();
    links.dedup();
    links
}
