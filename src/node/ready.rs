//! The one place that hands a descriptor to tokio's reactor.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use tokio::io::unix::AsyncFd;

/// Registers an open descriptor, to be waited for.
///
/// # Errors
/// When the reactor does not take it.
pub fn register<T: AsFd + AsRawFd + Owner>(inner: T) -> io::Result<AsyncFd<T>> {
    #[expect(unsafe_code, reason = "tokio asks that the descriptor stay open and the same until it is given back")]
    // SAFETY: `Owner` types own their descriptor, never swap it, and close it only when dropped.
    let registered = unsafe { AsyncFd::register(inner) };
    Ok(registered?)
}

/// A type that owns the descriptor it lends, the same one until it is dropped.
pub trait Owner {}

impl Owner for socket2::Socket {}
