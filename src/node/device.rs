//! What is behind a link: driver, place on the bus, PCI id. For selectors that ask for them, and for nobody else.
//!
//! From `/sys/class/net/*/device/uevent`, and from ethtool where that says nothing (a virtio device does not name its
//! place). ethtool's question takes the kernel's network configuration lock, so all of this is done on a thread of its own,
//! one at a time, and waited for with a bound. A link keeps its device as long as it lives, so each is looked up once.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use socket2::{Domain, Socket, Type};
use tokio::sync::oneshot;
use tracing::{debug, warn};

use crate::election::event::LinkId;
use crate::link::{Device, Link};

/// How long a look-up is waited for. It goes on behind, and what it finds is there the next time.
const PATIENCE: Duration = Duration::from_millis(500);

/// A link at one time of its life: with another name, it may be another one with its number.
type Known = (LinkId, String);

/// What is known about devices, and the look-up that is going on.
#[derive(Debug, Default)]
pub struct Devices {
    known: BTreeMap<Known, Device>,
    going_on: Option<oneshot::Receiver<Vec<(Known, Device)>>>,
}

impl Devices {
    /// Writes into all of a node's links what is behind them. Whether that is known of every one.
    pub async fn fill(&mut self, links: &mut [Link]) -> bool {
        self.known.retain(|known, _| links.iter().any(|link| key(link) == *known));
        self.collect().await;
        let unknown: Vec<Link> = links.iter().filter(|link| !self.known.contains_key(&key(link))).cloned().collect();
        if !unknown.is_empty() && self.going_on.is_none() {
            self.begin(unknown);
            self.collect().await;
        }
        for link in links.iter_mut() {
            link.device = self.known.get(&key(link)).cloned();
        }
        links.iter().all(|link| link.device.is_some())
    }

    async fn collect(&mut self) {
        let Some(going_on) = &mut self.going_on else { return };
        match tokio::time::timeout(PATIENCE, going_on).await {
            Ok(found) => {
                self.going_on = None;
                self.known.extend(found.unwrap_or_default());
            }
            Err(_) => warn!("the kernel does not say which devices are behind the links; still waiting"),
        }
    }

    fn begin(&mut self, links: Vec<Link>) {
        let (tell, told) = oneshot::channel();
        // Nobody to tell: the daemon ends.
        let look = move || drop(tell.send(links.iter().filter_map(|link| Some((key(link), look_up(link)?))).collect()));
        match std::thread::Builder::new().name("vipd-devices".into()).spawn(look) {
            Ok(_) => self.going_on = Some(told),
            Err(e) => warn!("no thread to look up devices: {e}"),
        }
    }
}

fn key(link: &Link) -> Known {
    (link.id, link.name.clone())
}

/// `None`: the link is not there, or not by this name.
fn look_up(link: &Link) -> Option<Device> {
    let mut device = from_sysfs(Path::new("/sys/class/net"), link);
    match driver_info(&link.name) {
        Ok(info) => {
            let or = |known: &mut String, said: String| {
                if known.is_empty() {
                    *known = said
                }
            };
            or(&mut device.driver, info.driver());
            or(&mut device.bus_path, info.bus_info());
        }
        Err(e) if e.raw_os_error() == Some(Errno::ENODEV as i32) => return None,
        // Most drivers that say nothing say so.
        Err(e) => debug!(link = link.name, "no word from its driver: {e}"),
    }
    Some(device)
}

/// What sysfs says, if it is about this link: a process may see the sysfs of another network namespace than its own.
fn from_sysfs(root: &Path, link: &Link) -> Device {
    let directory = root.join(&link.name);
    let read = |file: &str| fs::read_to_string(directory.join(file)).unwrap_or_default();
    let mac: Vec<u8> = read("address").trim().split(':').filter_map(|b| u8::from_str_radix(b, 16).ok()).collect();
    if read("ifindex").trim() != link.id.0.to_string() || mac != link.hardware {
        return Device::default();
    }
    from_uevent(&read("device/uevent"))
}

fn from_uevent(text: &str) -> Device {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default();
    Device { driver: value("DRIVER").into(), bus_path: value("PCI_SLOT_NAME").into(), pci_id: value("PCI_ID").into() }
}

