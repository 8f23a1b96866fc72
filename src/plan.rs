//! What to do on this node: the checked config as the election takes it.

use std::net::IpAddr;

use crate::election::event::VipId;

/// What to do on this node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The VIPs, by id.
    pub vips: Vec<PlannedVip>,
}

/// One VIP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedVip {
    /// Its id.
    pub id: VipId,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

#[cfg(test)]
impl PlannedVip {
    /// A VIP of one address, for worlds that have no config.
    pub fn for_test(id: VipId, address: IpAddr) -> Self {
        Self { id, addresses: vec![address] }
    }
}
