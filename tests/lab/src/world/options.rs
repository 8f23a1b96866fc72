//! What a world should be like.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::timeline::NodeIndex;

/// The VIP of most scenarios.
pub(crate) const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 100));
/// An IPv6 one.
pub(crate) const VIP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x100));

/// The lease that a plain etcd gets.
pub(crate) const TTL: Duration = Duration::from_secs(5);

/// A VIP and the link it belongs on: `eth0`, or another, which is made for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Vip {
    /// The address.
    pub(crate) ip: IpAddr,
    /// The link.
    pub(crate) link: String,
}

/// The members that a daemon's config names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Known {
    /// All three, the node's own first.
    All,
    /// The one in a machine beside the nodes.
    Guest,
    /// The node's own, on its loopback: the default. The others are found through it.
    Own,
}

/// How etcd is guarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Security {
    /// Not at all: whoever reaches it may do anything.
    Plain,
    /// Mutual TLS: who has a certificate may do anything.
    Tls,
    /// The same, and the daemons have a password already: users are switched on later.
    RbacLater,
    /// Mutual TLS, and users with roles.
    Rbac,
}

impl Security {
    /// As a control plane has it, and then some; `VIPD_LAB_SECURITY=plain` (or `tls`) is for figures beside those.
    fn wanted() -> Self {
        match std::env::var("VIPD_LAB_SECURITY").as_deref() {
            Ok("plain") => Self::Plain,
            Ok("tls") => Self::Tls,
            _ => Self::Rbac,
        }
    }
}

/// What to build, and what to start at once.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// What every daemon's config names.
    pub(crate) vips: Vec<Vip>,
    /// Which of them move as one, with further addresses that come to the same link.
    pub(crate) groups: Vec<Vec<IpAddr>>,
    /// Nodes whose config names these instead, and no groups.
    pub(crate) apart: Vec<(NodeIndex, Vec<Vip>)>,
    /// The lease; `None`: the daemons' config says nothing of it, so they choose.
    pub(crate) ttl: Option<Duration>,
    /// What the daemons log (`VIPD_LOG`), if not what this lab was started with.
    pub(crate) log: Option<&'static str>,
    /// etcd's heartbeat interval.
    pub(crate) heartbeat: Duration,
    /// etcd's election timeout.
    pub(crate) election: Duration,
    /// The etcd cluster's token: another one, another cluster.
    pub(crate) token: &'static str,
    /// How etcd is guarded.
    pub(crate) security: Security,
    /// The members that the daemons' config names.
    pub(crate) known: Known,
    /// How much etcd may store, in bytes, if not as much as it likes.
    pub(crate) quota: Option<u64>,
    /// A proxy between each daemon and each member, for slow and silent etcds.
    pub(crate) proxies: bool,
    /// Start etcd.
    pub(crate) etcd: bool,
    /// Start the daemons.
    pub(crate) vipd: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            vips: vec![Vip { ip: VIP, link: "eth0".to_owned() }],
            groups: Vec::new(),
            apart: Vec::new(),
            ttl: Some(TTL),
            log: None,
            heartbeat: Duration::from_millis(100),
            election: Duration::from_secs(1),
            token: "vipd-lab",
            security: Security::wanted(),
            known: Known::All,
            quota: None,
            proxies: false,
            etcd: true,
            vipd: true,
        }
    }
}

impl Options {
    /// As this node has them.
    pub(super) fn of_node(&self, node: NodeIndex) -> Self {
        match self.apart.iter().find(|(index, _)| *index == node) {
            Some((_, vips)) => Self { vips: vips.clone(), groups: Vec::new(), ..self.clone() },
            None => self.clone(),
        }
    }
}
