//! Links in words, for people who have to find out which one they meant.

use super::{Link, Selector};
use crate::election::event::LinkId;

/// The most links that one message names: a node may have hundreds.
const MOST: usize = 16;

/// The longest text from a link that is shown, in characters. Names and aliases are anybody's.
const SHOWN: usize = 64;

/// One link: `eth1 (physical, port of bond0, driver "virtio_net")`. With what it has for the keys of a selector.
pub fn describe(link: &Link, links: &[Link], by: Option<&Selector>) -> String {
    let name = |id: LinkId| links.iter().find(|l| l.id == id).map_or(format!("link {}", id.0), |l| shown(&l.name));
    let mut parts = vec![match (link.vlan, link.parent) {
        (Some(id), Some(parent)) => format!("VLAN {id} on {}", name(parent)),
        _ if link.is_physical() => "physical".into(),
        _ if link.loopback => "loopback".into(),
        _ if link.kind.is_empty() => "not Ethernet".into(),
        _ => shown(&link.kind),
    }];
    parts.extend(link.port_of.map(|of| format!("port of {}", name(of))));
    let mut values = by.map(|selector| selector.values(link)).unwrap_or_default();
    if let Some(device) = &link.device
        && !device.driver.is_empty()
        && values.iter().all(|(key, _)| *key != "driver")
    {
        values.push(("driver", device.driver.clone()));
    }
    parts.extend(values.into_iter().map(|(key, has)| format!("{key} {}", shown(&has))));
    parts.extend(lack(link).map(Into::into));
    format!("{} ({})", shown(&link.name), parts.join(", "))
}

/// Why what is put on it cannot be reached; none: it can.
pub fn lack(link: &Link) -> Option<&'static str> {
    match (link.serves, link.up) {
        (true, _) => None,
        (false, true) => Some("no carrier"),
        (false, false) => Some("down"),
    }
}

/// Some links, those of hardware first and those of pods last.
pub fn list<'l>(some: impl IntoIterator<Item = &'l Link>, links: &[Link], by: Option<&Selector>) -> String {
    let mut some: Vec<&Link> = some.into_iter().filter(|link| !link.loopback).collect();
    some.sort_by_key(|link| (!link.is_physical(), link.kind == "veth", link.id));
    let more = some.len().saturating_sub(MOST);
    let mut words: Vec<String> = some.into_iter().take(MOST).map(|link| describe(link, links, by)).collect();
    if more > 0 {
        words.push(format!("and {more} more"));
    }
    if words.is_empty() { "none".into() } else { words.join(", ") }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).flat_map(char::escape_debug).collect()
}
