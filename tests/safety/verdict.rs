//! What the judge may say of a world.

/// In which way a world went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// P1: an address on two nodes.
    TwoHolders,
    /// A put whose turn or lease is not there, or that outlives the lease.
    Unfounded,
    /// P3: an address without the turn, or the turn without the address, for too long.
    Silent,
    /// P2: nobody has an address although somebody could.
    Nobody,
    /// After the last fault there is not one holder of each address in time.
    NotHealed,
    /// After the last fault a node does not stand for what it should stand for.
    DoesNotStand,
    /// A session ended for a cause that is not so.
    EndedForNothing,
    /// A turn was given up for a link without knowing whether etcd can be reached.
    GivenUpBlindly,
    /// It spins.
    Spins,
}

/// A world that went wrong.
#[derive(Clone, Debug)]
pub(super) struct Wrong {
    pub(super) kind: Kind,
    pub(super) text: String,
}
