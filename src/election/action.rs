//! What the election orders: imperative, carried out by the adapters without waiting.
//!
//! An order whose answer never comes may still be carried out, seconds later. The election knows that and repeats,
//! guarded; adapters carry an order out once, bounded in time, and report what they learn.

use super::event::{Answer, Generation, LeaseId, LinkId, VipId};
use super::record::{CandidateRecord, Key, NodeRecord};
use crate::moment::Moment;

/// What the kernel should have.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Wish {
    /// All addresses of the VIP, none of them beyond this moment (the fence).
    Until(Moment),
    /// None of them.
    Absent,
}

/// An order.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// Ask etcd for a lease. Answer: `LeaseGranted`. Asked again by the election while none comes.
    GrantLease,
    /// Renew the lease, then read to prove it. Answer: `PairAnswered` or `LeaseLost`.
    Renew {
        /// The lease.
        lease: LeaseId,
    },
    /// Say the owner's word for what it released (`record`), then revoke it. Answer: `LeaseRevoked`.
    RevokeLease {
        /// The lease.
        lease: LeaseId,
        /// Written first, under the same lease.
        record: Option<NodeRecord>,
    },
    /// Read everything under the prefix and watch on from there. Answer: `PictureRead`.
    ReadAll,
    /// Create the key if it is absent.
    Stand {
        /// The key.
        key: Key,
        /// The lease it hangs on.
        lease: LeaseId,
        /// Its value.
        record: CandidateRecord,
    },
    /// Write this node's record.
    WriteRecord {
        /// The lease it hangs on.
        lease: LeaseId,
        /// The record.
        record: NodeRecord,
    },
    /// If the key still has this create revision: delete it and write the record, in one transaction.
    StepBack {
        /// The key.
        key: Key,
        /// Its create revision.
        create: i64,
        /// The lease the record hangs on.
        lease: LeaseId,
        /// The record, with the owner's word for this key.
        record: NodeRecord,
    },
    /// Make the kernel have this.
    Put {
        /// Which VIP.
        vip: VipId,
        /// The wish's number.
        generation: Generation,
        /// The link it belongs on; for `Absent` the one it may still be on.
        link: Option<LinkId>,
        /// The wish.
        wish: Wish,
    },
    /// Ask the network whether somebody has the VIP: three probes within 100 ms.
    Probe {
        /// Which VIP.
        vip: VipId,
        /// The link to ask on.
        link: LinkId,
        /// The probing's number.
        round: u64,
    },
    /// Tell the network that the VIP is here.
    Announce {
        /// Which VIP.
        vip: VipId,
        /// The link to tell it on.
        link: LinkId,
        /// Why.
        occasion: Occasion,
    },
    /// The VIP was taken out of the plan and is given back, address and key: nothing more will be ordered for it.
    Forget {
        /// Which VIP.
        vip: VipId,
    },
    /// Nothing more will be ordered: the process may end.
    Finish {
        /// Whether all was given back in order.
        clean: bool,
    },
    /// Tell people.
    Tell(Note),
}

/// Why the network is told of a VIP; what matters most stands first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Occasion {
    /// It was put: clients wait for this.
    Put,
    /// Another host claimed it: clients may have gone there.
    Claimed,
    /// Once more after it was put, for those who missed it.
    Repeat,
    /// Now and then while it is held.
    Refresh,
}

/// Why a turn was given up or an address taken off.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Cause {
    /// Asked to stop.
    Stopping,
    /// The VIP is not wanted here any more, or not in this way.
    Removed,
    /// The candidate key is gone from etcd.
    KeyGone,
    /// The lease is gone from etcd.
    LeaseLost,
    /// No counted pair for so long that the fence is past.
    Fenced,
    /// The link is down or gone.
    LinkDown,
    /// The address could not be put.
    PutFailed(String),
    /// The address is on this node and is not ours.
    NotOurs(String),
    /// Somebody keeps taking the address off.
    Fought,
    /// Another host answers for the VIP, or nobody could be asked.
    Answered(Answer),
    /// The turn brought no address for one TTL.
    Fruitless,
    /// etcd's data is of another history.
    AnotherHistory,
    /// The kernel did not confirm in time that an address is off.
    NoKernelWord,
    /// The key was not wanted any more when it appeared.
    Unwanted,
    /// While it waits for one of its addresses another candidate could serve another one.
    InTheWay,
}

/// Something worth telling people; the driver gives it its log level.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Note {
    /// A session began.
    SessionBegan {
        /// Its lease.
        lease: LeaseId,
        /// Its TTL in milliseconds.
        ttl_ms: u64,
        /// From the fence to the end of the lease, in milliseconds.
        margin_ms: u64,
    },
    /// The session ended.
    SessionEnded {
        /// Its lease.
        lease: LeaseId,
        /// Why.
        cause: Cause,
    },
    /// The VIP stands in the queue.
    Queued {
        /// Which VIP.
        vip: VipId,
        /// How many candidates stand before it.
        behind: usize,
    },
    /// A candidate that is no daemon stands first, and has done so for a TTL: it has the turn, and nobody the VIP.
    StrangerFirst {
        /// Which VIP.
        vip: VipId,
        /// What it says about itself.
        who: String,
    },
    /// The turn has come.
    TurnCame {
        /// Which VIP.
        vip: VipId,
        /// Whether the predecessors' words are all known, so that it is taken at once.
        at_once: bool,
    },
    /// The VIP is here.
    Took {
        /// Which VIP.
        vip: VipId,
    },
    /// Taken although somebody else still answers for it.
    TookLoudly {
        /// Which VIP.
        vip: VipId,
        /// Who answered.
        by: Answer,
    },
    /// Another host answers for the VIP: not taken for now.
    SomebodyAnswers {
        /// Which VIP.
        vip: VipId,
        /// Who.
        by: Answer,
    },
    /// Another host claims the VIP that is held here. It is kept, and announced again.
    Claimed {
        /// Which VIP.
        vip: VipId,
        /// Who, this time.
        by: String,
        /// How many claims were heard since the daemon's start.
        times: u64,
    },
    /// The VIP is being taken off here.
    LetGo {
        /// Which VIP.
        vip: VipId,
        /// Why.
        cause: Cause,
        /// Whether the place in the queue is kept.
        kept_place: bool,
    },
    /// A place in the queue is given up; the address was not here.
    LeftQueue {
        /// Which VIP.
        vip: VipId,
        /// Why.
        cause: Cause,
    },
    /// The VIP's address is off (kernel's word) and its key is gone: the turn is over.
    SteppedBack {
        /// Which VIP.
        vip: VipId,
    },
    /// An address was taken off by somebody else and put back.
    Repaired {
        /// Which VIP.
        vip: VipId,
        /// How many times within the last minute.
        times: usize,
    },
    /// The VIP's link became able or unable to serve.
    LinkChanged {
        /// Which VIP.
        vip: VipId,
        /// Whether it can serve.
        up: bool,
    },
    /// A key under the prefix is ignored.
    KeyIgnored {
        /// The key.
        key: Key,
        /// Why.
        why: &'static str,
    },
    /// The watch disagrees with a read: everything is read again.
    WatchDeaf,
    /// A renewal was acknowledged in another term than its proof: not counted.
    TermChanged,
}
