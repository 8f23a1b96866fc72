//! vipd: one shared virtual IP on exactly one node.

#[cfg(feature = "daemon")]
pub mod cli;
pub mod config;
#[cfg(feature = "daemon")]
pub mod daemon;
pub mod election;
pub mod moment;
#[cfg(feature = "daemon")]
pub mod node;
pub mod plan;
