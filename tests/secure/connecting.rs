//! Over TLS: every kind of key, every kind of endpoint, files that come late.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use tokio::net::{TcpStream, UnixStream};
use vipd::node::etcd::{Release, check, release};

use crate::lab::{Lab, config, plain};
use crate::paper::{Dir, Pair, Wanted};
use crate::server::{Etcd, Papers, installed};

/// The three files of a client.
pub(crate) fn files(
    dir: &Dir,
    papers: &Papers,
    client: &Pair,
) -> (std::path::PathBuf, std::path::PathBuf, std::path::PathBuf) {
    let ca = dir.write("ca.crt", papers.ca.pem(), 0o644);
    let key = dir.write("client.key", &client.key, 0o600);
    (ca, dir.write("client.crt", &client.cert, 0o644), key)
}

#[tokio::test]
async fn a_whole_life_over_mutual_tls() {
    if !installed() {
        return;
    }
    let papers = Papers::new();
    let (etcd, dir) = (Etcd::start(Some(&papers)), Dir::new());
    let (ca, cert, key) = files(&dir, &papers, &papers.client_ca.sign(Wanted::client("vipd")));
    let config = config(etcd.url(), ca, Some((cert, key)));
    let mut lab = Lab::start(&config);
    lab.live().await;
    // The installed etcd is old enough to have a fault, which is told once.
    assert!(lab.said.lines("ERROR").is_empty(), "{:?}", lab.said.lines("ERROR"));
    let lease = lab.grant().await;
    drop(lab);
    let done = release(&config, lease, "cp-1", "test", Duration::from_secs(5)).await;
    assert_eq!(done, Release::Gone, "the command of its own connects the same way");
    let lacks = check(&config).await;
    assert!(lacks.iter().all(|lack| lack.contains("has a known fault")), "{lacks:?}");
}

#[tokio::test]
async fn a_server_that_asks_for_no_client_certificate() {
    if !installed() {
        return;
    }
    let papers = Papers { wants_clients: false, ..Papers::new() };
    let (etcd, dir) = (Etcd::start(Some(&papers)), Dir::new());
    let ca = dir.write("ca.crt", papers.ca.pem(), 0o644);
    Lab::start(&config(etcd.url(), ca, None)).live().await;
}

/// PKCS#8 of three algorithms; SEC1 and PKCS#1 as openssl writes them, where it is installed.
#[tokio::test]
async fn every_kind_of_key() {
    if !installed() {
        return;
    }
    let papers = Papers::new();
    let (etcd, dir) = (Etcd::start(Some(&papers)), Dir::new());
    let sign = |key: &KeyPair| papers.client_ca.sign_key(Wanted::client("vipd"), key);
    let mut pairs = vec![
        ("P-256, PKCS#8", sign(&KeyPair::generate().unwrap())),
        ("P-384, PKCS#8", sign(&KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap())),
        ("Ed25519, PKCS#8", sign(&KeyPair::generate_for(&PKCS_ED25519).unwrap())),
    ];
    // SEC1 and PKCS#1 are what a PKCS#8 key of that kind wraps.
    let (sec1, rsa) = (include_str!("keys/p256.sec1.pem"), include_str!("keys/rsa.pkcs1.pem"));
    for (name, wrapped, as_it_is) in [
        ("P-256, SEC1", include_str!("keys/p256.pkcs8.pem"), sec1),
        ("RSA, PKCS#1", include_str!("keys/rsa.pkcs8.pem"), rsa),
    ] {
        let cert = sign(&KeyPair::from_pem(wrapped).unwrap()).cert;
        pairs.push((name, Pair { cert, key: as_it_is.into() }));
    }
    for (name, pair) in pairs {
        let (ca, cert, key) = files(&dir, &papers, &pair);
        let lacks = check(&config(etcd.url(), ca, Some((cert, key)))).await;
        assert!(lacks.iter().all(|lack| lack.contains("has a known fault")), "{name}: {lacks:?}");
    }
}

#[tokio::test]
async fn a_bundle_of_cas_and_a_chain() {
    if !installed() {
        return;
    }
    let papers = Papers::new();
    let (etcd, dir) = (Etcd::start(Some(&papers)), Dir::new());
    let (_, cert, key) = files(&dir, &papers, &papers.client_ca.sign(Wanted::client("vipd")));
    let other = crate::paper::Authority::valid("old CA", -100, -1);
    let bundle = format!("# the old one\n{}\n# and the new one\n{}", other.pem(), papers.ca.pem());
    let ca = dir.write("ca.crt", bundle, 0o644);
    let mut lab = Lab::start(&config(etcd.url(), ca, Some((cert, key))));
    lab.live().await;
    // A bundle lasts as long as its longest.
    assert!(lab.said.lines("ERROR").is_empty(), "{:?}", lab.said.lines("ERROR"));
}

/// Before `kubeadm init` there is no certificate; they come one by one.
#[tokio::test]
async fn files_that_are_not_there_yet_are_waited_for() {
    if !installed() {
        return;
    }
    let papers = Papers::new();
    let (etcd, dir) = (Etcd::start(Some(&papers)), Dir::new());
    let client = papers.client_ca.sign(Wanted::client("vipd"));
    let path = |name: &str| dir.path(name);
    let mut lab = Lab::start(&config(etcd.url(), path("ca.crt"), Some((path("client.crt"), path("client.key")))));
    lab.said.wait_for("ca.crt\": the file is not there yet").await;
    files(&dir, &papers, &client);
    lab.said.wait_for("the files for etcd's TLS and user are all there now").await;
    lab.live().await;
    assert_eq!(lab.said.lines("WARN").iter().filter(|line| line.contains("waiting for a file")).count(), 1);
}

#[tokio::test]
async fn names_ipv6_and_unix_sockets() {
    if !installed() {
        return;
    }
    let papers = Papers::new();
    let (etcd, dir) = (Etcd::start(Some(&papers)), Dir::new());
    let (ca, cert, key) = files(&dir, &papers, &papers.client_ca.sign(Wanted::client("vipd")));
    let socket = dir.path("etcd.sock");
    carry(&socket, etcd.port);
    let named = format!("https://localhost:{}", etcd.port);
    for endpoint in [named, format!("unixs://{}", socket.display())] {
        Lab::start(&config(endpoint, ca.clone(), Some((cert.clone(), key.clone())))).live().await;
    }
    let plain_etcd = Etcd::start(None);
    let socket = dir.path("plain.sock");
    carry(&socket, plain_etcd.port);
    Lab::start(&plain(format!("unix://{}", socket.display()))).live().await;
}

/// What comes over the socket goes to etcd, and back.
fn carry(socket: &Path, port: u16) {
    let listener = UnixListener::bind(socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::UnixListener::from_std(listener).unwrap();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut to = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let _ended = tokio::io::copy_bidirectional::<UnixStream, TcpStream>(&mut from, &mut to).await;
            });
        }
    });
}
