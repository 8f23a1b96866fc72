//! Certificates that change under a running adapter: it goes on over new connections and loses nothing.

use std::time::Duration;

use tokio::time::Instant;
use vipd::node::clock;

use crate::connecting::files;
use crate::lab::{Lab, config};
use crate::paper::{Authority, Dir, Wanted};
use crate::server::{Etcd, Papers, installed};

/// The other side's view: how many connections it has now, by its own counting.
fn served(lab: &Lab) -> usize {
    lab.said.all().lines().filter(|line| line.contains("connected member=")).count()
}

#[tokio::test]
async fn a_new_client_certificate_is_used_without_a_gap() {
    if !installed() {
        return;
    }
    let papers = Papers::new();
    let (etcd, dir) = (Etcd::start(Some(&papers)), Dir::new());
    let (ca, cert, key) = files(&dir, &papers, &papers.client_ca.sign(Wanted::client("vipd")));
    let mut lab = Lab::start(&config(etcd.url(), ca, Some((cert, key))));
    lab.picture().await;
    let lease = lab.grant().await;
    let (mut worst, mut last) = (Duration::ZERO, clock::now());
    for round in 1..=3 {
        let before = served(&lab);
        // The key first and the certificate later: half a rotation is waited out.
        let next = papers.client_ca.sign(Wanted::client("vipd"));
        dir.write("client.key", &next.key, 0o600);
        let half = Instant::now();
        let mut whole = false;
        while served(&lab) == before {
            if !whole && half.elapsed() > Duration::from_millis(1500) {
                dir.write("client.crt", &next.cert, 0o644);
                whole = true;
            }
            let pair = lab.pair(lease).await;
            (worst, last) = (worst.max(pair.sent_at.since(last)), pair.sent_at);
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(half.elapsed() < Duration::from_secs(20), "round {round}: {}", lab.said.all());
        }
        assert!(whole, "half a rotation was used");
    }
    println!("three swaps: at most {worst:?} between two good renewals");
    assert!(worst < Duration::from_millis(1500), "{worst:?}");
    let said = lab.said.lines("WARN");
    assert!(said.iter().all(|line| line.contains("has a known fault")), "{said:?}");
}

#[tokio::test]
async fn a_bad_file_beside_a_good_connection_is_told_and_does_no_harm() {
    if !installed() {
        return;
    }
    let papers = Papers::new();
    let (etcd, dir) = (Etcd::start(Some(&papers)), Dir::new());
    let (ca, cert, key) = files(&dir, &papers, &papers.client_ca.sign(Wanted::client("vipd")));
    let mut lab = Lab::start(&config(etcd.url(), ca, Some((cert, key))));
    lab.picture().await;
    let lease = lab.grant().await;
    lab.pair(lease).await;
    dir.write("client.crt", "junk", 0o644);
    lab.said.wait_for("what was read before stays in use").await;
    lab.pair(lease).await;
    // A certificate that etcd will not take: the connection that it took before goes on.
    let stranger = Authority::new("another CA").sign(Wanted::client("vipd"));
    files(&dir, &papers, &stranger);
    lab.said.wait_for("it refuses our client certificate").await;
    lab.pair(lease).await;
    files(&dir, &papers, &papers.client_ca.sign(Wanted::client("vipd")));
    lab.said.wait_for("this member of etcd can be used now").await;
    lab.pair(lease).await;
}

/// The CA is replaced with an overlap: first both are trusted, then the server changes, then the old one goes.
#[tokio::test]
async fn the_ca_rolls_over() {
    if !installed() {
        return;
    }
    let papers = Papers::new();
    let (mut etcd, dir) = (Etcd::start(Some(&papers)), Dir::new());
    let (ca, cert, key) = files(&dir, &papers, &papers.client_ca.sign(Wanted::client("vipd")));
    let mut lab = Lab::start(&config(etcd.url(), ca, Some((cert, key))));
    lab.picture().await;
    let lease = lab.grant().await;
    lab.pair(lease).await;
    let next = Authority::new("next CA");
    let before = served(&lab);
    dir.write("ca.crt", format!("{}{}", papers.ca.pem(), next.pem()), 0o644);
    wait_for_another(&mut lab, before).await;
    etcd.swap(&next.sign(Wanted::server()));
    etcd.restart();
    lab.pair(lease).await;
    let before = served(&lab);
    dir.write("ca.crt", next.pem(), 0o644);
    wait_for_another(&mut lab, before).await;
    lab.pair(lease).await;
}

async fn wait_for_another(lab: &mut Lab, before: usize) {
    for _ in 0..500 {
        if served(lab) > before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no new connection: {}", lab.said.all());
}
