//! Lease, counted pair, keys and words, against one etcd.

use std::time::Duration;

use vipd::config::Ttl;
use vipd::election::action::Action;
use vipd::election::event::{Change, Event, LeaseId, Record};
use vipd::election::record::{self, Released};
use vipd::node::clock;
use vipd::node::etcd::{Etcd, Release, release};

use crate::server::{Cluster, free_urls, installed};
use crate::{Lab, PREFIX, conf, find, node_record};

#[tokio::test]
async fn auto_is_five_seconds_on_plain_etcd_and_nothing_is_left_of_the_asking() {
    if !installed() {
        return;
    }
    let cluster = Cluster::start(1);
    let mut lab = Lab::start(cluster.urls());
    let (lease, ttl) = lab.grant().await;
    assert_eq!(ttl, Duration::from_secs(5));
    let (second, _) = lab.grant().await;
    assert_ne!(lease, second);
    let leases = String::from_utf8(cluster.ctl().args(["lease", "list"]).output().unwrap().stdout).unwrap();
    // The two, and not the one that was asked for to learn the least TTL.
    assert!(leases.starts_with("found 2 leases"), "{leases}");
}

#[tokio::test]
async fn a_fixed_ttl_is_asked_for_as_it_is() {
    if !installed() {
        return;
    }
    let cluster = Cluster::start(1);
    let (tell, events) = tokio::sync::mpsc::channel(8);
    let etcd = Etcd::start(&conf(cluster.urls()), Ttl::Fixed(Duration::from_millis(6500)), tell);
    let mut lab = Lab { etcd, events, seen: Vec::new() };
    assert_eq!(lab.grant().await.1, Duration::from_secs(7));
}

#[tokio::test]
async fn a_pair_counts_all_keys_and_names_the_newest() {
    if !installed() {
        return;
    }
    let cluster = Cluster::start(1);
    let mut lab = Lab::start(cluster.urls());
    let (lease, ttl) = lab.grant().await;
    let empty = lab.pair(lease).await;
    assert_eq!((empty.read.count, empty.read.newest), (0, 0));

    let (_, first) = lab.stand(lease, "10.0.0.1").await;
    let (_, second) = lab.stand(lease, "10.0.0.2").await;
    assert!(cluster.ctl().args(["put", "vipdx/10.0.0.3/1", "not ours"]).status().unwrap().success());
    let before = clock::now();
    let pair = lab.pair(lease).await;
    assert!(second > first);
    assert_eq!((pair.read.count, pair.read.newest), (2, second));
    assert_eq!((pair.lease, pair.ttl), (lease, ttl));
    assert_eq!((pair.renewed.cluster, pair.renewed.term), (pair.read.header.cluster, pair.read.header.term));
    assert!(pair.read.header.revision > second);
    assert!(before <= pair.sent_at && pair.sent_at <= pair.answered_at && pair.answered_at <= pair.read.sent_at);

    let mut took = Vec::new();
    for _ in 0..50 {
        let pair = lab.pair(lease).await;
        took.push(clock::now().since(pair.sent_at));
    }
    took.sort();
    println!("pair: median {:?}, worst {:?}", took[25], took[49]);
}

#[tokio::test]
async fn a_lease_that_is_gone_is_reported_whatever_is_done_with_it() {
    if !installed() {
        return;
    }
    let cluster = Cluster::start(1);
    let mut lab = Lab::start(cluster.urls());
    let (lease, _) = lab.grant().await;
    lab.pair(lease).await;
    assert!(cluster.ctl().args(["lease", "revoke", &lease.to_string()]).status().unwrap().success());
    // Over the stream that is open, over one that is opened, and by a write.
    for _ in 0..2 {
        lab.order(Action::Renew { lease });
        lab.lost(lease).await;
    }
    lab.order(Action::WriteRecord { lease, record: node_record(vec![]) });
    lab.lost(lease).await;
    lab.order(Action::RevokeLease { lease, record: Some(node_record(vec![])) });
    lab.next(|e| (*e == Event::LeaseRevoked { lease }).then_some(())).await;
}