/// `struct ethtool_drvinfo` of linux/ethtool.h.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    _version: [u8; 32],
    _firmware: [u8; 32],
    bus_info: [u8; 32],
    _rest: [u8; 64],
}

/// linux/ethtool.h.
const ETHTOOL_GDRVINFO: u32 = 3;

impl DriverInfo {
    fn driver(&self) -> String {
        text(&self.driver)
    }

    fn bus_info(&self) -> String {
        text(&self.bus_info)
    }
}

/// Up to its NUL, if it has one.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Asks a link's driver by ioctl: ethtool's netlink family, and with it the crates for that, has no such question.
fn driver_info(name: &str) -> io::Result<DriverInfo> {
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
    let mut info = DriverInfo {
        command: ETHTOOL_GDRVINFO,
        driver: [0; 32],
        _version: [0; 32],
        _firmware: [0; 32],
        bus_info: [0; 32],
        _rest: [0; 64],
    };
    const { assert!(size_of::<DriverInfo>() == 196) };
    let mut ifr_name = [0; libc::IFNAMSIZ];
    if name.len() >= ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, byte) in ifr_name.iter_mut().zip(name.bytes()) {
        *to = byte as libc::c_char;
    }
    let ifr_ifru = libc::__c_anonymous_ifr_ifru { ifru_data: (&raw mut info).cast() };
    let mut request = libc::ifreq { ifr_name, ifr_ifru };
    #[expect(
        unsafe_code,
        reason = "nix has no ethtool, and its macro for ioctls makes an unsafe function all the same"
    )]
    // SAFETY: the kernel reads the name, which ends in a NUL, and writes at most one `ethtool_drvinfo` to `info`, which has
    // that size and layout, is plain bytes and lives until after the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    Errno::result(done)?;
    Ok(info)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uevent_says_driver_place_and_id_or_some_of_it() {
        let e1000 =
            "DRIVER=e1000\nPCI_CLASS=20000\nPCI_ID=8086:100E\nPCI_SUBSYS_ID=1AF4:1100\nPCI_SLOT_NAME=0000:00:03.0\n";
        let want = Device { driver: "e1000".into(), bus_path: "0000:00:03.0".into(), pci_id: "8086:100E".into() };
        assert_eq!(from_uevent(e1000), want);
        let virtio = from_uevent("DRIVER=virtio_net\nMODALIAS=virtio:d00000001v00001AF4\n");
        assert_eq!((virtio.driver.as_str(), virtio.bus_path.as_str()), ("virtio_net", ""));
        assert_eq!(from_uevent(""), Device::default());
    }

    #[test]
    fn the_sysfs_of_another_namespace_says_nothing() {
        let root = std::env::temp_dir().join(format!("vipd-device-{}", std::process::id()));
        fs::create_dir_all(root.join("eth0/device")).unwrap();
        fs::write(root.join("eth0/ifindex"), "7\n").unwrap();
        fs::write(root.join("eth0/address"), "00:1a:2b:3c:4d:5e\n").unwrap();
        fs::write(root.join("eth0/device/uevent"), "DRIVER=e1000\n").unwrap();
        let mut link = Link::bare(LinkId(7));
        (link.name, link.hardware) = ("eth0".into(), vec![0, 0x1a, 0x2b, 0x3c, 0x4d, 0x5e]);
        assert_eq!(from_sysfs(&root, &link).driver, "e1000");
        assert_eq!(from_sysfs(&root, &Link { id: LinkId(8), ..link.clone() }), Device::default());
        assert_eq!(from_sysfs(&root, &Link { hardware: vec![1; 6], ..link.clone() }), Device::default());
        assert_eq!(from_sysfs(&root, &Link { name: "eth1".into(), ..link }), Device::default());
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_link_that_is_not_there_has_no_driver_info() {
        let e = driver_info("no-such-link").err().unwrap();
        assert_eq!(e.raw_os_error(), Some(Errno::ENODEV as i32));
        assert!(driver_info("a-name-that-is-too-long").is_err());
    }
}
