//! vipd: one shared virtual IP on exactly one node.

pub mod config;
pub mod election;
pub mod moment;
#[cfg(feature = "daemon")]
pub mod node;
pub mod plan;
