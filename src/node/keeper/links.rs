//! Which link each VIP belongs on, and which of them can serve: told per VIP when it changes.
//!
//! A choice is a function of the list of links and of what was chosen before ([`crate::link`]). The whole list is read
//! only when news may change a choice; what is chosen is looked at alone, because a node may have hundreds of links.

mod pick;
mod subnet;

pub use subnet::is_neighbour;

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::watch;
use tracing::{debug, warn};

use super::{KeptVip, RETRY};
use crate::election::event::{Event, LinkId, VipId};
use crate::link::Link;
use crate::moment::Moment;
use crate::node::clock::now;
use crate::node::device::Devices;
use crate::node::kernel::{Kernel, chain};
use crate::node::netlink;
use crate::node::vlan::Missing;
use pick::Pick;
use subnet::Subnets;

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

/// The link of a VIP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkState {
    /// It can serve.
    Serves(LinkView),
    /// It cannot: why, in words.
    Lacks(String),
}

impl LinkState {
    /// The link, if it can serve.
    pub fn serves(&self) -> Option<&LinkView> {
        match self {
            Self::Serves(link) => Some(link),
            Self::Lacks(_) => None,
        }
    }
}

/// The link of each VIP.
pub type LinkStates = BTreeMap<VipId, LinkState>;

/// A link that can serve, and its hardware address, which is what the network is told of.
type Serving = (LinkId, [u8; 6]);

/// How much is to be looked at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) enum Extent {
    /// Nothing.
    #[default]
    None,
    /// The links that are chosen.
    Chosen,
    /// Every link: another one may be meant now.
    All,
}

/// The links of the plan.
#[derive(Debug)]
pub(super) struct Links {
    /// Each different choice of the plan once.
    picks: Vec<Pick>,
    /// Whose VIP is on which.
    vips: Vec<(VipId, usize)>,
    /// Those with an IPv6 address, which nobody reaches on a port.
    with_ipv6: BTreeSet<VipId>,
    /// Whether there ever was a whole list.
    listed: bool,
    devices: Devices,
    subnets: Subnets,
    /// What was said last, for every VIP that anything was said for.
    said: BTreeMap<VipId, Option<Serving>>,
    views: watch::Sender<LinkStates>,
    missing: watch::Sender<BTreeSet<Missing>>,
    again: Option<Moment>,
}

impl Links {
    pub(super) fn new(views: watch::Sender<LinkStates>, missing: watch::Sender<BTreeSet<Missing>>) -> Self {
        let (picks, vips, with_ipv6, said) = (Vec::new(), Vec::new(), BTreeSet::new(), BTreeMap::new());
        let (devices, subnets) = (Devices::default(), Subnets::default());
        Self { picks, vips, with_ipv6, listed: false, devices, subnets, said, views, missing, again: None }
    }

    /// The plan from now on. A choice that was there stays as it came out.
    pub(super) fn follow(&mut self, plan: &[KeptVip]) {
        let mut before = std::mem::take(&mut self.picks);
        self.vips.clear();
        for vip in plan {
            let is_this = |pick: &Pick| *pick.choice() == vip.link;
            let at = self.picks.iter().position(is_this).unwrap_or(self.picks.len());
            if at == self.picks.len() {
                let known = before.iter().position(is_this).map(|i| before.swap_remove(i));
                self.picks.push(known.unwrap_or_else(|| Pick::new(vip.link.clone())));
            }
            self.vips.push((vip.id, at));
        }
        let with_ipv6 = plan.iter().filter(|vip| vip.addresses.iter().any(|ip| ip.is_ipv6()));
        self.with_ipv6 = with_ipv6.map(|vip| vip.id).collect();
        self.said.retain(|id, _| plan.iter().any(|vip| vip.id == *id));
        self.subnets.follow(plan);
    }

    /// When to look again although nothing happened.
    pub(super) fn next(&self) -> Option<Moment> {
        if self.again.is_some() {
            // After a failed look nothing else is due before the next one.
            return self.again;
        }
        self.picks.iter().filter_map(Pick::next).chain(self.subnets.next()).min()
    }

    /// How much news of a link are worth. A node where pods come and go has many links that are not ours.
    pub(super) fn concerned_by(&self, news: &Link) -> Extent {
        if self.picks.iter().any(|pick| !pick.stands_on(news.id) && pick.may_change_with(news)) {
            return Extent::All;
        }
        self.concerned_by_id(news.id)
    }

