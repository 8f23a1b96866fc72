//! From what the operator asks for to one link: pure functions of the list of links.

use std::fmt;

use super::{Link, Selector};
use crate::election::event::LinkId;

/// The link that a VIP belongs on, as the operator asks for it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct LinkChoice {
    /// The link, or the one that the VLAN stands on.
    pub base: Base,
    /// The VLAN on it.
    pub vlan: Option<u16>,
}

/// How a link is asked for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Base {
    /// By its name, one of its alternative names, or its alias.
    Named(String),
    /// By what it is like.
    Selected(Selector),
}

/// What a list of links has of that.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found<'l> {
    /// No such link.
    None,
    /// This one. The others are meant as well, and came later.
    One(&'l Link, Vec<&'l Link>),
    /// More than one, and none of them was chosen before.
    Several(Vec<&'l Link>),
}

impl LinkChoice {
    /// The link of this name.
    pub fn named(name: &str) -> Self {
        Self { base: Base::Named(name.into()), vlan: None }
    }
}

impl Base {
    /// The link that is meant. The one that was chosen before (`current`) stays chosen: by name, alternative name or
    /// alias for as long as it has that; by what it is like for as long as it exists, because a bond changes its ports'
    /// addresses, and the VIP is not to move for that.
    pub fn find<'l>(&self, links: &'l [Link], current: Option<LinkId>) -> Found<'l> {
        let mut meant = self.meant(links);
        if let Some(link) = links.iter().find(|link| Some(link.id) == current && self.keeps(link)) {
            meant.retain(|other| other.id != link.id);
            return Found::One(link, meant);
        }
        match meant[..] {
            [] => Found::None,
            [link] => Found::One(link, Vec::new()),
            _ => Found::Several(meant),
        }
    }

    /// Whether a link that was chosen stays chosen.
    pub fn keeps(&self, link: &Link) -> bool {
        match self {
            Self::Named(name) => is_called(link, name) || link.alias == *name,
            Self::Selected(_) => true,
        }
    }

    /// Whether this link is meant, or may be when more is known about it.
    pub fn may_mean(&self, link: &Link) -> bool {
        match self {
            Self::Named(name) => is_called(link, name) || link.alias == *name,
            Self::Selected(selector) => selector.judge(link) != Some(false),
        }
    }

    /// The selector, if it is one.
    pub fn selector(&self) -> Option<&Selector> {
        match self {
            Self::Named(_) => None,
            Self::Selected(selector) => Some(selector),
        }
    }

    /// A name goes before an alias: the kernel sees to it that names and alternative names are there once.
    fn meant<'l>(&self, links: &'l [Link]) -> Vec<&'l Link> {
        let all = |is: &dyn Fn(&Link) -> bool| links.iter().filter(|link| is(link)).collect::<Vec<_>>();
        match self {
            Self::Named(name) => {
                let called = all(&|link| is_called(link, name));
                if called.is_empty() { all(&|link| link.alias == *name) } else { called }
            }
            Self::Selected(selector) => all(&|link| selector.judge(link) == Some(true)),
        }
    }
}

/// The VLAN link with this id on this link, whatever it is called. The kernel sees to it that there is one at most.
pub fn vlan_of(links: &[Link], parent: LinkId, id: u16) -> Option<&Link> {
    links.iter().find(|link| link.parent == Some(parent) && link.vlan == Some(id))
}

fn is_called(link: &Link, name: &str) -> bool {
    link.name == name || link.other_names.iter().any(|other| other == name)
}

impl fmt::Display for LinkChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.vlan {
            Some(id) => write!(f, "VLAN {id} on {}", self.base),
            None => self.base.fmt(f),
        }
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Selected(selector) => selector.fmt(f),
        }
    }
}

/// The link that takes what arrives at this one, its port, which then finds no address there: the node still answers ARP
/// for it as for any address it has, unless it is told not to, but no neighbour solicitation. A VRF only sorts links.
pub fn taken_by<'l>(link: &Link, links: &'l [Link]) -> Option<&'l Link> {
    links.iter().find(|of| Some(of.id) == link.port_of && of.kind != "vrf")
}
