//! One node with a link of every kind, and what is meant on it: a table.

use super::*;

const PHYSICAL: &str = "";

fn link(id: u32, name: &str, kind: &str, mac: u8) -> Link {
    let hardware = vec![0x52, 0x54, 0, 0, 0, mac];
    let permanent = if kind == PHYSICAL { hardware.clone() } else { Vec::new() };
    let (name, kind) = (name.into(), kind.into());
    Link { name, kind, hardware, permanent, ethernet: true, serves: true, ..Link::bare(LinkId(id)) }
}

fn device(driver: &str, bus_path: &str, pci_id: &str) -> Option<Device> {
    Some(Device { driver: driver.into(), bus_path: bus_path.into(), pci_id: pci_id.into() })
}

/// eth0 alone; eth1 and eth2 in bond0, with its address; a VF; VLANs, a bridge, a pod's veth, a tunnel.
fn node() -> Vec<Link> {
    let bond = Some(LinkId(20));
    let mut links = vec![
        Link { loopback: true, ethernet: false, device: device("", "", ""), ..link(1, "lo", "", 0) },
        Link {
            other_names: vec!["enp0s3".into(), "front".into()],
            alias: "uplink".into(),
            device: device("virtio_net", "0000:00:03.0", ""),
            ..link(2, "eth0", PHYSICAL, 2)
        },
        Link { port_of: bond, device: device("e1000", "0000:00:04.0", "8086:100E"), ..link(3, "eth1", PHYSICAL, 3) },
        Link { port_of: bond, device: device("e1000", "0000:00:05.0", "8086:100E"), ..link(4, "eth2", PHYSICAL, 4) },
        Link { device: device("iavf", "0000:3b:02.1", "8086:1889"), serves: false, ..link(5, "eth3", PHYSICAL, 5) },
        Link { alias: "uplink".into(), device: device("bonding", "", ""), ..link(20, "bond0", "bond", 3) },
        Link { parent: Some(LinkId(20)), vlan: Some(100), ..link(21, "storage", "vlan", 3) },
        Link { parent: Some(LinkId(2)), vlan: Some(100), ..link(22, "eth0.100", "vlan", 2) },
        Link {
            parent: Some(LinkId(2)),
            vlan: Some(7),
            alias: created_alias(7, "eth0"),
            ..link(23, "eth0.7", "vlan", 2)
        },
        Link { device: device("bridge", "N/A", ""), ..link(30, "br0", "bridge", 9) },
        Link { port_of: Some(LinkId(30)), device: device("veth", "", ""), ..link(31, "veth0", "veth", 10) },
        Link { ethernet: false, hardware: vec![10, 0, 0, 1], ..link(40, "tun0", "tun", 0) },
    ];
    // Their second ports answer the permanent question otherwise: the bond has given them its address.
    links[3].hardware = links[5].hardware.clone();
    for unlooked in [6, 7, 8, 11] {
        links[unlooked].device = device("", "", "");
    }
    links
}

/// A selector out of `key=pattern` words.
fn selector(words: &str) -> Selector {
    let mut s = Selector::default();
    for word in words.split_whitespace() {
        let (key, value) = word.split_once('=').unwrap();
        let value = value.to_owned();
        match key {
            "busPath" => s.bus_path = Some(value),
            "hardwareAddr" => s.hardware_addr = Some(value),
            "permanentAddr" => s.permanent_addr = Some(value),
            "pciID" => s.pci_id = Some(value),
            "driver" => s.driver = Some(value),
            "physical" => s.physical = Some(value == "true"),
            other => panic!("{other}"),
        }
    }
    s
}

fn names(links: &[&Link]) -> String {
    links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>().join(" ")
}

fn found(base: &Base, links: &[Link], current: Option<u32>) -> String {
    match base.find(links, current.map(LinkId)) {
        Found::None => "none".into(),
        Found::One(link, others) if others.is_empty() => link.name.clone(),
        Found::One(link, others) => format!("{}, not {}", link.name, names(&others)),
        Found::Several(all) => format!("several: {}", names(&all)),
    }
}

#[test]
fn selectors_mean_what_they_mean_in_talos() {
    let links = node();
    for (words, want) in [
        ("physical=true", "several: eth0 eth1 eth2 eth3"),
        ("physical=false", "several: bond0 storage eth0.100 br0 veth0 tun0"),
        ("driver=virtio_net", "eth0"),
        ("driver=VIRTIO*", "eth0"),
        ("driver=virtio", "none"),
        ("driver=e1000", "several: eth1 eth2"),
        ("driver=e1000 busPath=0000:00:04.*", "eth1"),
        ("driver=e1000 busPath=0000:3b:*", "none"),
        ("busPath=0000:00:*", "several: eth0 eth1 eth2"),
        ("pciID=8086:1889", "eth3"),
        ("pciID=8086:100e", "several: eth1 eth2"),
        ("hardwareAddr=52:54:00:00:00:02", "several: eth0 eth0.100"),
        ("hardwareAddr=52:54:00:00:00:02 physical=true", "eth0"),
        ("hardwareAddr=52:54:00:00:00:03", "several: eth1 eth2 bond0 storage"),
        ("hardwareAddr=52:54:00:00:00:04", "none"),
        ("permanentAddr=52:54:00:00:00:04", "eth2"),
        ("permanentAddr=52:54:00:00:00:0A", "none"),
        ("hardwareAddr=0A:00:*", "tun0"),
        ("driver=bonding", "bond0"),
        ("driver=veth physical=false", "veth0"),
        ("driver=veth physical=true", "none"),
        ("driver=*", "several: eth0 eth1 eth2 eth3 bond0 storage eth0.100 br0 veth0 tun0"),
    ] {
        assert_eq!(found(&Base::Selected(selector(words)), &links, None), want, "{words}");
    }
}

