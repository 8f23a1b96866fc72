//! vipd keeps one shared virtual IP on exactly one of a cluster's control-plane nodes, with nothing but the etcd that is
//! already there.
//!
//! # The map
//! ```text
//!   config ──▶ plan ──▶ election (decides)  ◀── facts ──  node (touches: etcd, netlink, frames, clock)
//!                          │                                 ▲
//!                          └──── orders ──▶ daemon (connects) ┘
//! ```
//! Three rooms: [`election`] decides and is pure; [`node`] touches, one adapter per thing outside, and decides nothing;
//! [`daemon`] connects them. Round them: [`config`] (what the operator wrote, checked), [`plan`], [`link`] (which of this
//! node's links is meant), [`cli`], [`moment`], [`status`] (what people and programs are told), `metrics`.
//!
//! # Where to begin
//! [`election`] tells the story and the promise; `daemon/driver.rs` is the loop; [`node::keeper`] is how an address gets
//! on and off a link. `tests/scenarios` shows the election at work in transcripts, `tests/lab` the whole thing on real
//! etcd and real interfaces.

#[cfg(feature = "daemon")]
pub mod cli;
pub mod config;
#[cfg(feature = "daemon")]
pub mod daemon;
pub mod election;
pub mod link;
#[cfg(feature = "daemon")]
pub mod metrics;
pub mod moment;
#[cfg(feature = "daemon")]
pub mod node;
pub mod plan;
pub mod status;
