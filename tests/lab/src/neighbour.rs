//! What a host's neighbour table (ARP, ND) says about an address, and when that changed.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Result;

use crate::clock::{self, At};
use crate::netlink::{Listener, NEIGHBOURS, News};
use crate::netns::NetNs;
use crate::urgent;

/// A link-layer address.
pub(crate) type Mac = [u8; 6];

/// A change of one address's entry; no `mac`: gone or being asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// When the news of it arrived.
    pub(crate) at: At,
    /// Whose it is.
    pub(crate) ip: IpAddr,
    /// Where it leads.
    pub(crate) mac: Option<Mac>,
}

/// Listens to the neighbour table of one namespace.
#[derive(Clone, Default)]
pub(crate) struct Neighbours(Arc<Mutex<Vec<Entry>>>);

impl Neighbours {
    /// Begins to listen.
    pub(crate) fn watch(namespace: &NetNs) -> Result<Self> {
        let mut listener = namespace.run(|| Listener::open(NEIGHBOURS))?;
        let table = Self::default();
        let writer = table.clone();
        thread::Builder::new().name("neighbours".to_owned()).spawn(move || {
            urgent::this_thread();
            while let Ok(news) = listener.next() {
                let at = clock::now();
                news.unwrap_or_default().iter().for_each(|one| writer.record(at, one));
            }
        })?;
        Ok(table)
    }

    fn record(&self, at: At, news: &News) {
        let entry = match *news {
            News::Neighbour { ip, mac } => Entry { at, ip, mac },
            News::NeighbourGone { ip } => Entry { at, ip, mac: None },
            News::AddressPut { .. } | News::AddressGone { .. } | News::Done => return,
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    /// When `ip` first led to `mac` from `from` on.
    pub(crate) fn led_to(&self, ip: IpAddr, mac: Mac, from: At) -> Option<At> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().find(|entry| entry.at >= from && entry.ip == ip && entry.mac == Some(mac)).map(|entry| entry.at)
    }
}
