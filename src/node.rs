//! The rules that adapters obey: one adapter per thing outside; each reports facts, carries out orders, decides nothing.

pub mod announce;
pub mod clock;
pub mod conflict;
pub mod filter;
pub mod frame;
pub mod keeper;
pub mod kernel;
pub mod leftovers;
pub mod netlink;
pub mod packet;
pub mod put;
pub mod ready;
