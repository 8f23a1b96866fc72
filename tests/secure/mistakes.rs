//! Wrong everything: each mistake with TLS or with users, and the line that `vipd check` and the daemon say to it.
//!
//! The lines are in `mistakes/NAME.txt`; write them anew with `VIPD_BLESS=1 cargo test --test secure mistakes` and read
//! the diff. Ports, directories and dates are replaced by words. What etcd 3.5 (or rather its newer Go) says otherwise than
//! 3.4 is in `NAME.3.5.txt`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use vipd::config::{self, User};
use vipd::election::action::Action;
use vipd::election::event::LeaseId;
use vipd::election::record::NodeRecord;
use vipd::node::etcd::check;

use crate::lab::{Lab, config, plain};
use crate::paper::{Authority, Dir, Wanted};
use crate::server::{Etcd, Papers, free_port, installed};
use crate::strangers;

/// The daemon has said it by then, or says nothing.
const SAID: Duration = Duration::from_secs(4);

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/secure/mistakes")
}

/// In the names of files for etcd 3.5.
const NEWER: &str = ".3.5";

/// Whether this machine's etcd is not the 3.4 that the plain files are of.
fn is_newer() -> bool {
    static NEWER: OnceLock<bool> = OnceLock::new();
    *NEWER.get_or_init(|| {
        let told = Command::new("etcd").arg("--version").output().unwrap();
        !String::from_utf8_lossy(&told.stdout).starts_with("etcd Version: 3.4.")
    })
}