    /// The same, for news that say little more than the link's number.
    pub(super) fn concerned_by_id(&self, id: LinkId) -> Extent {
        if self.picks.iter().any(|pick| pick.stands_on(id)) { Extent::Chosen } else { Extent::None }
    }

    /// The link of a VIP, if it can serve.
    pub(super) fn serving(&self, vip: VipId) -> Option<LinkId> {
        self.usable(vip).map(|link| link.id)
    }

    fn usable(&self, vip: VipId) -> Option<&Link> {
        let (_, at) = self.vips.iter().find(|(of, _)| *of == vip)?;
        let pick = &self.picks[*at];
        pick.link().filter(|link| link.serves && !(pick.is_port() && self.with_ipv6.contains(&vip)))
    }

    /// Looks at the links of the plan and gives the changes. What cannot be looked at stays as it was.
    pub(super) async fn look(&mut self, kernel: &mut Kernel, extent: Extent) -> Vec<Event> {
        self.again = None;
        if let Err(e) = self.read(kernel, extent).await {
            warn!("cannot look at the links: {}", chain(&e));
            self.again = Some(now() + RETRY);
        }
        self.publish();
        self.subnets.check(kernel, &self.picks, &self.vips).await;
        if self.listed { self.changes() } else { Vec::new() }
    }

    async fn read(&mut self, kernel: &mut Kernel, extent: Extent) -> Result<(), netlink::Error> {
        if extent == Extent::Chosen && self.all_stay(kernel).await? {
            return Ok(());
        }
        let mut links = kernel.links().await?;
        let by_device = |pick: &Pick| pick.choice().base.selector().is_some_and(|selector| selector.needs_device());
        let known = !self.picks.iter().any(by_device) || self.devices.fill(&mut links).await;
        if !known {
            // A link that may be meant too is not known yet: to choose now would be a guess.
            self.again = Some(now() + RETRY);
        }
        for pick in &mut self.picks {
            if known || !by_device(pick) || pick.chosen().is_some() {
                pick.choose(&links);
            }
        }
        self.listed = true;
        Ok(())
    }

    /// Whether every choice stays what it is, as far as the chosen links tell.
    async fn all_stay(&mut self, kernel: &mut Kernel) -> Result<bool, netlink::Error> {
        let mut links: BTreeMap<LinkId, Option<Link>> = BTreeMap::new();
        for pick in &self.picks {
            let Some(chosen) = pick.chosen() else { return Ok(false) };
            for id in chosen {
                if let std::collections::btree_map::Entry::Vacant(place) = links.entry(id) {
                    place.insert(kernel.link_by_id(id).await?);
                }
            }
        }
        let now = |id: LinkId| links.get(&id).cloned().flatten();
        Ok(self.picks.iter_mut().all(|pick| pick.stays(now)))
    }

    fn changes(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for (vip, at) in &self.vips {
            let link = self.usable(*vip).map(|link| (link.id, link.mac));
            let said = self.said.get(vip).copied();
            if said == Some(link) {
                continue;
            }
            let (before, id) = (said.flatten().map(|(id, _)| id), link.map(|(id, _)| id));
            debug!(vip = vip.0, link = %self.picks[*at].choice(), ?id, "link changed");
            // Another link than before: the first one is gone, and with it what was on it. The same one under another
            // hardware address is only told again.
            if before.is_some() && id.is_some() && before != id {
                events.push(Event::Link { vip: *vip, link: None });
            }
            events.push(Event::Link { vip: *vip, link: id });
            self.said.insert(*vip, link);
        }
        events
    }

    fn publish(&self) {
        changed(&self.views, self.vips.iter().map(|(vip, at)| (*vip, self.state(*vip, *at))).collect());
        changed(&self.missing, self.picks.iter().filter_map(Pick::missing).cloned().collect());
    }

    fn state(&self, vip: VipId, at: usize) -> LinkState {
        match self.usable(vip) {
            Some(link) => LinkState::Serves(LinkView { index: link.id, mac: link.mac, name: link.name.clone() }),
            None => {
                LinkState::Lacks(self.picks[at].lack().unwrap_or_else(|| "a port, which takes no IPv6 address".into()))
            }
        }
    }
}

/// Tells it to whoever listens, if it is news.
fn changed<T: PartialEq>(to: &watch::Sender<T>, new: T) {
    to.send_if_modified(|old| {
        let changed = *old != new;
        *old = new;
        changed
    });
}
