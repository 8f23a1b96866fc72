//! What the kernel says about this node's links and addresses. Addresses are written by `put.rs`; here, only the links of
//! VLANs are made and removed, for `vlan.rs`, on a connection of its own.
//!
//! [`Netlink`] is the one owner of the socket for questions (two lists asked at once on one socket fail with EBUSY);
//! [`Monitor`] listens on a socket of its own, and all that it says is "look again". A list is whole or it is an error:
//! a dead connection, a kernel that is silent or a list that changed while it was read never look like "not there".

mod address;
mod line;
mod link;
mod monitor;
mod vlan;

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use tracing::debug;

pub use address::{Address, MARK, Marks, host_prefix};
use line::{Line, PATIENCE};
pub use monitor::{Monitor, News, news_of};

use crate::election::event::LinkId;
pub use crate::link::Link;

/// How often a list that changed while it was read is asked again.
const TRIES: usize = 5;

/// Why the kernel did not answer. Nothing was changed: these are questions.
#[derive(thiserror::Error, Debug)]
pub enum Error {
    /// No connection.
    #[error("cannot open a netlink connection")]
    Open(#[source] io::Error),
    /// The connection ended before the answer did.
    #[error("the netlink connection ended within the answer")]
    Died,
    /// No whole answer in time.
    #[error("the kernel did not answer within {0:?}")]
    Silent(Duration),
    /// The list changed while the kernel told it, or messages were lost, again and again.
    #[error("the kernel's list kept changing while it was read")]
    Torn,
    /// The kernel said no.
    #[error("the kernel refuses")]
    Refused(#[source] io::Error),
}

/// Asks the kernel about links and addresses.
#[derive(Debug)]
pub struct Netlink {
    line: Option<Line>,
}

impl Netlink {
    /// Opens a connection in this thread's network namespace.
    ///
    /// # Errors
    /// When there is no socket or no thread to be had.
    pub async fn open() -> Result<Self, Error> {
        Ok(Self { line: Some(Line::open().await.map_err(Error::Open)?) })
    }

    /// All links.
    ///
    /// # Errors
    /// When the kernel gives no whole list.
    pub async fn links(&mut self) -> Result<Vec<Link>, Error> {
        let answer = self.ask(RouteNetlinkMessage::GetLink(link_question()), NLM_F_DUMP).await?;
        Ok(answer.iter().filter_map(link_in).collect())
    }

    /// The link of this name, if there is one; asks for that one only, for a node may have hundreds.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub async fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
        let mut question = link_question();
        question.attributes.push(LinkAttribute::IfName(name.to_owned()));
        match self.ask(RouteNetlinkMessage::GetLink(question), NLM_F_ACK).await {
            Ok(answer) => Ok(answer.iter().find_map(link_in)),
            Err(Error::Refused(e)) if e.raw_os_error() == Some(Errno::ENODEV as i32) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The link of this number, if there is one.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub async fn link_by_id(&mut self, id: LinkId) -> Result<Option<Link>, Error> {
        let mut question = link_question();
        question.header.index = id.0;
        match self.ask(RouteNetlinkMessage::GetLink(question), NLM_F_ACK).await {
            Ok(answer) => Ok(answer.iter().find_map(link_in)),
            Err(Error::Refused(e)) if e.raw_os_error() == Some(Errno::ENODEV as i32) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The addresses of this node that are among `ips`, on whatever link and with whatever mask.
    ///
    /// # Errors
    /// When the kernel gives no whole list.
    pub async fn addresses(&mut self, ips: &[IpAddr]) -> Result<Vec<Address>, Error> {
        Ok(self.all_addresses(ips).await?.into_iter().filter(|a| ips.contains(&a.ip)).collect())
    }

    /// All addresses of this node that are of a family with one of `ips`.
    ///
    /// # Errors
    /// When the kernel gives no whole list.
    pub async fn all_addresses(&mut self, ips: &[IpAddr]) -> Result<Vec<Address>, Error> {
        let mut all = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            if ips.iter().any(|ip| ip.is_ipv4() == (family == AddressFamily::Inet)) {
                let mut question = AddressMessage::default();
                question.header.family = family;
                let answer = self.ask(RouteNetlinkMessage::GetAddress(question), NLM_F_DUMP).await?;
                all.extend(answer.iter().filter_map(address_in));
            }
        }
        Ok(all)
    }

    /// Asks, on a new connection if the old one died, and again if the list changed meanwhile.
    async fn ask(&mut self, question: RouteNetlinkMessage, flags: u16) -> Result<Vec<RouteNetlinkMessage>, Error> {
        let mut last = Error::Torn;
        for _ in 0..TRIES {
            let mut request = NetlinkMessage::from(question.clone());
            request.header.flags = NLM_F_REQUEST | flags;
            last = match self.line().await?.ask(request, PATIENCE).await {
                Ok(answer) => return Ok(answer),
                Err(e @ Error::Torn) => e,
                Err(e @ Error::Died) => {
                    debug!("the netlink connection died, opening another");
                    self.line = None;
                    e
                }
                Err(e) => {
                    // A late answer must not meet the next question.
                    if matches!(e, Error::Silent(_)) {
                        self.line = None;
                    }
                    return Err(e);
                }
            };
        }
        Err(last)
    }

    async fn line(&mut self) -> Result<&mut Line, Error> {
        if self.line.is_none() {
            self.line = Some(Line::open().await.map_err(Error::Open)?);
        }
        self.line.as_mut().ok_or(Error::Died)
    }
}

/// Without the counters, which are most of an answer about a link.
fn link_question() -> LinkMessage {
    let mut question = LinkMessage::default();
    question.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    question
}

fn link_in(message: &RouteNetlinkMessage) -> Option<Link> {
    match message {
        RouteNetlinkMessage::NewLink(m) => Some(Link::read(m)),
        _ => None,
    }
}

fn address_in(message: &RouteNetlinkMessage) -> Option<Address> {
    match message {
        RouteNetlinkMessage::NewAddress(m) => Address::read(m),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_connection_is_an_error_to_ask_and_no_empty_list() {
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetLink(link_question()));
        request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        assert!(matches!(Line::dead().ask(request, PATIENCE).await, Err(Error::Died)));
    }

    #[tokio::test]
    async fn after_a_death_the_next_question_opens_another_connection() {
        let mut netlink = Netlink { line: Some(Line::dead()) };
        assert!(netlink.links().await.unwrap().iter().any(|l| l.name == "lo"));
    }

    #[tokio::test]
    async fn a_link_that_is_not_there_is_none_and_the_loopback_is_there() {
        let mut netlink = Netlink::open().await.unwrap();
        assert_eq!(netlink.link("no-such-link").await.unwrap(), None);
        assert_eq!(netlink.link("lo").await.unwrap().unwrap().name, "lo");
    }
}
