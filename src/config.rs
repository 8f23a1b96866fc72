//! What the operator wrote, checked.
//!
//! A bare Talos machine-config snippet is a complete configuration; the daemon's own settings, all with defaults, stand
//! beside it under the top-level key `vipd`. The stages: `raw` (YAML into trees), `machine` (trees into VIPs),
//! `settings` (the key `vipd`) and `groups` (VIPs that move as one), every value through `check` and `timings`, and either a [`Config`] or a [`Refusal`] that
//! names all that is wrong.
//!
//! Owned by the command line, which loads it, and read by everybody. Pure but for [`load`] and [`Host::this`]; it must not
//! look at links, sockets or etcd, guess, or correct.

mod announce;
mod check;
mod difference;
mod endpoint;
mod etcd;
mod groups;
mod machine;
mod metrics;
mod raw;
mod refusal;
mod selector;
mod settings;
mod timings;

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::link::LinkChoice;
pub use difference::{Difference, LOG_LEVEL};
use endpoint::Host as Where;
pub use etcd::{ClientCertificate, Etcd, Tls, User};
use machine::Machine;
use raw::{LARGEST_FILE, Map, Node};
use refusal::{Place, Problems};
pub use refusal::{Problem, Refusal};
use settings::Settings;
pub use settings::usual_runtime_dir;

use crate::election::contender::OnConflict;
use crate::election::timings::Schedule;

/// A checked configuration: every value is usable, every default filled in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// This node's name, for people; default: the host name.
    pub node: String,
    /// How to reach etcd.
    pub etcd: Etcd,
    /// The session's lease.
    pub lease: Lease,
    /// When a VIP that was taken is announced.
    pub announce: Schedule,
    /// What to do at a first claim when somebody else answers for the VIP.
    pub on_conflict: OnConflict,
    /// What is logged, unless the command line or the environment says so.
    pub log_level: LogLevel,
    /// Where the daemon tells its metrics, if it does. The unspecified IPv6 address means every address, of IPv4 too.
    pub metrics: Option<SocketAddr>,
    /// Where the daemon keeps what its next start must know.
    pub runtime_dir: PathBuf,
    /// The VIPs, in the file's order.
    pub vips: Vec<Vip>,
}

/// From which weight on something is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogLevel {
    /// Wake up.
    Error,
    /// Look today.
    Warn,
    /// Every transition.
    #[default]
    Info,
    /// What somebody who looks for a cause wants to know.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// As the operator writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
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
    /// Its addresses, which move as one: one, or those of a group in the order given there.
    pub addresses: Vec<IpAddr>,
    /// The link it belongs on.
    pub link: LinkChoice,
    /// Where it stands in the file (`machine.network.interfaces[0].vip.ip`, `vipd.groups[0]`).
    pub place: String,
}

/// What this machine lends to a configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Host {
    /// Its host name.
    pub name: String,
    /// `$RUNTIME_DIRECTORY`, as systemd sets it.
    pub runtime_directory: Option<String>,
}

impl Host {
    /// This machine.
    pub fn this() -> Self {
        // The kernel's own word, and the one of this UTS namespace. An unreadable name is an empty one, which is refused
        // only if the file names no node.
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self { name: name.trim().to_owned(), runtime_directory: std::env::var("RUNTIME_DIRECTORY").ok() }
    }
}

/// Reads and checks a file.
pub fn load(path: &Path) -> Result<Config, Refusal> {
    let unreadable = |text: String| Problem { place: path.display().to_string(), text };
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST_FILE as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|error| unreadable(format!("cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..good].iter().filter(|byte| **byte == b'\n').count() + 1;
        unreadable(format!("is not UTF-8 text: line {line}, byte {good} of the file"))
    })?;
    parse(&text, &Host::this())
}

