//! The writer's line to the kernel: one netlink socket with two descriptors.
//!
//! Puts leave by the *exit*, which the guard may swap away under them; everything else goes by the socket itself. So the
//! kernel's answer to a put that did leave is read however long the process was held up, and "refused" (the operator's
//! own address is there) is never mistaken for an address of ours that has to go.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{MsgFlags, send};
use nix::unistd::dup3;

/// An open line.
#[derive(Debug)]
pub(super) struct Line {
    socket: Socket,
    exit: OwnedFd,
}

impl Line {
    /// Opens one in this thread's network namespace, on which an answer is waited for so long at most.
    pub(super) fn open(patience: Duration) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        // Only the kernel is heard.
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_cap_ack(true)?;
        socket2::SockRef::from(&socket).set_read_timeout(Some(patience))?;
        let exit = socket.as_fd().try_clone_to_owned()?;
        Ok(Self { socket, exit })
    }

    /// Sends past the guard.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.socket.send(bytes, 0).map(drop)
    }

    /// Reads one answer to the end of `buffer`.
    pub(super) fn receive(&self, buffer: &mut Vec<u8>) -> io::Result<()> {
        self.socket.recv(buffer, 0).map(drop)
    }

    /// What the guard may swap away.
    pub(super) fn exit(&self) -> &OwnedFd {
        &self.exit
    }

    /// Opens the exit again, after it was swapped away. It keeps its number, so this needs no free one.
    pub(super) fn mend_exit(&mut self) -> io::Result<()> {
        Ok(dup3(&self.socket, &mut self.exit, OFlag::O_CLOEXEC)?)
    }
}

/// Sends by the exit.
pub(super) fn leave(exit: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    send(exit.as_raw_fd(), bytes, MsgFlags::empty())?;
    Ok(())
}

/// Whether a send failed because the exit was swapped away: the kernel has not looked at the message then.
pub(super) fn is_shut(e: &io::Error) -> bool {
    e.raw_os_error() == Some(Errno::ENOTSOCK as i32)
}
