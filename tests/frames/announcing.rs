//! Does the network come to the VIP when it is announced, and are the frames those that were meant?

use std::io::Read;
use std::net::IpAddr;
use std::process::Command;
use std::thread;
use std::time::Duration;

use pnet::util::MacAddr;
use socket2::Socket;
use vipd::election::action::Occasion;
use vipd::election::event::{LinkId, VipId};
use vipd::node::announce::{AnnounceError, Announcer};
use vipd::node::clock::now;
use vipd::node::frame::{self, ArpForm};
use vipd::node::packet::PacketSocket;

use crate::ground::{Ground, V4, V6, ip, link, mac_of, on_ground, tap, v4, v6, wait_for};

const VIP: VipId = VipId(0);

/// Announces the VIP now, as if it had just been put.
fn say(announcer: &mut Announcer, link: LinkId) -> Result<usize, AnnounceError> {
    announcer.announce(VIP, link, Occasion::Put, now())
}

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
        moves_the_neighbour(ground, V4, || assert_eq!(say(&mut announcer, link("near")).ok(), Some(3)));
        moves_the_neighbour(ground, V6, || assert_eq!(say(&mut announcer, link("near")).ok(), Some(3)));
    });
}

#[test]
fn a_link_with_a_link_local_address_only_announces_and_answers_for_an_ipv6_vip() {
    on_ground(|ground| {
        ip("addr del fd09::1/64 dev near");
        ip("addr add fe80::1/64 dev near nodad");
        let mut announcer = Announcer::new();
        announcer.prepare(VIP, link("near"), &[v6()]).expect("the link is there");
        moves_the_neighbour(ground, V6, || assert_eq!(say(&mut announcer, link("near")).ok(), Some(1)));
        // And without any at all, where IPv6 is off: the frame is this program's, not the kernel's.
        ip("addr del fe80::1/64 dev near");
        moves_the_neighbour(ground, V6, || assert_eq!(say(&mut announcer, link("near")).ok(), Some(1)));
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
        say(&mut announcer, link("near")).expect("the link is up");
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
        say(&mut announcer, link("near")).expect("the link is up");
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
        assert_eq!(say(&mut announcer, before).ok(), Some(0), "a link that is gone may come back");
        ground.lay_cable(&format!("index {}", before.0));
        assert_eq!(link("near"), before);
        let tap = ground.far(tap);
        assert_eq!(say(&mut announcer, before).ok(), Some(3));
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
        assert_eq!(say(&mut announcer, near).ok(), Some(0));
        ip("link set near up");
        assert_eq!(say(&mut announcer, near).ok(), Some(3));
    });
}

#[test]
fn what_will_not_pass_is_an_error() {
    on_ground(|_| {
        let mut announcer = Announcer::new();
        assert!(matches!(say(&mut announcer, link("near")), Err(AnnounceError::NotPrepared)));
        let error = announcer.prepare(VIP, link("lo"), &[v4()]).expect_err("lo is not Ethernet");
        assert!(matches!(&error, AnnounceError::Open { source, .. } if source.to_string().contains("not Ethernet")));
        assert!(announcer.prepare(VIP, LinkId(4711), &[v4()]).is_err());
        assert_eq!(say(&mut announcer, link("near")).ok(), Some(2), "it still knows what to announce");
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
                say(&mut announcer, near).expect("the link is up");
                now().since(start)
            })
            .collect();
        took.sort();
        println!("three frames: median {:?}, worst {:?}", took[25], took[50]);
        assert!(took[25] < Duration::from_millis(1), "median {:?}", took[25]);
    });
}

/// Prepares so many VIPs of one address each.
fn prepared(vips: u32) -> Announcer {
    let mut announcer = Announcer::new();
    for vip in 0..vips {
        let address = IpAddr::from([10, 9, 1, vip as u8]);
        announcer.prepare(VipId(vip), link("near"), &[address]).expect("the link is there");
    }
    announcer
}

