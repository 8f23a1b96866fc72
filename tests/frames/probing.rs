//! Does a host that has the VIP answer our probes, in every way it may have it, and is silence silence?

use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use vipd::election::event::{Answer, Event, LinkId, VipId};
use vipd::node::clock::now;
use vipd::node::conflict::Prober;

use crate::ground::{V4, V6, ip, link, mac_of, on_ground, tap, v4, v6};

const VIP: VipId = VipId(3);
const ROUND: u64 = 17;

/// Probes once from this thread's machine; what was reported, and after how long.
fn probe(link: LinkId, addresses: &[IpAddr]) -> (Event, Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (events, mut heard) = mpsc::channel(1);
        let start = now();
        Prober::new(events).probe(VIP, addresses, link, ROUND);
        let event = heard.recv().await.expect("every probing ends with an event");
        (event, now().since(start))
    })
}

fn silent() -> Event {
    Event::ProbeSilent { vip: VIP, round: ROUND }
}

fn answered(by: impl ToString) -> Event {
    Event::ProbeAnswered { vip: VIP, round: ROUND, by: Answer::Host(by.to_string()) }
}

/// Puts addresses on the far machine as given to `ip addr add`, and probes for both VIP addresses.
fn probe_with(on_far: &'static [&'static str]) {
    on_ground(move |ground| {
        for address in on_far {
            ground.far_ip(&format!("addr add {address} dev far"));
        }
        let far = ground.far(|| mac_of("far"));
        // The first one may pay for cold caches of the machine; both must be right, one must be quick.
        let (first, slow) = probe(link("near"), &[v4(), v6()]);
        let (second, quick) = probe(link("near"), &[v4(), v6()]);
        println!("answered after {slow:?}, {quick:?}");
        let ip = on_far[0].split('/').next().expect("split gives one part at least");
        let said = answered(format!("{far} for {ip}"));
        assert_eq!((first, second), (said.clone(), said));
        assert!(slow.min(quick) < Duration::from_millis(20), "{slow:?}, {quick:?}");
    });
}

#[test]
fn answered_by_a_plain_address() {
    probe_with(&["10.9.0.15/32"]);
    probe_with(&["10.9.0.15/24"]);
    probe_with(&["fd09::15/64 nodad"]);
}

#[test]
fn answered_by_an_address_put_as_we_put_it() {
    probe_with(&["10.9.0.15/32 valid_lft 20 preferred_lft 0 noprefixroute"]);
    probe_with(&["fd09::15/128 valid_lft 20 preferred_lft 0 nodad noprefixroute"]);
}

#[test]
fn silent_when_nobody_has_it_and_not_before_its_time() {
    on_ground(|_| {
        for addresses in [&[v4()][..], &[v6()], &[v4(), v6()]] {
            let (event, took) = probe(link("near"), addresses);
            assert_eq!(event, silent());
            assert!(took >= Duration::from_millis(100), "{took:?}");
        }
    });
}

#[test]
fn answered_when_only_a_later_probe_gets_through() {
    on_ground(|ground| {
        // The address comes behind the first probe, and on a busy machine behind the second.
        let late = ground.start_far(|| {
            std::thread::sleep(Duration::from_millis(10));
            ip("addr add 10.9.0.15/32 dev far");
        });
        let (event, took) = probe(link("near"), &[v4()]);
        late.recv().expect("it was put");
        assert!(matches!(event, Event::ProbeAnswered { .. }), "{event:?} after {took:?}");
    });
}

#[test]
fn two_that_only_ask_do_not_hear_each_other() {
    on_ground(|ground| {
        let far = ground.start_far(|| probe(link("far"), &[v4(), v6()]).0);
        assert_eq!(probe(link("near"), &[v4(), v6()]).0, silent());
        assert_eq!(far.recv().expect("it was probed"), silent());
    });
}

#[test]
fn asking_leaves_the_caches_of_others_alone() {
    on_ground(|ground| {
        for vip in [V4, V6] {
            ground.far_ip(&format!("neigh replace {vip} lladdr 02:00:00:00:00:99 dev far nud stale"));
        }
        assert_eq!(probe(link("near"), &[v4(), v6()]).0, silent());
        for vip in [V4, V6] {
            let entry = ground.far_ip(&format!("neigh show {vip} dev far"));
            assert!(entry.contains("02:00:00:00:00:99"), "{entry}");
        }
    });
}

#[test]
fn each_address_is_asked_for_three_times() {
    on_ground(|ground| {
        let tap = ground.far(tap);
        probe(link("near"), &[v4(), v6()]);
        let mut wire = Vec::new();
        let mut buffer = [0; 2000];
        while let Ok(length) = std::io::Read::read(&mut &tap, &mut buffer) {
            wire.push(buffer[..length].to_vec());
        }
        for ip in [v4(), v6()] {
            let probe = vipd::node::frame::probe(ip, mac_of("near")).bytes;
            assert_eq!(wire.iter().filter(|frame| **frame == probe).count(), 3, "{ip}");
        }
    });
}

#[test]
fn what_cannot_be_heard_is_not_silence() {
    on_ground(|_| {
        let near = link("near");
        ip("link set near down");
        for (link, addresses) in
            [(near, &[v4(), v6()][..]), (LinkId(4711), &[v4()]), (link("lo"), &[v6()]), (near, &[])]
        {
            let (event, took) = probe(link, addresses);
            let Event::ProbeAnswered { by: Answer::NotAsked(by), .. } = event else { panic!("{event:?}") };
            println!("{by}");
            assert!(by.starts_with("could not probe: "), "{by}");
            assert!(took >= Duration::from_millis(100), "a fault must not be reported in a hot loop: {took:?}");
        }
    });
}

#[test]
fn a_link_that_fails_while_it_is_listened_on_is_not_silence() {
    on_ground(|_| {
        let flap = || {
            ip("link set near down");
            ip("link set near up");
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let event = runtime.block_on(async {
            let (events, mut heard) = mpsc::channel(1);
            Prober::new(events).probe(VIP, &[v4()], link("near"), ROUND);
            tokio::time::sleep(Duration::from_millis(75)).await;
            flap();
            heard.recv().await.expect("every probing ends with an event")
        });
        assert!(
            matches!(&event, Event::ProbeAnswered { by: Answer::NotAsked(why), .. } if why.starts_with("could not probe")),
            "{event:?}"
        );
    });
}
