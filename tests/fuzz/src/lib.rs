//! What each fuzz target feeds to vipd, and what it holds the outcome against. A target is its module's `judge`: any
//! bytes in; a panic is a find.
//!
//! - [`config`]: the config file · [`records`]: keys and values in etcd · [`frames`]: ARP and neighbour discovery ·
//!   [`links`]: the kernel's news
//! - [`election`]: one election, told anything at any time · [`rivals`]: two elections over one small etcd, where the
//!   bytes decide what happens next
//!
//! `tests/fuzz/run` builds and runs them, and says where a find is kept. `VIPD_FUZZ_TRACE=1` makes the last two tell
//! what they do.

pub mod bytes;
pub mod config;
pub mod election;
pub mod frames;
pub mod links;
pub mod records;
pub mod rivals;
