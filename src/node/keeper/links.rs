//! Which links can serve, told per VIP when it changes.

use std::collections::BTreeMap;

use tokio::sync::watch;
use tracing::{debug, warn};

use super::{KeptVip, RETRY};
use crate::election::event::{Event, LinkId, VipId};
use crate::moment::Moment;
use crate::node::clock::now;
use crate::node::kernel::{Kernel, chain};
use crate::node::netlink::Link;

/// What an announcer has to know of a VIP's link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkView {
    /// Its number.
    pub index: LinkId,
    /// Its hardware address; zeros if it has none of six bytes.
    pub mac: [u8; 6],
    /// Its name.
    pub name: String,
}

/// The links of the plan.
#[derive(Debug)]
pub(super) struct Links {
    /// By name, as they were at the last look; only those that are there.
    links: BTreeMap<String, Link>,
    /// Whose VIP is on which.
    vips: Vec<(VipId, String)>,
    /// What was said last, for every VIP that anything was said for.
    said: BTreeMap<VipId, Option<LinkId>>,
    views: watch::Sender<BTreeMap<VipId, LinkView>>,
    next: Option<Moment>,
}

impl Links {
    pub(super) fn new(plan: &[KeptVip], views: watch::Sender<BTreeMap<VipId, LinkView>>) -> Self {
        let vips = plan.iter().map(|vip| (vip.id, vip.link_name.clone())).collect();
        Self { links: BTreeMap::new(), vips, said: BTreeMap::new(), views, next: None }
    }

    /// When to look again because the last look failed.
    pub(super) fn next(&self) -> Option<Moment> {
        self.next
    }

    /// Whether news of this link are worth a look: it has a name of the plan, or had it.
    pub(super) fn concerns(&self, id: LinkId, name: &str) -> bool {
        self.vips.iter().any(|(_, of)| of == name) || self.links.values().any(|link| link.id == id)
    }

    /// The link of this name, if it can serve.
    pub(super) fn serving(&self, name: &str) -> Option<LinkId> {
        self.links.get(name).filter(|link| link.serves).map(|link| link.id)
    }

    /// Looks at every link of the plan and gives the changes. What cannot be looked at stays as it was.
    pub(super) async fn look(&mut self, kernel: &mut Kernel) -> Vec<Event> {
        self.next = None;
        let mut names: Vec<&String> = self.vips.iter().map(|(_, name)| name).collect();
        names.sort();
        names.dedup();
        let mut unknown = Vec::new();
        for name in names {
            match kernel.link(name).await {
                Ok(Some(link)) => drop(self.links.insert(name.clone(), link)),
                Ok(None) => drop(self.links.remove(name)),
                Err(e) => {
                    warn!(link = %name, "cannot look at the link: {}", chain(&e));
                    self.next = Some(now() + RETRY);
                    unknown.push(name.clone());
                }
            }
        }
        self.publish();
        self.changes(&unknown)
    }

    fn changes(&mut self, unknown: &[String]) -> Vec<Event> {
        let mut events = Vec::new();
        for (vip, name) in &self.vips {
            let link = self.serving(name);
            let said = self.said.get(vip).copied();
            if said == Some(link) || (said.is_none() && unknown.contains(name)) {
                continue;
            }
            debug!(vip = vip.0, link = %name, id = ?link, "link changed");
            // Another link of the same name: the first one is gone, and with it what was on it.
            if said.flatten().is_some() && link.is_some() {
                events.push(Event::Link { vip: *vip, link: None });
            }
            events.push(Event::Link { vip: *vip, link });
            self.said.insert(*vip, link);
        }
        events
    }

    fn publish(&self) {
        let views: BTreeMap<_, _> = self.vips.iter().filter_map(|(vip, name)| Some((*vip, self.view(name)?))).collect();
        self.views.send_if_modified(|old| {
            let changed = *old != views;
            *old = views;
            changed
        });
    }

    fn view(&self, name: &str) -> Option<LinkView> {
        let link = self.links.get(name).filter(|link| link.serves)?;
        Some(LinkView { index: link.id, mac: link.mac, name: name.to_owned() })
    }
}
