//! One etcd member: how it is started, and what one asks it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Options, Security, access, http, node};
use crate::timeline::NodeIndex;

/// Where clients find a member.
pub(super) const CLIENT_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;
/// Where it tells anybody how it is, as kubeadm has it.
const HEALTH_PORT: u16 = 2381;
/// From one generation's ports to the next one's.
const APART: u16 = 100;

/// A member: on which node, and how many it had before. Each has ports of its own, so that none is found at another's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Member {
    /// Its node.
    pub(super) node: NodeIndex,
    /// 0: the original one.
    pub(super) generation: u16,
}

impl Member {
    /// The first one of a node.
    pub(super) fn original(node: NodeIndex) -> Self {
        Self { node, generation: 0 }
    }

    /// The one that comes in its place.
    pub(super) fn successor(self) -> Self {
        Self { generation: self.generation + 1, ..self }
    }

    /// Its node had none before it.
    pub(crate) fn is_original(self) -> bool {
        self.generation == 0
    }

    fn port(self, original: u16) -> u16 {
        original + APART * self.generation
    }

    /// Where clients find it, and where its peers do.
    pub(super) fn ports(self) -> (u16, u16) {
        (self.port(CLIENT_PORT), self.port(PEER_PORT))
    }

    /// What etcd calls it: `n1`, and its successor `n1-2`.
    pub(super) fn name(self) -> String {
        let node = node::name(self.node);
        if self.generation == 0 { node } else { format!("{node}-{}", self.generation + 1) }
    }

    /// Its address for clients, at one of the addresses of its node.
    pub(super) fn client_url(self, at: Ipv4Addr, security: Security) -> String {
        format!("{}://{at}:{}", scheme(security), self.port(CLIENT_PORT))
    }

    /// Its address for its peers.
    pub(super) fn peer_url(self) -> String {
        format!("http://{}:{}", node::address(self.node), self.port(PEER_PORT))
    }

    fn ask(self, path: &str) -> String {
        let at = (node::address(self.node), self.port(HEALTH_PORT)).into();
        // Who does not answer has said nothing.
        http::get(at, path).unwrap_or_default()
    }

    /// It answers and its cluster has a leader.
    pub(super) fn is_healthy(self) -> bool {
        self.ask("/health").contains(r#""health":"true""#)
    }

    /// It leads its cluster.
    pub(super) fn leads(self) -> bool {
        self.ask("/metrics").lines().any(|line| line == "etcd_server_is_leader 1")
    }

    /// Where its data lie.
    pub(super) fn data(self, directory: &Path) -> PathBuf {
        directory.join(format!("{}-etcd", self.name()))
    }

    /// Its command line; its data lie under `directory`.
    pub(super) fn command(self, cluster: &[Self], directory: &Path, options: &Options) -> Command {
        let [client, local] =
            [node::address(self.node), Ipv4Addr::LOCALHOST].map(|at| self.client_url(at, options.security));
        let health = format!("http://{}:{}", node::address(self.node), self.port(HEALTH_PORT));
        let mut command = Command::new("etcd");
        command.args(self.membership(cluster, directory, options)).args(["--listen-peer-urls", &self.peer_url()]);
        command.args(["--listen-client-urls", &format!("{client},{local}")]);
        command.args(["--advertise-client-urls", &client, "--listen-metrics-urls", &health]);
        if options.security != Security::Plain {
            command.args(access::arguments(directory, self.node));
        }
        command.args(options.quota.map(|bytes| format!("--quota-backend-bytes={bytes}")));
        command.args(["--heartbeat-interval", &options.heartbeat.as_millis().to_string()]);
        command.args(["--election-timeout", &options.election.as_millis().to_string()]);
        command.args(["--logger", "zap", "--log-level", "warn"]);
        command
    }

    /// Who it is and with whom, in arguments that `etcd` and `etcdctl snapshot restore` have in common.
    pub(super) fn membership(self, cluster: &[Self], directory: &Path, options: &Options) -> Vec<String> {
        let cluster: Vec<String> = cluster.iter().map(|one| format!("{}={}", one.name(), one.peer_url())).collect();
        let pairs = [
            ("--data-dir", self.data(directory).to_string_lossy().into_owned()),
            ("--name", self.name()),
            ("--initial-advertise-peer-urls", self.peer_url()),
            ("--initial-cluster", cluster.join(",")),
            ("--initial-cluster-token", options.token.to_owned()),
        ];
        pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
    }
}

/// What a member's URL begins with.
pub(super) fn scheme(security: Security) -> &'static str {
    if security == Security::Plain { "http" } else { "https" }
}
