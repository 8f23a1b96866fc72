//! Does the kernel's sieve let through what it must and nothing else, and does closing a socket not hold us up?

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::time::Duration;

use pnet::util::MacAddr;
use vipd::node::clock::now;
use vipd::node::frame::{self, ArpForm};
use vipd::node::packet::PacketSocket;
use vipd::node::ready;

use crate::ground::{Ground, V4, V6, link, mac_of, on_ground, v4, v6};

/// Sends frames from the far machine.
fn send_from_far(ground: &Ground, frames: Vec<Vec<u8>>, times: usize) {
    ground.far(move || {
        let socket = PacketSocket::sender(link("far")).expect("the link is there");
        for _ in 0..times {
            for frame in &frames {
                while socket.send(frame).is_err() {}
            }
        }
    });
}

/// Everything near a claim of the VIP that is none.
fn noise(far: MacAddr) -> Vec<Vec<u8>> {
    let claim = frame::gratuitous_arp(V4.parse().expect("a constant"), far, ArpForm::Reply);
    let advert = frame::neighbour_advertisement(V6.parse().expect("a constant"), far);
    let mut for_another = claim.clone();
    for_another[..6].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    let tagged = |frame: &[u8]| [&frame[..12], &[0x81, 0, 0, 20], &frame[12..]].concat();
    vec![
        frame::gratuitous_arp(Ipv4Addr::new(10, 9, 0, 16), far, ArpForm::Request),
        frame::arp_probe(V4.parse().expect("a constant"), far),
        frame::neighbour_advertisement("fd09::16".parse().expect("a constant"), far),
        frame::neighbour_advertisement("fd08::15".parse().expect("a constant"), far),
        frame::neighbour_solicitation(V6.parse().expect("a constant"), far),
        for_another,
        tagged(&claim),
        tagged(&advert),
        claim[..30].to_vec(),
        advert[..70].to_vec(),
    ]
}

#[test]
fn a_flood_of_other_frames_does_not_wake_the_listener() {
    on_ground(|ground| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let far = ground.far(|| mac_of("far"));
        for vip in [v4(), v6()] {
            runtime.block_on(async {
                let listener = PacketSocket::listener(link("near"), &[vip]).and_then(ready::register).expect("opened");
                send_from_far(ground, noise(far), 2_000);
                let woken = tokio::time::timeout(Duration::from_millis(50), listener.readable()).await;
                assert!(woken.is_err(), "woken while listening for {vip}");

                let claim = frame::announcements(vip, far).remove(0).bytes;
                send_from_far(ground, vec![claim.clone()], 1);
                let woken = tokio::time::timeout(Duration::from_secs(1), listener.readable()).await;
                woken.expect("woken").expect("ready").retain_ready();
                let mut buffer = [0; 200];
                let length = listener.get_ref().receive(&mut buffer).expect("a frame is there");
                assert_eq!(buffer[..length], claim);
                let next = listener.get_ref().receive(&mut buffer).expect_err("there was one claim");
                assert_eq!(next.kind(), ErrorKind::WouldBlock);
            });
        }
    });
}

#[test]
fn closing_a_socket_does_not_hold_up_the_loop() {
    on_ground(|_| {
        let mut took: Vec<Duration> = (0..21)
            .map(|_| {
                let socket = PacketSocket::listener(link("near"), &[v4()]).expect("opened");
                let start = now();
                drop(socket);
                now().since(start)
            })
            .collect();
        took.sort();
        println!("closing: median {:?}, worst {:?}", took[10], took[20]);
        assert!(took[10] < Duration::from_millis(4), "median {:?}", took[10]);
    });
}
