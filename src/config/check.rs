//! Every rule about a single value, and its message: a value in, the checked value or "value, rule" out.
//!
//! Owned by `config`. Pure, and blind to where the value stands; the callers know the place. No message shows more of a
//! value than `quoted` does, and none shows a credential.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::raw::{Map, Node};
use super::refusal::{Place, Problems, quoted};

/// A checked value, or what is wrong with it.
pub(super) type Checked<T> = Result<T, String>;

/// The longest name of a link, in bytes: that of an alternative name, the kernel's ALTIFNAMSIZ without its end mark.
const LONGEST_LINK: usize = 127;
/// The longest word that may be a misspelt key, in bytes.
const LONGEST_KEY: usize = 30;
/// The longest prefix, in bytes. Every key and every read carries it.
const LONGEST_PREFIX: usize = 128;
/// The longest node name, in bytes: that of a DNS name.
pub(super) const LONGEST_NAME: usize = 253;
/// The longest path, in bytes: the kernel's PATH_MAX without its end mark.
const LONGEST_PATH: usize = 4095;

/// A text. Numbers are not taken for texts: `1e3` and `0x10` would come out as other names than were written.
pub(super) fn text(node: &Node) -> Checked<&str> {
    match node {
        Node::Text(text) => Ok(text),
        Node::Number(_) | Node::Bool(_) => Err(format!("{} is not a text; put it in quotes", node.shown())),
        Node::Null | Node::List(_) | Node::Map(_) => Err(format!("{} is not a text", node.shown())),
    }
}

/// A mapping.
pub(super) fn mapping(node: &Node) -> Checked<&Map> {
    if let Node::Map(map) = node { Ok(map) } else { Err(format!("{} is not a mapping", node.shown())) }
}

/// A list.
pub(super) fn list(node: &Node) -> Checked<&[Node]> {
    if let Node::List(list) = node { Ok(list) } else { Err(format!("{} is not a list", node.shown())) }
}

/// True or false.
pub(super) fn truth(node: &Node) -> Checked<bool> {
    if let Node::Bool(b) = node { Ok(*b) } else { Err(format!("{} is not true or false", node.shown())) }
}

/// The address of a VIP: one address that other machines can reach, in its usual form.
pub(super) fn vip_address(node: &Node) -> Checked<IpAddr> {
    let shown = node.shown();
    let Node::Text(text) = node else { return Err(format!("{shown} is not an IP address")) };
    let address = text.parse().map_err(|_| not_an_address(text, &shown))?;
    match unfit(address) {
        Some(why) => Err(format!("{shown} {why}")),
        None => Ok(address),
    }
}

fn not_an_address(text: &str, shown: &str) -> String {
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok();
    if let Some((address, _)) = text.split_once('/').filter(|(address, _)| is_address(address)) {
        return format!("{shown} has a mask; a VIP is one address, so write {address}");
    }
    if text.split_once('%').is_some_and(|(address, _)| is_address(address)) {
        return format!("{shown} has a zone; the link is named by its own key, and a link-local address is no VIP");
    }
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return format!("{shown} has a port; a VIP serves all ports, so write {}", socket.ip());
    }
    format!("{shown} is not an IP address")
}

/// Why an address cannot be a VIP.
fn unfit(address: IpAddr) -> Option<String> {
    let why = match address {
        _ if address.is_unspecified() => "is the unspecified address",
        _ if address.is_loopback() => "is a loopback address, which no other machine reaches",
        _ if address.is_multicast() => "is a multicast address",
        IpAddr::V4(Ipv4Addr::BROADCAST) => "is the broadcast address",
        IpAddr::V4(v4) if v4.octets()[0] == 0 => "is in 0.0.0.0/8, which no machine can have",
        IpAddr::V4(v4) if v4.octets()[0] >= 240 => "is in the reserved range 240.0.0.0/4",
        IpAddr::V4(v4) if v4.is_link_local() => "is a link-local address, which machines take by themselves",
        IpAddr::V6(v6) if v6.is_unicast_link_local() => "is a link-local address, which needs a zone on every client",
        IpAddr::V6(v6) => {
            let v4 = v6.to_ipv4_mapped()?;
            return Some(format!("is an IPv4 address in IPv6 form; write {v4}"));
        }
        IpAddr::V4(_) => return None,
    };
    Some(why.into())
}

/// What a link is called: its name, an alternative name or its alias, by the kernel's rules for names and with the loopback
/// left out.
pub(super) fn link(node: &Node) -> Checked<String> {
    let name = text(node)?;
    let shown = quoted(name);
    if name.is_empty() {
        return Err(format!("{shown} is not an interface name"));
    }
    if name.contains(':') {
        return Err(format!("{shown} has a colon, as labels of addresses do; name the interface itself"));
    }
    if matches!(name, "." | "..") || name.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control()) {
        return Err(format!("{shown} is not an interface name: no slash, no white space, not . or .."));
    }
    if name == "lo" {
        return Err(format!("{shown} is the loopback interface, which no other machine reaches"));
    }
    if name.len() > LONGEST_LINK {
        return Err(format!(
            "{shown} has {} bytes; a link's name has at most 15, another name of it {LONGEST_LINK}",
            name.len()
        ));
    }
    Ok(name.to_owned())
}

