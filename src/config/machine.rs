//! The VIPs of a Talos machine config: `machine.network.interfaces[]`, and documents of kind `Layer2VIPConfig`.
//!
//! Owned by `config`. Everything in a machine config that is not about a VIP is somebody else's and is passed over,
//! whatever its type. What is about one is taken literally: a VIP that cannot be served is refused, never skipped.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Vip;
use super::check::{self, Checked};
use super::raw::{Map, Node};
use super::refusal::{Place, Problems};
use super::selector;
use crate::link::{Base, LinkChoice};

/// The most VIPs of one file. Far above any use, far below what a `VipId` counts.
const MOST_VIPS: usize = 256;
/// The documents that give a VIP. The second one is refused.
const KINDS: [&str; 2] = ["Layer2VIPConfig", "HCloudVIPConfig"];
/// The one version of those documents.
const API_VERSION: &str = "v1alpha1";

/// Gathers the VIPs of all documents.
pub(super) struct Machine<'p> {
    problems: &'p mut Problems,
    vips: Vec<Vip>,
    /// Where each address was first given.
    given: BTreeMap<IpAddr, String>,
    /// How many VIPs the file wants, good or bad.
    wanted: usize,
    /// Names that a `LinkAliasConfig` document makes up.
    aliases: BTreeSet<String>,
    /// VIPs by document, whose link may turn out to be an alias.
    links: Vec<(Place, String)>,
}

impl<'p> Machine<'p> {
    pub(super) fn new(problems: &'p mut Problems) -> Self {
        let (vips, given, links) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self { problems, vips, given, wanted: 0, aliases: BTreeSet::new(), links }
    }

    /// A document without a kind: `machine.network.interfaces[]`.
    pub(super) fn snippet(&mut self, root: &Map, place: &Place) {
        let Some((machine, place)) = self.below(root, place, "machine", check::mapping) else { return };
        let Some((network, place)) = self.below(machine, &place, "network", check::mapping) else { return };
        let Some((interfaces, place)) = self.below(network, &place, "interfaces", check::list) else { return };
        for (i, node) in interfaces.iter().enumerate().filter(|(_, node)| **node != Node::Null) {
            let place = place.index(i);
            if let Some(interface) = self.checked(&place, check::mapping(node)) {
                self.interface(interface, &place);
            }
        }
    }

    /// A document with a kind. Most are none of ours.
    pub(super) fn document(&mut self, kind: &str, root: &Map, place: &Place) {
        match kind {
            "Layer2VIPConfig" => self.layer2(root, place),
            "HCloudVIPConfig" => {
                self.wanted += 1;
                self.problems.add(&place.key("kind"), "HCloudVIPConfig is not a layer-2 VIP: Hetzner's API moves it");
            }
            "LinkAliasConfig" => {
                self.aliases.extend(root.get("name").and_then(|name| check::text(name).ok()).map(String::from));
            }
            other => {
                if let Some(near) = check::nearest(other, &KINDS) {
                    let shown = Node::Text(other.into()).shown();
                    self.problems
                        .add(&place.key("kind"), format!("{shown} is no kind of document; did you mean {near}?"));
                }
            }
        }
    }

    /// All documents were seen: the VIPs, or at least one problem.
    pub(super) fn finish(self) -> Vec<Vip> {
        for (place, link) in self.links {
            if self.aliases.contains(&link) {
                let shown = Node::Text(link).shown();
                self.problems
                    .add(&place, format!("{shown} is an alias by LinkAliasConfig, which vipd does not read yet"));
            }
        }
        // Something else that is wrong may well hide the VIP; then that is the news.
        if self.wanted == 0 && self.problems.is_empty() {
            let ways = "give one as machine.network.interfaces[].vip.ip or in a Layer2VIPConfig document";
            self.problems.add(&Place::file(), format!("no VIP in it; {ways}"));
        } else if self.wanted > MOST_VIPS {
            self.problems.add(&Place::file(), format!("{} VIPs in it; at most {MOST_VIPS}", self.wanted));
        }
        self.vips
    }

    fn interface(&mut self, interface: &Map, place: &Place) {
        let vlans = interface.get("vlans");
        if interface.find("vip").is_none() && !vlans.is_some_and(may_have_vip) {
            return;
        }
        let ignored = interface.get("ignore").map_or(Ok(false), check::truth);
        if self.checked(&place.key("ignore"), ignored) == Some(true) {
            return;
        }
        let base = self.base(interface, place);
        if let Some(vip) = interface.find("vip") {
            let link = base.clone().map(|base| LinkChoice { base, vlan: None });
            self.vip(vip, &place.key("vip"), link);
        }
        if let Some(vlans) = vlans.filter(|vlans| may_have_vip(vlans)) {
            self.vlans(vlans, &place.key("vlans"), base.as_ref());
        }
    }

    /// The link of an interface, by its name or by what it is like. An empty name beside a selector is none, as in Talos.
    fn base(&mut self, interface: &Map, place: &Place) -> Option<Base> {
        let (name, selector) = (interface.get("interface"), interface.get("deviceSelector"));
        match (name.filter(|name| selector.is_none() || **name != Node::Text(String::new())), selector) {
            (None, None) => {
                let text = "a VIP without an interface; name it with interface, or select it with deviceSelector";
                self.problems.add(place, text);
                None
            }
            (Some(_), Some(_)) => {
                let text = "stands beside interface; a link is either named or selected";
                self.problems.add(&place.key("deviceSelector"), text);
                None
            }
            (Some(name), None) => self.checked(&place.key("interface"), check::link(name)).map(Base::Named),
            (None, Some(node)) => selector::read(node, &place.key("deviceSelector"), self.problems).map(Base::Selected),
        }
    }

