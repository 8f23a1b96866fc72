//! What others do to an address that is held, other than taking it off, and to its link, other than taking it down.

use std::process::Command;
use std::time::Duration;

use netlink_packet_route::address::AddressFlags;
use vipd::election::action::Wish;
use vipd::election::event::{Event, LinkId, Outcome};
use vipd::link::LinkChoice;
use vipd::node::netlink::{MARK, Monitor, News};

use crate::heard::Heard;
use crate::world::{V4, V6, VIP, World, addresses, alone, in_ms, ip, link_of, plug_in};

/// The kernel tells addresses that were put by the hundredth of a second.
const TICKS: Duration = Duration::from_millis(30);

/// Both addresses, held, with a fence that is some seconds away.
async fn held() -> (World, LinkId) {
    held_for(3900).await
}

async fn held_for(millis: u64) -> (World, LinkId) {
    plug_in();
    let (mut w, link) = World::ready(&[V4, V6]).await;
    w.wish(link, Wish::Until(in_ms(millis)));
    assert_eq!(w.settled().await, Outcome::Present);
    tokio::time::sleep(TICKS).await;
    (w, link)
}

/// Both as they should be.
async fn right(link: LinkId) {
    let there = addresses(&[V4, V6]).await;
    assert_eq!(there.len(), 2, "{there:?}");
    for a in there {
        assert_eq!((a.link, a.mark, a.preferred), (link, Some(MARK), 0), "{a:?}");
        assert!(a.is_host() && a.is_finite() && a.valid <= 3, "{a:?}");
        assert!(a.flags.contains(AddressFlags::Deprecated | AddressFlags::Noprefixroute), "{a:?}");
    }
}

async fn told_to_go(w: &mut World, link: LinkId) {
    w.wish(link, Wish::Absent);
    assert_eq!(w.settled().await, Outcome::Absent);
}

#[test]
fn another_lifetime_is_put_right_in_place_and_counts_as_a_repair() {
    for life in
        ["valid_lft forever preferred_lft forever", "valid_lft 1000 preferred_lft 0", "valid_lft 1 preferred_lft 1"]
    {
        for theirs in [V4, V6] {
            alone(move || async move {
                let (heard, _guard) = Heard::listen();
                let (mut w, link) = held().await;
                let mut listener = Monitor::open().unwrap();
                ip(&format!("address change {theirs} dev eth0 {life}"));
                assert!(matches!(w.next().await, Event::Repaired { vip: VIP, .. }), "{theirs} {life}");
                right(link).await;
                while let Some(news) = listener.try_next().unwrap() {
                    assert!(!matches!(news, News::AddressGone(_)), "it was off for a moment");
                }
                heard.one("somebody changed an address of ours: it is put right").await;
                w.silent_for(Duration::from_millis(200)).await;
                told_to_go(&mut w, link).await;
                assert_eq!(addresses(&[V4, V6]).await, []);
            });
        }
    }
}

/// With too little time left until the fence to give it a lifetime of ours.
#[test]
fn a_lifetime_beyond_a_near_fence_costs_the_address() {
    alone(|| async {
        // Two whole seconds of life at once, of which less than one is left then: no top-up that a busy machine may miss.
        let (_w, _) = held_for(2150).await;
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert_eq!(addresses(&[V4, V6]).await.len(), 2);
        ip("address change 10.9.0.9 dev eth0 valid_lft forever preferred_lft forever");
        tokio::time::sleep(TICKS).await;
        // Both: the addresses of one VIP are there together or not at all.
        assert_eq!(addresses(&[V4, V6]).await, []);
    });
}

#[test]
fn an_operators_own_address_in_place_of_ours_is_refused_and_stays() {
    for theirs in [V4, V6] {
        alone(move || async move {
            let (mut w, link) = held().await;
            // Faster than the keeper looks: it is on this very thread.
            ip(&format!("address del {theirs} dev eth0"));
            ip(&format!("address add {theirs} dev eth0"));
            let before = addresses(&[theirs]).await;
            assert!(matches!(w.settled().await, Outcome::NotOurs(_)));
            told_to_go(&mut w, link).await;
            assert_eq!(addresses(&[V4, V6]).await, before, "theirs stays, ours is off");
            assert!(!before[0].is_finite() && before[0].mark.is_none());
        });
    }
}

#[test]
fn the_same_ip_with_another_mask_or_on_another_link_is_refused_and_stays() {
    for theirs in ["10.9.0.9/24 dev eth0", "10.9.0.9/32 dev far", "10.9.0.9/32 dev lo", "fd09::9/64 dev far nodad"] {
        alone(move || async move {
            let (mut w, link) = held().await;
            ip(&format!("address add {theirs}"));
            assert!(matches!(w.settled().await, Outcome::NotOurs(_)), "{theirs}");
            told_to_go(&mut w, link).await;
            let left = addresses(&[V4, V6]).await;
            assert_eq!(left.len(), 1, "{left:?}");
            assert!(left[0].mark.is_none() && !left[0].is_finite(), "{left:?}");
        });
    }
}

#[test]
fn a_flush_of_the_link_takes_ours_along_and_they_are_back() {
    alone(|| async {
        let (mut w, link) = held().await;
        ip("address add 10.9.0.2/24 dev eth0");
        ip("address flush dev eth0");
        assert!(matches!(w.next().await, Event::Repaired { vip: VIP, .. }));
        right(link).await;
        w.silent_for(Duration::from_millis(200)).await;
    });
}

