//! What etcd says: every change of every key, stamped with the lab's clock on arrival.
//!
//! `etcdctl watch` as a child: a client that the daemon shares nothing with.

use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::clock::{self, At};
use crate::monitor::Monitor;
use crate::shell;
use crate::urgent;
use crate::world::Client;

/// A key was written or deleted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KeyEvent {
    /// When the news of it arrived.
    pub(crate) at: At,
    /// Which key, with what is not UTF-8 replaced.
    pub(crate) key: String,
    /// Its new value; `None`: deleted.
    pub(crate) value: Option<String>,
}

/// The events so far. The watch ends when this is dropped.
pub(crate) struct Keys(Arc<Shared>);

struct Shared {
    ctl: Ctl,
    /// Looks at the addresses when a key is gone, so that their order is beyond doubt.
    monitor: Monitor,
    events: Mutex<Vec<KeyEvent>>,
    watcher: Mutex<Option<Child>>,
    stop: AtomicBool,
}

impl Keys {
    /// Begins to watch; returns once a key written now is seen, so that nothing later can be missed.
    pub(crate) fn watch(ctl: Ctl, monitor: &Monitor) -> Result<Self> {
        let (events, watcher, stop) = (Mutex::default(), Mutex::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { ctl, monitor: monitor.clone(), events, watcher, stop });
        let listening = Arc::clone(&shared);
        thread::Builder::new().name("keys".to_owned()).spawn(move || listening.listen())?;
        let keys = Self(shared);
        keys.see_a_first_one()?;
        Ok(keys)
    }

    fn see_a_first_one(&self) -> Result<()> {
        for _ in 0..20 {
            shell::output(self.0.ctl.command().args(["put", "lab/ready", "x"]))?;
            if clock::poll_until(Duration::from_millis(250), || !self.events().is_empty()) {
                return Ok(());
            }
        }
        ensure!(!self.events().is_empty(), "`etcdctl watch` tells nothing");
        Ok(())
    }

    /// All events so far.
    pub(crate) fn events(&self) -> MutexGuard<'_, Vec<KeyEvent>> {
        self.0.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When a candidate's key for `vip` was first deleted from `from` on, waiting a little for the news.
    pub(crate) fn gone(&self, vip: IpAddr, from: At, within: Duration) -> Option<At> {
        let prefix = format!("vipd/{vip}/");
        let find = || {
            let events = self.events();
            let deleted =
                |event: &&KeyEvent| event.at >= from && event.value.is_none() && event.key.starts_with(&prefix);
            events.iter().find(deleted).map(|event| event.at)
        };
        clock::poll_until(within, || find().is_some());
        find()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
        if let Some(watcher) = self.0.watcher().as_mut() {
            let _ = watcher.kill();
        }
    }
}

impl Shared {
    fn watcher(&self) -> MutexGuard<'_, Option<Child>> {
        self.watcher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `etcdctl watch` ends when the member it talks to does; the next one goes on where it stopped.
    fn listen(&self) {
        urgent::this_thread();
        let mut next = 1;
        while !self.stop.load(Ordering::Relaxed) {
            if let Ok(told) = self.start_watcher(next) {
                self.hear(told, &mut next);
            }
            if let Some(mut ended) = self.watcher().take() {
                let _ = ended.kill();
                let _ = ended.wait();
            }
            clock::sleep(Duration::from_millis(50));
        }
    }

    fn start_watcher(&self, revision: u64) -> Result<ChildStdout> {
        let mut command = self.ctl.command();
        command.args(["watch", "", "--prefix", "--write-out=json", &format!("--rev={revision}")]);
        command.stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::piped());
        let mut watcher = command.spawn().context("start `etcdctl watch`")?;
        let told = watcher.stdout.take().context("no pipe from `etcdctl watch`")?;
        *self.watcher() = Some(watcher);
        Ok(told)
    }

    fn hear(&self, told: ChildStdout, next: &mut u64) {
        for line in BufReader::new(told).lines().map_while(Result::ok) {
            let at = clock::now();
            let (news, revision) = parse(at, &line);
            if news.iter().any(|event| event.value.is_none()) {
                self.monitor.look(at);
            }
            self.events.lock().unwrap_or_else(PoisonError::into_inner).extend(news);
            *next = (*next).max(revision + 1);
        }
    }
}

/// `etcdctl` against some members, by somebody who may do anything.
#[derive(Clone)]
pub(crate) struct Ctl {
    /// The members.
    pub(crate) endpoints: String,
    /// Who it is, where etcd asks for that.
    pub(crate) client: Option<Client>,
}

impl Ctl {
    /// In the API version that has leases.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").arg(format!("--endpoints={}", self.endpoints));
        if let Some(client) = &self.client {
            command.env("ETCDCTL_CACERT", &client.ca);
            command.env("ETCDCTL_CERT", &client.cert).env("ETCDCTL_KEY", &client.key);
        }
        command
    }
}

/// One line of `etcdctl watch --write-out=json`: `{"Events":[{"type":1,"kv":{"key":..,"value":..}}]}`, where no type
/// is a put. Also the newest revision in it.
fn parse(at: At, line: &str) -> (Vec<KeyEvent>, u64) {
    let response = serde_json::from_str::<Value>(line).unwrap_or_default();
    let events = response["Events"].as_array().cloned().unwrap_or_default();
    let one = |event: &Value| {
        let key = text(&event["kv"]["key"])?;
        let deleted = event["type"].as_u64() == Some(1);
        let value = if deleted { None } else { Some(text(&event["kv"]["value"]).unwrap_or_default()) };
        Some(KeyEvent { at, key, value })
    };
    let revision = events.iter().filter_map(|event| event["kv"]["mod_revision"].as_u64()).max();
    (events.iter().filter_map(one).collect(), revision.unwrap_or_default())
}

fn text(encoded: &Value) -> Option<String> {
    let bytes = base64(encoded.as_str()?);
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Standard base64; what is not of its alphabet (padding) is passed over.
fn base64(encoded: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let sextets = encoded.bytes().filter_map(|letter| ALPHABET.iter().position(|known| *known == letter));
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_usize, 0);
    for sextet in sextets {
        bits = (bits << 6 | sextet) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read() {
        assert_eq!(base64("dmlwZC8xMC4wLjAuMS8yYQ=="), b"vipd/10.0.0.1/2a");
        assert_eq!(base64("Zm9v"), b"foo");
        assert_eq!(base64(""), b"");
    }

    #[test]
    fn puts_and_deletions_are_told_apart() {
        let line = r#"{"Header":{},"Events":[{"kv":{"key":"YQ==","value":"Yg=="}},{"type":1,"kv":{"key":"YQ==","mod_revision":7}}]}"#;
        let at = At::default();
        let put = KeyEvent { at, key: "a".into(), value: Some("b".into()) };
        let gone = KeyEvent { at, key: "a".into(), value: None };
        assert_eq!(parse(at, line), (vec![put, gone], 7));
        assert_eq!(parse(at, "junk"), (vec![], 0));
    }
}
