//! The netlink adapter and the keeper against this machine's kernel, in network namespaces of their own.
#![cfg(feature = "daemon")]

#[cfg(test)]
mod changing;
#[cfg(test)]
mod choosing;
#[cfg(test)]
mod heard;
#[cfg(test)]
mod plans;
#[cfg(test)]
mod world;

use std::time::Duration;

use netlink_packet_route::address::AddressFlags;
use vipd::election::action::Wish;
use vipd::election::event::{Event, Outcome};
use vipd::node::clock::now;
use vipd::node::kernel::Kernel;
use vipd::node::leftovers::clean_leftovers;
use vipd::node::netlink::{MARK, Monitor, News, host_prefix};
use vipd::node::put::{Error, Over, Put, Putter};
use world::{V4, V6, VIP, World, addresses, alone, in_ms, ip, link_of, plug_in, put_marked};

#[test]
fn a_put_is_host_masked_marked_deprecated_finite_and_has_no_route() {
    alone(|| async {
        plug_in();
        let (mut w, link) = World::ready(&[V4, V6]).await;
        w.wish(link, Wish::Until(in_ms(3900)));
        assert_eq!(w.settled().await, Outcome::Present);
        let there = addresses(&[V4, V6]).await;
        assert_eq!(there.len(), 2);
        for a in there {
            assert_eq!((a.link, a.mark, a.preferred), (link, Some(MARK), 0), "{a:?}");
            assert!(a.is_host() && a.is_finite() && a.valid <= 3, "{a:?}");
            assert!(a.flags.contains(AddressFlags::Deprecated | AddressFlags::Noprefixroute), "{a:?}");
            assert_eq!(a.flags.contains(AddressFlags::Nodad), a.ip.is_ipv6(), "{a:?}");
            assert!(!a.flags.contains(AddressFlags::Tentative), "{a:?}");
        }
    });
}

#[test]
fn top_ups_keep_it_while_the_fence_moves_and_nobody_is_bothered() {
    alone(|| async {
        plug_in();
        let (mut w, link) = World::ready(&[V4, V6]).await;
        w.wish(link, Wish::Until(in_ms(3800)));
        assert_eq!(w.settled().await, Outcome::Present);
        let mut listener = Monitor::open().unwrap();
        for _ in 0..12 {
            w.silent_for(Duration::from_millis(500)).await;
            w.move_fence(link, Wish::Until(in_ms(3800)));
            let there = addresses(&[V4, V6]).await;
            assert!(there.len() == 2 && there.iter().all(|a| (1..=3).contains(&a.valid)), "{there:?}");
        }
        let mut news = Vec::new();
        while let Some(one) = listener.try_next().unwrap() {
            news.push(one);
        }
        // On a busy machine a cable is still coming up, and its own addresses with it.
        let about_others = |n: &News| match n {
            News::Link(_) | News::Port(_) => true,
            News::AddressNew(a) => ![V4, V6].contains(&a.ip.to_string().as_str()),
            News::AddressGone(_) | News::Anything => false,
        };
        news.retain(|n| !about_others(n));
        // Two addresses for six seconds, about one event a second for each, all of them top-ups.
        // About twelve; a starved machine misses moments and makes up for them. Two a pair would be 24 and more.
        assert!((10..=22).contains(&news.len()), "{} events", news.len());
        assert!(news.iter().all(|n| matches!(n, News::AddressNew(_))), "{news:?}");
    });
}

#[test]
fn an_absent_wish_gives_the_word_and_a_new_one_takes_it_again() {
    alone(|| async {
        plug_in();
        let (mut w, link) = World::ready(&[V4, V6]).await;
        for _ in 0..5 {
            w.wish(link, Wish::Until(in_ms(3800)));
            assert_eq!(w.settled().await, Outcome::Present);
            w.wish(link, Wish::Absent);
            assert_eq!(w.settled().await, Outcome::Absent);
            assert_eq!(addresses(&[V4, V6]).await, []);
        }
        w.silent_for(Duration::from_millis(300)).await;
    });
}

#[test]
fn absent_is_said_when_there_never_was_one() {
    alone(|| async {
        plug_in();
        let (mut w, link) = World::ready(&[V4]).await;
        w.wish(link, Wish::Absent);
        assert_eq!(w.settled().await, Outcome::Absent);
    });
}

