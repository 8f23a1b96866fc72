//! What vipd touches: one adapter per thing outside.
//!
//! The rules that all of them obey:
//! - An adapter reports facts ([`Event`](crate::election::event::Event)) and carries out orders
//!   ([`Action`](crate::election::action::Action)). It decides nothing.
//! - Everything that waits for the outside is bounded in time.
//! - Nothing from outside (etcd values, frames, netlink messages) can panic it.
//! - A fact is reported when it is known, not when it is likely: an answer that never came says nothing.

pub mod announce;
pub mod clock;
pub mod conflict;
pub mod device;
pub mod etcd;
pub mod filter;
pub mod frame;
pub mod guards;
pub mod keeper;
pub mod kernel;
pub mod leftovers;
pub mod netlink;
pub mod packet;
pub mod put;
pub mod ready;
pub mod vlan;
