//! Is it heard when another host claims a VIP that is held here, and nothing else?

use std::time::Duration;

use pnet::util::MacAddr;
use tokio::sync::mpsc;
use tokio::time;
use vipd::election::event::{Event, LinkId, VipId};
use vipd::node::clock::now;
use vipd::node::conflict::lookout::Lookout;
use vipd::node::frame::{self, ArpForm};
use vipd::node::packet::PacketSocket;

use crate::ground::{Ground, ip, link, mac_of, on_ground, v4, v6};

const FOUR: VipId = VipId(4);
const SIX: VipId = VipId(6);
/// Long enough for a lookout to follow what it was told.
const SETTLED: Duration = Duration::from_millis(80);
/// Longer than it gathers what it hears.
const HEARD: Duration = Duration::from_millis(300);

/// Sends frames from the far machine.
fn send_from_far(ground: &Ground, frames: Vec<Vec<u8>>) {
    ground.far(move || {
        let socket = PacketSocket::sender(link("far")).expect("the link is there");
        frames.iter().for_each(|frame| while socket.send(frame).is_err() {});
    });
}

fn request(by: MacAddr) -> Vec<u8> {
    frame::gratuitous_arp("10.9.0.15".parse().expect("a constant"), by, ArpForm::Request)
}

fn advert(by: MacAddr) -> Vec<u8> {
    frame::neighbour_advertisement("fd09::15".parse().expect("a constant"), by)
}

/// A lookout for both VIPs on `near`, and what it reports.
async fn lookout() -> (Lookout, mpsc::Receiver<Event>) {
    let (events, heard) = mpsc::channel(1000);
    let lookout = Lookout::start(events);
    lookout.watch(FOUR, link("near"), &[v4()]);
    lookout.watch(SIX, link("near"), &[v6()]);
    time::sleep(SETTLED).await;
    (lookout, heard)
}

async fn next(heard: &mut mpsc::Receiver<Event>) -> Option<Event> {
    time::timeout(HEARD, heard.recv()).await.ok().flatten()
}

fn claimed(vip: VipId, by: MacAddr, times: u32) -> Option<Event> {
    Some(Event::Claimed { vip, by: by.to_string(), times })
}

/// Runs a test with a runtime on fresh ground.
fn on_air(test: impl AsyncFnOnce(&Ground) + Send + 'static) {
    on_ground(move |ground| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(test(ground));
    });
}

#[test]
fn claims_of_both_families_are_heard_at_once_and_named() {
    on_air(async |ground| {
        let far = ground.far(|| mac_of("far"));
        let (_lookout, mut heard) = lookout().await;
        for (frame, vip) in [(request(far), FOUR), (advert(far), SIX)] {
            let start = now();
            send_from_far(ground, vec![frame]);
            assert_eq!(next(&mut heard).await, claimed(vip, far, 1));
            println!("heard after {:?}", now().since(start));
            time::sleep(HEARD).await;
        }
    });
}

/// As it happens: a neighbour whose operator gave it the address talks to somebody.
#[test]
fn a_neighbour_that_uses_the_address_is_heard() {
    on_air(async |ground| {
        let far = ground.far(|| mac_of("far"));
        let (_lookout, mut heard) = lookout().await;
        ground.far_ip("addr add 10.9.0.15/32 dev far");
        ground.far(|| {
            let talk = std::net::UdpSocket::bind("10.9.0.15:0").and_then(|from| from.send_to(b"x", "10.9.0.77:9"));
            talk.expect("it may send");
        });
        let Some(Event::Claimed { vip, by, .. }) = next(&mut heard).await else { panic!("nothing was heard") };
        assert_eq!((vip, by), (FOUR, far.to_string()));
    });
}

#[test]
fn what_is_no_claim_of_others_is_not_reported() {
    on_air(async |ground| {
        let (far, near) = (ground.far(|| mac_of("far")), mac_of("near"));
        let (_lookout, mut heard) = lookout().await;
        let [other4, other6] = ["10.9.0.16", "fd09::16"].map(|ip| ip.parse().expect("a constant"));
        let mut noise = vec![request(near), advert(near), frame::probe(v4(), far).bytes, frame::probe(v6(), far).bytes];
        noise.extend([other4, other6].map(|ip| frame::announcements(ip, far).remove(0).bytes));
        send_from_far(ground, noise);
        assert_eq!(next(&mut heard).await, None);
    });
}

#[test]
fn a_flood_is_one_report_in_a_while() {
    on_air(async |ground| {
        let far = ground.far(|| mac_of("far"));
        let (_lookout, mut heard) = lookout().await;
        let flood = ground.start_far(move || {
            let socket = PacketSocket::sender(link("far")).expect("the link is there");
            let start = now();
            let mut frames = 0_u32;
            while now().since(start) < Duration::from_secs(1) {
                frames += u32::from(socket.send(&request(far)).is_ok());
            }
            frames
        });
        time::sleep(Duration::from_millis(1300)).await;
        let (mut reports, mut claims) = (0, 0);
        while let Ok(Event::Claimed { times, .. }) = heard.try_recv() {
            (reports, claims) = (reports + 1, claims + times);
        }
        let sent = flood.recv().expect("the far machine did not panic");
        println!("{sent} frames in a second: {reports} reports of {claims}");
        assert!((2..=13).contains(&reports) && claims > reports, "{reports} reports of {claims}");
    });
}

#[test]
fn what_is_not_held_is_not_listened_for() {
    on_air(async |ground| {
        let far = ground.far(|| mac_of("far"));
        let (lookout, mut heard) = lookout().await;
        lookout.leave(FOUR);
        time::sleep(SETTLED).await;
        send_from_far(ground, vec![request(far)]);
        assert_eq!(next(&mut heard).await, None);
        send_from_far(ground, vec![advert(far)]);
        assert_eq!(next(&mut heard).await, claimed(SIX, far, 1));
    });
}

#[test]
fn a_link_made_anew_is_listened_on_again() {
    on_air(async |ground| {
        let (_lookout, mut heard) = lookout().await;
        let before = link("near");
        ip("link del near");
        ground.lay_cable(&format!("index {}", before.0));
        assert_eq!(link("near"), before);
        time::sleep(Duration::from_millis(2200)).await;
        let far = ground.far(|| mac_of("far"));
        send_from_far(ground, vec![request(far)]);
        assert_eq!(next(&mut heard).await, claimed(FOUR, far, 1));
    });
}

#[test]
fn a_link_that_cannot_be_listened_on_does_no_harm() {
    on_air(async |ground| {
        let far = ground.far(|| mac_of("far"));
        let (lookout, mut heard) = lookout().await;
        lookout.watch(VipId(7), LinkId(4711), &[v4()]);
        lookout.watch(VipId(8), link("lo"), &[v6()]);
        time::sleep(SETTLED).await;
        send_from_far(ground, vec![request(far)]);
        assert_eq!(next(&mut heard).await, claimed(FOUR, far, 1));
    });
}
