//! One etcd member: how it is started, and what one asks it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Options, http, node};
use crate::timeline::NodeIndex;

/// Where clients find a member.
pub(super) const CLIENT_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;

/// A member's address for clients.
pub(super) fn client_url(address: Ipv4Addr) -> String {
    format!("http://{address}:{CLIENT_PORT}")
}

/// The member's command line; its data lie under `directory`.
pub(super) fn command(index: NodeIndex, directory: &Path, options: &Options) -> Command {
    let client = client_url(node::address(index));
    let mut command = Command::new("etcd");
    command.args(membership(index, directory, options)).args(["--listen-peer-urls", &peer_url(index)]);
    command.args(["--listen-client-urls", &format!("{client},http://127.0.0.1:{CLIENT_PORT}")]);
    command.args(["--advertise-client-urls", &client]);
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
    http::get((address, CLIENT_PORT).into(), "/health").is_ok_and(|answer| answer.contains(r#""health":"true""#))
}

/// It leads its cluster.
pub(super) fn leads(address: Ipv4Addr) -> bool {
    let status = ask(address, "/v3/maintenance/status", "{}", http::PATIENCE).unwrap_or_default();
    !status["leader"].is_null() && status["leader"] == status["header"]["member_id"]
}

/// Asks a member through its JSON gateway; an answer that tells of an error is one.
pub(super) fn ask(address: Ipv4Addr, path: &str, body: &str, patience: Duration) -> Result<Value> {
    let answer = http::post((address, CLIENT_PORT).into(), path, body, patience)
        .with_context(|| format!("ask {address} for {path}"))?;
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    let start = body.find('{').with_context(|| format!("{address} did not answer {path}: {answer}"))?;
    let first = serde_json::Deserializer::from_str(&body[start..]).into_iter().next();
    let value: Value = first.context("an empty answer")?.with_context(|| format!("{path}: {answer}"))?;
    ensure!(value.get("error").is_none(), "{address} refused {path}: {value}");
    Ok(value)
}
