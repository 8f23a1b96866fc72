//! What can be done to the world, one thing at a time and in any combination. Each fault is a value: it can be shown,
//! done, and (where that makes sense) healed, so that a scenario is a list of them and a soak can draw them at random.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use crate::timeline::NodeIndex;
use crate::world::World;

/// Which program of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Who {
    /// The daemon.
    Vipd,
    /// The etcd member.
    Etcd,
}

/// One thing done to one node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// A signal to a program.
    Signal(NodeIndex, Who, Signal),
    /// A program is started (again).
    Start(NodeIndex, Who),
    /// The cable is pulled: the node loses its carrier.
    Unplug(NodeIndex),
    /// And put back.
    Plug(NodeIndex),
    /// The switch drops every frame from and to the node, which keeps its carrier and suspects nothing.
    Silence(NodeIndex),
    /// The switch forwards again.
    Unsilence(NodeIndex),
    /// Somebody deletes the address by hand.
    Delete(NodeIndex, IpAddr),
    /// Somebody puts an address by hand, for ever.
    Put(NodeIndex, IpAddr, u8),
    /// Every answer of every etcd member to this node's daemon takes this much longer (needs proxies).
    SlowEtcd(NodeIndex, Duration),
    /// No answer reaches this node's daemon (needs proxies); `false` heals.
    FreezeEtcd(NodeIndex, bool),
}

impl Fault {
    /// SIGTERM to a node's daemon.
    pub(crate) fn term(node: NodeIndex) -> Self {
        Self::Signal(node, Who::Vipd, Signal::SIGTERM)
    }

    /// SIGKILL to a node's daemon.
    pub(crate) fn kill(node: NodeIndex) -> Self {
        Self::Signal(node, Who::Vipd, Signal::SIGKILL)
    }

    /// Does it.
    pub(crate) fn hit(&self, world: &mut World) -> Result<()> {
        match *self {
            Self::Signal(node, who, signal) => world.service(node, who).signal(signal),
            Self::Start(node, who) => world.service(node, who).start(),
            Self::Unplug(node) => world.port(node, "down"),
            Self::Plug(node) => world.port(node, "up"),
            Self::Silence(node) => world.switch(node, "disabled"),
            Self::Unsilence(node) => world.switch(node, "forwarding"),
            Self::Delete(node, ip) => world.delete_address(node, ip),
            Self::Put(node, ip, mask) => world.nodes[node].ns.ip(&format!("addr add {ip}/{mask} dev eth0")),
            Self::SlowEtcd(node, delay) => world.proxies(node)?.iter().try_for_each(|proxy| {
                proxy.delay(delay);
                Ok(())
            }),
            Self::FreezeEtcd(node, frozen) => world.proxies(node)?.iter().try_for_each(|proxy| {
                proxy.freeze(frozen);
                Ok(())
            }),
        }
    }

    /// What undoes it, if anything does.
    pub(crate) fn healed_by(&self) -> Option<Self> {
        Some(match *self {
            Self::Signal(node, who, Signal::SIGSTOP) => Self::Signal(node, who, Signal::SIGCONT),
            Self::Signal(node, who, Signal::SIGTERM | Signal::SIGKILL) => Self::Start(node, who),
            Self::Unplug(node) => Self::Plug(node),
            Self::Silence(node) => Self::Unsilence(node),
            Self::Put(node, ip, _) => Self::Delete(node, ip),
            Self::SlowEtcd(node, _) => Self::SlowEtcd(node, Duration::ZERO),
            Self::FreezeEtcd(node, true) => Self::FreezeEtcd(node, false),
            _ => return None,
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(node, who, signal) => write!(f, "{signal} to n{}'s {who}", node + 1),
            Self::Start(node, who) => write!(f, "n{}'s {who} started", node + 1),
            Self::Unplug(node) => write!(f, "n{} unplugged", node + 1),
            Self::Plug(node) => write!(f, "n{} plugged in", node + 1),
            Self::Silence(node) => write!(f, "n{} cut off by the switch", node + 1),
            Self::Unsilence(node) => write!(f, "n{} let back by the switch", node + 1),
            Self::Delete(node, ip) => write!(f, "{ip} deleted by hand on n{}", node + 1),
            Self::Put(node, ip, mask) => write!(f, "{ip}/{mask} put by hand on n{}", node + 1),
            Self::SlowEtcd(node, delay) => write!(f, "etcd answers n{} {delay:?} late", node + 1),
            Self::FreezeEtcd(node, true) => write!(f, "etcd does not answer n{}", node + 1),
            Self::FreezeEtcd(node, false) => write!(f, "etcd answers n{} again", node + 1),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vipd => "vipd",
            Self::Etcd => "etcd",
        })
    }
}

impl World {
    /// The bridge's side of a node's cable.
    fn port(&self, node: NodeIndex, state: &str) -> Result<()> {
        crate::shell::run(&format!("ip link set p-{} {state}", self.nodes[node].name))
    }

    /// What the bridge does with the frames of that port; the carrier stays.
    fn switch(&self, node: NodeIndex, state: &str) -> Result<()> {
        crate::shell::run(&format!("bridge link set dev p-{} state {state}", self.nodes[node].name))
    }

    /// Deletes an address from whichever link of the node has it.
    fn delete_address(&self, node: NodeIndex, ip: IpAddr) -> Result<()> {
        let ns = &self.nodes[node].ns;
        let deleted = self.links().iter().filter(|link| ns.ip(&format!("addr del {ip} dev {link}")).is_ok()).count();
        ensure!(deleted > 0, "{} does not have {ip}", self.nodes[node].name);
        Ok(())
    }

    fn proxies(&self, node: NodeIndex) -> Result<&[crate::proxy::Proxy]> {
        let proxies = &self.nodes[node].proxies;
        ensure!(!proxies.is_empty(), "this world was built without proxies");
        Ok(proxies)
    }
}
