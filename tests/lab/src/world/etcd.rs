//! One etcd member: how it is started, and what one asks it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Options, Security, access, http, node};
use crate::timeline::NodeIndex;

/// Where clients find a member.
pub(super) const CLIENT_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;
/// Where it says without being asked who one is how it is, as kubeadm has it.
const HEALTH_PORT: u16 = 2381;

/// A member's address for clients.
pub(super) fn client_url(address: Ipv4Addr, security: Security) -> String {
    format!("{}://{address}:{CLIENT_PORT}", scheme(security))
}

/// What a URL begins with.
pub(super) fn scheme(security: Security) -> &'static str {
    if security == Security::Plain { "http" } else { "https" }
}

/// The member's command line; its data lie under `directory`.
pub(super) fn command(index: NodeIndex, directory: &Path, options: &Options) -> Command {
    let address = node::address(index);
    let client = client_url(address, options.security);
    let mut command = Command::new("etcd");
    command.args(membership(index, directory, options)).args(["--listen-peer-urls", &peer_url(index)]);
    command.args(["--listen-client-urls", &format!("{client},{}", client_url(Ipv4Addr::LOCALHOST, options.security))]);
    command.args(["--advertise-client-urls", &client]);
    command.args(["--listen-metrics-urls", &format!("http://{address}:{HEALTH_PORT}")]);
    if options.security != Security::Plain {
        command.args(access::arguments(directory, index));
    }
    command.args(["--heartbeat-interval", &options.heartbeat.as_millis().to_string()]);
    command.args(["--election-timeout", &options.election.as_millis().to_string()]);
    command.args(["--logger", "zap", "--log-level", "warn"]);
    command
}

/// A member's address for its peers.
pub(super) fn peer_url(index: NodeIndex) -> String {
    format!("http://{}:{PEER_PORT}", node::address(index))
}

/// Where a member's data lie.
pub(super) fn data(index: NodeIndex, directory: &Path) -> PathBuf {
    directory.join(format!("{}-etcd", node::name(index)))
}

/// Who a member is, in arguments that `etcd` and `etcdctl snapshot restore` have in common.
pub(super) fn membership(index: NodeIndex, directory: &Path, options: &Options) -> Vec<String> {
    let cluster: Vec<String> = (0..3).map(|other| format!("{}={}", node::name(other), peer_url(other))).collect();
    let data = data(index, directory).to_string_lossy().into_owned();
    let (name, token) = (node::name(index), options.token.to_owned());
    let pairs = [
        ("--data-dir", data),
        ("--name", name),
        ("--initial-advertise-peer-urls", peer_url(index)),
        ("--initial-cluster", cluster.join(",")),
        ("--initial-cluster-token", token),
    ];
    pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
}

/// It answers and its cluster has a leader.
pub(super) fn healthy(address: Ipv4Addr) -> bool {
    http::get((address, HEALTH_PORT).into(), "/health").is_ok_and(|answer| answer.contains(r#""health":"true""#))
}

/// It leads its cluster.
pub(super) fn leads(address: Ipv4Addr) -> bool {
    let metrics = http::get((address, HEALTH_PORT).into(), "/metrics").unwrap_or_default();
    metrics.lines().any(|line| line == "etcd_server_is_leader 1")
}
