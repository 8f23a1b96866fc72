//! `deviceSelector`: links by their hardware, with the meaning that it has in a Talos machine config.

use std::fmt;

use super::{Link, glob, hex};

/// What a link must be like. Everything that is given must hold.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Selector {
    /// Where the device is plugged in.
    pub bus_path: Option<String>,
    /// The hardware address that the link has now.
    pub hardware_addr: Option<String>,
    /// The one that it was made with.
    pub permanent_addr: Option<String>,
    /// PCI vendor and device.
    pub pci_id: Option<String>,
    /// The kernel's driver.
    pub driver: Option<String>,
    /// Whether the link is hardware's own.
    pub physical: Option<bool>,
}

impl Selector {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the device behind a link must be known to say whether the link is meant.
    pub fn needs_device(&self) -> bool {
        self.bus_path.is_some() || self.pci_id.is_some() || self.driver.is_some()
    }

    /// Whether this link is meant; `None`: what is known of it does not tell.
    ///
    /// Never the loopback, which no other machine reaches, and no link that vipd created itself: one that stands on the
    /// chosen link has its hardware address.
    pub fn judge(&self, link: &Link) -> Option<bool> {
        if link.loopback || link.is_created() || self.physical.is_some_and(|wanted| wanted != link.is_physical()) {
            return Some(false);
        }
        let mut all_known = true;
        for (key, pattern) in self.patterns() {
            match value(link, key) {
                Some(has) if !glob::matches(pattern, &has) => return Some(false),
                Some(_) => {}
                None => all_known = false,
            }
        }
        all_known.then_some(true)
    }

    /// Each key that is asked for, with what the link has there.
    pub(super) fn values(&self, link: &Link) -> Vec<(&'static str, String)> {
        let known = self.patterns().filter_map(|(key, _)| Some((key.name(), value(link, key)?)));
        known.filter(|(_, has)| !has.is_empty()).collect()
    }

    fn patterns(&self) -> impl Iterator<Item = (Key, &str)> {
        let all = [
            (Key::HardwareAddr, &self.hardware_addr),
            (Key::PermanentAddr, &self.permanent_addr),
            (Key::Driver, &self.driver),
            (Key::BusPath, &self.bus_path),
            (Key::PciId, &self.pci_id),
        ];
        all.into_iter().filter_map(|(key, pattern)| Some((key, pattern.as_deref()?)))
    }
}

/// What a pattern is held against.
#[derive(Clone, Copy)]
enum Key {
    HardwareAddr,
    PermanentAddr,
    Driver,
    BusPath,
    PciId,
}

impl Key {
    /// Its name in the config.
    fn name(self) -> &'static str {
        match self {
            Self::HardwareAddr => "hardwareAddr",
            Self::PermanentAddr => "permanentAddr",
            Self::Driver => "driver",
            Self::BusPath => "busPath",
            Self::PciId => "pciID",
        }
    }
}

/// What a link has there; `None`: nobody looked.
fn value(link: &Link, key: Key) -> Option<String> {
    let device = link.device.as_ref();
    match key {
        Key::HardwareAddr => Some(hex(&link.hardware)),
        Key::PermanentAddr => Some(hex(&link.permanent)),
        Key::Driver => device.map(|d| d.driver.clone()),
        Key::BusPath => device.map(|d| d.bus_path.clone()),
        Key::PciId => device.map(|d| d.pci_id.clone()),
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.physical {
            Some(true) => "the physical link",
            Some(false) => "the link that is not physical",
            None => "the link",
        })?;
        for (i, (key, pattern)) in self.patterns().enumerate() {
            let and = if i == 0 { "with" } else { "and" };
            write!(f, " {and} {} {pattern:?}", key.name())?;
        }
        Ok(())
    }
}
