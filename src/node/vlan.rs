//! The links of VLANs that are not there: created, marked as ours by their alias, and removed again.
//!
//! Creating may take long (the kernel may load a module for it, and waits for its network configuration lock), so it is
//! done by a task of its own on a connection of its own, and the keeper, which says what is missing, sees the link come
//! as it sees any other. Only what the alias says is ours is removed, and only if nobody else uses it by then.
//!
//! Between creating a link and marking it lie microseconds. A daemon that is killed exactly there leaves a link that is
//! nobody's: down, and without an address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use nix::errno::Errno;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::clock::now;
use super::kernel::chain;
use super::netlink::{Address, Error, Marks, Netlink};
use crate::election::event::LinkId;
use crate::link::{Found, Link, LinkChoice, created_alias, vlan_of};
use crate::moment::Moment;

/// When to try again to create what could not be created.
const RETRY: Duration = Duration::from_secs(5);

/// How often the same failure is said.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// The longest name of a link, in bytes.
const LONGEST_NAME: usize = 15;

/// How many names are tried for a link.
const NAMES: u16 = 100;

/// A VLAN whose link is not there.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Missing {
    /// The link it is to stand on.
    pub parent: LinkId,
    /// That one's name.
    pub parent_name: String,
    /// The VLAN's id.
    pub id: u16,
}

/// Creates what is missing, until nobody says any more what that is.
pub async fn create_missing(mut missing: watch::Receiver<BTreeSet<Missing>>) {
    let mut said: BTreeMap<Missing, Moment> = BTreeMap::new();
    loop {
        let wanted = missing.borrow_and_update().clone();
        said.retain(|one, _| wanted.contains(one));
        let mut failed = false;
        for one in wanted {
            if let Err(e) = create(&one).await {
                failed = true;
                complain(&one, &e, &mut said);
            }
        }
        let changed = if failed {
            tokio::time::timeout(RETRY, missing.changed()).await.unwrap_or(Ok(()))
        } else {
            missing.changed().await
        };
        if changed.is_err() {
            return;
        }
    }
}

fn complain(what: &Missing, e: &Error, said: &mut BTreeMap<Missing, Moment>) {
    let now = now();
    if said.get(what).is_some_and(|at| now.since(*at) < SAY_AGAIN) {
        return;
    }
    said.insert(what.clone(), now);
    let hint = match e {
        Error::Refused(e) if e.raw_os_error() == Some(Errno::EOPNOTSUPP as i32) => {
            " (this kernel has no VLANs: is the module 8021q there?)"
        }
        Error::Refused(e) if e.raw_os_error() == Some(Errno::EPERM as i32) => " (CAP_NET_ADMIN is missing)",
        _ => "",
    };
    error!(vlan = what.id, on = what.parent_name, "cannot create the VLAN's link, trying on: {}{hint}", chain(e));
}

async fn create(what: &Missing) -> Result<(), Error> {
    let mut netlink = Netlink::open().await?;
    let links = netlink.links().await?;
    if vlan_of(&links, what.parent, what.id).is_some() {
        return Ok(());
    }
    let Some(name) = free_name(&links, &what.parent_name, what.id) else {
        return Err(Error::Refused(std::io::Error::other("every name for it is taken")));
    };
    netlink.create_vlan(what.parent, what.id, &name).await?;
    let Some(link) = vlan_of(&netlink.links().await?, what.parent, what.id).map(|link| link.id) else {
        // Somebody removed it, or its parent went.
        return Err(Error::Refused(std::io::Error::other("it was gone again at once")));
    };
    if let Err(e) = netlink.set_alias(link, &created_alias(what.id, &what.parent_name)).await {
        // Unmarked, nobody would remove it later.
        netlink.remove_link(link).await?;
        return Err(e);
    }
    match netlink.bring_up(link).await {
        // The link below is down; when it comes up, it takes this one along.
        Err(Error::Refused(e)) if e.raw_os_error() == Some(Errno::ENETDOWN as i32) => {}
        done => done?,
    }
    info!(link = name, vlan = what.id, on = what.parent_name, "created the VLAN's link, for as long as vipd runs");
    Ok(())
}

/// `eth0.100`, or another name if that is too long or something else has it.
fn free_name(links: &[Link], parent: &str, id: u16) -> Option<String> {
    let others = (1..NAMES).map(|n| if n == 1 { format!("vlan{id}") } else { format!("vlan{id}-{n}") });
    let taken = |name: &String| links.iter().any(|link| link.name == *name || link.other_names.contains(name));
    let mut names = std::iter::once(format!("{parent}.{id}")).chain(others);
    names.find(|name| name.len() <= LONGEST_NAME && !taken(name))
}

/// Removes the links that vipd created, but for those that one of these choices is for, and those that somebody else
/// uses. `ours` are the addresses that are no use by somebody else.
///
/// # Errors
/// When the kernel gives no whole list.
pub async fn remove_created(needed: &[&LinkChoice], ours: &[IpAddr]) -> Result<(), Error> {
    let mut netlink = Netlink::open().await?;
    let links = netlink.links().await?;
    let created: Vec<&Link> =
        links.iter().filter(|link| link.is_created() && !is_needed(link, needed, &links)).collect();
    if created.is_empty() {
        return Ok(());
    }
    let every_family = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let addresses = netlink.all_addresses(&every_family).await?;
    for link in created {
        if let Some(use_of_it) = used_by_others(link, &links, &addresses, ours) {
            warn!(link = link.name, "vipd created this VLAN's link and leaves it: {use_of_it}");
            continue;
        }
        match netlink.remove_link(link.id).await {
            Ok(()) => info!(link = link.name, "removed the VLAN's link that vipd had created"),
            Err(Error::Refused(e)) if e.raw_os_error() == Some(Errno::ENODEV as i32) => {}
            Err(e) => warn!(link = link.name, "cannot remove the VLAN's link that vipd had created: {}", chain(&e)),
        }
    }
    Ok(())
}

