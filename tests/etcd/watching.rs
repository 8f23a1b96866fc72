//! The picture: read, watched, and read again after every break.

use etcd_client::{Client, Txn, TxnOp};
use vipd::election::action::Action;
use vipd::election::event::{Change, Event, Record};

use crate::Lab;
use crate::server::{Cluster, installed};

#[tokio::test]
async fn one_revision_is_one_event_and_two_are_two() {
    if !installed() {
        return;
    }
    let cluster = Cluster::start(1);
    let mut lab = Lab::start(cluster.urls());
    let (header, entries) = lab.picture().await;
    assert!(entries.is_empty());

    let mut client = Client::connect(cluster.urls(), None).await.unwrap();
    let both = Txn::new().and_then([TxnOp::put("vipd/a", "1", None), TxnOp::put("vipd/b", "2", None)]);
    client.txn(both).await.unwrap();
    let away = Txn::new().and_then([TxnOp::delete("vipd/a", None), TxnOp::put("vipdx/b", "2", None)]);
    client.txn(away).await.unwrap();
    client.put("vipd/b", "3", None).await.unwrap();

    let mut told = Vec::new();
    for _ in 0..3 {
        let (revision, changes) = lab.changed().await;
        let words = changes.iter().map(|c| match c {
            Change::Put(e) => format!("put {} {:?}", e.key, e.record),
            Change::Deleted(key) => format!("deleted {key}"),
        });
        told.push((revision - header.revision, words.collect::<Vec<_>>()));
    }
    let ignored = format!("{:?}", Record::Ignored("its name has no lease"));
    let want = [
        (1, vec![format!("put vipd/a {ignored}"), format!("put vipd/b {ignored}")]),
        (2, vec!["deleted vipd/a".to_owned()]),
        (3, vec![format!("put vipd/b {ignored}")]),
    ];
    assert_eq!(told, want);

    lab.order(Action::ReadAll);
    let (later, entries) = lab.picture().await;
    assert_eq!((later.revision - header.revision, entries.len()), (3, 1));
}

#[tokio::test]
async fn revisions_in_quick_succession_are_told_one_by_one() {
    if !installed() {
        return;
    }
    let cluster = Cluster::start(1);
    let mut lab = Lab::start(cluster.urls());
    let (header, _) = lab.picture().await;
    let mut client = Client::connect(cluster.urls(), None).await.unwrap();
    for i in 0..40 {
        client.put(format!("vipd/{}", i % 4), "x", None).await.unwrap();
    }
    for i in 1..=40 {
        let (revision, changes) = lab.changed().await;
        assert_eq!((revision, changes.len()), (header.revision + i, 1));
    }
}

#[tokio::test]
async fn a_watch_that_fell_behind_a_compaction_begins_again_with_a_read() {
    if !installed() {
        return;
    }
    let cluster = Cluster::start(1);
    let mut lab = Lab::start(cluster.urls());
    let (header, _) = lab.picture().await;
    // Nobody takes the events, so the adapter stops reading, so etcd's buffers for this watch (1024 answers) fill up.
    let client = Client::connect(cluster.urls(), None).await.unwrap();
    let mut writes = tokio::task::JoinSet::new();
    for i in 0..60 {
        let mut kv = client.kv_client();
        writes.spawn(async move {
            for _ in 0..60 {
                kv.put(format!("vipd/{i}"), "x".repeat(2000), None).await.unwrap();
            }
        });
    }
    writes.join_all().await;
    let last = header.revision + 60 * 60;
    client.kv_client().compact(last, None).await.unwrap();

    let (again, entries) = lab.picture().await;
    assert_eq!((again.revision, entries.len()), (last, 60));
    let told =
        lab.seen.iter().filter_map(|e| if let Event::Changed { revision, .. } = e { Some(*revision) } else { None });
    let told: Vec<i64> = told.collect();
    println!("{} of 3600 revisions were told before", told.len());
    assert!(told.iter().copied().eq(header.revision + 1..=header.revision + told.len() as i64), "without a gap");
    assert!(told.len() < 3600);
    client.kv_client().put("vipd/0", "y", None).await.unwrap();
    assert_eq!(lab.changed().await.0, last + 1);
}
