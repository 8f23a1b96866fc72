//! Three members, one of which dies, freezes or is not there.

use std::time::Duration;

use vipd::election::action::Action;
use vipd::election::event::{Event, LeaseId, Pair};
use vipd::moment::Moment;
use vipd::node::clock;

use crate::Lab;
use crate::server::{Cluster, free_urls, installed};
use crate::way::slow_way_to;

#[tokio::test]
async fn renewals_go_on_while_the_member_in_use_is_frozen_and_the_watch_moves() {
    if !installed() {
        return;
    }
    let cluster = Cluster::start(3);
    let mut lab = Lab::start(followers_first(&cluster));
    let (lease, _) = lab.grant().await;
    lab.pair(lease).await;
    let follower = cluster.members.iter().find(|m| m.url == followers_first(&cluster)[0]).unwrap();
    follower.freeze();
    let start = clock::now();
    let pair = renewed_after(&mut lab, lease, start).await;
    println!("follower frozen: renewed {:?} later", pair.sent_at.since(start));
    assert!(pair.sent_at.since(start) < Duration::from_secs(2));
    lab.stand(lease, "10.0.0.1").await;
    println!("and a change known after {:?}", clock::now().since(start));
    follower.thaw();
}

#[tokio::test]
async fn renewals_go_on_when_the_leader_is_frozen_and_another_is_elected() {
    if !installed() {
        return;
    }
    let cluster = Cluster::start(3);
    let mut lab = Lab::start(followers_first(&cluster));
    let (lease, _) = lab.grant().await;
    for round in 0..2 {
        lab.pair(lease).await;
        let leader = cluster.leader();
        cluster.members[leader].freeze();
        let start = clock::now();
        let pair = renewed_after(&mut lab, lease, start).await;
        println!("leader frozen: renewed {:?} later", pair.sent_at.since(start));
        lab.stand(lease, &format!("10.0.0.{round}")).await;
        cluster.members[leader].thaw();
        cluster.wait();
    }
}

#[tokio::test]
async fn a_slow_etcd_is_slow_and_no_more() {
    if !installed() {
        return;
    }
    let cluster = Cluster::start(3);
    let mut slow = Vec::new();
    for url in cluster.urls() {
        slow.push(slow_way_to(&url, Duration::from_millis(250)).await);
    }
    let mut lab = Lab::start(slow);
    let (lease, _) = lab.grant().await;
    let mut last = clock::now();
    let mut longest = Duration::ZERO;
    for _ in 0..6 {
        let pair = renewed_after(&mut lab, lease, last).await;
        let known = clock::now();
        longest = longest.max(known.since(last));
        last = pair.sent_at;
    }
    println!("0.5 s an answer: at the most {longest:?} from one renewal sent to the next known");
    assert!(longest < Duration::from_millis(3800), "the fence would have passed: {longest:?}");
    lab.stand(lease, "10.0.0.1").await;
}

fn followers_first(cluster: &Cluster) -> Vec<String> {
    let mut urls = cluster.urls();
    let leader = urls.remove(cluster.leader());
    urls.push(leader);
    urls
}

/// Orders renewals as the election does, every TTL/10, busy or not, until one is answered that was sent after `start`.
pub(crate) async fn renewed_after(lab: &mut Lab, lease: LeaseId, start: Moment) -> Pair {
    loop {
        lab.order(Action::Renew { lease });
        let answered = lab.next(|e| match e {
            Event::PairAnswered(pair) if pair.sent_at >= start => Some(*pair),
            _ => None,
        });
        if let Ok(pair) = tokio::time::timeout(Duration::from_millis(500), answered).await {
            return pair;
        }
    }
}

#[tokio::test]
async fn all_goes_on_at_another_member_when_the_one_in_use_dies_follower_or_leader() {
    if !installed() {
        return;
    }
    for leads in [false, true] {
        let mut cluster = Cluster::start(3);
        let mut urls = followers_first(&cluster);
        if leads {
            urls.rotate_right(1);
        }
        let used = cluster.urls().iter().position(|url| *url == urls[0]).unwrap();
        let mut lab = Lab::start(urls);
        let (lease, _) = lab.grant().await;
        lab.stand(lease, "10.0.0.1").await;
        lab.pair(lease).await;
        lab.seen.clear();
        cluster.members[used].kill();
        let start = clock::now();
        let pair = renewed_after(&mut lab, lease, start).await;
        println!(
            "killed (leader: {leads}): renewed {:?} later, known {:?}",
            pair.sent_at.since(start),
            clock::now().since(start)
        );
        if !lab.seen.iter().any(|e| matches!(e, Event::PictureRead { .. })) {
            lab.picture().await;
        }
        println!("killed (leader: {leads}): read again after {:?}", clock::now().since(start));
        lab.stand(lease, "10.0.0.2").await;
    }
}

#[tokio::test]
async fn members_that_are_not_there_do_not_hold_anything_up() {
    if !installed() {
        return;
    }
    let cluster = Cluster::start(1);
    // One refuses, one takes the connection and never says a word, one is no endpoint at all.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut endpoints = free_urls(1);
    endpoints.push(format!("http://{}", silent.local_addr().unwrap()));
    endpoints.push("not an endpoint".into());
    endpoints.extend(cluster.urls());
    let mut lab = Lab::start(endpoints);
    let (lease, _) = lab.grant().await;
    for _ in 0..3 {
        let start = clock::now();
        lab.pair(lease).await;
        println!("pair after {:?}", clock::now().since(start));
    }
    lab.stand(lease, "10.0.0.1").await;
}

#[tokio::test]
async fn the_only_member_coming_back_is_noticed() {
    if !installed() {
        return;
    }
    let cluster = Cluster::start(1);
    let mut lab = Lab::start(cluster.urls());
    let (lease, _) = lab.grant().await;
    lab.stand(lease, "10.0.0.1").await;
    lab.pair(lease).await;
    cluster.members[0].freeze();
    lab.order(Action::Renew { lease });
    assert!(lab.quiet(Duration::from_secs(1), |e| matches!(e, Event::PairAnswered(_)).then_some(())).await);
    cluster.members[0].thaw();
    // The old answer counts when it comes.
    lab.next(|e| matches!(e, Event::PairAnswered(_)).then_some(())).await;
    lab.pair(lease).await;
}