/// While nobody reads, the kernel has room for some hundred news, and drops the rest.
#[test]
fn more_news_than_fit_are_answered_by_a_look_at_everything() {
    alone(|| async {
        let (mut w, link) = held().await;
        let mut listener = Monitor::open().unwrap();
        let add = |i: u32| format!("address add 10.{}.{}.1/24 dev far\n", 10 + i / 250, i % 250);
        let many: String = (0..2000).map(add).collect();
        let batch = std::env::temp_dir().join(format!("vipd-netlink-{}", std::process::id()));
        std::fs::write(&batch, many + "address del 10.9.0.9/32 dev eth0\n").unwrap();
        ip(&format!("-batch {}", batch.display()));
        std::fs::remove_file(&batch).unwrap();
        assert!(matches!(w.next().await, Event::Repaired { vip: VIP, .. }));
        right(link).await;
        // Another socket like the keeper's: it did lose news, and that of the deletion, which came last, among them.
        let (mut lost, mut gone) = (false, false);
        while let Some(news) = listener.try_next().unwrap() {
            lost |= news == News::Anything;
            gone |= news == News::AddressGone(V4.parse().unwrap());
        }
        assert!(lost && !gone, "lost: {lost}, told of the deletion: {gone}");
        w.silent_for(Duration::from_millis(200)).await;
    });
}

#[test]
fn another_hardware_address_is_told_and_costs_nothing() {
    alone(|| async {
        let (mut w, link) = held().await;
        let mut listener = Monitor::open().unwrap();
        for mac in ["02:00:00:00:00:07", "02:00:00:00:00:08"] {
            ip(&format!("link set eth0 address {mac}"));
            assert_eq!(w.link().await, Some(link), "told again");
            let seen = w.view().mac;
            assert_eq!(seen.map(|byte| format!("{byte:02x}")).join(":"), mac);
        }
        while let Some(news) = listener.try_next().unwrap() {
            assert!(!matches!(news, News::AddressGone(_)), "{news:?}");
        }
        w.silent_for(Duration::from_millis(200)).await;
        right(link).await;
    });
}

#[test]
fn a_link_that_is_renamed_while_it_is_up_is_another_for_who_names_it_and_the_same_for_who_has_its_other_name() {
    for (wanted, stays) in [("eth0", false), ("front", true)] {
        alone(move || async move {
            plug_in();
            ip("link property add dev eth0 altname front");
            let link = link_of("eth0").await;
            let mut w = World::on(LinkChoice::named(wanted)).await;
            assert_eq!(w.link().await, Some(link));
            w.wish(link, Wish::Until(in_ms(3900)));
            assert_eq!(w.settled().await, Outcome::Present);
            let renamed = Command::new("ip").args(["link", "set", "eth0", "name", "moved"]).output().unwrap();
            if !renamed.status.success() {
                return println!("skipped, because this kernel renames no link that is up (Linux before 6.2)");
            }
            if stays {
                w.silent_for(Duration::from_millis(200)).await;
                assert_eq!(w.view().name, "moved");
                return assert_eq!(addresses(&[V4]).await.len(), 1);
            }
            assert_eq!(w.link().await, None);
            told_to_go(&mut w, link).await;
            assert_eq!(addresses(&[V4]).await, [], "off the link that has another name now");
        });
    }
}

#[test]
fn a_link_that_becomes_a_port_while_it_is_used_is_warned_of_each_time() {
    alone(|| async {
        ip("link add br0 type bridge");
        ip("link add br1 type bridge");
        plug_in();
        let (heard, _guard) = Heard::listen();
        let (mut w, link) = World::ready(&[V4]).await;
        w.wish(link, Wish::Until(in_ms(3900)));
        assert_eq!(w.settled().await, Outcome::Present);
        for (bridge, times) in [("br0", 1), ("br1", 2)] {
            ip(&format!("link set eth0 master {bridge}"));
            w.silent_for(Duration::from_millis(200)).await;
            let warned = heard.lines("on a port an IPv4 VIP is reached only while arp_ignore is 0");
            assert_eq!(warned.len(), times, "{warned:?}");
            assert!(warned[times - 1].contains(&format!("it belongs on {bridge} ")), "{warned:?}");
            ip("link set eth0 nomaster");
            w.silent_for(Duration::from_millis(200)).await;
        }
        assert_eq!(addresses(&[V4]).await.len(), 1);
    });
}

/// No neighbour solicitation for it is answered there: who held it would do so in silence.
#[test]
fn an_ipv6_vip_is_not_on_a_port_but_in_a_vrf() {
    alone(|| async {
        ip("link add br0 type bridge");
        let (mut w, link) = held().await;
        ip("link set eth0 master br0");
        assert_eq!(w.link().await, None);
        told_to_go(&mut w, link).await;
        ip("link set eth0 nomaster");
        assert_eq!(w.link().await, Some(link));
        let vrf = Command::new("ip").args("link add red type vrf table 10".split(' ')).output().unwrap();
        if !vrf.status.success() {
            return println!("skipped, because this kernel has no VRFs");
        }
        ip("link set red up");
        ip("link set eth0 master red");
        while let Ok(event) = tokio::time::timeout(Duration::from_millis(300), w.events.recv()).await {
            assert_eq!(event, Some(Event::Link { vip: VIP, link: Some(link) }), "at most told again");
        }
    });
}