#[test]
fn the_kernel_ends_it_when_the_keeper_is_gone() {
    alone(|| async {
        plug_in();
        let (mut w, link) = World::ready(&[V4, V6]).await;
        w.wish(link, Wish::Until(in_ms(2500)));
        assert_eq!(w.settled().await, Outcome::Present);
        w.keeper.abort();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(addresses(&[V4, V6]).await.len(), 2);
        tokio::time::sleep(Duration::from_millis(1700)).await;
        assert_eq!(addresses(&[V4, V6]).await, []);
    });
}

#[test]
fn without_more_pairs_it_lives_to_the_fence_and_not_beyond() {
    alone(|| async {
        plug_in();
        let (mut w, link) = World::ready(&[V4]).await;
        let fence = in_ms(2700);
        w.wish(link, Wish::Until(fence));
        assert_eq!(w.settled().await, Outcome::Present);
        while now() + Duration::from_millis(60) < fence {
            assert_eq!(addresses(&[V4]).await.len(), 1, "gone {:?} before the fence", fence.since(now()));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The kernel's own clock took it: no fault, no repair, nothing put.
        tokio::time::sleep(Duration::from_millis(1150)).await;
        assert_eq!(addresses(&[V4]).await, []);
        w.silent_for(Duration::from_millis(10)).await;
        // The fence moves after all: it is present anew.
        w.move_fence(link, Wish::Until(in_ms(3000)));
        assert_eq!(w.settled().await, Outcome::Present);
    });
}

#[test]
fn a_stale_wish_and_one_for_another_link_put_nothing() {
    alone(|| async {
        plug_in();
        let (mut w, link) = World::ready(&[V4]).await;
        for (link, left) in [(link, 0), (link, 990), (link_of("far").await, 3000)] {
            w.wish(link, Wish::Until(in_ms(left)));
            w.silent_for(Duration::from_millis(50)).await;
            assert_eq!(addresses(&[V4]).await, []);
        }
    });
}

#[test]
fn an_operators_address_is_refused_and_not_touched() {
    for theirs in ["10.9.0.9/32 dev eth0", "10.9.0.9/24 dev eth0", "10.9.0.9/32 dev lo", "fd09::9/64 dev far nodad"] {
        alone(move || async move {
            plug_in();
            let (mut w, link) = World::ready(&[V4, V6]).await;
            ip(&format!("address add {theirs}"));
            let before = addresses(&[V4, V6]).await;
            w.wish(link, Wish::Until(in_ms(3000)));
            assert!(matches!(w.settled().await, Outcome::NotOurs(_)));
            w.wish(link, Wish::Absent);
            assert_eq!(w.settled().await, Outcome::Absent);
            assert_eq!(addresses(&[V4, V6]).await, before);
            assert_eq!(before[0].mark, None);
        });
    }
}

#[test]
fn an_operators_address_that_comes_while_ours_is_there_is_told() {
    alone(|| async {
        plug_in();
        let (mut w, link) = World::ready(&[V4]).await;
        w.wish(link, Wish::Until(in_ms(3800)));
        assert_eq!(w.settled().await, Outcome::Present);
        ip("address add 10.9.0.9/24 dev far");
        assert!(matches!(w.settled().await, Outcome::NotOurs(_)));
        w.wish(link, Wish::Absent);
        assert_eq!(w.settled().await, Outcome::Absent);
        let left = addresses(&[V4]).await;
        assert_eq!((left.len(), left[0].prefix), (1, 24));
    });
}

#[test]
fn a_put_that_must_be_fresh_does_not_replace_what_came_since_the_look() {
    alone(|| async {
        plug_in();
        let link = link_of("eth0").await;
        for theirs in [V4, V6] {
            ip(&format!("address add {theirs} dev eth0"));
            let before = addresses(&[theirs]).await;
            let put = Putter::start().unwrap().put(link, theirs.parse().unwrap(), in_ms(3000), Over::Nothing).await;
            let Err(Error::Refused(e)) = put else { panic!("{put:?}") };
            assert_eq!(e.kind(), std::io::ErrorKind::AlreadyExists);
            assert_eq!(addresses(&[theirs]).await, before);
            assert!(!before[0].is_finite());
        }
    });
}

#[test]
fn what_is_taken_off_by_hand_is_back_at_once_and_told() {
    alone(|| async {
        plug_in();
        let (mut w, link) = World::ready(&[V4, V6]).await;
        let generation = w.wish(link, Wish::Until(in_ms(3900)));
        assert_eq!(w.settled().await, Outcome::Present);
        for theirs in ["10.9.0.9/32", "fd09::9/128"] {
            ip(&format!("address del {theirs} dev eth0"));
            assert_eq!(w.next().await, Event::Repaired { vip: VIP, generation });
            assert_eq!(addresses(&[V4, V6]).await.len(), 2);
        }
        w.silent_for(Duration::from_millis(200)).await;
    });
}

#[test]
fn what_is_taken_off_near_the_fence_stays_off_and_is_a_repair_if_the_fence_moves() {
    alone(|| async {
        plug_in();
        let (mut w, link) = World::ready(&[V4]).await;
        let generation = w.wish(link, Wish::Until(in_ms(1500)));
        assert_eq!(w.settled().await, Outcome::Present);
        tokio::time::sleep(Duration::from_millis(600)).await;
        ip("address del 10.9.0.9/32 dev eth0");
        w.silent_for(Duration::from_millis(50)).await;
        assert_eq!(addresses(&[V4]).await, []);
        w.move_fence(link, Wish::Until(in_ms(3000)));
        assert_eq!(w.next().await, Event::Repaired { vip: VIP, generation });
    });
}

#[test]
fn a_group_that_loses_one_address_near_the_fence_loses_all_until_the_fence_moves() {
    for theirs in ["10.9.0.9/32", "fd09::9/128"] {
        alone(move || async move {
            plug_in();
            let (mut w, link) = World::ready(&[V4, V6]).await;
            let generation = w.wish(link, Wish::Until(in_ms(1600)));
            assert_eq!(w.settled().await, Outcome::Present);
            tokio::time::sleep(Duration::from_millis(650)).await;
            assert_eq!(addresses(&[V4, V6]).await.len(), 2);
            ip(&format!("address del {theirs} dev eth0"));
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!(addresses(&[V4, V6]).await, [], "one of them alone is no VIP");
            w.move_fence(link, Wish::Until(in_ms(3000)));
            assert_eq!(w.next().await, Event::Repaired { vip: VIP, generation });
            assert_eq!(addresses(&[V4, V6]).await.len(), 2);
        });
    }
}

#[test]
fn a_group_is_given_up_whole_when_ipv6_is_switched_off_under_it() {
    alone(|| async {
        plug_in();
        let (mut w, link) = World::ready(&[V4, V6]).await;
        w.wish(link, Wish::Until(in_ms(3900)));
        assert_eq!(w.settled().await, Outcome::Present);
        std::fs::write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "1").unwrap();
        let Outcome::Failed(cause) = w.settled().await else { panic!() };
        assert!(cause.starts_with("cannot put fd09::9") && cause.contains("disable_ipv6"), "{cause}");
        assert_eq!(addresses(&[V4, V6]).await, []);
        w.wish(link, Wish::Absent);
        assert_eq!(w.settled().await, Outcome::Absent);
        std::fs::write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "0").unwrap();
        w.wish(link, Wish::Until(in_ms(3900)));
        assert_eq!(w.settled().await, Outcome::Present);
    });
}

