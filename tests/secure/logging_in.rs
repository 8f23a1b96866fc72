//! Users: the least role, tokens that end, authentication switched on and off, passwords that change.

use std::time::Duration;

use vipd::config;
use vipd::config::User;
use vipd::node::etcd::check;

use crate::connecting::files;
use crate::lab::{Lab, config, plain};
use crate::paper::{Dir, Wanted};
use crate::server::{Etcd, Papers, ROOT, installed};

fn as_user(config: config::Etcd, dir: &Dir, password: &str) -> config::Etcd {
    let user = User { name: "vipd".into(), password_file: dir.write("password", password, 0o600) };
    config::Etcd { user: Some(user), ..config }
}

/// Every read, write, watch and renewal, with a role that has one prefix and nothing else.
#[tokio::test]
async fn a_whole_life_with_the_least_role() {
    if !installed() {
        return;
    }
    let papers = Papers::new();
    let (etcd, dir) = (Etcd::start(Some(&papers)), Dir::new());
    etcd.with_user("vipd", "hunter2");
    let (ca, cert, key) = files(&dir, &papers, &papers.client_ca.sign(Wanted::client("whoever")));
    // A password file ends with a newline, as every editor leaves it.
    let config = as_user(config(etcd.url(), ca, Some((cert, key))), &dir, "hunter2\n");
    let mut lab = Lab::start(&config);
    lab.live().await;
    assert!(lab.said.lines("ERROR").is_empty() && !lab.said.all().contains("denied"), "{}", lab.said.all());
    let lacks = check(&config).await;
    assert!(lacks.iter().all(|lack| lack.contains("has a known fault")), "{lacks:?}");
}

/// No user and no password: the certificate's common name is the user.
#[tokio::test]
async fn the_certificates_name_is_the_user() {
    if !installed() {
        return;
    }
    let papers = Papers::new();
    let (etcd, dir) = (Etcd::start(Some(&papers)), Dir::new());
    etcd.with_user("vipd", "no matter");
    let (ca, cert, key) = files(&dir, &papers, &papers.client_ca.sign(Wanted::client("vipd")));
    Lab::start(&config(etcd.url(), ca, Some((cert, key)))).live().await;
}

#[tokio::test]
async fn an_etcd_without_authentication_needs_no_login_and_one_that_switches_it_on_gets_one() {
    if !installed() {
        return;
    }
    let (etcd, dir) = (Etcd::start(None), Dir::new());
    let config = as_user(plain(etcd.url()), &dir, "hunter2");
    let mut lab = Lab::start(&config);
    lab.picture().await;
    let lease = lab.grant().await;
    lab.pair(lease).await;
    etcd.with_user("vipd", "hunter2");
    lab.pair(lease).await;
    let said = lab.said.lines("WARN");
    assert!(!said.iter().any(|line| line.contains("does not know who asks")), "{said:?}");
    etcd.does(&["--user", ROOT, "auth", "disable"]);
    lab.pair(lease).await;
}

/// Tokens of this etcd end after 2 s without use.
#[tokio::test]
async fn a_token_that_ended_is_replaced() {
    if !installed() {
        return;
    }
    let (etcd, dir) = (Etcd::start(None), Dir::new());
    etcd.with_user("vipd", "hunter2");
    let mut lab = Lab::start(&as_user(plain(etcd.url()), &dir, "hunter2"));
    lab.picture().await;
    let lease = lab.grant().await;
    lab.pair(lease).await;
    tokio::time::sleep(Duration::from_millis(3500)).await;
    lab.pair(lease).await;
    // And one that changed users made old.
    etcd.does(&["--user", ROOT, "user", "add", "other:x"]);
    etcd.does(&["--user", ROOT, "role", "add", "other"]);
    etcd.does(&["--user", ROOT, "user", "grant-role", "other", "other"]);
    lab.pair(lease).await;
    assert!(
        lab.said.lines("WARN").iter().all(|line| line.contains("has a known fault")),
        "{:?}",
        lab.said.lines("WARN")
    );
}

#[tokio::test]
async fn a_password_that_changes_is_read_again() {
    if !installed() {
        return;
    }
    let (etcd, dir) = (Etcd::start(None), Dir::new());
    etcd.with_user("vipd", "hunter2");
    let mut lab = Lab::start(&as_user(plain(etcd.url()), &dir, "wrong"));
    lab.said.wait_for("it refuses user \"vipd\": no such user, or another password than in passwordFile").await;
    dir.write("password", "hunter2", 0o600);
    lab.picture().await;
    let lease = lab.grant().await;
    lab.pair(lease).await;
}