/// Whether a choice is for this link. One whose parent is not to be found now may well be.
fn is_needed(link: &Link, needed: &[&LinkChoice], links: &[Link]) -> bool {
    needed.iter().filter(|choice| choice.vlan.is_some() && choice.vlan == link.vlan).any(|choice| {
        match choice.base.find(links, None) {
            Found::One(base, _) => Some(base.id) == link.parent,
            Found::None | Found::Several(_) => true,
        }
    })
}

/// What somebody else does with a link.
fn used_by_others(link: &Link, links: &[Link], addresses: &[Address], ours: &[IpAddr]) -> Option<String> {
    let theirs = |a: &&Address| a.link == link.id && !is_link_local(a.ip) && !a.is_the_kernels();
    let ours = |a: &Address| ours.contains(&a.ip) && a.is_ours(Marks::Unknown);
    if let Some(address) = addresses.iter().filter(theirs).find(|a| !ours(a)) {
        return Some(format!("{}/{} is on it", address.ip, address.prefix));
    }
    if link.port_of.is_some() {
        return Some("it is a port of another link".into());
    }
    let above = links.iter().find(|other| other.parent == Some(link.id));
    above.map(|other| format!("{} stands on it", other.name))
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::address::AddressFlags;

    use super::*;
    use crate::link::Base;

    fn link(id: u32, name: &str) -> Link {
        Link { name: name.into(), ..Link::bare(LinkId(id)) }
    }

    fn created(id: u32, parent: u32, vlan: u16) -> Link {
        let alias = created_alias(vlan, "eth0");
        let kind = "vlan".into();
        Link { parent: Some(LinkId(parent)), vlan: Some(vlan), alias, kind, ..link(id, &format!("eth0.{vlan}")) }
    }

    fn address(link: u32, ip: &str, mark: Option<u8>) -> Address {
        let (flags, preferred, valid) = (AddressFlags::Permanent, u32::MAX, u32::MAX);
        Address { link: LinkId(link), ip: ip.parse().unwrap(), prefix: 24, mark, flags, preferred, valid, created: 0 }
    }

    #[test]
    fn a_name_that_is_too_long_or_taken_gives_way_to_another() {
        let mut links = vec![link(1, "eth0")];
        assert_eq!(free_name(&links, "eth0", 100).unwrap(), "eth0.100");
        assert_eq!(free_name(&links, "elevenbytes", 4094).unwrap(), "vlan4094");
        assert_eq!(free_name(&links, "elevenbytes", 100).unwrap(), "elevenbytes.100");
        links.push(Link { other_names: vec!["eth0.100".into()], ..link(2, "vlan100") });
        assert_eq!(free_name(&links, "eth0", 100).unwrap(), "vlan100-2");
        links.extend((2..NAMES).map(|n| link(u32::from(n) + 2, &format!("vlan100-{n}"))));
        assert_eq!(free_name(&links, "eth0", 100), None);
    }

    #[test]
    fn what_a_vip_needs_stays_and_so_does_what_it_may_need() {
        let links = [link(1, "eth0"), link(2, "eth1"), created(3, 1, 100)];
        let choice = |name: &str, vlan| LinkChoice { base: Base::Named(name.into()), vlan };
        for (name, vlan, needed) in [
            ("eth0", Some(100), true),
            ("eth0", Some(101), false),
            ("eth0", None, false),
            ("eth1", Some(100), false),
            ("not-there-yet", Some(100), true),
        ] {
            assert_eq!(is_needed(&links[2], &[&choice(name, vlan)], &links), needed, "{name} {vlan:?}");
        }
    }

    #[test]
    fn others_use_a_link_with_an_address_as_a_port_or_as_a_parent() {
        let vlan = created(3, 1, 100);
        let vip: IpAddr = "10.0.0.9".parse().unwrap();
        let used = |link: &Link, above: &[Link], addresses: &[Address]| used_by_others(link, above, addresses, &[vip]);
        let harmless = [
            address(3, "fe80::1", None),
            address(3, "169.254.7.7", None),
            address(3, "2001:db8::1", Some(2)),
            address(3, "10.0.0.9", Some(crate::node::netlink::MARK)),
            address(1, "10.0.0.1", None),
        ];
        assert_eq!(used(&vlan, &[link(1, "eth0"), vlan.clone()], &harmless), None);
        assert_eq!(used(&vlan, &[], &[address(3, "10.0.0.1", None)]).unwrap(), "10.0.0.1/24 is on it");
        assert!(used(&vlan, &[], &[address(3, "10.0.0.9", None)]).is_some(), "an operator's");
        assert!(used(&Link { port_of: Some(LinkId(9)), ..vlan.clone() }, &[], &[]).is_some());
        let above = Link { parent: Some(LinkId(3)), ..link(4, "macvlan0") };
        assert_eq!(used(&vlan, &[above], &[]).unwrap(), "macvlan0 stands on it");
    }
}
