//! Another plan while the keeper runs: who stays is not touched, who comes is kept, who goes is forgotten.

use std::time::Duration;

use vipd::election::action::Wish;
use vipd::election::event::{Event, Generation, LinkId, Outcome, VipId};
use vipd::link::LinkChoice;
use vipd::node::clock::now;
use vipd::node::keeper::{KeptVip, Wanted};
use vipd::node::netlink::{Monitor, News};

use super::world::{V4, VIP, World, addresses, alone, in_ms, ip, link_of, plug_in};

const OTHER: &str = "10.9.0.77";
const NEW: VipId = VipId(7);

fn kept(id: VipId, address: &str, link: &str) -> KeptVip {
    KeptVip { id, addresses: vec![address.parse().unwrap()], link: LinkChoice::named(link) }
}

fn wish(world: &World, vip: VipId, generation: u64, link: Option<LinkId>, wish: Wish) {
    let wanted = Wanted { generation: Generation(generation), link, wish, at: now() };
    world.wishes.send_if_modified(|wishes| wishes.insert(vip, wanted) != Some(wanted));
}

async fn heard(world: &mut World, wanted: &Event) {
    let heard = tokio::time::timeout(Duration::from_secs(5), async {
        loop {
            let event = world.events.recv().await.expect("the keeper lives");
            assert!(!matches!(event, Event::Settled { vip: VIP, .. } | Event::Link { vip: VIP, .. }), "{event:?}");
            if event == *wanted {
                return;
            }
        }
    });
    heard.await.unwrap_or_else(|_| panic!("{wanted:?} was never said"));
}

#[test]
fn who_stays_is_not_touched_while_others_come_and_go() {
    alone(|| async {
        plug_in();
        ip("link add eth1 type veth peer name far1");
        ip("link set far1 up");
        ip("link set eth1 up");
        let (mut w, link) = World::ready(&[V4]).await;
        w.wish(link, Wish::Until(in_ms(60_000)));
        assert_eq!(w.settled().await, Outcome::Present);
        let before = addresses(&[V4]).await;
        let mut listener = Monitor::open().unwrap();

        let eth1 = link_of("eth1").await;
        let first = kept(VIP, V4, "eth0");
        w.plans.send_replace(vec![first.clone(), kept(NEW, OTHER, "eth1")]);
        heard(&mut w, &Event::Link { vip: NEW, link: Some(eth1) }).await;
        let settled = |generation, outcome| Event::Settled { vip: NEW, generation: Generation(generation), outcome };
        wish(&w, NEW, 1, None, Wish::Absent);
        heard(&mut w, &settled(1, Outcome::Absent)).await;
        wish(&w, NEW, 2, Some(eth1), Wish::Until(in_ms(60_000)));
        heard(&mut w, &settled(2, Outcome::Present)).await;
        assert_eq!(addresses(&[OTHER]).await[0].link, eth1);
        assert!(w.views.borrow().contains_key(&NEW));

        wish(&w, NEW, 3, Some(eth1), Wish::Absent);
        heard(&mut w, &settled(3, Outcome::Absent)).await;
        w.wishes.send_if_modified(|wishes| wishes.remove(&NEW).is_some());
        w.plans.send_replace(vec![first]);
        w.silent_for(Duration::from_millis(500)).await;
        assert!(addresses(&[OTHER]).await.is_empty());
        assert!(!w.views.borrow().contains_key(&NEW));

        // The same address as before, and in all that time nobody heard of it.
        let after = addresses(&[V4]).await;
        assert_eq!((before[0].created, before[0].link), (after[0].created, after[0].link));
        while let Some(news) = listener.try_next().unwrap() {
            let about_it = match &news {
                News::AddressNew(a) => a.ip.to_string() == V4,
                News::AddressGone(gone) => gone.to_string() == V4,
                News::Link(_) | News::Port(_) | News::Anything => false,
            };
            assert!(!about_it, "{news:?}");
        }
    });
}
