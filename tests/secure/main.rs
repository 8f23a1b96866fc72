//! TLS and users: the adapter against real etcd processes with certificates made for the test.
//!
//! Nothing here asserts a tight time; the times printed are for people.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "these are tests, their helpers too")]

mod connecting;
mod lab;
mod logging_in;
mod mistakes;
mod paper;
mod rotating;
mod secrets;
mod server;
mod strangers;
