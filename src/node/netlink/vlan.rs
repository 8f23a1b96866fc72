//! Making and removing the link of a VLAN. Which and when is `node/vlan.rs`'s affair.

use std::time::Duration;

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};

use super::{Error, Netlink};
use crate::election::event::LinkId;

/// How long the kernel may take: the first VLAN of a machine may want a module loaded.
const PATIENCE: Duration = Duration::from_secs(30);

impl Netlink {
    /// Makes a VLAN link, down.
    ///
    /// # Errors
    /// When the kernel refuses, or is silent: then it may still come.
    pub async fn create_vlan(&mut self, parent: LinkId, id: u16, name: &str) -> Result<(), Error> {
        let mut message = LinkMessage::default();
        let data = InfoData::Vlan(vec![InfoVlan::Id(id)]);
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Link(parent.0),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(data)]),
        ];
        self.tell(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL).await
    }

    /// Gives a link an alias.
    ///
    /// # Errors
    /// When the kernel refuses or is silent.
    pub async fn set_alias(&mut self, link: LinkId, alias: &str) -> Result<(), Error> {
        let mut message = LinkMessage::default();
        message.header.index = link.0;
        message.attributes = vec![LinkAttribute::IfAlias(alias.to_owned())];
        self.tell(RouteNetlinkMessage::SetLink(message), 0).await
    }

    /// Brings a link up.
    ///
    /// # Errors
    /// When the kernel refuses (`ENETDOWN`: the link below is down, and takes this one along when it comes up) or is
    /// silent.
    pub async fn bring_up(&mut self, link: LinkId) -> Result<(), Error> {
        let mut message = LinkMessage::default();
        message.header.index = link.0;
        (message.header.flags, message.header.change_mask) = (LinkFlags::Up, LinkFlags::Up);
        self.tell(RouteNetlinkMessage::SetLink(message), 0).await
    }

    /// Removes a link, and with it what is on it.
    ///
    /// # Errors
    /// When the kernel refuses or is silent.
    pub async fn remove_link(&mut self, link: LinkId) -> Result<(), Error> {
        let mut message = LinkMessage::default();
        message.header.index = link.0;
        self.tell(RouteNetlinkMessage::DelLink(message), 0).await
    }

    /// Says it once: whether it was done is not known if the connection dies, and said twice it may be done twice.
    async fn tell(&mut self, order: RouteNetlinkMessage, flags: u16) -> Result<(), Error> {
        let mut request = NetlinkMessage::from(order);
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let done = self.line().await?.ask(request, PATIENCE).await;
        if matches!(done, Err(Error::Died | Error::Silent(_))) {
            self.line = None;
        }
        done.map(drop)
    }
}