#[test]
fn names_go_before_aliases_and_each_is_one_or_an_error() {
    let links = node();
    for (name, want) in [
        ("eth0", "eth0"),
        ("enp0s3", "eth0"),
        ("front", "eth0"),
        ("uplink", "several: eth0 bond0"),
        ("storage", "storage"),
        ("ETH0", "none"),
        ("eth", "none"),
        ("eth*", "none"),
    ] {
        assert_eq!(found(&Base::Named(name.into()), &links, None), want, "{name}");
    }
    let mut links = links;
    links[9].other_names = vec!["uplink".into()];
    assert_eq!(found(&Base::Named("uplink".into()), &links, None), "br0");
}

#[test]
fn what_was_chosen_stays_chosen() {
    let mut links = node();
    let physical = Base::Selected(selector("physical=true"));
    assert_eq!(found(&physical, &links, Some(2)), "eth0, not eth1 eth2 eth3");
    assert_eq!(found(&physical, &links, Some(99)), "several: eth0 eth1 eth2 eth3", "gone");
    // A device keeps the VIP when it is renamed or gets another address; a name goes to whoever has it.
    links[1].name = "old0".into();
    links[1].hardware = vec![1; 6];
    let mac = Base::Selected(selector("hardwareAddr=52:54:00:00:00:02 physical=true"));
    assert_eq!(found(&mac, &links, Some(2)), "old0");
    assert_eq!(found(&mac, &links, None), "none");
    assert_eq!(found(&Base::Named("eth0".into()), &links, Some(2)), "none");
    assert_eq!(found(&Base::Named("front".into()), &links, Some(2)), "old0", "it has kept that name");
    assert_eq!(found(&Base::Named("uplink".into()), &links, Some(20)), "bond0, not old0");
}

#[test]
fn a_device_that_was_not_looked_up_may_be_the_one() {
    let bare = Link { device: None, ..link(2, "eth0", PHYSICAL, 2) };
    for (words, want) in [
        ("driver=virtio_net", None),
        ("driver=virtio_net physical=true", None),
        ("driver=virtio_net physical=false", Some(false)),
        ("driver=virtio_net hardwareAddr=52:*", None),
        ("driver=virtio_net hardwareAddr=53:*", Some(false)),
        ("hardwareAddr=52:*", Some(true)),
    ] {
        assert_eq!(selector(words).judge(&bare), want, "{words}");
        assert_eq!(Base::Selected(selector(words)).may_mean(&bare), want != Some(false));
    }
    assert_eq!(found(&Base::Selected(selector("driver=*")), &[bare], None), "none");
}

#[test]
fn a_vlan_is_found_by_parent_and_id_whatever_its_name() {
    let links = node();
    let of = |parent, id| vlan_of(&links, LinkId(parent), id).map(|link| link.name.as_str());
    assert_eq!([of(20, 100), of(2, 100), of(2, 7)], [Some("storage"), Some("eth0.100"), Some("eth0.7")]);
    assert_eq!([of(3, 100), of(2, 101)], [None, None]);
}

#[test]
fn links_and_choices_in_words() {
    let links = node();
    let words = |i: usize, by: &str| describe(&links[i], &links, Some(&selector(by)));
    assert_eq!(words(1, "physical=true"), "eth0 (physical, driver virtio_net)");
    assert_eq!(
        words(2, "hardwareAddr=*"),
        "eth1 (physical, port of bond0, hardwareAddr 52:54:00:00:00:03, driver e1000)"
    );
    assert_eq!(words(4, "pciID=*"), "eth3 (physical, pciID 8086:1889, driver iavf, down)");
    assert_eq!(words(5, "driver=x"), "bond0 (bond, driver bonding)");
    assert_eq!(words(6, "driver=x"), "storage (VLAN 100 on bond0)");
    assert_eq!(words(11, "driver=x"), "tun0 (not Ethernet)".replace("not Ethernet", "tun"));
    let hostile = Link { name: "a\u{1b}[31m\n".into(), ..link(50, "", "veth", 1) };
    assert_eq!(describe(&hostile, &[], None), "a\\u{1b}[31m\\n (veth)");

    let many: Vec<Link> = (0..300).map(|n| link(100 + n, &format!("veth{n}"), "veth", 1)).chain(node()).collect();
    let all = list(&many, &many, None);
    assert!(all.starts_with("eth0 (physical, ") && all.ends_with(", and 295 more"), "{all}");
    assert_eq!(list(&links[..1], &links, None), "none", "the loopback is nobody's");

    let choice = |base, vlan| LinkChoice { base, vlan }.to_string();
    assert_eq!(choice(Base::Named("eth0".into()), Some(100)), "VLAN 100 on eth0");
    let by = |words| Base::Selected(selector(words));
    assert_eq!(choice(by("physical=true"), None), "the physical link");
    assert_eq!(
        choice(by("physical=true driver=virtio* hardwareAddr=00:*"), Some(7)),
        "VLAN 7 on the physical link with hardwareAddr \"00:*\" and driver \"virtio*\""
    );
    assert_eq!(choice(by("busPath=0"), None), "the link with busPath \"0\"");
    assert_eq!(choice(by("physical=false"), None), "the link that is not physical");
}
