//! One choice of the plan and the link that it came to.

use std::time::Duration;

use tracing::{debug, error, info, warn};

use crate::election::event::LinkId;
use crate::link::{Base, Found, Link, LinkChoice, describe, lack, list, taken_by, vlan_of};
use crate::moment::Moment;
use crate::node::clock::now;
use crate::node::vlan::Missing;

/// How often a choice that has no link says so.
const SAY_AGAIN: Duration = Duration::from_secs(30);

/// One choice; see the module.
#[derive(Debug)]
pub(super) struct Pick {
    choice: LinkChoice,
    /// The link that was chosen, or the one below the VLAN.
    base: Option<LinkId>,
    /// The link that the VIPs go on, as it was at the last look.
    link: Option<Link>,
    /// Whether that is a port of another link, which takes what arrives there.
    is_port: bool,
    /// Links that were meant as well at the last look.
    others: Vec<LinkId>,
    missing: Option<Missing>,
    said: Option<(Standing, Moment)>,
}

/// How a choice stands, as far as people are told.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Standing {
    Nothing,
    Several,
    NoVlan,
    /// This one, a port of that one.
    Chosen(LinkId, Option<LinkId>),
}

impl Pick {
    pub(super) fn new(choice: LinkChoice) -> Self {
        Self { choice, base: None, link: None, is_port: false, others: Vec::new(), missing: None, said: None }
    }

    pub(super) fn choice(&self) -> &LinkChoice {
        &self.choice
    }

    /// The link, whether it can serve or not.
    pub(super) fn link(&self) -> Option<&Link> {
        self.link.as_ref()
    }

    /// Why nothing can be served on it, in words; none: it can.
    pub(super) fn lack(&self) -> Option<String> {
        let standing = self.said.as_ref().map(|(standing, _)| standing);
        match (standing, &self.link) {
            (Some(Standing::Several), _) => Some("more than one link is meant".into()),
            (Some(Standing::NoVlan), _) => Some("there is no link for the VLAN yet".into()),
            (_, None) => Some("there is no such link".into()),
            (_, Some(link)) => lack(link).map(|lack| format!("{}: {lack}", link.name)),
        }
    }

    /// Whether it is a port of a bond or a bridge.
    pub(super) fn is_port(&self) -> bool {
        self.is_port
    }

    /// The VLAN that has no link.
    pub(super) fn missing(&self) -> Option<&Missing> {
        self.missing.as_ref()
    }

    /// When it wants to be looked at although nothing happened.
    pub(super) fn next(&self) -> Option<Moment> {
        match &self.said {
            Some((Standing::Chosen(..), _)) | None => None,
            Some((_, at)) => Some(*at + SAY_AGAIN),
        }
    }

    /// Whether a link of this number is chosen, or the one below it.
    pub(super) fn stands_on(&self, id: LinkId) -> bool {
        self.base == Some(id) || self.link.as_ref().is_some_and(|link| link.id == id)
    }

    /// Whether news of a link that is not chosen may change the choice, or say that another one is meant too.
    pub(super) fn may_change_with(&self, news: &Link) -> bool {
        self.others.contains(&news.id)
            || self.choice.base.may_mean(news)
            || (self.choice.vlan.is_some() && news.vlan == self.choice.vlan && news.parent == self.base)
    }

    /// The numbers of the links to look at to know whether all is as it was; `None`: nothing is chosen.
    pub(super) fn chosen(&self) -> Option<[LinkId; 2]> {
        Some([self.base?, self.link.as_ref()?.id])
    }

    /// Whether the choice stays what it is, with these links as they are now.
    pub(super) fn stays(&mut self, now: impl Fn(LinkId) -> Option<Link>) -> bool {
        let Some([base, link]) = self.chosen() else { return false };
        let (Some(base), Some(mut link)) = (now(base), now(link)) else { return false };
        let on_base = self.choice.vlan.is_none() || (link.parent == Some(base.id) && link.vlan == self.choice.vlan);
        // Whose port it is, is to be said, for which the others are to be known.
        let same_port = self.link.as_ref().is_some_and(|before| before.port_of == link.port_of);
        if !on_base || !same_port || !self.choice.base.keeps(&base) {
            return false;
        }
        link.device = self.link.take().and_then(|before| before.device);
        self.link = Some(link);
        true
    }

