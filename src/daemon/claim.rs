//! One daemon per network namespace: whoever may touch its addresses holds an abstract Unix socket, which belongs to
//! the namespace and which the kernel frees however its holder ends.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

/// The socket's name, without its leading NUL.
const NAME: &str = "vipd/addresses";

/// The right to touch this network namespace's addresses, for as long as it lives.
#[derive(Debug)]
pub struct Claim {
    _listener: UnixListener,
}

/// Why there is no claim.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Somebody else has it.
    #[error("this network namespace's VIPs are in the care of another vipd ({0}); nothing was changed")]
    Taken(String),
    /// The socket cannot be bound.
    #[error("cannot claim this network namespace (abstract Unix socket @{NAME}); nothing was changed")]
    Socket(#[source] io::Error),
}

impl Claim {
    /// Takes the claim.
    ///
    /// # Errors
    /// When another process has it, or there is no socket.
    pub fn take() -> Result<Self, ClaimError> {
        let address = SocketAddr::from_abstract_name(NAME).map_err(ClaimError::Socket)?;
        match UnixListener::bind_addr(&address) {
            Ok(listener) => Ok(Self { _listener: listener }),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => Err(ClaimError::Taken(holder(&address))),
            Err(e) => Err(ClaimError::Socket(e)),
        }
    }
}

/// Who holds it: the kernel says so to whoever connects.
fn holder(address: &SocketAddr) -> String {
    let credentials = UnixStream::connect_addr(address)
        .and_then(|stream| getsockopt(&stream, PeerCredentials).map_err(io::Error::from));
    match credentials {
        Ok(c) if c.pid() > 0 => format!("pid {}", c.pid()),
        Ok(_) => "in another PID namespace".into(),
        Err(e) => format!("which does not say who it is: {e}"),
    }
}