#[test]
fn a_link_too_narrow_for_ipv6_is_said_to_be_that() {
    alone(|| async {
        plug_in();
        ip("link set eth0 mtu 1200");
        let (mut w, link) = World::ready(&[V4, V6]).await;
        w.wish(link, Wish::Until(in_ms(3000)));
        let Outcome::Failed(cause) = w.settled().await else { panic!() };
        assert!(cause.contains("MTU"), "{cause}");
        assert_eq!(addresses(&[V4, V6]).await, []);
    });
}

#[test]
fn an_address_of_ours_on_another_link_or_for_ever_is_set_right() {
    for (on, prefix) in [("far", 32), ("eth0", 32), ("eth0", 24)] {
        alone(move || async move {
            plug_in();
            put_marked(on, V4, prefix, MARK).await;
            let (mut w, link) = World::ready(&[V4]).await;
            w.wish(link, Wish::Until(in_ms(3000)));
            assert_eq!(w.settled().await, Outcome::Present);
            let there = addresses(&[V4]).await;
            assert_eq!(there.len(), 1, "{there:?}");
            assert!(there[0].link == link && there[0].is_finite() && there[0].is_host(), "{there:?}");
        });
    }
}

#[test]
fn an_address_of_ours_that_appears_while_it_should_be_absent_goes() {
    alone(|| async {
        plug_in();
        let (mut w, link) = World::ready(&[V4, V6]).await;
        w.wish(link, Wish::Absent);
        assert_eq!(w.settled().await, Outcome::Absent);
        put_marked("eth0", V4, 32, MARK).await;
        put_marked("far", V6, 64, MARK).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(addresses(&[V4, V6]).await, []);
    });
}