    fn vlans(&mut self, vlans: &Node, place: &Place, base: Option<&Base>) {
        for (i, vlan) in self.checked(place, check::list(vlans)).unwrap_or_default().iter().enumerate() {
            if let Node::Map(vlan) = vlan {
                self.vlan(vlan, &place.index(i), base);
            }
        }
    }

    fn vlan(&mut self, vlan: &Map, place: &Place, base: Option<&Base>) {
        let Some(vip) = vlan.find("vip") else { return };
        let at = place.key("vlanId");
        let id = match vlan.get("vlanId") {
            Some(id) => self.checked(&at, check::vlan_id(id)),
            None => self.checked(place, Err("a VIP on a VLAN without a vlanId".into())),
        };
        let link = base.zip(id).map(|(base, id)| LinkChoice { base: base.clone(), vlan: Some(id) });
        self.vip(vip, &place.key("vip"), link);
    }

    /// A `vip:`. An empty one is refused: whoever writes the key wants a VIP, and the address below it has gone astray.
    fn vip(&mut self, vip: &Node, place: &Place, link: Option<LinkChoice>) {
        self.wanted += 1;
        let vip = match vip {
            Node::Map(vip) => vip,
            Node::Null => {
                return self.problems.add(place, "empty; the address goes below it, indented: ip: 192.168.0.15");
            }
            other => {
                let text = format!("{} is not a mapping; the address goes below it: ip: 192.168.0.15", other.shown());
                return self.problems.add(place, text);
            }
        };
        for key in vip.keys() {
            let text = match key {
                "ip" => continue,
                "equinixMetal" | "hcloud" if vip.get(key).is_none() => continue,
                "equinixMetal" => "not a layer-2 VIP: Equinix Metal's API moves it".into(),
                "hcloud" => "not a layer-2 VIP: Hetzner's API moves it".into(),
                other => check::unknown_key(other, &["ip"]),
            };
            self.problems.add(&place.key(key), text);
        }
        match vip.get("ip") {
            Some(ip) => self.address(ip, &place.key("ip"), link),
            None => self.problems.add(place, "no ip in it; the address goes below it: ip: 192.168.0.15"),
        }
    }

    /// `kind: Layer2VIPConfig`.
    fn layer2(&mut self, root: &Map, place: &Place) {
        self.wanted += 1;
        check::known_keys(root, place, &["apiVersion", "kind", "name", "link"], self.problems);
        match root.get("apiVersion") {
            Some(Node::Text(version)) if version == API_VERSION => {}
            Some(other) => {
                let text =
                    format!("{} is not the version of a Layer2VIPConfig that vipd knows, {API_VERSION}", other.shown());
                self.problems.add(&place.key("apiVersion"), text);
            }
            None => self.problems.add(place, format!("a Layer2VIPConfig without apiVersion: {API_VERSION}")),
        }
        let link = match root.get("link") {
            Some(link) => self.checked(&place.key("link"), check::link(link)),
            None => self.checked(place, Err("a Layer2VIPConfig without a link; name the interface with link".into())),
        };
        self.links.extend(link.clone().map(|link| (place.key("link"), link)));
        match root.get("name") {
            Some(name) => {
                let link = link.map(|name| LinkChoice { base: Base::Named(name), vlan: None });
                self.address(name, &place.key("name"), link);
            }
            None => self.problems.add(place, "a Layer2VIPConfig without a name; its name is the VIP's address"),
        }
    }

    /// The address is checked whether the link is known or not, so that both problems show at once.
    fn address(&mut self, node: &Node, place: &Place, link: Option<LinkChoice>) {
        let Some(address) = self.checked(place, check::vip_address(node)) else { return };
        if let Some(first) = self.given.get(&address.to_canonical()) {
            return self.problems.add(place, format!("{} is given twice; first at {first}", node.shown()));
        }
        self.given.insert(address.to_canonical(), place.to_string());
        if let Some(link) = link {
            self.vips.push(Vip { addresses: vec![address], link, place: place.to_string() });
        }
    }

    /// A `vip:` above the interfaces is one whose indentation is lost, or its interface's list mark.
    fn no_stray(&mut self, map: &Map, place: &Place) {
        if map.find("vip").is_some() {
            let text = "a VIP without an interface; it goes below one, as machine.network.interfaces[].vip (is the indentation lost?)";
            self.problems.add(&place.key("vip"), text);
        }
    }

    /// The value of `key`, one step further down. A wrong type on the way to the VIPs may hide one.
    fn below<'m, T>(
        &mut self,
        map: &'m Map,
        place: &Place,
        key: &str,
        shape: fn(&'m Node) -> Checked<T>,
    ) -> Option<(T, Place)> {
        self.no_stray(map, place);
        let place = place.key(key);
        let value = self.checked(&place, shape(map.get(key)?))?;
        Some((value, place))
    }

    fn checked<T>(&mut self, place: &Place, value: Checked<T>) -> Option<T> {
        value.map_err(|text| self.problems.add(place, text)).ok()
    }
}

/// Whether this value of `vlans` is about a VIP. A mapping where a list belongs may hide one.
fn may_have_vip(vlans: &Node) -> bool {
    let has_vip = |vlan: &Node| matches!(vlan, Node::Map(vlan) if vlan.find("vip").is_some());
    match vlans {
        Node::List(vlans) => vlans.iter().any(has_vip),
        other => matches!(other, Node::Map(_)),
    }
}
