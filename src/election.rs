//! The election: facts and the time in, orders out.

pub mod action;
pub mod contender;
pub mod event;
pub mod guards;
pub mod lifetime;
pub mod machine;
pub mod picture;
pub mod record;
pub mod session;
pub mod timings;

#[cfg(test)]
#[path = "../tests/safety/mod.rs"]
mod safety;
