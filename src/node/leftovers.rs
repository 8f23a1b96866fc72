//! At the daemon's start, before anything else: what an earlier life of it left on this node's links goes.

use std::net::IpAddr;
use std::time::Duration;

use tracing::{debug, warn};

use super::guards::{self, Guard};
use super::kernel::{Kernel, chain};
use super::netlink::{self, Address};

/// How often taking off is tried before the start is given up.
const TRIES: usize = 5;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// Why the links are not known to be clean.
#[derive(thiserror::Error, Debug)]
pub enum Error {
    /// The kernel gave no list.
    #[error("cannot look for addresses that an earlier life left")]
    Look(#[source] netlink::Error),
    /// They are still there.
    #[error("an earlier life left {0} and the kernel does not take it off")]
    Stays(String),
}

/// Takes every address of ours that is among `ips` off, on whatever link, with the kernel's word; gives what there was.
///
/// `ips` are what this config names and what the runtime directory remembers. The same IP put by somebody else stays.
///
/// # Errors
/// When the kernel's word is not to be had: then nothing may be put or released.
pub async fn clean_leftovers(kernel: &mut Kernel, ips: &[IpAddr]) -> Result<Vec<Address>, Error> {
    let mut removed: Vec<Address> = Vec::new();
    if !guards::on(Guard::Leftovers) {
        return Ok(removed);
    }
    for _ in 0..TRIES {
        let found = kernel.look(ips).await.map_err(Error::Look)?.ours;
        if found.is_empty() {
            return Ok(removed);
        }
        let mut refused = false;
        for address in found {
            if let Err(e) = kernel.take_off(address.link, address.ip, address.prefix).await {
                warn!(%address, "cannot take off what an earlier life left: {}", chain(&e));
                refused = true;
            } else if !removed.contains(&address) {
                debug!(%address, "taken off: an earlier life left it");
                removed.push(address);
            }
        }
        if refused {
            tokio::time::sleep(PAUSE).await;
        }
    }
    let stays = kernel.look(ips).await.map_err(Error::Look)?.ours;
    match stays.first() {
        None => Ok(removed),
        Some(address) => Err(Error::Stays(address.to_string())),
    }
}
