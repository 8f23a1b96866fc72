//! The daemon's own settings, below the top-level key `vipd`, with their defaults.
//!
//! Owned by `config`. Settings of a single VIP never stand in the machine config's snippet; one day they will stand
//! here, below `vipd.vips`. Until then that key is as unknown as any other.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::check::{self, Checked};
use super::endpoint::Endpoint;
use super::etcd::{self, Etcd};
use super::groups::{self, Group};
use super::raw::{Map, Node};
use super::refusal::{Place, Problems};
use super::{Host, Lease, LogLevel, Ttl, announce, metrics, timings};
use crate::election::contender::OnConflict;
use crate::election::timings::Schedule;

/// What stands below `vipd` if nothing does.
const RUNTIME_DIR: &str = "/run/vipd";
/// The keys below `vipd`.
const VIPD: [&str; 9] = ["node", "etcd", "lease", "groups", "announce", "onConflict", "metrics", "log", "runtimeDir"];
/// The keys below `vipd.etcd`.
const ETCD: [&str; 6] = ["endpoints", "discover", "tls", "user", "passwordFile", "prefix"];

/// The settings, checked one by one; a value that was refused stands here as its default.
pub(super) struct Settings {
    pub(super) node: String,
    pub(super) etcd: Etcd,
    /// Those of etcd, with their places.
    pub(super) endpoints: Vec<(Place, Endpoint)>,
    pub(super) lease: Lease,
    pub(super) groups: Vec<Group>,
    pub(super) announce: Schedule,
    pub(super) on_conflict: OnConflict,
    pub(super) log_level: LogLevel,
    pub(super) metrics: Option<SocketAddr>,
    pub(super) runtime_dir: PathBuf,
}

/// Reads `vipd:`; `None` if the file has none.
pub(super) fn read(vipd: Option<(&Node, Place)>, host: &Host, problems: &mut Problems) -> Settings {
    let root = Section::top(vipd, problems);
    let node = root.setting("node", |node| check::node_name(check::text(node)?), problems);
    let etcd = root.section("etcd", &ETCD, problems);
    let lease = root.section("lease", &["ttl", "margin"], problems);
    let log = root.section("log", &["level"], problems);
    let runtime_dir = root.setting("runtimeDir", |node| check::path(check::text(node)?), problems);
    let (etcd, endpoints) = etcd::read(&etcd, problems);
    Settings {
        node: node.unwrap_or_else(|| host_name(&root, host, problems)),
        etcd,
        endpoints,
        lease: timing(&lease, problems),
        groups: groups::read(&root, problems),
        announce: announce::read(&root, problems),
        on_conflict: root.setting("onConflict", announce::on_conflict, problems).unwrap_or_default(),
        log_level: log.setting("level", log_level, problems).unwrap_or_default(),
        metrics: metrics::read(&root, problems),
        runtime_dir: runtime_dir.unwrap_or_else(|| given_directory(&root, host, problems)),
    }
}

fn log_level(node: &Node) -> Checked<LogLevel> {
    let named = |level: &LogLevel| check::text(node).is_ok_and(|text| text == level.name());
    LogLevel::ALL.into_iter().find(named).ok_or_else(|| {
        let names = LogLevel::ALL.map(LogLevel::name).join(", ");
        format!("{} is no level: {names}", node.shown())
    })
}

/// The host's name, which only has to do if the file gives none.
fn host_name(root: &Section<'_>, host: &Host, problems: &mut Problems) -> String {
    if root.has("node") {
        return String::new();
    }
    check::node_name(&host.name).unwrap_or_else(|text| {
        problems.add(&root.place.key("node"), format!("not given, and the host's own name will not do: {text}"));
        String::new()
    })
}

/// Where the daemon is if its config does not say so.
pub fn usual_runtime_dir(host: &Host) -> PathBuf {
    systemds_directory(host).and_then(|path| check::path(path).ok()).unwrap_or_else(|| RUNTIME_DIR.into())
}

fn systemds_directory(host: &Host) -> Option<&str> {
    host.runtime_directory.as_deref().and_then(|list| list.split(':').find(|path| !path.is_empty()))
}

/// systemd's directory (the first, if the unit has several), else the usual place.
fn given_directory(root: &Section<'_>, host: &Host, problems: &mut Problems) -> PathBuf {
    let Some(path) = systemds_directory(host).filter(|_| !root.has("runtimeDir")) else { return RUNTIME_DIR.into() };
    check::path(path).unwrap_or_else(|text| {
        problems.add(&root.place.key("runtimeDir"), format!("not given, and $RUNTIME_DIRECTORY will not do: {text}"));
        RUNTIME_DIR.into()
    })
}

/// A margin beside a TTL that was refused is still held against the bounds of `auto`.
fn timing(lease: &Section<'_>, problems: &mut Problems) -> Lease {
    let ttl = lease.setting("ttl", timings::ttl, problems).unwrap_or(Ttl::Auto);
    let margin: Option<Duration> = lease.setting("margin", |node| timings::margin(node, ttl), problems);
    Lease { ttl, margin }
}

/// A mapping of settings, which may not be there. A null is as good as nothing: the keys below it are commented out.
pub(super) struct Section<'m> {
    map: Option<&'m Map>,
    pub(super) place: Place,
}

impl<'m> Section<'m> {
    fn top(vipd: Option<(&'m Node, Place)>, problems: &mut Problems) -> Self {
        match vipd {
            Some((node, place)) => Self::new(node, place, &VIPD, problems),
            None => Self { map: None, place: Place::file().key("vipd") },
        }
    }

    fn new(node: &'m Node, place: Place, known: &[&str], problems: &mut Problems) -> Self {
        let map = match node {
            Node::Null => None,
            node => check::mapping(node).map_err(|text| problems.add(&place, text)).ok(),
        };
        if let Some(map) = map {
            check::known_keys(map, &place, known, problems);
        }
        Self { map, place }
    }

    pub(super) fn section(&self, key: &str, known: &[&str], problems: &mut Problems) -> Self {
        Self::new(self.get(key).unwrap_or(&Node::Null), self.place.key(key), known, problems)
    }

    /// Whether the section has a key at all.
    pub(super) fn is_there(&self) -> bool {
        self.map.is_some()
    }

    pub(super) fn get(&self, key: &str) -> Option<&'m Node> {
        self.map.and_then(|map| map.get(key))
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn setting<T>(
        &self,
        key: &str,
        rule: impl Fn(&Node) -> Checked<T>,
        problems: &mut Problems,
    ) -> Option<T> {
        rule(self.get(key)?).map_err(|text| problems.add(&self.place.key(key), text)).ok()
    }
}