    /// Chooses anew, out of all links.
    pub(super) fn choose(&mut self, links: &[Link]) {
        let found = self.choice.base.find(links, self.base);
        (self.link, self.missing) = (None, None);
        match found {
            Found::One(base, others) => {
                self.warn_of_others(base, &others, links);
                self.base = Some(base.id);
                self.choose_on(base, links);
            }
            Found::None => {
                (self.base, self.others) = (None, Vec::new());
                self.say(Standing::Nothing, links, &[]);
            }
            Found::Several(meant) => {
                self.base = None;
                self.others = meant.iter().map(|link| link.id).collect();
                self.say(Standing::Several, links, &meant);
            }
        }
    }

    fn choose_on(&mut self, base: &Link, links: &[Link]) {
        let on = self.choice.vlan.map_or(Some(base), |id| vlan_of(links, base.id, id));
        if let Some(link) = on {
            self.link = Some(link.clone());
            self.is_port = taken_by(link, links).is_some();
            return self.say(Standing::Chosen(link.id, link.port_of), links, &[link]);
        }
        let Some(id) = self.choice.vlan else { return };
        self.missing = Some(Missing { parent: base.id, parent_name: base.name.clone(), id });
        self.say(Standing::NoVlan, links, &[base]);
    }

    fn warn_of_port(&self, link: &Link, links: &[Link]) {
        if let Some(of) = taken_by(link, links) {
            let link = describe(link, links, None);
            warn!(wanted = %self.choice, "the link is {link}: on a port an IPv4 VIP is reached only while arp_ignore is 0, an IPv6 one not at all, so it is not put there; it belongs on {}", of.name);
        }
    }

    /// Each of them once: the choice does not move, so there is no hurry, but somebody should look.
    fn warn_of_others(&mut self, base: &Link, others: &[&Link], links: &[Link]) {
        let by = self.choice.base.selector();
        for other in others.iter().filter(|other| !self.others.contains(&other.id)) {
            let (used, other) = (describe(base, links, by), describe(other, links, by));
            warn!(wanted = %self.choice, "{other} is meant as well as {used}, which is in use and stays; after a restart vipd could not choose");
        }
        self.others = others.iter().map(|other| other.id).collect();
    }

    /// Says how it stands, when that changed, and now and then while there is no link.
    fn say(&mut self, standing: Standing, links: &[Link], about: &[&Link]) {
        let now = now();
        let is_news = match &self.said {
            Some((before, _)) if *before != standing => true,
            Some((Standing::Chosen(..), _)) => false,
            Some((_, at)) => now.since(*at) >= SAY_AGAIN,
            None => true,
        };
        if is_news {
            self.tell(&standing, links, about);
            self.said = Some((standing, now));
        }
    }

    fn tell(&self, standing: &Standing, links: &[Link], about: &[&Link]) {
        let (wanted, by) = (&self.choice, self.choice.base.selector());
        match standing {
            Standing::Nothing => {
                warn!(%wanted, "there is no such link: waiting for it; there are: {}", list(links, links, by));
            }
            Standing::Several => error!(
                %wanted,
                "more than one link is meant, so none is used: say more (physical: true leaves out bonds and VLANs), or name \
                 one with interface; candidates: {}",
                list(about.iter().copied(), links, by)
            ),
            Standing::NoVlan => {
                let on = about.first().map_or_else(String::new, |base| describe(base, links, by));
                info!(%wanted, "{on} has no link for the VLAN yet: vipd creates one");
            }
            Standing::Chosen(..) => {
                let Some(link) = about.first() else { return };
                self.warn_of_port(link, links);
                let (serves, link) = (link.serves, describe(link, links, by));
                if !serves {
                    warn!(%wanted, "the link is {link}: waiting until it is up, with carrier");
                } else if matches!(&self.choice, LinkChoice { base: Base::Named(_), vlan: None }) {
                    debug!(%wanted, "the link is {link}");
                } else {
                    info!(%wanted, "the link is {link}");
                }
            }
        }
    }
}