/// Lets it go on whenever it wants to, until nothing waits.
fn finish(announcer: &mut Announcer) {
    while let Some(next) = announcer.deadline() {
        thread::sleep(next.since(now()));
        announcer.go_on(now());
    }
}

/// Which VIPs of `prepared` the frames are about, in the order they came.
fn vips_in(mut tap: &Socket) -> Vec<u8> {
    let (mut vips, mut buffer) = (Vec::new(), [0; 2000]);
    while let Ok(length) = tap.read(&mut buffer) {
        if let ([.., 8, 6], [10, 9, 1, vip]) = (&buffer[..14], &buffer[28..32])
            && length >= 42
        {
            vips.push(*vip);
        }
    }
    vips
}

#[test]
fn two_hundred_at_once_all_arrive_and_do_not_flood() {
    on_ground(|ground| {
        let mut announcer = prepared(200);
        let tap = ground.far(tap);
        // A socket keeps fewer frames than these.
        let arrived = ground.start_far(move || vips_in(&tap));
        let (near, start) = (link("near"), now());
        let at_once: usize = (0..200)
            .map(|vip| announcer.announce(VipId(vip), near, Occasion::Put, start).expect("the link is up"))
            .sum();
        assert_eq!(at_once, 128, "the limit of a burst");
        finish(&mut announcer);
        let took = now().since(start);
        let counts = announcer.counts();
        println!("400 frames: {at_once} at once, the last after {took:?}");
        assert_eq!((counts.sent, counts.no_room, counts.failed, counts.too_old), (400, 0, 0, 0));
        assert!(took >= Duration::from_millis(60), "{took:?}: a flood");
        let expected: Vec<u8> = (0..200).flat_map(|vip| [vip, vip]).collect();
        assert_eq!(arrived.recv().expect("the far machine did not panic"), expected);
    });
}

#[test]
fn what_was_let_go_is_not_announced_any_more() {
    on_ground(|ground| {
        let tap = ground.far(tap);
        let mut announcer = prepared(100);
        let near = link("near");
        let order = now();
        for vip in 0..100 {
            announcer.announce(VipId(vip), near, Occasion::Put, order).expect("the link is up");
        }
        (0..100).for_each(|vip| announcer.hush(VipId(vip)));
        assert_eq!(announcer.deadline(), None);
        assert_eq!(vips_in(&tap).len(), 128, "what had left before");
    });
}

#[test]
fn what_waited_through_a_freeze_is_not_announced() {
    on_ground(|_| {
        let mut announcer = prepared(100);
        let (near, order) = (link("near"), now());
        for vip in 0..100 {
            announcer.announce(VipId(vip), near, Occasion::Put, order).expect("the link is up");
        }
        assert_eq!(announcer.go_on(order + Duration::from_millis(1001)), 0);
        assert_eq!((announcer.counts().too_old, announcer.deadline()), (36, None));
    });
}

#[test]
fn frames_that_find_no_room_are_tried_again() {
    on_ground(|ground| {
        // A link that takes one frame in a while and lets none wait.
        let slow = "qdisc add dev near root tbf rate 8kbit burst 90 limit 90";
        let slowed = Command::new("tc").args(slow.split(' ')).status();
        if !slowed.is_ok_and(|status| status.success()) {
            return println!("skipped, because tc cannot slow a link down here");
        }
        let tap = ground.far(tap);
        let mut announcer = prepared(4);
        let (near, order) = (link("near"), now());
        for vip in 0..4 {
            announcer.announce(VipId(vip), near, Occasion::Put, order).expect("the link is up");
        }
        finish(&mut announcer);
        let counts = announcer.counts();
        println!("{counts:?} within {:?}", now().since(order));
        assert!(counts.no_room > 0, "{counts:?}");
        assert_eq!((counts.sent, counts.failed, counts.too_old), (8, 0, 0));
        assert_eq!(vips_in(&tap), [0, 0, 1, 1, 2, 2, 3, 3]);
    });
}