#[test]
fn puts_that_are_answered_late_are_taken_off_and_fail_after_three() {
    alone(|| async {
        plug_in();
        let link = link_of("eth0").await;
        let late = Putter::start_with(Duration::ZERO)
            .unwrap()
            .put(link, V4.parse().unwrap(), in_ms(3000), Over::Nothing)
            .await;
        assert!(matches!(late, Ok(Put::Late { off: Ok(()), .. })), "{late:?}");
        assert_eq!(addresses(&[V4]).await, []);

        let mut w = World::with_late(&[V4], Duration::ZERO).await;
        assert_eq!(w.link().await, Some(link));
        w.wish(link, Wish::Until(in_ms(3000)));
        let Outcome::Failed(cause) = w.settled().await else { panic!() };
        assert!(cause.contains("10.9.0.9") && cause.contains("late"), "{cause}");
        assert_eq!(addresses(&[V4]).await, []);
        // A wish that failed is over, whatever its fence does.
        w.move_fence(link, Wish::Until(in_ms(4000)));
        w.silent_for(Duration::from_millis(300)).await;
    });
}

#[test]
fn a_put_that_the_kernel_refuses_says_what_was_tried_and_leaves_nothing() {
    alone(|| async {
        plug_in();
        std::fs::write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "1").unwrap();
        let (mut w, link) = World::ready(&[V4, V6]).await;
        w.wish(link, Wish::Until(in_ms(3000)));
        let Outcome::Failed(cause) = w.settled().await else { panic!() };
        assert!(cause.starts_with("cannot put fd09::9: the kernel refuses: "), "{cause}");
        assert!(cause.contains("disable_ipv6 must be 0"), "{cause}");
        assert_eq!(addresses(&[V4, V6]).await, [], "{V4} was put first and must not stay");
        w.wish(link, Wish::Absent);
        assert_eq!(w.settled().await, Outcome::Absent);
    });
}

#[test]
fn the_link_is_told_when_it_comes_goes_and_is_another() {
    alone(|| async {
        let mut w = World::new(&[V4]).await;
        assert_eq!((w.link().await, w.lack()), (None, "there is no such link".into()));
        plug_in();
        let first = w.link().await.expect("it came");
        assert_eq!(w.view().index, first);
        ip("link set far down");
        assert_eq!(w.link().await, None, "no carrier");
        assert_eq!(w.lack(), "eth0: no carrier");
        ip("link set far up");
        assert_eq!(w.link().await, Some(first));
        ip("link set eth0 down");
        assert_eq!((w.link().await, w.lack()), (None, "eth0: down".into()));
        ip("link set eth0 up");
        assert_eq!(w.link().await, Some(first));
        ip("link del eth0");
        assert_eq!(w.link().await, None, "gone");
        plug_in();
        let second = w.link().await.expect("it came again");
        assert_ne!(first, second);
        ip("link set eth0 down");
        ip("link set eth0 name old0");
        assert_eq!(w.link().await, None, "another name");
        ip("link add dummy0 type veth peer name eth0");
        ip("link set dummy0 up");
        ip("link set eth0 up");
        assert!(w.link().await.is_some_and(|third| third != second));
        w.silent_for(Duration::from_millis(100)).await;
    });
}

#[test]
fn another_link_of_the_same_name_is_none_first() {
    alone(|| async {
        plug_in();
        let (mut w, first) = World::ready(&[V4]).await;
        // In one batch, and faster than the keeper looks: it is on this very thread.
        ip("link add eth1 type veth peer name far1");
        ip("link set eth1 up");
        ip("link set far1 up");
        ip("link del eth0");
        ip("link set eth1 down");
        ip("link set eth1 name eth0");
        ip("link set eth0 up");
        assert_eq!(w.link().await, None);
        assert!(w.link().await.is_some_and(|second| second != first));
    });
}