/// etcd's answer about an older order says as much as one about the newest.
#[tokio::test]
async fn a_lease_that_is_gone_is_reported_however_late_and_whatever_was_ordered_since() {
    if !installed() {
        return;
    }
    let cluster = Cluster::start(1);
    let mut lab = Lab::start(cluster.urls());
    let (gone, _) = lab.grant().await;
    let (newer, _) = lab.grant().await;
    lab.pair(gone).await;
    assert!(cluster.ctl().args(["lease", "revoke", &gone.to_string()]).status().unwrap().success());
    cluster.members[0].freeze();
    lab.order(Action::Renew { lease: gone });
    // Only beside a request that is stuck another one is sent.
    assert!(lab.quiet(Duration::from_millis(700), |e| matches!(e, Event::LeaseLost { .. }).then_some(())).await);
    lab.order(Action::Renew { lease: newer });
    assert!(lab.quiet(Duration::from_millis(100), |e| matches!(e, Event::PairAnswered(_)).then_some(())).await);
    cluster.members[0].thaw();
    // In either order: the streams are two.
    let mut wanted = vec![gone, newer];
    while !wanted.is_empty() {
        let told = lab.next(|e| match e {
            Event::LeaseLost { lease } if *lease == gone => Some(gone),
            Event::PairAnswered(pair) if pair.lease == newer => Some(newer),
            _ => None,
        });
        let told = told.await;
        wanted.retain(|lease| *lease != told);
    }
}

#[tokio::test]
async fn stepping_back_takes_the_key_and_says_the_word_but_only_for_that_create_revision() {
    if !installed() {
        return;
    }
    let cluster = Cluster::start(1);
    let mut lab = Lab::start(cluster.urls());
    let (lease, _) = lab.grant().await;
    let (key, create) = lab.stand(lease, "10.0.0.1").await;
    let word = Released { key: key.clone(), create };
    let step_back =
        |create| Action::StepBack { key: key.clone(), create, lease, record: node_record(vec![word.clone()]) };

    lab.order(step_back(create + 1));
    assert!(lab.quiet(Duration::from_millis(300), |e| matches!(e, Event::Changed { .. }).then_some(())).await);

    let sent = clock::now();
    lab.order(step_back(create));
    let (_, changes) = lab.changed().await;
    println!("step back: seen after {:?}", clock::now().since(sent));
    assert_eq!(changes[0], Change::Deleted(key.clone()));
    let Change::Put(node) = &changes[1] else { panic!("{changes:?}") };
    let Record::Node { record, .. } = &node.record else { panic!("{node:?}") };
    assert_eq!((changes.len(), record.released.as_slice()), (2, [word].as_slice()));

    let mut took = Vec::new();
    for _ in 0..20 {
        let (key, create) = lab.stand(lease, "10.0.0.1").await;
        let sent = clock::now();
        lab.order(Action::StepBack { key, create, lease, record: node_record(vec![]) });
        lab.changed().await;
        took.push(clock::now().since(sent));
    }
    took.sort();
    println!("step back: median {:?}, worst {:?}", took[10], took[19]);
}

#[tokio::test]
async fn stepping_back_takes_the_key_from_an_etcd_that_is_full() {
    if !installed() {
        return;
    }
    let cluster = Cluster::start_with_room_for(2 << 20);
    let mut lab = Lab::start(cluster.urls());
    let (lease, _) = lab.grant().await;
    let (key, create) = lab.stand(lease, "10.0.0.1").await;
    cluster.fill();
    let word = Released { key: key.clone(), create };
    let step_back =
        |create| Action::StepBack { key: key.clone(), create, lease, record: node_record(vec![word.clone()]) };
    lab.order(step_back(create + 1));
    assert!(lab.quiet(Duration::from_millis(300), |e| matches!(e, Event::Changed { .. }).then_some(())).await);
    lab.order(step_back(create));
    let (_, changes) = lab.changed().await;
    assert_eq!(changes, [Change::Deleted(key.clone())]);
}

#[tokio::test]
async fn standing_again_where_one_stands_writes_nothing() {
    if !installed() {
        return;
    }
    let cluster = Cluster::start(1);
    let mut lab = Lab::start(cluster.urls());
    let (lease, _) = lab.grant().await;
    lab.stand(lease, "10.0.0.1").await;
    let written = lab.pair(lease).await.read;
    lab.order_stand(lease, "10.0.0.1");
    assert!(lab.quiet(Duration::from_millis(300), |e| matches!(e, Event::Changed { .. }).then_some(())).await);
    let read = lab.pair(lease).await.read;
    assert_eq!((read.count, read.newest), (written.count, written.newest));
}

