//! Passwords, tokens and keys stay out of the log, whatever is switched on.

use tracing::Level;
use vipd::config::{self, User};

use crate::connecting::files;
use crate::lab::{Lab, config, plain};
use crate::paper::{Dir, Pair, Wanted};
use crate::server::{Etcd, Papers, installed};
use crate::strangers;

const PASSWORD: &str = "correct-horse-battery";

/// The ways in which a secret might be written: as text, as the bytes of a Debug output, a key line by line.
fn spellings(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let listed: Vec<String> = bytes.iter().take(8).map(u8::to_string).collect();
    let hex: String = bytes.iter().take(8).map(|b| format!("{b:02x}")).collect();
    vec![secret.to_owned(), listed.join(", "), hex]
}

fn assert_silent(said: &str, secret: &str) {
    for spelling in spellings(secret) {
        if let Some(line) = said.lines().find(|line| line.contains(&spelling)) {
            panic!("{spelling:?} is in the log: {line}");
        }
    }
}

fn lines_of_key(key: &str) -> impl Iterator<Item = &str> {
    key.lines().filter(|line| !line.contains("-----") && line.len() >= 16)
}

#[tokio::test]
async fn neither_password_nor_key_is_logged_at_any_level() {
    if !installed() {
        return;
    }
    let papers = Papers::new();
    let (etcd, dir) = (Etcd::start(Some(&papers)), Dir::new());
    etcd.with_user("vipd", PASSWORD);
    let client: Pair = papers.client_ca.sign(Wanted::client("whoever"));
    let (ca, cert, key) = files(&dir, &papers, &client);
    let user = User { name: "vipd".into(), password_file: dir.write("password", PASSWORD, 0o600) };
    let config = config::Etcd { user: Some(user), ..config(etcd.url(), ca, Some((cert, key))) };
    let mut lab = Lab::start_at(&config, Level::TRACE);
    lab.live().await;
    // And as the files say something else: neither the old nor the new.
    dir.write("password", "another-one-entirely", 0o600);
    dir.write("client.key", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0IGluIGEgZGFtYWdlZCBrZXk=\n%%%\n", 0o600);
    lab.said.wait_for("what was read before stays in use").await;
    let said = lab.said.all();
    assert!(said.contains("TRACE") && said.len() > 10_000, "the libraries say something at trace: {}", said.len());
    for secret in [PASSWORD, "another-one-entirely", "c2VjcmV0IGluIGEgZGFtYWdlZCBrZXk="] {
        assert_silent(&said, secret);
    }
    lines_of_key(&client.key).for_each(|line| assert_silent(&said, line));
    assert_silent(&format!("{config:?}"), PASSWORD);
}

#[tokio::test]
async fn a_token_goes_with_every_request_and_into_no_log() {
    let dir = Dir::new();
    let (url, asked) = strangers::with_known_token().await;
    let user = User { name: "vipd".into(), password_file: dir.write("password", PASSWORD, 0o600) };
    let lab = Lab::start_at(&config::Etcd { user: Some(user), ..plain(url) }, Level::TRACE);
    let read = |(path, _): &(String, String)| path == "/etcdserverpb.KV/Range";
    for _ in 0..1000 {
        if asked.lock().unwrap().iter().any(read) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let asked = asked.lock().unwrap().clone();
    assert!(asked.iter().any(read), "{asked:?}");
    for (path, token) in asked {
        let want = if path.ends_with("Authenticate") { "" } else { "t0ken-in-clear" };
        assert_eq!(token, want, "{path}");
    }
    let said = lab.said.all();
    assert_silent(&said, "t0ken-in-clear");
    assert_silent(&said, PASSWORD);
}
