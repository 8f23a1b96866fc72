//! Announcements and probes between real kernels: what a neighbour makes of them, and what he answers.
//!
//! Each test makes its own two machines (`ground`). Where that is not allowed it says "skipped, because ..." and passes.
#![cfg(feature = "daemon")]

mod announcing;
mod ground;
mod overhearing;
mod probing;
mod sockets;
