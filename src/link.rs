//! A link (network interface): what is known about one, and which of them a VIP belongs on.
//!
//! Read by `config` (what the operator asks for), `plan` and the keeper (what the kernel has). Pure: facts about links
//! come in from `node`, and nothing here asks for any.

mod choice;
mod glob;
mod selector;
#[cfg(test)]
mod tests;
mod words;

use std::fmt::Write as _;

use crate::election::event::LinkId;
pub use choice::{Base, Found, LinkChoice, taken_by, vlan_of};
pub(crate) use glob::could_be_mac;
pub use selector::Selector;
pub use words::{describe, lack, list};

/// What the alias of a link begins with that vipd created.
const CREATED: &str = "vipd: vlan ";

/// A link of this node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// Its number, which no other link of this namespace gets while it lives.
    pub id: LinkId,
    /// Its name.
    pub name: String,
    /// Its alternative names.
    pub other_names: Vec<String>,
    /// Its alias (`ip link set ... alias`); empty if it has none. Nothing keeps two links from having the same.
    pub alias: String,
    /// Its hardware address; zeros if it has none of six bytes.
    pub mac: [u8; 6],
    /// Its hardware address, whatever its length.
    pub hardware: Vec<u8>,
    /// The hardware address it was made with, if it has one.
    pub permanent: Vec<u8>,
    /// Whether it is of the Ethernet type.
    pub ethernet: bool,
    /// Whether it is the loopback.
    pub loopback: bool,
    /// Its kind (`vlan`, `bond`, `veth`); empty for what a driver of hardware made.
    pub kind: String,
    /// The bond or bridge it is a port of.
    pub port_of: Option<LinkId>,
    /// The link it stands on, if that is in this namespace.
    pub parent: Option<LinkId>,
    /// Its VLAN id, if it is a VLAN link of the usual protocol (802.1Q).
    pub vlan: Option<u16>,
    /// Whether somebody switched it on.
    pub up: bool,
    /// Whether it is up and carries: what is put on it can be reached.
    pub serves: bool,
    /// What is behind it; `None`: not looked up.
    pub device: Option<Device>,
}

/// The device behind a link. What nobody knows is empty.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Device {
    /// The kernel's driver: `virtio_net`.
    pub driver: String,
    /// Where it is plugged in: `0000:06:00.0`.
    pub bus_path: String,
    /// PCI vendor and device: `1AF4:1000`.
    pub pci_id: String,
}

impl Link {
    /// A link of which only the number is known.
    pub fn bare(id: LinkId) -> Self {
        Self {
            id,
            name: String::new(),
            other_names: Vec::new(),
            alias: String::new(),
            mac: [0; 6],
            hardware: Vec::new(),
            permanent: Vec::new(),
            ethernet: false,
            loopback: false,
            kind: String::new(),
            port_of: None,
            parent: None,
            vlan: None,
            up: false,
            serves: false,
            device: None,
        }
    }

    /// Hardware's own link, and of the Ethernet type: ports of bonds and virtual functions too; bonds, VLANs and veths
    /// not.
    pub fn is_physical(&self) -> bool {
        self.ethernet && self.kind.is_empty()
    }

    /// Whether vipd created it, as its alias says.
    pub fn is_created(&self) -> bool {
        self.kind == "vlan" && self.alias.starts_with(CREATED)
    }
}

/// The alias of the link that vipd creates for a VLAN.
pub fn created_alias(id: u16, parent: &str) -> String {
    format!("{CREATED}{id} on {parent}")
}

/// A hardware address as everybody writes it.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (i, byte) in bytes.iter().enumerate() {
        let colon = if i == 0 { "" } else { ":" };
        // Writing to a text does not fail.
        let _ = write!(text, "{colon}{byte:02x}");
    }
    text
}
