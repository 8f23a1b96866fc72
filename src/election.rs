//! The election: facts and the time in, orders out.

pub mod action;
pub mod event;
pub mod lifetime;
pub mod record;
