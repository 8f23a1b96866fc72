//! What the operator wrote, checked.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A checked configuration: every value is usable, every default filled in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// This node's name, for people; default: the host name.
    pub node: String,
    /// How to reach etcd.
    pub etcd: Etcd,
    /// The session's lease.
    pub lease: Lease,
    /// Where the daemon keeps what its next start must know.
    pub runtime_dir: PathBuf,
    /// The VIPs, in the file's order.
    pub vips: Vec<Vip>,
}

/// How to reach etcd.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Etcd {
    /// `http://host:port`, one for each member.
    pub endpoints: Vec<String>,
    /// What all keys begin with, without a slash at its end.
    pub prefix: String,
}

/// The session's lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lease {
    /// How long etcd waits for a silent node.
    pub ttl: Ttl,
    /// From the fence to the end of the lease, if the operator wants more than the default.
    pub margin: Option<Duration>,
}

/// A lease's time to live.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ttl {
    /// 2.5 times the least that this etcd grants.
    Auto,
    /// This, in whole seconds.
    Fixed(Duration),
}

/// One VIP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vip {
    /// Its addresses, which move as one (one for now).
    pub addresses: Vec<IpAddr>,
    /// The name of the link it belongs on (`eth0`, `eth0.100`).
    pub link: String,
    /// Where it stands in the file (`machine.network.interfaces[0].vip.ip`).
    pub place: String,
}
