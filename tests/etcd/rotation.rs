//! Whom the adapter asks while one of three members is dead, mute, swallowed, frozen or a learner; and the way home.

use std::time::Duration;

use vipd::config::Ttl;
use vipd::election::action::Action;
use vipd::election::event::{Event, LeaseId};
use vipd::moment::Moment;
use vipd::node::clock;

use crate::server::{Cluster, installed};
use crate::way::{Mode, Way};
use crate::{Lab, conf, node_record};

/// From the fence's point of view: TTL 5 s less the margin.
const FENCE: Duration = Duration::from_millis(3800);

#[derive(Clone, Copy, Debug)]
enum Trouble {
    Killed,
    Frozen,
    Way(Mode),
}

const TROUBLES: [Trouble; 5] = [
    Trouble::Killed,
    Trouble::Frozen,
    Trouble::Way(Mode::Refuse),
    Trouble::Way(Mode::Mute),
    Trouble::Way(Mode::BlackHole),
];

/// Renews as the election does, for a while: the longest time from one renewal sent to the next known.
async fn longest_gap(lab: &mut Lab, lease: LeaseId, mut last: Moment, during: Duration) -> Duration {
    let (mut proven, mut longest) = (clock::now(), Duration::ZERO);
    let end = clock::now() + during;
    while clock::now() < end {
        lab.order(Action::Renew { lease });
        // Every TTL/10, and every TTL/25 once none came for a while.
        let silent = clock::now().since(proven) > Duration::from_millis(750);
        let wait = Duration::from_millis(if silent { 200 } else { 500 });
        let until = clock::now() + wait;
        while clock::now() < until {
            let left = until.since(clock::now());
            let answered = lab.next(|e| if let Event::PairAnswered(pair) = e { Some(*pair) } else { None });
            let Ok(pair) = tokio::time::timeout(left, answered).await else { break };
            proven = clock::now();
            longest = longest.max(proven.since(last));
            last = last.max(pair.sent_at);
        }
    }
    longest
}

/// One round: the member asked first gets into trouble and stays in it.
async fn round(trouble: Trouble) -> Duration {
    let mut cluster = Cluster::start(3);
    let follower = (cluster.leader() + 1) % 3;
    let way = Way::to(&cluster.members[follower].url).await;
    let mut endpoints = vec![way.url.clone()];
    endpoints.extend((1..3).map(|i| cluster.members[(follower + i) % 3].url.clone()));
    let mut lab = Lab::start(endpoints);
    let (lease, _) = lab.grant().await;
    lab.stand(lease, "10.0.0.1").await;
    let start = clock::now();
    while !used(&mut lab, lease, &way).await {
        assert!(clock::now().since(start) < Duration::from_secs(40), "it is never asked first");
    }
    let last = lab.pair(lease).await.sent_at;
    // Just before the next renewal.
    tokio::time::sleep(Duration::from_millis(450)).await;
    match trouble {
        Trouble::Killed => cluster.members[follower].kill(),
        Trouble::Frozen => cluster.members[follower].freeze(),
        Trouble::Way(mode) => way.turn(mode),
    }
    let gap = longest_gap(&mut lab, lease, last, Duration::from_secs(4)).await;
    lab.stand(lease, "10.0.0.2").await;
    if matches!(trouble, Trouble::Frozen) {
        cluster.members[follower].thaw();
    }
    gap
}

#[tokio::test]
async fn one_member_in_trouble_costs_a_fraction_of_the_lease() {
    if !installed() {
        return;
    }
    for trouble in TROUBLES {
        let gap = round(trouble).await;
        println!("{trouble:?}: {gap:?} from one renewal sent to the next known");
        assert!(gap < FENCE / 2, "{trouble:?}: {gap:?}");
    }
}