/// What was tried so far.
#[derive(Default)]
struct Book {
    names: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Book {
    /// Holds what is said to this config against the file, or writes it there.
    async fn holds(&mut self, name: &str, config: config::Etcd) {
        let mut text = String::new();
        for lack in check(&config).await.iter().filter(|lack| !lack.contains("known fault")) {
            text += &format!("check: {lack}\n");
        }
        let lab = Lab::start_at(&config, tracing::Level::INFO);
        text += &format!("run: {}\n", first(&lab).await);
        drop(lab);
        let (text, plain) = (in_general(&text, &config), home().join(format!("{name}.txt")));
        let newer = home().join(format!("{name}{NEWER}.txt"));
        assert!(self.names.insert(name.into()), "{name} twice");
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let is_newer = is_newer();
        let want = if is_newer && newer.exists() { read(&newer) } else { read(&plain) };
        if std::env::var_os("VIPD_BLESS").is_some() {
            fs::create_dir_all(home()).unwrap();
            match is_newer {
                true if text == read(&plain) => {}
                true => fs::write(newer, text).unwrap(),
                false => fs::write(plain, text).unwrap(),
            }
        } else if text != want {
            self.wrong.push(format!("{name}:\n{text}instead of\n{want}"));
        }
    }

    fn close(self, part: &str) {
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
        let known = fs::read_dir(home()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let known: BTreeSet<String> = known
            .filter(|f| f.starts_with(part))
            .map(|f| f.trim_end_matches(".txt").trim_end_matches(NEWER).to_owned())
            .collect();
        assert_eq!(known, self.names, "a file that no test looks at");
    }
}

/// The first line that wakes somebody up. If none comes by itself, something is written.
async fn first(lab: &Lab) -> String {
    let start = tokio::time::Instant::now();
    let mut written = false;
    while start.elapsed() < SAID {
        if !written && start.elapsed() > SAID / 2 {
            written = true;
            lab.order(Action::WriteRecord { lease: LeaseId(1), record: NodeRecord::default() });
        }
        let all = lab.said.all();
        let urgent = |l: &&str| l.trim_start().starts_with("WARN") || l.trim_start().starts_with("ERROR");
        if let Some(line) = all.lines().filter(urgent).find(|l| !l.contains("known fault")) {
            return line.trim().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    "nothing".into()
}

/// Without what differs from one run to the next.
fn in_general(text: &str, config: &config::Etcd) -> String {
    let mut text = text.to_owned();
    for (i, endpoint) in config.endpoints.iter().enumerate() {
        let scheme = endpoint.split("://").next().unwrap();
        text = text.replace(endpoint, &format!("{scheme}://ETCD-{i}"));
    }
    let temporary = std::env::temp_dir().join("vipd-secure-");
    let temporary = temporary.to_str().unwrap();
    while let Some(at) = text.find(temporary) {
        let end = at + temporary.len() + text[at + temporary.len()..].find('/').unwrap();
        text.replace_range(at..end, "/DIR");
    }
    // (e6a0e1ee30b4d23a) or of cluster e6a0e1ee30b4d23a,
    for id in ids(&text) {
        text = text.replace(&id, "ID");
    }
    // 2026-11-21T15:00:00Z
    while let Some(z) = text.match_indices('Z').map(|(z, _)| z).find(|z| is_date(&text, *z)) {
        text.replace_range(z - 19..=z, "DATE");
    }
    text
}

/// Clusters.
fn ids(text: &str) -> Vec<String> {
    let hex = |word: &&str| word.len() > 11 && word.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(hex).map(str::to_owned).collect()
}

fn is_date(text: &str, z: usize) -> bool {
    let Some(date) = z.checked_sub(19).and_then(|start| text.get(start..z)) else { return false };
    date.as_bytes()[10] == b'T' && date.bytes().all(|b| b.is_ascii_digit() || b"-T:".contains(&b))
}

/// The files themselves: no etcd is asked.
#[tokio::test]
async fn files() {
    let mut book = Book::default();
    let papers = Papers::new();
    let client = papers.client_ca.sign(Wanted::client("vipd"));
    let other = papers.client_ca.sign(Wanted::client("vipd"));
    let (ca, cert, key) = (papers.ca.pem().into_bytes(), client.cert.clone(), client.key.clone());
    let with = |dir: &Dir, ca: &[u8], cert: &str, key: &str, mode: u32| {
        let ca = dir.write("ca.crt", ca, 0o644);
        let pair = (dir.write("client.crt", cert, 0o644), dir.write("client.key", key, mode));
        config(format!("https://127.0.0.1:{}", free_port()), ca, Some(pair))
    };
    let junk = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
    let cut = &ca[..ca.len() / 2];
    for (name, ca) in [
        ("file-ca-empty", b"\n".as_slice()),
        ("file-ca-is-junk", b"no certificate"),
        ("file-ca-is-der", b"\x30\x82\x01\x01\x00"),
        ("file-ca-is-a-key", key.as_bytes()),
        ("file-ca-cut-short", cut),
        ("file-ca-damaged", junk("CERTIFICATE").as_bytes()),
        ("file-ca-not-base64", b"-----BEGIN CERTIFICATE-----\n%%%%\n-----END CERTIFICATE-----\n"),
    ] {
        let dir = Dir::new();
        book.holds(name, with(&dir, ca, &cert, &key, 0o600)).await;
    }
    for (name, cert, key, mode) in [
        ("file-key-and-certificate-swapped", &key, &cert, 0o600),
        ("file-key-and-certificate-swapped-with-their-modes", &key, &cert, 0o644),
        ("file-key-of-another-certificate", &cert, &other.key, 0o600),
        ("file-key-encrypted", &cert, &junk("ENCRYPTED PRIVATE KEY"), 0o600),
        ("file-key-damaged", &cert, &junk("PRIVATE KEY"), 0o600),
        ("file-key-missing-in-it", &cert, &cert, 0o600),
        ("file-key-open-to-all", &cert, &key, 0o644),
        ("file-certificate-damaged", &junk("CERTIFICATE"), &key, 0o600),
    ] {
        let dir = Dir::new();
        book.holds(name, with(&dir, &ca, cert, key, mode)).await;
    }
    for missing in ["ca.crt", "client.crt", "client.key"] {
        let dir = Dir::new();
        let config = with(&dir, &ca, &cert, &key, 0o600);
        fs::remove_file(dir.path(missing)).unwrap();
        book.holds(&format!("file-not-there-{}", missing.replace('.', "-")), config.clone()).await;
        fs::create_dir(dir.path(missing)).unwrap();
        book.holds(&format!("file-is-a-directory-{}", missing.replace('.', "-")), config).await;
    }
    for (name, password, mode) in [
        ("file-password-empty", "\n", 0o600),
        ("file-password-of-several-lines", "hunter2\nhunter3\n", 0o600),
        ("file-password-open-to-all", "hunter2\n", 0o604),
    ] {
        let dir = Dir::new();
        let user = User { name: "vipd".into(), password_file: dir.write("password", password, mode) };
        let etcd = plain(format!("http://127.0.0.1:{}", free_port()));
        book.holds(name, config::Etcd { user: Some(user), ..etcd }).await;
    }
    book.close("file-");
}

/// etcd's certificate, which we refuse.
#[tokio::test]
async fn servers() {
    if !installed() {
        return;
    }
    let mut book = Book::default();
    let papers = Papers::new();
    let (etcd, dir) = (Etcd::start(Some(&papers)), Dir::new());
    let client = papers.client_ca.sign(Wanted::client("vipd"));
    let (ca, cert, key) = crate::connecting::files(&dir, &papers, &client);
    let config = config(etcd.url(), ca, Some((cert, key)));
    // etcd reads its certificate for each handshake.
    for (name, server) in [
        ("server-signed-by-another-ca", Authority::new("another CA").sign(Wanted::server())),
        ("server-for-another-name", papers.ca.sign(Wanted::server().named(&["etcd.example.com", "10.9.9.9"]))),
        ("server-without-a-name", papers.ca.sign(Wanted::server().named(&[]))),
        ("server-expired", papers.ca.sign(Wanted::server().valid(-30, -3))),
        ("server-expires-soon", papers.ca.sign(Wanted::server().valid(-30, 10))),
        ("server-expires-tomorrow", papers.ca.sign(Wanted::server().valid(-30, 1))),
        ("server-not-yet-valid", papers.ca.sign(Wanted::server().valid(3, 30))),
        ("server-certificate-is-for-clients", papers.ca.sign(Wanted { for_server: false, ..Wanted::server() })),
    ] {
        etcd.swap(&server);
        book.holds(name, config.clone()).await;
    }
    etcd.swap(&papers.server);
    let mut named = config.clone();
    named.tls.as_mut().unwrap().server_name = Some("etcd.example.com".into());
    book.holds("server-name-in-the-config-wrong", named).await;
    let plain_etcd = Etcd::start(None);
    let to = |url: String| config::Etcd { endpoints: vec![url], ..config.clone() };
    book.holds("server-has-no-tls", to(plain_etcd.url().replace("http:", "https:"))).await;
    book.holds("server-has-tls-and-is-asked-without", plain(etcd.url().replace("https:", "http:"))).await;
    book.holds("server-is-not-there", to(format!("https://127.0.0.1:{}", free_port()))).await;
    // An address of loopback that no etcd of this machine uses.
    book.holds("server-asked-at-the-peers-port", to("https://127.23.80.1:2380".into())).await;
    let other_etcd = Etcd::start(None);
    let of_two = vec![plain_etcd.url(), other_etcd.url()];
    book.holds("server-of-another-cluster", config::Etcd { endpoints: of_two, ..plain(plain_etcd.url()) }).await;
    book.close("server-");
}

/// Our certificate, which etcd refuses.
#[tokio::test]
async fn clients() {
    if !installed() {
        return;
    }
    let mut book = Book::default();
    let papers = Papers::new();
    let (etcd, dir) = (Etcd::start(Some(&papers)), Dir::new());
    let ca = dir.write("ca.crt", papers.ca.pem(), 0o644);
    book.holds("client-without-a-certificate", config(etcd.url(), ca, None)).await;
    for (name, client) in [
        ("client-signed-by-another-ca", Authority::new("another CA").sign(Wanted::client("vipd"))),
        ("client-expired", papers.client_ca.sign(Wanted::client("vipd").valid(-30, -3))),
        ("client-not-yet-valid", papers.client_ca.sign(Wanted::client("vipd").valid(3, 30))),
    ] {
        let (ca, cert, key) = crate::connecting::files(&dir, &papers, &client);
        book.holds(name, config(etcd.url(), ca, Some((cert, key)))).await;
    }
    book.close("client-");
}

/// Users and what they may.
#[tokio::test]
async fn users() {
    if !installed() {
        return;
    }
    let mut book = Book::default();
    let (etcd, dir) = (Etcd::start(None), Dir::new());
    for user in ["none", "reader", "elsewhere", "vipd"] {
        etcd.make_user(user, "hunter2");
    }
    etcd.does(&["user", "add", "certificates", "--no-password"]);
    for (role, kind, prefix) in [("reader", "read", "vipd/"), ("elsewhere", "readwrite", "other/")] {
        etcd.does(&["role", "add", role]);
        etcd.does(&["role", "grant-permission", role, kind, "--prefix=true", prefix]);
        etcd.does(&["user", "grant-role", role, role]);
    }
    etcd.turn_auth_on();
    let config = |user: &str, password: &str| {
        let password_file = dir.write(&format!("password-of-{user}"), password, 0o600);
        config::Etcd { user: Some(User { name: user.into(), password_file }), ..plain(etcd.url()) }
    };
    book.holds("user-not-given", plain(etcd.url())).await;
    book.holds("user-unknown", config("nobody", "hunter2")).await;
    book.holds("user-with-a-wrong-password", config("vipd", "hunter3")).await;
    book.holds("user-without-a-password", config("certificates", "hunter2")).await;
    book.holds("user-without-a-role", config("none", "hunter2")).await;
    book.holds("user-may-only-read", config("reader", "hunter2")).await;
    book.holds("user-may-elsewhere", config("elsewhere", "hunter2")).await;
    let mut missing = config("vipd", "hunter2");
    missing.user.as_mut().unwrap().password_file = dir.path("nowhere");
    book.holds("user-without-a-password-file", missing).await;
    book.close("user-");
}

/// What is no etcd at all.
#[tokio::test]
async fn strangers_are_recognised() {
    let mut book = Book::default();
    book.holds("stranger-kine", plain(strangers::kine().await)).await;
    book.holds("stranger-grpc", plain(strangers::another_grpc_server().await)).await;
    book.holds("stranger-web-server", plain(strangers::web_server())).await;
    let (_listening, mute) = strangers::mute();
    book.holds("stranger-mute", plain(mute)).await;
    book.close("stranger-");
}
