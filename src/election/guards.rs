//! The safety mechanisms of the core by name, so that a test can switch one off and show that it is missed.
//!
//! Outside tests every guard is on and none can be switched.

/// A safety mechanism of the core.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Guard {
    /// Past the fence everything is off.
    Fence,
    /// The fence is counted from the moment the renewal was sent.
    CountFromSend,
    /// A renewal counts only with the linearizable read after it that agrees with the watch.
    PairRead,
    /// The read must come from the renewal's raft term.
    PairTerm,
    /// Past the fence a pair counts only beside a read of everything.
    ReadPastFence,
    /// The key is given back only when the address is off, in the kernel's word.
    OffBeforeRelease,
    /// Without the kernel's word nothing is given back: the session ends, and with it, later, the lease.
    KernelsWord,
    /// A turn is taken at once only after the owner's word.
    OwnersWord,
    /// Who stood first during the last TTL is known only if all of it was seen: not after a re-read.
    WholeTtl,
    /// After an unannounced loss the network is asked first.
    Probes,
    /// After an unannounced loss a pair is counted first whose renewal was sent since.
    FreshPair,
    /// A key whose deletion was ordered, or whose turn was seen to end, is dead to its owner.
    OneTurn,
    /// Own key seen gone: that turn ends at once.
    KeyGone,
    /// With its link down a holder gives its turn up only when etcd was heard since.
    HeardSince,
    /// Late news of an older wish falls on the floor.
    Generations,
    /// Another cluster, or a revision that went back, is another history.
    OneHistory,
    /// A turn that is not the first in its queue any more belongs to another history.
    FirstStaysFirst,
    /// A group that waits for one of its addresses gives way to who could serve another.
    GivesWay,
    /// A VIP that changed begins only when what was there before is given back.
    GivenBackFirst,
}

/// Which guards stand.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Guards {
    #[cfg(test)]
    off: std::collections::BTreeSet<Guard>,
}

impl Guards {
    /// Whether this guard stands.
    pub fn on(&self, guard: Guard) -> bool {
        #[cfg(test)]
        return !self.off.contains(&guard);
        #[cfg(not(test))]
        {
            let _ = guard;
            true
        }
    }

    /// All guards but this one.
    #[cfg(test)]
    pub fn without(guard: Guard) -> Self {
        Self::default().nor(guard)
    }

    /// And without this one.
    #[cfg(test)]
    pub fn nor(mut self, guard: Guard) -> Self {
        self.off.insert(guard);
        self
    }
}
