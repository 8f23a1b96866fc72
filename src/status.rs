//! What the election knows, for people and programs: `vipd status`, the unit's status line, the metrics.
//!
//! A snapshot, made from the election's own state and picture; nothing is asked of etcd for it. Pure. The JSON form is
//! [`Status`] itself; [`FORMAT`] is raised when something in it changes its meaning, not when something is added.

mod snapshot;
mod story;
mod words;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use snapshot::{Beside, snapshot};
pub use story::Story;
pub use words::{line, page};

/// The form of [`Status`].
pub const FORMAT: u32 = 1;

/// A node's whole picture.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// [`FORMAT`].
    pub format: u32,
    /// This node's name.
    pub node: String,
    /// The daemon's version.
    pub version: String,
    /// Its life in etcd.
    pub etcd: Session,
    /// Its config file.
    #[serde(default)]
    pub config: Config,
    /// The VIPs, in the config's order.
    pub vips: Vec<Vip>,
}

/// How the config stands.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// When the one that holds was read, in milliseconds since 1970.
    pub loaded_at: u64,
    /// How often it was read anew since the daemon's start, and how often what was read was refused.
    pub reloads: u64,
    /// See `reloads`.
    pub refusals: u64,
    /// The last reload, if that was refused.
    pub refused: Option<Refused>,
    /// What holds only from the next session on.
    pub later: Vec<String>,
}

/// A config that was refused.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// In milliseconds since 1970.
    pub at: u64,
    /// All that is wrong with it.
    pub why: Vec<String>,
}

/// This daemon's life in etcd.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum Session {
    /// Another history: nothing is asked of etcd for so long.
    Silent {
        /// Milliseconds.
        left_ms: u64,
    },
    /// There is no lease yet: etcd was asked for one.
    Asking,
    /// There is a lease.
    #[serde(rename_all = "camelCase")]
    Live {
        /// The lease's id, in hexadecimal.
        lease: String,
        /// How long etcd waits for a silent node, in milliseconds.
        ttl_ms: u64,
        /// How long this node may hold VIPs if etcd is silent from now on, in milliseconds; 0: past the fence.
        fence_left_ms: u64,
        /// Since a renewal was last proven by a read, in milliseconds; none: never.
        proven_ms_ago: Option<u64>,
    },
}

/// One VIP.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vip {
    /// Its addresses, which move as one.
    pub addresses: Vec<IpAddr>,
    /// The link it belongs on: its name, or what is looked for.
    pub link: String,
    /// Whether that link can serve.
    pub link_up: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_lack: Option<String>,
    /// What this node does about it.
    pub here: Here,
    /// Who stands in its queue, first to last.
    pub queue: Vec<Candidate>,
    /// Whether the one before had the turn within the last TTL and did not take it: who stands first may not take it either.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub passed_on: bool,
    /// When who stands first came to stand there, in milliseconds since 1970; none: before this daemon looked.
    pub first_since: Option<u64>,
    /// The last changes of who stands first, newest first.
    pub moves: Vec<Move>,
}

/// What this node does about a VIP.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Here {
    /// It has the turn and the address.
    Holds,
    /// Its turn has come: it asks the network, or puts the address.
    Takes,
    /// It keeps its turn and has no address for now.
    Paused,
    /// It gives its turn up.
    LetsGo,
    /// It waits in the queue.
    Waits,
    /// It does not stand.
    Aside,
}

/// Who stands in a queue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// Its name.
    pub node: String,
    /// Whether it is this daemon.
    pub this: bool,
    /// Whether it is a vipd. Another one is respected and never takes an address.
    pub vipd: bool,
    /// Its place in etcd's history.
    pub create: i64,
}

/// Somebody else stands first since then.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Move {
    /// In milliseconds since 1970.
    pub at: u64,
    /// Who; none: nobody.
    pub to: Option<String>,
    /// Why, as far as this node knows.
    pub why: String,
    /// From the turn to the address, in milliseconds, where that was this node's.
    pub took_ms: Option<u64>,
}

/// How things are, for an exit code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Health {
    /// Every VIP has a holder, as far as this node knows, and this node can take each.
    Healthy,
    /// Every VIP has a holder; this node could not take them all.
    Degraded,
    /// A VIP has none.
    NobodyHolds,
}

#[cfg(test)]
impl Status {
    /// Of a daemon that has just begun, for tests that need any.
    pub fn for_test() -> Self {
        let (etcd, config) = (Session::Asking, Config::default());
        Self { format: FORMAT, node: "cp-1".into(), version: "test".into(), etcd, config, vips: Vec::new() }
    }
}

impl Status {
    /// How things are.
    pub fn health(&self) -> Health {
        let etcd_heard = matches!(self.etcd, Session::Live { fence_left_ms: 1.., .. });
        self.vips.iter().map(|vip| vip.health(etcd_heard)).max().unwrap_or(Health::Healthy)
    }
}

impl Vip {
    /// Who has it, as far as this node knows.
    pub fn holder(&self) -> Option<&Candidate> {
        match self.here {
            Here::Holds => self.queue.iter().find(|c| c.this),
            // First in the queue, with us not having the address: nobody has it.
            Here::Takes | Here::Paused | Here::LetsGo => None,
            Here::Waits | Here::Aside if self.passed_on => None,
            Here::Waits | Here::Aside => self.queue.first().filter(|c| c.vipd && !c.this),
        }
    }

    fn health(&self, etcd_heard: bool) -> Health {
        let can_take = etcd_heard && self.link_up && self.here != Here::Aside;
        match self.holder() {
            // What etcd said last may be long over.
            Some(holder) if holder.this || etcd_heard => {
                if can_take {
                    Health::Healthy
                } else {
                    Health::Degraded
                }
            }
            _ => Health::NobodyHolds,
        }
    }
}

#[cfg(test)]
mod tests;
