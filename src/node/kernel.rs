//! Both hands on the kernel, one that asks and one that writes, and what is known about its marks.

use std::collections::BTreeSet;
use std::net::IpAddr;

use tokio::sync::watch;
use tracing::{debug, warn};

use super::netlink::{Address, Marks, Netlink};
use super::put::{self, Over, Put, Putter};
use super::{netlink, netlink::Link};
use crate::election::event::LinkId;
use crate::moment::Moment;

/// Why the kernel's side cannot be opened. Nothing was changed.
#[derive(thiserror::Error, Debug)]
pub enum OpenError {
    /// The asking hand.
    #[error(transparent)]
    Ask(#[from] netlink::Error),
    /// The writing hand.
    #[error(transparent)]
    Write(#[from] put::Error),
}

/// What a look found of some addresses, on all links of this node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// What we put.
    pub ours: Vec<Address>,
    /// The same addresses, put by somebody else.
    pub foreign: Vec<Address>,
}

/// The kernel, as far as links and addresses go. Whoever has it is the only one that touches addresses.
#[derive(Debug)]
pub struct Kernel {
    netlink: Netlink,
    putter: Putter,
    marks: Marks,
    /// What was there at the last look, of all that was ever looked for, whoever put it.
    there: watch::Sender<BTreeSet<IpAddr>>,
}

impl Kernel {
    /// Opens both hands, in this thread's network namespace.
    ///
    /// # Errors
    /// When sockets or threads are not to be had.
    pub async fn open() -> Result<Self, OpenError> {
        Ok(Self::with(Netlink::open().await?, Putter::start()?))
    }

    /// From its hands.
    pub fn with(netlink: Netlink, putter: Putter) -> Self {
        Self { netlink, putter, marks: Marks::Unknown, there: watch::Sender::default() }
    }

    /// All links.
    ///
    /// # Errors
    /// When the kernel gives no whole list.
    pub async fn links(&mut self) -> Result<Vec<Link>, netlink::Error> {
        self.netlink.links().await
    }

    /// The link of this number, if there is one.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub async fn link_by_id(&mut self, id: LinkId) -> Result<Option<Link>, netlink::Error> {
        self.netlink.link_by_id(id).await
    }

    /// The addresses on a link that are of a family with one of `ips` and are none of them.
    ///
    /// # Errors
    /// When the kernel gives no whole list.
    pub async fn addresses_on(&mut self, link: LinkId, ips: &[IpAddr]) -> Result<Vec<Address>, netlink::Error> {
        let all = self.netlink.all_addresses(ips).await?;
        Ok(all.into_iter().filter(|a| a.link == link && !ips.contains(&a.ip)).collect())
    }

    /// Looks for these addresses on all links.
    ///
    /// # Errors
    /// When the kernel gives no whole list.
    pub async fn look(&mut self, ips: &[IpAddr]) -> Result<Seen, netlink::Error> {
        let mut all = self.netlink.all_addresses(ips).await?;
        self.marks = all.iter().fold(self.marks, |marks, a| marks.learn(a));
        all.retain(|a| ips.contains(&a.ip));
        self.there.send_if_modified(|there| {
            let change = |ip: &IpAddr| match all.iter().any(|a| a.ip == *ip) {
                true => there.insert(*ip),
                false => there.remove(ip),
            };
            ips.iter().map(change).fold(false, |any, changed| any | changed)
        });
        let (ours, foreign) = all.into_iter().partition(|a| self.is_ours(a));
        Ok(Seen { ours, foreign })
    }

    /// Which of the addresses that were ever looked for are there, as the last look at each found it. For whoever holds
    /// that against what the election says.
    pub fn there(&self) -> watch::Receiver<BTreeSet<IpAddr>> {
        self.there.subscribe()
    }

    /// Whether an address that is one of ours to put was put by us.
    pub fn is_ours(&self, address: &Address) -> bool {
        address.is_ours(self.marks)
    }

    /// Told of an address that was just put and read back: the first one shows whether this kernel keeps the mark.
    pub fn learn_from_put(&mut self, back: &Address) {
        let known = self.marks.learn_from_put(back);
        let before = std::mem::replace(&mut self.marks, known);
        if before != known && known == Marks::Dropped {
            warn!("this kernel drops the mark of addresses (Linux before 5.18): ours are told by their other signs");
        }
    }

    /// Puts an address; see [`Putter::put`].
    ///
    /// # Errors
    /// As [`Putter::put`].
    pub async fn put(&self, link: LinkId, ip: IpAddr, fence: Moment, over: Over) -> Result<Put, put::Error> {
        let done = self.putter.put(link, ip, fence, over).await;
        debug!(%ip, link = link.0, ?over, ?done, "put");
        done
    }

    /// Takes an address off; see [`Putter::take_off`].
    ///
    /// # Errors
    /// As [`Putter::take_off`].
    pub async fn take_off(&self, link: LinkId, ip: IpAddr, prefix: u8) -> Result<(), put::Error> {
        let done = self.putter.take_off(link, ip, prefix).await;
        debug!(%ip, link = link.0, prefix, ?done, "take off");
        done
    }
}

/// An error and all its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        text = format!("{text}: {e}");
        cause = e.source();
    }
    text
}
