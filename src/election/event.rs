//! What the election is told: facts, in the past tense, each with the moment it is about.
//!
//! Adapters report them and decide nothing. A fact may come late or never; it must never be made up.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::contender::OnConflict;
use super::record::{Key, NodeRecord};
use super::timings::Schedule;
use crate::moment::Moment;

/// Which VIP. A number is given once in a daemon's life: facts and orders may be late.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VipId(pub u32);

/// An etcd lease id; shown as etcd shows it, in lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lease {self}")
    }
}

/// A network interface as the kernel numbers it (the ifindex).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u32);

/// A wish's number: it changes when present/absent flips or the link changes, so late news has something to fail on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
#[cfg_attr(not(test), derive(Hash))]
pub struct Generation(pub u64);

/// The head of an etcd answer: which cluster spoke, in which raft term, and how far its store was.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Header {
    /// Cluster id.
    pub cluster: u64,
    /// Raft term of the member that answered.
    pub term: u64,
    /// Store revision when it answered.
    pub revision: i64,
}

/// The short linearizable read of a counted pair: `limit 1, sorted by mod revision, descending, keys only`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ShortRead {
    /// When the read was sent, which is after the renewal's answer came.
    pub sent_at: Moment,
    /// The read's header.
    pub header: Header,
    /// How many keys stand under the prefix.
    pub count: u64,
    /// The newest mod revision among them; 0 if there is none.
    pub newest: i64,
}

/// A renewal that was answered, and the read that may prove it (protocol section 4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Pair {
    /// The lease that was renewed.
    pub lease: LeaseId,
    /// When the renewal was sent: what the fence is counted from.
    pub sent_at: Moment,
    /// When the renewal's answer came.
    pub answered_at: Moment,
    /// The time to live the answer named.
    pub ttl: Duration,
    /// The header of the renewal's answer.
    pub renewed: Header,
    /// The read after it.
    pub read: ShortRead,
}

/// A key under the prefix, as etcd has it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Entry {
    /// The whole key.
    pub key: Key,
    /// Create revision: the key's place in the queue.
    pub create: i64,
    /// Mod revision.
    pub modified: i64,
    /// What it says.
    pub record: Record,
}

/// What a key under the prefix says.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Record {
    /// Somebody stands for these addresses.
    Candidate {
        /// Whose lease it hangs on.
        lease: LeaseId,
        /// The addresses it names, its key's own among them.
        addresses: Vec<IpAddr>,
        /// Who stands, for people: a node's name, or the escaped start of a foreign value.
        who: String,
    },
    /// What a node says about itself.
    Node {
        /// Whose lease it hangs on.
        lease: LeaseId,
        /// The record.
        record: NodeRecord,
    },
    /// Not a candidate and not a node record: counted, otherwise ignored. The text says why.
    Ignored(&'static str),
}

impl Record {
    /// Whether somebody stands by it.
    pub fn is_candidate(&self) -> bool {
        matches!(self, Self::Candidate { .. })
    }

    /// The addresses that somebody stands for by it.
    pub fn addresses(&self) -> &[IpAddr] {
        match self {
            Self::Candidate { addresses, .. } => addresses,
            Self::Node { .. } | Self::Ignored(_) => &[],
        }
    }
}

/// One change under the prefix.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Change {
    /// A key was written.
    Put(Entry),
    /// A key is gone.
    Deleted(Key),
}

/// What became of a wish.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// All addresses of the VIP are on the link, ours, and seen there.
    Present,
    /// The kernel's word: every address of the VIP is gone, acknowledged and read back.
    Absent,
    /// An address could not be put. Nothing of the VIP is left on the link unless `Absent` never follows.
    Failed(String),
    /// The same IP is on this node and is not ours. Nothing was touched.
    NotOurs(String),
}

/// What the operator wants from now on.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reconfiguration {
    /// The margin, if he wants more than the default. It holds from the next session on.
    pub margin: Option<Duration>,
    /// When to announce a VIP that was taken.
    pub announce: Schedule,
    /// What to do at a first claim of a VIP that somebody else answers for.
    pub on_conflict: OnConflict,
    /// Every VIP to stand for, with its addresses. Who is known by its number stays as it is; a number that was given up
    /// never comes back.
    pub vips: Vec<(VipId, Vec<IpAddr>)>,
}

/// Why probes did not end in silence.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Answer {
    /// Another host has the address: who, for people (a MAC address).
    Host(String),
    /// It was not possible to ask: why. What nobody was asked is not known.
    NotAsked(String),
}

/// A fact.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// etcd granted a lease that was asked for at `sent_at`.
    LeaseGranted {
        /// The new lease.
        lease: LeaseId,
        /// What was granted, which may be more than was asked for.
        ttl: Duration,
        /// When it was asked for.
        sent_at: Moment,
        /// The answer's header.
        header: Header,
    },
    /// etcd says that this lease does not exist (any more).
    LeaseLost {
        /// The lease.
        lease: LeaseId,
    },
    /// The revocation of this lease is done, or given up.
    LeaseRevoked {
        /// The lease.
        lease: LeaseId,
    },
    /// A renewal and its read were answered. Whether they count is for the election to say.
    PairAnswered(Pair),
    /// Everything under the prefix was read (linearizable) and a new watch starts behind it.
    PictureRead {
        /// When the read was sent.
        sent_at: Moment,
        /// Its header.
        header: Header,
        /// All keys under the prefix.
        entries: Vec<Entry>,
    },
    /// The watch told of one revision, whole.
    Changed {
        /// The revision.
        revision: i64,
        /// All its changes under the prefix.
        changes: Vec<Change>,
    },
    /// A wish was carried out, or could not be.
    Settled {
        /// Which VIP.
        vip: VipId,
        /// Which wish.
        generation: Generation,
        /// What became of it.
        outcome: Outcome,
    },
    /// An address of ours was taken off by somebody else and is back.
    Repaired {
        /// Which VIP.
        vip: VipId,
        /// Under which wish.
        generation: Generation,
    },
    /// Three probes went out and nobody answered.
    ProbeSilent {
        /// Which VIP.
        vip: VipId,
        /// Which probing.
        round: u64,
    },
    /// Somebody else answered for the VIP, or nobody could be asked.
    ProbeAnswered {
        /// Which VIP.
        vip: VipId,
        /// Which probing.
        round: u64,
        /// Who.
        by: Answer,
    },
    /// Somebody else was heard to say that he has the VIP.
    Claimed {
        /// Which VIP.
        vip: VipId,
        /// Who, for people (a MAC address).
        by: String,
        /// How many times, since this was last reported of him.
        times: u32,
    },
    /// The VIP's link is up and carries (`Some`), or is down, without carrier or not there (`None`). Told again while it
    /// is up: it has another hardware address.
    Link {
        /// Which VIP.
        vip: VipId,
        /// The link, if it can serve.
        link: Option<LinkId>,
    },
    /// The operator wants something else from now on.
    Reconfigured(Reconfiguration),
    /// Leave in order (SIGTERM).
    Stop,
    /// Take the addresses off and go (second signal).
    StopNow,
    /// The deadline has come.
    Tick,
}
