//! VIPs that move as one, as a dual-stack pair does: `vipd.groups`.
//!
//! Owned by `config`. The snippet stays as Talos has it, one address at a place; a group names one of those VIPs at
//! least, which gives the link, and every other address of it goes there too. Nothing is guessed: a group whose link is
//! not plain from the snippet is refused.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Vip;
use super::check::{self, list, mapping, vip_address};
use super::raw::Node;
use super::refusal::{Place, Problems};
use super::settings::Section;

/// The keys of one group.
const KEYS: [&str; 1] = ["addresses"];
/// The most addresses of one group: a few networks in both families. All of them go on and off one after the other.
const MOST: usize = 8;
/// The most addresses of one file, whether they stand alone or in groups.
const MOST_ADDRESSES: usize = 256;

/// A group as the operator wrote it, its addresses checked one by one.
pub(super) struct Group {
    place: Place,
    addresses: Vec<(IpAddr, Place)>,
}

/// Reads `groups` below `vipd`.
pub(super) fn read(root: &Section<'_>, problems: &mut Problems) -> Vec<Group> {
    let place = root.place.key("groups");
    let Some(node) = root.get("groups").filter(|node| **node != Node::Null) else { return Vec::new() };
    let nodes = match list(node) {
        Ok(nodes) => nodes,
        Err(text) => {
            problems.add(&place, text);
            return Vec::new();
        }
    };
    let mut given = BTreeMap::new();
    nodes.iter().enumerate().filter_map(|(i, node)| group(node, place.index(i), &mut given, problems)).collect()
}

fn group(node: &Node, place: Place, given: &mut BTreeMap<IpAddr, String>, problems: &mut Problems) -> Option<Group> {
    let map = mapping(node).map_err(|text| problems.add(&place, text)).ok()?;
    check::known_keys(map, &place, &KEYS, problems);
    let at = place.key("addresses");
    let Some(node) = map.get("addresses") else {
        problems.add(&place, "a group without addresses; it lists the VIPs that move as one");
        return None;
    };
    let nodes = list(node).map_err(|text| problems.add(&at, text)).ok()?;
    if nodes.len() < 2 {
        problems.add(&at, format!("{} in it; a group moves two addresses or more as one", nodes.len()));
    } else if nodes.len() > MOST {
        problems.add(&at, format!("{} addresses; at most {MOST}", nodes.len()));
    }
    let mut addresses = Vec::new();
    for (i, node) in nodes.iter().enumerate() {
        let at = at.index(i);
        match vip_address(node) {
            Err(text) => problems.add(&at, text),
            Ok(address) => match given.get(&address) {
                Some(first) => problems.add(&at, format!("{} is given twice; first at {first}", node.shown())),
                None => {
                    given.insert(address, at.to_string());
                    addresses.push((address, at));
                }
            },
        }
    }
    Some(Group { place, addresses })
}

/// The VIPs with those of each group made one, at the place of the first of them. What is wrong with a VIP of the snippet
/// may hide one, so groups are joined only if nothing is.
pub(super) fn join(mut vips: Vec<Vip>, groups: &[Group], problems: &mut Problems) -> Vec<Vip> {
    if !problems.is_empty() {
        return vips;
    }
    for group in groups {
        join_one(&mut vips, group, problems);
    }
    let addresses: usize = vips.iter().map(|vip| vip.addresses.len()).sum();
    if addresses > MOST_ADDRESSES {
        problems.add(&Place::file(), format!("{addresses} addresses in it; at most {MOST_ADDRESSES}"));
    }
    vips
}

fn join_one(vips: &mut Vec<Vip>, group: &Group, problems: &mut Problems) {
    let is_in = |vip: &Vip| group.addresses.iter().any(|(address, _)| vip.addresses.contains(address));
    let Some(at) = vips.iter().position(is_in) else {
        let text = "none of its addresses is a VIP of a link; one of them at least goes below an interface, as vip.ip, or in a \
                    Layer2VIPConfig document";
        return problems.add(&group.place, text);
    };
    let first = vips[at].clone();
    for (address, place) in &group.addresses {
        let other = vips.iter().find(|vip| vip.addresses.contains(address) && vip.link != first.link);
        if let Some(other) = other {
            let text = format!(
                "\"{address}\" is on {} ({}), and {} on {} ({}); all addresses of a group are on one link",
                other.link, other.place, first.addresses[0], first.link, first.place
            );
            return problems.add(place, text);
        }
    }
    let addresses = group.addresses.iter().map(|(address, _)| *address).collect();
    vips.retain(|vip| vip.place == first.place || !is_in(vip));
    vips[at] = Vip { addresses, link: first.link, place: group.place.to_string() };
}