/// Run by hand: `cargo test --release --test etcd -- --ignored --nocapture twenty`.
#[tokio::test]
#[ignore = "it measures, and takes 10 minutes"]
async fn twenty_rounds_of_each_trouble() {
    let rounds = std::env::var("ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    for trouble in TROUBLES {
        let mut gaps = Vec::new();
        for _ in 0..rounds {
            gaps.push(round(trouble).await);
        }
        gaps.sort();
        println!("{trouble:?}: {:?} / {:?} / {:?}", gaps[0], gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
        assert!(gaps[gaps.len() - 1] < FENCE);
    }
}

#[tokio::test]
async fn a_learner_is_not_asked_again_and_again() {
    if !installed() {
        return;
    }
    let mut cluster = Cluster::start(1);
    let others = cluster.urls();
    let learner = Way::to(&cluster.add_learner()).await;
    let mut lab = Lab::start([vec![learner.url.clone()], others].concat());
    let (lease, _) = lab.grant().await;
    for _ in 0..4 {
        lab.pair(lease).await;
    }
    let before = learner.carried();
    assert!(before > 0, "it was asked once");
    let start = clock::now();
    for _ in 0..20 {
        lab.pair(lease).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!(
        "beside a learner: 20 pairs in {:?}, {} bytes to it",
        clock::now().since(start),
        learner.carried() - before
    );
    // What the search for members and the way home may ask; a pair takes some 200 bytes.
    assert!(learner.carried() - before < 1000, "{} bytes", learner.carried() - before);
}

/// Another is asked first while the home member is mute, and home again after some good answers.
#[tokio::test]
async fn the_way_home() {
    if !installed() {
        return;
    }
    let cluster = Cluster::start(3);
    let home = Way::to(&cluster.urls()[0]).await;
    let mut lab = Lab::start(vec![home.url.clone(), cluster.urls()[1].clone(), cluster.urls()[2].clone()]);
    let (lease, _) = lab.grant().await;
    assert!(used(&mut lab, lease, &home).await, "home is asked first at the start");
    home.turn(Mode::Mute);
    longest_gap(&mut lab, lease, clock::now(), Duration::from_secs(2)).await;
    home.turn(Mode::Open);
    assert!(!used(&mut lab, lease, &home).await, "one good answer is not enough");
    let start = clock::now();
    while !used(&mut lab, lease, &home).await {
        assert!(clock::now().since(start) < Duration::from_secs(60), "never home");
    }
    println!("home {:?} after it was well again", clock::now().since(start));
    assert!(clock::now().since(start) > Duration::from_secs(5));
}

/// Whether renewals go this way.
async fn used(lab: &mut Lab, lease: LeaseId, way: &Way) -> bool {
    let before = way.carried();
    let pairs = 10;
    for _ in 0..pairs {
        lab.pair(lease).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A pair takes some 200 bytes; the tries of the way home are few.
    way.carried() - before > pairs * 50
}

/// A connection on which nothing was answered for long serves on until another is up: etcd may just have been slow.
#[tokio::test]
async fn what_was_silent_for_long_is_used_until_another_connection_is_up() {
    if !installed() {
        return;
    }
    let cluster = Cluster::start(1);
    let way = Way::to(&cluster.members[0].url).await;
    let mut lab = Lab::start_with(&conf(vec![way.url.clone()]), Ttl::Fixed(Duration::from_secs(30)));
    let (lease, _) = lab.grant().await;
    lab.pair(lease).await;
    way.turn(Mode::Mute);
    let before = way.taken();
    while way.taken() == before {
        // Each is tried twice, for a second.
        lab.order(Action::WriteRecord { lease, record: node_record(Vec::new()) });
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let start = clock::now();
    lab.order(Action::Renew { lease });
    tokio::time::sleep(Duration::from_millis(100)).await;
    way.turn(Mode::Open);
    let pair = lab.next(|e| if let Event::PairAnswered(pair) = e { Some(*pair) } else { None }).await;
    assert!(pair.sent_at >= start && pair.sent_at.since(start) < Duration::from_millis(100), "{pair:?}");
}

/// Nobody speaks on a spare connection, so nobody would notice that it is dead before it is needed.
#[tokio::test]
async fn a_spare_connection_that_died_without_a_word_is_made_anew_before_it_is_needed() {
    if !installed() {
        return;
    }
    let cluster = Cluster::start(3);
    let way = Way::to(&cluster.members[1].url).await;
    let mut lab = Lab::start(vec![cluster.members[0].url.clone(), way.url.clone()]);
    let (lease, _) = lab.grant().await;
    while way.taken() == 0 {
        lab.pair(lease).await;
    }
    way.forget();
    let (start, before) = (clock::now(), way.taken());
    while way.taken() == before {
        lab.pair(lease).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(clock::now().since(start) < Duration::from_secs(20), "nobody noticed");
    }
    println!("noticed after {:?}", clock::now().since(start));
}
