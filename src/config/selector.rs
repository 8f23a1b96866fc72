//! `deviceSelector` as the operator writes it.
//!
//! Owned by `config`. What a selector means is `link`'s affair; here it is read and refused.

use super::check::{self, Checked};
use super::raw::{Map, Node};
use super::refusal::{Place, Problems};
use crate::link::{Selector, could_be_mac};

/// The keys of a selector.
const KEYS: [&str; 6] = ["busPath", "hardwareAddr", "permanentAddr", "pciID", "driver", "physical"];
/// The longest pattern, in bytes. What it is held against is shorter.
const LONGEST_PATTERN: usize = 255;

/// A selector, or at least one problem.
pub(super) fn read(node: &Node, place: &Place, problems: &mut Problems) -> Option<Selector> {
    let map = match check::mapping(node) {
        Ok(map) => map,
        Err(text) => {
            problems.add(place, text);
            return None;
        }
    };
    check::known_keys(map, place, &KEYS, problems);
    let mut reading = Reading { map, place, problems, sound: map.keys().iter().all(|key| KEYS.contains(key)) };
    let selector = Selector {
        bus_path: reading.value("busPath", pattern),
        hardware_addr: reading.value("hardwareAddr", mac_pattern),
        permanent_addr: reading.value("permanentAddr", mac_pattern),
        pci_id: reading.value("pciID", pattern),
        driver: reading.value("driver", pattern),
        physical: reading.value("physical", |node| check::truth(node).map(Some)),
    };
    if !reading.sound {
        return None;
    }
    if selector.is_empty() {
        let text = format!("selects nothing; it takes {}", KEYS.join(", "));
        problems.add(place, text);
        return None;
    }
    Some(selector)
}

struct Reading<'r> {
    map: &'r Map,
    place: &'r Place,
    problems: &'r mut Problems,
    /// Whether nothing was wrong so far.
    sound: bool,
}

impl Reading<'_> {
    fn value<T>(&mut self, key: &str, rule: fn(&Node) -> Checked<Option<T>>) -> Option<T> {
        match rule(self.map.get(key)?) {
            Ok(value) => value,
            Err(text) => {
                self.problems.add(&self.place.key(key), text);
                self.sound = false;
                None
            }
        }
    }
}

/// A pattern; an empty one asks for nothing, as in Talos.
fn pattern(node: &Node) -> Checked<Option<String>> {
    let text = check::text(node)?;
    if text.len() > LONGEST_PATTERN {
        return Err(format!("{} has {} bytes; a pattern has at most {LONGEST_PATTERN}", node.shown(), text.len()));
    }
    if text.contains(char::is_control) {
        return Err(format!("{} has control characters, which nothing that it is held against has", node.shown()));
    }
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

fn mac_pattern(node: &Node) -> Checked<Option<String>> {
    match pattern(node)? {
        Some(text) if !could_be_mac(&text) => Err(format!(
            "{} matches no hardware address; they are written as 00:1a:2b:3c:4d:5e, * is any text",
            node.shown()
        )),
        other => Ok(other),
    }
}
