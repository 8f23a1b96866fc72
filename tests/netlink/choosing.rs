//! Which link the keeper chooses, on links of this machine's kernel.

use std::time::Duration;

use vipd::election::action::Wish;
use vipd::election::event::{LinkId, Outcome};
use vipd::link::{Base, Device, Found, Link, LinkChoice, Selector};
use vipd::node::device::Devices;
use vipd::node::netlink::Netlink;
use vipd::node::vlan::{Missing, create_missing, remove_created};

use crate::heard::Heard;
use crate::world::{V4, World, addresses, alone, in_ms, ip, link_of, plug_in};

fn selected(selector: Selector) -> LinkChoice {
    LinkChoice { base: Base::Selected(selector), vlan: None }
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// A cable whose near end is `name`, up on both sides.
fn cable(name: &str) {
    ip(&format!("link add {name} type veth peer name far-{name}"));
    ip(&format!("link set far-{name} up"));
    ip(&format!("link set {name} up"));
}

/// Takes it and gives it back, to see on which link.
async fn taken_on(w: &mut World, link: LinkId) {
    w.wish(link, Wish::Until(in_ms(3900)));
    assert_eq!(w.settled().await, Outcome::Present);
    assert_eq!(addresses(&[V4]).await[0].link, link);
    w.wish(link, Wish::Absent);
    assert_eq!(w.settled().await, Outcome::Absent);
}

#[test]
fn by_an_alternative_name_or_an_alias_which_may_come_late_and_go() {
    for (give, take) in [
        (
            "link property add dev near altname front-of-the-rack-12",
            "link property del dev near altname front-of-the-rack-12",
        ),
        ("link set near alias front-of-the-rack-12", "link set near alias other"),
    ] {
        alone(move || async move {
            cable("near");
            let mut w = World::on(LinkChoice::named("front-of-the-rack-12")).await;
            assert_eq!(w.link().await, None, "nothing is called so yet");
            ip(give);
            let near = link_of("near").await;
            assert_eq!(w.link().await, Some(near));
            assert_eq!(w.view().name, "near");
            taken_on(&mut w, near).await;
            ip("link set near down");
            assert_eq!(w.link().await, None);
            ip("link set near name moved");
            ip("link set moved up");
            assert_eq!(w.link().await, Some(near), "it has kept its other name");
            ip(&take.replace("near", "moved"));
            assert_eq!(w.link().await, None);
        });
    }
}

#[test]
fn two_links_with_one_alias_are_none_and_a_name_goes_before_them() {
    alone(|| async {
        cable("one");
        cable("two");
        ip("link set one alias front");
        ip("link set two alias front");
        let mut w = World::on(LinkChoice::named("front")).await;
        assert_eq!(w.link().await, None);
        cable("front");
        assert_eq!(w.link().await, Some(link_of("front").await));
    });
}

#[test]
fn a_selector_follows_the_device_and_not_the_name() {
    alone(|| async {
        cable("near");
        ip("link set near address 02:00:00:00:00:09");
        let by_mac = Selector { hardware_addr: some("02:00:00:00:00:0*"), ..Selector::default() };
        let mut w = World::on(selected(by_mac)).await;
        let near = w.link().await.expect("the one with that address");
        w.wish(near, Wish::Until(in_ms(3900)));
        assert_eq!(w.settled().await, Outcome::Present);
        ip("link set near down");
        assert_eq!(w.link().await, None);
        ip("link set near name moved");
        ip("link set moved up");
        assert_eq!(w.link().await, Some(near));
        assert_eq!(w.settled().await, Outcome::Present, "as after any flap");
        // Another address, as under a bond: it stays as long as it exists.
        ip("link set moved address 06:00:00:00:00:01");
        assert_eq!(w.link().await, Some(near), "told again");
        w.silent_for(Duration::from_millis(100)).await;
        // The same device again is another one.
        ip("link del moved");
        assert_eq!(w.link().await, None);
        cable("new");
        w.silent_for(Duration::from_millis(100)).await;
        ip("link set new address 02:00:00:00:00:07");
        assert_eq!(w.link().await, Some(link_of("new").await));
    });
}

#[test]
fn several_are_none_until_one_is_left() {
    alone(|| async {
        plug_in();
        for name in ["mac0", "mac1", "mac2"] {
            ip(&format!("link add {name} link eth0 type macvlan mode bridge"));
            ip(&format!("link set {name} up"));
        }
        let macvlans = Selector { driver: some("MAC*"), ..Selector::default() };
        let (heard, _guard) = Heard::listen();
        let mut w = World::on(selected(macvlans)).await;
        assert_eq!(w.link().await, None);
        let line = heard.one("more than one link is meant").await;
        let candidates = "candidates: mac0 (macvlan, driver macvlan), mac1 (macvlan, driver macvlan), mac2 (";
        assert!(line.contains(" ERROR ") && line.contains(candidates), "{line}");
        assert!(line.contains("wanted=the link with driver \"MAC*\""), "{line}");
        ip("link del mac2");
        w.silent_for(Duration::from_millis(100)).await;
        ip("link del mac0");
        let left = link_of("mac1").await;
        assert_eq!(w.link().await, Some(left));
        heard.one("the link is mac1 (macvlan").await;
        heard.one("more than one link is meant").await;
        taken_on(&mut w, left).await;
    });
}

#[test]
fn what_is_not_there_is_waited_for_and_said_once() {
    alone(|| async {
        cable("near");
        let (heard, _guard) = Heard::listen();
        let wanted = Selector { driver: some("veth"), physical: Some(true), ..Selector::default() };
        let mut w = World::on(selected(wanted)).await;
        assert_eq!(w.link().await, None);
        let line = heard.one("there is no such link").await;
        assert!(line.contains(" WARN ") && line.contains("wanted=the physical link with driver \"veth\""), "{line}");
        assert!(line.contains("there are: ") && line.contains("near (veth, driver veth)"), "{line}");
        for name in ["pod1", "pod2", "pod3"] {
            cable(name);
            ip(&format!("link del {name}"));
        }
        w.silent_for(Duration::from_millis(200)).await;
        heard.one("there is no such link").await;
    });
}

#[test]
fn a_port_is_taken_with_a_warning() {
    alone(|| async {
        plug_in();
        ip("link add br0 type bridge");
        ip("link set eth0 master br0");
        let (heard, _guard) = Heard::listen();
        let mut w = World::on(LinkChoice::named("eth0")).await;
        assert_eq!(w.link().await, Some(link_of("eth0").await));
        let line = heard.one("on a port an IPv4 VIP is reached only").await;
        assert!(line.contains(" WARN ") && line.contains("it belongs on br0"), "{line}");
    });
}

#[test]
fn a_second_match_while_one_is_in_use_is_no_move() {
    alone(|| async {
        ip("link add br0 type bridge");
        ip("link set br0 up");
        cable("one");
        ip("link set far-one master br0");
        let bridges = Selector { driver: some("bridge"), physical: Some(false), ..Selector::default() };
        let (heard, _guard) = Heard::listen();
        let mut w = World::on(selected(bridges)).await;
        let first = link_of("br0").await;
        assert_eq!(w.link().await, Some(first));
        w.wish(first, Wish::Until(in_ms(3900)));
        assert_eq!(w.settled().await, Outcome::Present);
        ip("link add br1 type bridge");
        cable("two");
        ip("link set far-two master br1");
        ip("link set br1 up");
        w.silent_for(Duration::from_millis(200)).await;
        assert_eq!(addresses(&[V4]).await[0].link, first);
        let line = heard.one("is meant as well as").await;
        assert!(line.contains(" WARN ") && line.contains("br1 (bridge") && line.contains("br0 (bridge"), "{line}");
        // The first one goes: then the other one is the only one.
        ip("link del br0");
        assert_eq!(w.link().await, None);
        assert_eq!(w.link().await, Some(link_of("br1").await));
    });
}

#[test]
fn nothing_here_is_physical_and_ports_of_a_bridge_say_whose_they_are() {
    alone(|| async {
        plug_in();
        ip("link add br0 type bridge");
        ip("link set far master br0");
        ip("link add mac0 link eth0 type macvlan");
        let mut netlink = Netlink::open().await.unwrap();
        let mut links = netlink.links().await.unwrap();
        assert!(Devices::default().fill(&mut links).await, "every device is known");
        let by_name = |name: &str| links.iter().find(|link| link.name == name).unwrap();
        let words = |name: &str| vipd::link::describe(by_name(name), &links, None);
        assert_eq!(words("far"), "far (veth, port of br0, driver veth)");
        assert_eq!(words("br0"), "br0 (bridge, driver bridge, down)");
        assert_eq!(words("mac0"), "mac0 (macvlan, driver macvlan, down)");
        assert_eq!(by_name("mac0").parent, Some(by_name("eth0").id));
        let physical = Base::Selected(Selector { physical: Some(true), ..Selector::default() });
        assert_eq!(physical.find(&links, None), Found::None);
        let device = by_name("eth0").device.as_ref();
        assert_eq!(device, Some(&Device { driver: "veth".into(), ..Device::default() }));
    });
}

/// The machine's own first link, as sysfs and ethtool tell of it.
#[tokio::test]
async fn this_machines_own_hardware_is_known() {
    let mut links = Netlink::open().await.unwrap().links().await.unwrap();
    assert!(Devices::default().fill(&mut links).await);
    let Some(link) = links.iter().find(|link: &&Link| link.is_physical()) else {
        return println!("skipped, because this machine has no network card");
    };
    println!("{}: {:?}, permanent address {:02x?}", link.name, link.device, link.permanent);
    assert!(link.device.as_ref().is_some_and(|device| !device.driver.is_empty()), "{link:?}");
}

#[test]
fn a_vlan_without_a_link_is_said_to_be_missing_as_long_as_its_parent_is_there() {
    alone(|| async {
        let on = |vlan| LinkChoice { base: Base::Named("eth0".into()), vlan };
        let mut w = World::on(on(Some(100))).await;
        assert_eq!(w.link().await, None);
        assert!(w.missing.borrow_and_update().is_empty(), "its parent is not there");
        plug_in();
        let eth0 = link_of("eth0").await;
        // No borrow across a wait: the keeper, on this very thread, would not get the lock.
        let missing = w.missing.wait_for(|missing| !missing.is_empty()).await.unwrap().clone();
        let wanted: Vec<_> = missing.iter().map(|one: &Missing| (one.parent, one.id)).collect();
        assert_eq!(wanted, [(eth0, 100)]);
        // A macvlan on it is not that VLAN.
        ip("link add eth0.100 link eth0 type macvlan");
        ip("link set eth0.100 up");
        w.silent_for(Duration::from_millis(100)).await;
        ip("link del eth0");
        drop(w.missing.wait_for(|missing| missing.is_empty()).await.unwrap());
        w.silent_for(Duration::from_millis(50)).await;
    });
}

/// This machine's kernel has no VLANs, or it has: either way the task goes on, and leaves nothing.
#[test]
fn what_cannot_be_created_is_tried_again_and_what_was_is_removed() {
    alone(|| async {
        plug_in();
        let missing = Missing { parent: link_of("eth0").await, parent_name: "eth0".into(), id: 100 };
        let (want, wanted) = tokio::sync::watch::channel([missing].into());
        let (heard, _guard) = Heard::listen();
        let task = tokio::spawn(create_missing(wanted));
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!task.is_finished());
        let (made, failed) = (heard.lines("created the VLAN's link"), heard.lines("cannot create the VLAN's link"));
        assert_eq!(made.len() + failed.len(), 1, "{made:?} {failed:?}");
        let no_vlans = "the kernel refuses: Operation not supported (os error 95) (this kernel has no VLANs";
        assert!(failed.iter().all(|line| line.contains(" ERROR ") && line.contains(no_vlans)), "{failed:?}");
        drop(want);
        tokio::time::timeout(Duration::from_secs(1), task).await.expect("it ends").unwrap();
        remove_created(&[], &[]).await.unwrap();
        assert!(Netlink::open().await.unwrap().link("eth0.100").await.unwrap().is_none());
    });
}