#[tokio::test]
async fn revoking_says_the_word_first() {
    if !installed() {
        return;
    }
    let cluster = Cluster::start(1);
    let mut lab = Lab::start(cluster.urls());
    let (lease, _) = lab.grant().await;
    let (key, create) = lab.stand(lease, "10.0.0.1").await;
    let record = node_record(vec![Released { key: key.clone(), create }]);
    lab.order(Action::RevokeLease { lease, record: Some(record) });
    let (_, said) = lab.changed().await;
    assert!(matches!(said.as_slice(), [Change::Put(e)] if e.key == record::node_key(PREFIX, lease)));
    let (_, gone) = lab.changed().await;
    assert!(gone.contains(&Change::Deleted(key)), "{gone:?}");
    lab.next(|e| (*e == Event::LeaseRevoked { lease }).then_some(())).await;
}

#[tokio::test]
async fn etcdctl_elect_and_we_respect_each_other() {
    if !installed() {
        return;
    }
    let cluster = Cluster::start(1);
    let mut lab = Lab::start(cluster.urls());
    let (lease, _) = lab.grant().await;
    let (key, create) = lab.stand(lease, "10.0.0.1").await;

    // It stands behind us, and waits.
    let mut elect = cluster.ctl().args(["elect", "vipd/10.0.0.1", "some\nbody"]).spawn().unwrap();
    let (_, changes) = lab.changed().await;
    let Change::Put(entry) = &changes[0] else { panic!("{changes:?}") };
    let Record::Candidate { addresses, who, .. } = &entry.record else { panic!("{entry:?}") };
    assert_eq!((addresses[0].to_string(), who.as_str()), ("10.0.0.1".to_owned(), "some\\nbody"));
    assert!(entry.create > create);
    assert!(elect.try_wait().unwrap().is_none());

    // Its observer sees us as the leader.
    let mut listen = cluster.ctl();
    listen.args(["elect", "--listen", "vipd/10.0.0.1"]).stdout(std::process::Stdio::piped());
    let listen = listen.spawn().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let leader = ended(listen);
    assert!(leader.starts_with(&key.to_string()), "{leader}");
    let _status = (elect.kill(), elect.wait());
}

fn ended(mut child: std::process::Child) -> String {
    child.kill().unwrap();
    String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout).into_owned()
}

#[tokio::test]
async fn a_killed_predecessors_lease_is_released_with_the_word() {
    if !installed() {
        return;
    }
    let cluster = Cluster::start(1);
    let mut lab = Lab::start(cluster.urls());
    let (old, _) = lab.grant().await;
    let (first, first_create) = lab.stand(old, "10.0.0.1").await;
    let (second, second_create) = lab.stand(old, "10.0.0.2").await;
    let (other, _) = lab.grant().await;
    lab.stand(other, "10.0.0.1").await;

    lab.etcd.release(old, "cp-1", "test");
    let node = record::node_key(PREFIX, old);
    let said = lab.next(|e| find(e, &node).cloned()).await;
    let Record::Node { record, .. } = said.record else { panic!("{said:?}") };
    let want = [
        Released { key: first.clone(), create: first_create },
        Released { key: second.clone(), create: second_create },
    ];
    assert_eq!(record.released, want);
    let (_, gone) = lab.changed().await;
    assert_eq!(gone.len(), 3, "{gone:?}");

    let config = conf(cluster.urls());
    let bound = Duration::from_secs(5);
    assert_eq!(release(&config, old, "cp-1", "test", bound).await, Release::Gone);
    assert_eq!(release(&config, LeaseId(0), "cp-1", "test", bound).await, Release::Gone);
    let done = release(&config, other, "cp-1", "test", bound).await;
    assert!(matches!(&done, Release::Done { released } if released.len() == 1), "{done:?}");

    let nobody = conf(free_urls(1));
    let given_up = release(&nobody, old, "cp-1", "test", Duration::from_millis(300)).await;
    assert!(matches!(&given_up, Release::GivenUp { why } if why.contains("not connected")), "{given_up:?}");
}

/// Run by hand: `cargo test --release --test etcd -- --ignored --nocapture idle`.
#[tokio::test]
#[ignore = "it measures, and takes 20 s"]
async fn idle_cost() {
    if !installed() {
        return;
    }
    let cluster = Cluster::start(3);
    let mut lab = Lab::start(cluster.urls());
    let (lease, _) = lab.grant().await;
    lab.stand(lease, "10.0.0.1").await;
    let (start, before) = (clock::now(), on_cpu());
    for _ in 0..40 {
        lab.pair(lease).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let share = (on_cpu() - before).as_secs_f64() / clock::now().since(start).as_secs_f64();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let memory = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
    println!("{:.3} % of a core, the test included; {memory}", share * 100.0);
}

/// How long this thread, which is the runtime's, was on a CPU.
fn on_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}
