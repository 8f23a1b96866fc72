//! Which endpoints are reached, and who is found that nobody named.

use std::time::Duration;

use vipd::config::{self, Ttl};
use vipd::election::action::Action;
use vipd::election::event::{Event, LeaseId};
use vipd::node::clock;
use vipd::node::etcd::{Release, release};

use crate::cluster::renewed_after;
use crate::server::{Cluster, address, free_urls, installed};
use crate::way::{Mode, Way};
use crate::{Lab, conf};

#[tokio::test]
async fn a_socket_a_name_and_an_ipv6_address_are_endpoints_too() {
    if !installed() {
        return;
    }
    let cluster = Cluster::start(1);
    let member = &cluster.members[0];
    let socket = format!("unix://{}", member.socket.display());
    for endpoint in [socket, member.url.replace("127.0.0.1", "localhost"), member.url.replace("127.0.0.1", "[::1]")] {
        let mut lab = Lab::start(vec![endpoint.clone()]);
        let (lease, _) = lab.grant().await;
        lab.pair(lease).await;
        lab.stand(lease, "10.0.0.1").await;
        println!("{endpoint} serves");
    }
}

/// The others are known when the local member dies, though nobody named them.
#[tokio::test]
async fn the_local_endpoint_alone_survives_the_death_of_its_member() {
    let Some(host) = address().filter(|_| installed()) else { return };
    let mut cluster = Cluster::start_as(3, &host);
    let mut lab = Lab::start(vec![cluster.members[0].url.clone()]);
    let (lease, _) = lab.grant().await;
    found_by_now(&mut lab, lease).await;
    cluster.members[0].kill();
    let start = clock::now();
    let pair = renewed_after(&mut lab, lease, start).await;
    println!(
        "local member killed: renewed {:?} later, known {:?}",
        pair.sent_at.since(start),
        clock::now().since(start)
    );
    assert!(pair.sent_at.since(start) < Duration::from_secs(2));
    lab.stand(lease, "10.0.0.1").await;
}

/// The same without discovery: nobody else is asked.
#[tokio::test]
async fn without_discovery_nobody_is_found() {
    let Some(host) = address().filter(|_| installed()) else { return };
    let mut cluster = Cluster::start_as(3, &host);
    let config = config::Etcd { discover: false, ..conf(vec![cluster.members[0].url.clone()]) };
    let mut lab = Lab::start_with(&config, Ttl::Auto);
    let (lease, _) = lab.grant().await;
    found_by_now(&mut lab, lease).await;
    cluster.members[0].kill();
    let start = clock::now();
    let renewed = tokio::time::timeout(Duration::from_secs(3), renewed_after(&mut lab, lease, start));
    assert!(renewed.await.is_err());
}

/// One member after another is replaced by a new one, until none of those is left that were there at the start.
#[tokio::test]
async fn all_members_are_replaced_under_one_adapter() {
    let Some(host) = address().filter(|_| installed()) else { return };
    let mut cluster = Cluster::start_as(3, &host);
    let mut lab = Lab::start(vec![cluster.members[0].url.clone()]);
    let (lease, _) = lab.grant().await;
    let changes = tokio::task::spawn_blocking(move || {
        for old in 0..3 {
            cluster.add_learner();
            cluster.promote_last();
            // The list is asked for again when a connection breaks, and that needs a moment.
            cluster.remove(old);
            std::thread::sleep(Duration::from_secs(3));
        }
        cluster
    });
    let (mut last, mut worst) = (lab.pair(lease).await.sent_at, Duration::ZERO);
    while !changes.is_finished() {
        let pair = renewed_after(&mut lab, lease, last).await;
        worst = worst.max(clock::now().since(last));
        last = pair.sent_at;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let _alive = changes.await.unwrap();
    println!("all members replaced: at the most {worst:?} from one renewal sent to the next known");
    // An election each time the leader is replaced, orders every 0.5 s, and a machine that is busy with other things; the
    // lab has this with the daemon's own pace, against the fence.
    assert!(worst < Duration::from_secs(8), "the new members were not asked: {worst:?}");
    lab.stand(lease, "10.0.0.1").await;
}

#[tokio::test]
async fn a_release_passes_over_a_dead_member() {
    if !installed() {
        return;
    }
    let cluster = Cluster::start(1);
    let mut lab = Lab::start(cluster.urls());
    let (lease, _) = lab.grant().await;
    lab.stand(lease, "10.0.0.1").await;
    let mute = Way::to(&cluster.members[0].url).await;
    mute.turn(Mode::Mute);
    let mut endpoints = vec![mute.url.clone()];
    endpoints.extend(free_urls(1));
    endpoints.extend(cluster.urls());
    let start = clock::now();
    let done = release(&conf(endpoints), lease, "cp-1", "test", Duration::from_secs(5)).await;
    println!("released past a mute and a dead member after {:?}", clock::now().since(start));
    assert!(matches!(&done, Release::Done { released } if released.len() == 1), "{done:?}");
}

/// The list leads to another cluster, which has neither our lease nor our queue: nobody is asked there, however long our
/// own member is silent.
#[tokio::test]
async fn a_listed_member_of_another_cluster_is_not_asked() {
    let Some(host) = address().filter(|_| installed()) else { return };
    let other = Cluster::start(1);
    let way = Way::at(&host, &other.members[0].url).await;
    let cluster = Cluster::start_leading_to(&way.url);
    let mut lab = Lab::start(vec![cluster.members[0].url.clone()]);
    let (lease, _) = lab.grant().await;
    while way.carried() == 0 {
        lab.pair(lease).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    cluster.members[0].freeze();
    for _ in 0..4 {
        lab.order(Action::Renew { lease });
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    cluster.members[0].thaw();
    lab.pair(lease).await;
    assert!(!lab.seen.contains(&Event::LeaseLost { lease }), "the other cluster was asked for our lease");
}

/// The same by the operator's own hand. What takes the place of our cluster for good is used, but not before our lease there
/// has ended.
#[tokio::test]
async fn an_endpoint_of_another_cluster_is_asked_only_when_ours_is_gone_for_good() {
    if !installed() {
        return;
    }
    let (mut ours, other) = (Cluster::start(1), Cluster::start(1));
    let mut lab = Lab::start([ours.urls(), other.urls()].concat());
    let (lease, ttl) = lab.grant().await;
    let cluster = lab.pair(lease).await.renewed.cluster;
    ours.members[0].freeze();
    for _ in 0..4 {
        lab.order(Action::Renew { lease });
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    ours.members[0].thaw();
    lab.pair(lease).await;
    assert!(!lab.seen.contains(&Event::LeaseLost { lease }), "the other cluster was asked for our lease");
    ours.members[0].kill();
    let start = clock::now();
    while lab.picture().await.0.cluster == cluster {}
    let after = clock::now().since(start);
    println!("the other cluster is used {after:?} after ours died");
    assert!(after >= ttl);
}

/// Soon after the first connection; there is nothing to see from without.
async fn found_by_now(lab: &mut Lab, lease: LeaseId) {
    for _ in 0..6 {
        lab.pair(lease).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