/// Checks the text of a file.
pub fn parse(text: &str, host: &Host) -> Result<Config, Refusal> {
    if text.len() > LARGEST_FILE {
        let text = format!("more than {} MiB, which no machine config needs", LARGEST_FILE >> 20);
        return Err(Problem { place: Place::file().to_string(), text }.into());
    }
    let documents = raw::documents(text)?;
    let mut problems = Problems::default();
    let vips = find_vips(&documents, &mut problems);
    let vipd = find_settings(&documents, &mut problems);
    let settings = settings::read(vipd, host, &mut problems);
    let vips = groups::join(vips, &settings.groups, &mut problems);
    refuse_circles(&settings, &vips, &mut problems);
    refuse_a_moving_place(&settings, &vips, &mut problems);
    problems.unless_any(assemble(settings, vips))
}

fn find_vips(documents: &[(Place, Node)], problems: &mut Problems) -> Vec<Vip> {
    for (place, root) in documents {
        if !matches!(root, Node::Map(_) | Node::Null) {
            problems.add(place, format!("{} is not a mapping", root.shown()));
        }
    }
    let mut machine = Machine::new(problems);
    for (place, root) in mappings(documents) {
        match root.get("kind") {
            None => machine.snippet(root, place),
            Some(Node::Text(kind)) => machine.document(kind, root, place),
            Some(_) => {}
        }
    }
    machine.finish()
}

/// The one `vipd:` of the file.
fn find_settings<'d>(documents: &'d [(Place, Node)], problems: &mut Problems) -> Option<(&'d Node, Place)> {
    let mut found: Option<(&Node, Place)> = None;
    for (place, root) in mappings(documents).filter(|(_, root)| root.get("kind").is_none()) {
        for key in root.keys().into_iter().filter(|key| *key != "vipd" && key.eq_ignore_ascii_case("vipd")) {
            problems.add(&place.key(key), "unknown key; did you mean vipd?");
        }
        let (Some(node), place) = (root.find("vipd"), place.key("vipd")) else { continue };
        match &found {
            Some((_, first)) => problems.add(&place, format!("given twice; first at {first}")),
            None => found = Some((node, place)),
        }
    }
    found
}

fn mappings(documents: &[(Place, Node)]) -> impl Iterator<Item = (&Place, &Map)> {
    documents.iter().filter_map(|(place, root)| if let Node::Map(map) = root { Some((place, map)) } else { None })
}

/// An etcd that is reached over a VIP is gone exactly when the VIP has to be put.
fn refuse_circles(settings: &Settings, vips: &[Vip], problems: &mut Problems) {
    for (place, endpoint) in &settings.endpoints {
        let Where::Address(host) = endpoint.host else { continue };
        let host = host.to_canonical();
        if let Some(vip) = vips.iter().find(|vip| vip.addresses.contains(&host)) {
            let shown = refusal::quoted(&endpoint.url);
            problems.add(place, format!("{shown} is on the VIP of {}, which cannot be put without etcd", vip.place));
        }
    }
}

/// A node is asked how it is on an address that it always has.
fn refuse_a_moving_place(settings: &Settings, vips: &[Vip], problems: &mut Problems) {
    let Some(at) = settings.metrics else { return };
    if let Some(vip) = vips.iter().find(|vip| vip.addresses.contains(&at.ip())) {
        let place = Place::file().key("vipd").key("metrics").key("listen");
        problems.add(&place, format!("\"{at}\" is on the VIP of {}, which this node has only now and then", vip.place));
    }
}

fn assemble(settings: Settings, vips: Vec<Vip>) -> Config {
    Config {
        node: settings.node,
        etcd: Etcd { vips: vips.iter().flat_map(|vip| vip.addresses.clone()).collect(), ..settings.etcd },
        lease: settings.lease,
        announce: settings.announce,
        on_conflict: settings.on_conflict,
        log_level: settings.log_level,
        metrics: settings.metrics,
        runtime_dir: settings.runtime_dir,
        vips,
    }
}