#[test]
fn a_flap_of_the_link_takes_ipv6_along_and_it_is_back_without_a_repair() {
    alone(|| async {
        plug_in();
        let (mut w, link) = World::ready(&[V4, V6]).await;
        w.wish(link, Wish::Until(in_ms(3900)));
        assert_eq!(w.settled().await, Outcome::Present);
        ip("link set eth0 down");
        assert_eq!(w.link().await, None);
        ip("link set eth0 up");
        assert_eq!(w.link().await, Some(link));
        assert_eq!(w.settled().await, Outcome::Present);
        assert_eq!(addresses(&[V4, V6]).await.len(), 2);
    });
}

#[test]
fn a_link_deleted_under_an_absent_wish_is_a_word() {
    alone(|| async {
        plug_in();
        let (mut w, link) = World::ready(&[V4, V6]).await;
        w.wish(link, Wish::Until(in_ms(3900)));
        assert_eq!(w.settled().await, Outcome::Present);
        ip("link del eth0");
        assert_eq!(w.link().await, None);
        w.wish(link, Wish::Absent);
        assert_eq!(w.settled().await, Outcome::Absent);
    });
}

#[test]
fn leftovers_are_cleaned_and_what_is_not_ours_stays() {
    alone(|| async {
        plug_in();
        let link = link_of("eth0").await;
        let putter = Putter::start().unwrap();
        for ours in [V4, V6] {
            assert!(matches!(
                putter.put(link, ours.parse().unwrap(), in_ms(9000), Over::Nothing).await,
                Ok(Put::Done(_))
            ));
        }
        put_marked("far", "10.9.0.8", 32, MARK).await; // ours, of another config
        put_marked("far", "10.9.0.7", 32, 18).await; // keepalived's
        ip("address add 10.9.0.6/24 dev far");
        let named = [V4, V6, "10.9.0.7", "10.9.0.6"];
        let ips: Vec<_> = named.iter().map(|ip| ip.parse().unwrap()).collect();
        let mut kernel = Kernel::open().await.unwrap();
        let removed = clean_leftovers(&mut kernel, &ips).await.unwrap();
        assert_eq!(removed.len(), 2, "{removed:?}");
        let left = addresses(&[V4, V6, "10.9.0.8", "10.9.0.7", "10.9.0.6"]).await;
        assert_eq!(left.len(), 3, "{left:?}");
        assert_eq!(clean_leftovers(&mut kernel, &ips).await.unwrap(), []);
    });
}

#[test]
fn only_the_last_of_many_wishes_counts() {
    alone(|| async {
        plug_in();
        let (mut w, link) = World::ready(&[V4]).await;
        for _ in 0..50 {
            w.wish(link, Wish::Until(in_ms(3000)));
            tokio::task::yield_now().await;
            let last = w.wish(link, Wish::Absent);
            loop {
                if let Event::Settled { generation, outcome, .. } = w.next().await
                    && generation == last
                {
                    assert_eq!(outcome, Outcome::Absent);
                    break;
                }
            }
            assert_eq!(addresses(&[V4]).await, []);
        }
    });
}

/// Prints how long things take; quote it from an idle machine with `--nocapture`. The bound is for a busy one.
#[test]
fn wishes_are_carried_out_in_well_under_a_millisecond() {
    for pods in [0, 100] {
        alone(move || async move {
            plug_in();
            for pod in 0..pods {
                ip(&format!("link add pod{pod} type veth peer name inside{pod}"));
                ip(&format!("link set pod{pod} up"));
                ip(&format!("link set inside{pod} up"));
            }
            for vip in [V4, V6] {
                measure(vip, pods).await;
            }
        });
    }
}

async fn measure(vip: &str, pods: usize) {
    let (mut w, link) = World::ready(&[vip]).await;
    let other_hand = Putter::start().expect("a second writer");
    let ip = vip.parse().expect("an address");
    let mut times: [Vec<Duration>; 3] = Default::default();
    for _ in 0..100 {
        for (i, wish) in [Some(Wish::Until(in_ms(3800))), None, Some(Wish::Absent)].into_iter().enumerate() {
            let start = now();
            match wish {
                Some(wish) => {
                    w.wish(link, wish);
                }
                None => other_hand.take_off(link, ip, host_prefix(ip)).await.expect("taken off by another hand"),
            }
            w.next().await;
            times[i].push(now().since(start));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    for (what, times) in ["wish to Present", "taken off to Repaired", "wish to Absent"].iter().zip(&mut times) {
        times.sort();
        println!(
            "{pods} pods, {vip}, {what}: median {:?}, 9 of 10 within {:?}, worst {:?}",
            times[50], times[90], times[99]
        );
        assert!(times[50] < Duration::from_millis(30));
    }
}