/// A VLAN's number.
pub(super) fn vlan_id(node: &Node) -> Checked<u16> {
    let id = if let Node::Number(text) = node { text.parse().ok() } else { None };
    id.filter(|id| (1..=4094).contains(id)).ok_or_else(|| format!("{} is not a VLAN id from 1 to 4094", node.shown()))
}

/// A node's name.
pub(super) fn node_name(name: &str) -> Checked<String> {
    let shown = quoted(name);
    if name.is_empty() {
        return Err(format!("{shown} is not a node name"));
    }
    if name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(format!("{shown} is not a node name: no white space, no control characters"));
    }
    if name.len() > LONGEST_NAME {
        return Err(format!("{shown} has {} bytes; a node name has at most {LONGEST_NAME}", name.len()));
    }
    Ok(name.to_owned())
}

/// What all keys in etcd begin with.
pub(super) fn prefix(node: &Node) -> Checked<String> {
    let prefix = text(node)?;
    let shown = quoted(prefix);
    let rule = if prefix.is_empty() {
        "is empty; the keys in etcd need a prefix of their own"
    } else if !prefix.bytes().all(|b| b.is_ascii_graphic()) {
        "is not printable ASCII without white space"
    } else if prefix.starts_with('/') || prefix.ends_with('/') {
        "begins or ends with a slash"
    } else if prefix.contains("//") {
        "has two slashes in a row"
    } else if prefix.len() > LONGEST_PREFIX {
        return Err(format!("{shown} has {} bytes; a prefix has at most {LONGEST_PREFIX}", prefix.len()));
    } else {
        return Ok(prefix.to_owned());
    };
    Err(format!("{shown} {rule}"))
}

/// A file or directory, by its whole path.
pub(super) fn path(path: &str) -> Checked<PathBuf> {
    let shown = quoted(path);
    if !path.starts_with('/') {
        return Err(format!("{shown} is not an absolute path"));
    }
    if path.len() > LONGEST_PATH || path.contains('\0') {
        return Err(format!("{shown} is not a path: no NUL, at most {LONGEST_PATH} bytes"));
    }
    Ok(path.into())
}

/// Refuses every key of `map` that is not in `known`.
pub(super) fn known_keys(map: &Map, place: &Place, known: &[&str], problems: &mut Problems) {
    for key in map.keys().into_iter().filter(|key| !known.contains(key)) {
        problems.add(&place.key(key), unknown_key(key, known));
    }
}

/// Refuses a key, and names the known one that was probably meant.
pub(super) fn unknown_key(key: &str, known: &[&str]) -> String {
    match nearest(key, known) {
        Some(near) => format!("unknown key; did you mean {near}?"),
        None => format!("unknown key; known here: {}", known.join(", ")),
    }
}

/// The known word that `word` is probably meant to be.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    if word.len() > LONGEST_KEY {
        return None;
    }
    let reach = |candidate: &str| (candidate.len() / 3).clamp(1, 2);
    let near = known.iter().map(|candidate| (distance(word, candidate), *candidate));
    near.filter(|(d, candidate)| *d <= reach(candidate)).min().map(|(_, candidate)| candidate)
}

/// How many letters to change, add or drop to get from one word to the other, case aside.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, cb) in b.chars().enumerate() {
            let change = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Node {
        Node::Text(text.into())
    }

    #[test]
    fn addresses_that_can_be_a_vip() {
        for text in ["10.0.0.1", "192.168.0.15", "203.0.113.9", "fd00::15", "2001:db8::1", "223.255.255.255"] {
            assert_eq!(vip_address(&node(text)), Ok(text.parse().unwrap()));
        }
    }

    #[test]
    fn addresses_that_cannot() {
        for text in [
            "",
            "x",
            "10.0.0.256",
            "10.0.0.01",
            "10.0.0",
            " 10.0.0.1",
            "10.0.0.1/32",
            "fe80::1",
            "fe80::1%eth0",
            "::",
            "::1",
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.1.1",
            "224.0.0.18",
            "ff02::1",
            "240.0.0.1",
            "255.255.255.255",
            "::ffff:10.0.0.1",
            "10.0.0.1:6443",
            "[fd00::1]",
            "[fd00::1]:80",
        ] {
            assert!(vip_address(&node(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn link_names() {
        for name in
            ["eth0", "enp1s0f0np0", "bond0.100", "br-lan", "a", "eth0.100@x", "fifteen-bytes15", "enp0s31f6-uplink"]
        {
            assert_eq!(link(&node(name)), Ok(name.into()));
        }
        for name in ["", ".", "..", "a/b", "a b", "eth0\n", "a\tb", "eth0:1", "lo", "a\u{7f}", &"x".repeat(128)] {
            assert!(link(&node(name)).is_err(), "{name:?}");
        }
        assert!(link(&node(&"x".repeat(127))).is_ok());
    }

    #[test]
    fn the_nearest_key() {
        let known = ["ip", "node", "etcd", "lease", "runtimeDir"];
        for (word, near) in [
            ("Node", Some("node")),
            ("nodes", Some("node")),
            ("runtime_dir", Some("runtimeDir")),
            ("runtimedir", Some("runtimeDir")),
            ("leese", Some("lease")),
            ("IP", Some("ip")),
            ("vips", None),
            ("interface", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, &known), near, "{word}");
        }
    }
}
