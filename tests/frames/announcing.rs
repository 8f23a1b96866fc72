//! Does the network come to the VIP when it is announced, and are the frames those that were meant?

use std::io::Read;
use std::time::Duration;

use pnet::util::MacAddr;
use socket2::Socket;
use vipd::election::event::{LinkId, VipId};
use vipd::node::announce::{AnnounceError, Announcer};
use vipd::node::clock::now;
use vipd::node::frame::{self, ArpForm};
use vipd::node::packet::PacketSocket;

use crate::ground::{Ground, V4, V6, ip, link, mac_of, on_ground, tap, v4, v6, wait_for};

const VIP: VipId = VipId(0);

/// The far machine believes that the VIP is somewhere else; after `announce` it must not.
fn moves_the_neighbour(ground: &Ground, vip: &'static str, announce: impl FnOnce()) {
    ground.far_ip(&format!("neigh replace {vip} lladdr 02:00:00:00:00:99 dev far nud stale"));
    let entry = || ground.far_ip(&format!("neigh show {vip} dev far"));
    assert!(entry().contains("02:00:00:00:00:99"), "{}", entry());
    announce();
    let near = mac_of("near").to_string();
    wait_for(&format!("{vip} at {near} on the far machine"), || entry().contains(&near));
}

#[test]
fn gratuitous_arp_of_either_form_alone_moves_a_neighbour() {
    on_ground(|ground| {
        for form in [ArpForm::Request, ArpForm::Reply] {
            moves_the_neighbour(ground, V4, || {
                let vip = V4.parse().expect("a constant");
                let frame = frame::gratuitous_arp(vip, mac_of("near"), form);
                PacketSocket::sender(link("near")).and_then(|socket| socket.send(&frame)).expect("the link is up");
            });
        }
    });
}

#[test]
fn an_announcement_moves_neighbours_of_both_families() {
    on_ground(|ground| {
        let mut announcer = Announcer::new();
        announcer.prepare(VIP, link("near"), &[v4(), v6()]).expect("the link is there");
        moves_the_neighbour(ground, V4, || assert_eq!(announcer.announce(VIP, link("near")).ok(), Some(3)));
        moves_the_neighbour(ground, V6, || assert_eq!(announcer.announce(VIP, link("near")).ok(), Some(3)));
    });
}

/// The frames of the VIP that come through within the tap's timeout. The kernel's own talk is left out.
fn tapped(mut tap: &Socket) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut buffer = [0; 2000];
    while let Ok(length) = tap.read(&mut buffer) {
        let named = |address: &[u8]| buffer[..length].windows(address.len()).any(|part| part == address);
        if named(&[10, 9, 0, 15]) || named(&[0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x15]) {
            frames.push(buffer[..length].to_vec());
        }
    }
    frames
}

/// The frames as they must be from this MAC address.
fn expected(mac: MacAddr) -> Vec<Vec<u8>> {
    [v4(), v6()].into_iter().flat_map(|ip| frame::announcements(ip, mac)).map(|frame| frame.bytes).collect()
}

#[test]
fn what_arrives_is_what_was_built_byte_by_byte() {
    on_ground(|ground| {
        let tap = ground.far(tap);
        let mut announcer = Announcer::new();
        announcer.prepare(VIP, link("near"), &[v4(), v6()]).expect("the link is there");
        announcer.announce(VIP, link("near")).expect("the link is up");
        assert_eq!(tapped(&tap), expected(mac_of("near")));
    });
}

#[test]
fn a_link_that_changed_its_mac_is_announced_under_the_new_one() {
    on_ground(|ground| {
        let mut announcer = Announcer::new();
        announcer.prepare(VIP, link("near"), &[v4(), v6()]).expect("the link is there");
        ip("link set near address 02:00:00:00:00:77");
        let tap = ground.far(tap);
        announcer.announce(VIP, link("near")).expect("the link is up");
        assert_eq!(tapped(&tap), expected(MacAddr(2, 0, 0, 0, 0, 0x77)));
    });
}

#[test]
fn a_link_created_anew_under_the_same_number_is_found_again() {
    on_ground(|ground| {
        let mut announcer = Announcer::new();
        let before = link("near");
        announcer.prepare(VIP, before, &[v4(), v6()]).expect("the link is there");
        ip("link del near");
        assert_eq!(announcer.announce(VIP, before).ok(), Some(0), "a link that is gone may come back");
        ground.lay_cable(&format!("index {}", before.0));
        assert_eq!(link("near"), before);
        let tap = ground.far(tap);
        assert_eq!(announcer.announce(VIP, before).ok(), Some(3));
        assert_eq!(tapped(&tap), expected(mac_of("near")));
    });
}

#[test]
fn a_link_that_is_down_is_no_error_and_works_again_when_up() {
    on_ground(|_| {
        let mut announcer = Announcer::new();
        let near = link("near");
        announcer.prepare(VIP, near, &[v4(), v6()]).expect("the link is there");
        ip("link set near down");
        assert_eq!(announcer.announce(VIP, near).ok(), Some(0));
        ip("link set near up");
        assert_eq!(announcer.announce(VIP, near).ok(), Some(3));
    });
}

#[test]
fn what_will_not_pass_is_an_error() {
    on_ground(|_| {
        let mut announcer = Announcer::new();
        assert!(matches!(announcer.announce(VIP, link("near")), Err(AnnounceError::NotPrepared)));
        let error = announcer.prepare(VIP, link("lo"), &[v4()]).expect_err("lo is not Ethernet");
        assert!(matches!(&error, AnnounceError::Open { source, .. } if source.to_string().contains("not Ethernet")));
        assert!(announcer.prepare(VIP, LinkId(4711), &[v4()]).is_err());
        assert_eq!(announcer.announce(VIP, link("near")).ok(), Some(2), "it still knows what to announce");
    });
}

#[test]
fn announcing_takes_microseconds() {
    on_ground(|_| {
        let mut announcer = Announcer::new();
        announcer.prepare(VIP, link("near"), &[v4(), v6()]).expect("the link is there");
        let near = link("near");
        let mut took: Vec<Duration> = (0..51)
            .map(|_| {
                let start = now();
                announcer.announce(VIP, near).expect("the link is up");
                now().since(start)
            })
            .collect();
        took.sort();
        println!("three frames: median {:?}, worst {:?}", took[25], took[50]);
        assert!(took[25] < Duration::from_millis(1), "median {:?}", took[25]);
    });
}
