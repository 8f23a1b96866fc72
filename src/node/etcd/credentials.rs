//! The files that say who we are for etcd: read, checked, waited for, and read again when they change.
//!
//! One task holds the newest good set for all connections, and tells people what it lacks and what runs out. It opens no
//! connection and ends none: [`super::line`] makes a new one when the set changes. Files are read on a thread of their
//! own, so that a file system that hangs delays no renewal. No secret leaves this module but to where it is used, and
//! none has a `Debug` that shows it.

mod file;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use self::file::{Content, Kind};
use super::TELL;
use super::pace::Told;
use super::tls::{self, Identity, Source, Urgency};
use crate::config;
use crate::node::clock;

/// How often the files are looked at. They are a few kilobytes; what they say is compared, not their times.
const LOOK: Duration = Duration::from_secs(1);
/// A look that takes longer is told; it goes on all the same.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often what runs out is told again.
const EXPIRY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a connection is made with.
#[derive(Clone, Debug, Default)]
pub(super) struct Access {
    pub(super) identity: Option<Identity>,
    /// The name that etcd's certificates must have, if not the endpoint's.
    pub(super) server_name: Option<ServerName<'static>>,
    pub(super) login: Option<Login>,
}

/// A user and its password.
#[derive(Clone)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: Zeroizing<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({:?}, ...)", self.user)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(...)")
    }
}

/// What the files gave so far.
#[derive(Clone, Debug)]
pub(super) enum Held {
    /// They are being read.
    Reading,
    /// This set is good.
    Ready(Arc<Access>),
    /// None was ever good; what is lacking.
    Lacking(Arc<str>),
}

/// What is lacking, in one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Lack {
    pub(super) text: String,
    /// Somebody's secret is open to others.
    pub(super) wake_up: bool,
}

impl From<String> for Lack {
    fn from(text: String) -> Self {
        Self { text, wake_up: false }
    }
}

/// One look at all files.
struct Look {
    /// Changes when any file does.
    fingerprint: u64,
    result: Result<Access, Lack>,
    /// What is not as it should be, and used all the same.
    remarks: Vec<String>,
}

/// The keeper of the newest good set.
pub(super) struct Credentials {
    /// What to read, and how often that changed.
    config: RwLock<(config::Etcd, u64)>,
    changed: Notify,
    held: watch::Sender<Held>,
}

impl Credentials {
    pub(super) fn new(config: &config::Etcd) -> Self {
        let held = if reads_nothing(config) { Held::Ready(Arc::default()) } else { Held::Reading };
        let config = RwLock::new((config.clone(), 0));
        Self { config, changed: Notify::new(), held: watch::Sender::new(held) }
    }

    /// Other files, or another user. What was read before is used until these are good.
    pub(super) fn follow(&self, new: &config::Etcd) {
        let mut config = self.config.write().unwrap_or_else(PoisonError::into_inner);
        let (old, version) = &mut *config;
        let same = (&old.tls, &old.user) == (&new.tls, &new.user);
        let shown =
            new.password_in_the_clear.as_ref().filter(|shown| old.password_in_the_clear.as_ref() != Some(*shown));
        if let Some(endpoint) = shown {
            tell_in_the_clear(endpoint);
        }
        old.clone_from(new);
        if !same {
            *version += 1;
            self.changed.notify_one();
        }
    }

    fn wanted(&self) -> (config::Etcd, u64) {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Held> {
        self.held.subscribe()
    }

    /// Looks at the files, for ever.
    pub(super) async fn keep(&self) {
        if let Some(endpoint) = &self.wanted().0.password_in_the_clear {
            tell_in_the_clear(endpoint);
        }
        let mut keeper = Keeper {
            this: self,
            version: 0,
            known: None,
            unsettled: 0,
            lacking: Told::every(TELL),
            expiry_told: None,
            urgencies: Vec::new(),
        };
        loop {
            let (config, version) = self.wanted();
            if reads_nothing(&config) {
                keeper.need_nothing(version);
                self.changed.notified().await;
                continue;
            }
            keeper.look(config, version).await;
            let _sooner = timeout(LOOK, self.changed.notified()).await;
        }
    }
}

/// What the task remembers from look to look.
struct Keeper<'a> {
    this: &'a Credentials,
    /// Which config the last look was for.
    version: u64,
    /// The fingerprint of the last look.
    known: Option<u64>,
    /// So many looks in a row were bad.
    unsettled: u32,
    lacking: Told,
    expiry_told: Option<Instant>,
    /// How urgent each end was when it was told last.
    urgencies: Vec<Urgency>,
}

impl Keeper<'_> {
    /// There are no files to read any more.
    fn need_nothing(&mut self, version: u64) {
        if std::mem::replace(&mut self.version, version) != version {
            (self.known, self.unsettled) = (None, 0);
            let _told_over = self.lacking.over();
            self.this.held.send_replace(Held::Ready(Arc::default()));
        }
    }

    async fn look(&mut self, config: config::Etcd, version: u64) {
        // The same files may mean something else to another config.
        if std::mem::replace(&mut self.version, version) != version {
            (self.known, self.unsettled) = (None, 0);
        }
        let look = self.patiently(config).await;
        let changed = self.known.replace(look.fingerprint) != Some(look.fingerprint);
        match look.result {
            Ok(access) if changed => self.use_it(access, &look.remarks),
            Ok(_) => self.nothing_new(),
            Err(lack) => self.lacks(&lack),
        }
    }

    /// One look. It is never given up, and never a second one begun beside it.
    async fn patiently(&mut self, config: config::Etcd) -> Look {
        let mut look = tokio::task::spawn_blocking(move || look(&config));
        loop {
            match timeout(PATIENCE, &mut look).await {
                Ok(Ok(look)) => return look,
                Ok(Err(e)) => return Look { fingerprint: 0, result: Err(format!("{e}").into()), remarks: Vec::new() },
                Err(_) => self.lacks(&format!("reading them takes longer than {PATIENCE:?}").into()),
            }
        }
    }

    fn use_it(&mut self, access: Access, remarks: &[String]) {
        self.unsettled = 0;
        let again = matches!(&*self.this.held.borrow(), Held::Ready(_));
        if again {
            tracing::info!("the files for etcd's TLS and user changed: new connections are made with them");
        } else if self.lacking.over() {
            tracing::info!("the files for etcd's TLS and user are all there now");
        }
        let _told_over = self.lacking.over();
        remarks.iter().for_each(|remark| tracing::warn!("{remark}"));
        self.tell_what_ends(&access);
        self.this.held.send_replace(Held::Ready(Arc::new(access)));
    }

    /// Beside a good set a bad look is told only when the next one is as bad: two files do not change at once.
    fn lacks(&mut self, lack: &Lack) {
        self.unsettled = self.unsettled.saturating_add(1);
        let in_use = matches!(&*self.this.held.borrow(), Held::Ready(_));
        if !in_use {
            self.this.held.send_replace(Held::Lacking(lack.text.as_str().into()));
        } else if self.unsettled < 3 {
            return;
        }
        if !self.lacking.again() {
            return;
        }
        let then = if in_use { "what was read before stays in use, because" } else { "waiting for a file:" };
        if lack.wake_up {
            tracing::error!("{then} {}", lack.text);
        } else {
            tracing::warn!("{then} {}", lack.text);
        }
    }

    fn nothing_new(&mut self) {
        self.unsettled = 0;
        if self.lacking.over() {
            tracing::info!("the files for etcd's TLS and user are good again");
        }
        let held = self.this.held.borrow().clone();
        if let Held::Ready(access) = held {
            let daily = self.expiry_told.is_none_or(|told| told.elapsed() >= EXPIRY);
            if daily || urgencies(&access) != self.urgencies {
                self.tell_what_ends(&access);
            }
        }
    }

    fn tell_what_ends(&mut self, access: &Access) {
        (self.expiry_told, self.urgencies) = (Some(Instant::now()), urgencies(access));
        let calendar = clock::calendar();
        for expiry in access.identity.iter().flat_map(|identity| &identity.expiries) {
            match expiry.at(calendar) {
                (Urgency::None, text) => tracing::info!("{text}"),
                (Urgency::Soon, text) => tracing::warn!("{text}"),
                (Urgency::Now | Urgency::Over, text) => tracing::error!("{text}"),
            }
        }
    }
}

fn reads_nothing(config: &config::Etcd) -> bool {
    config.tls.is_none() && config.user.is_none()
}

fn tell_in_the_clear(endpoint: &str) {
    tracing::warn!(%endpoint, "the password of etcd's user goes over the network without TLS");
}

fn urgencies(access: &Access) -> Vec<Urgency> {
    let calendar = clock::calendar();
    access.identity.iter().flat_map(|identity| &identity.expiries).map(|expiry| expiry.at(calendar).0).collect()
}

/// One look at all files, and what they are worth.
///
/// # Errors
/// What is lacking.
pub(super) fn read(config: &config::Etcd) -> (Result<Access, Lack>, Vec<String>) {
    let look = look(config);
    (look.result, look.remarks)
}

fn look(config: &config::Etcd) -> Look {
    let mut files = file::Files::default();
    let result = access(config, &mut files);
    let mut remarks = files.remarks;
    if result.is_err() {
        remarks.clear();
    }
    Look { fingerprint: files.fingerprint, result, remarks }
}

fn access(config: &config::Etcd, files: &mut file::Files) -> Result<Access, Lack> {
    // All are read before any is judged, so that the fingerprint has them all.
    let tls = config.tls.as_ref().map(|tls| {
        let client = tls.client.as_ref();
        let ca = files.read(&tls.ca, Kind::Public);
        (ca, client.map(|c| (files.read(&c.cert, Kind::Public), files.read(&c.key, Kind::Secret("private key")))))
    });
    let login = config.user.as_ref().map(|user| (user, files.read(&user.password_file, Kind::Secret("password"))));
    let identity = tls.map(|(ca, client)| {
        let ca = ca?;
        let client = client.map(|(cert, key)| Ok::<_, Lack>((cert?, key?))).transpose()?;
        let client = client.as_ref().map(|(cert, key)| (source(cert), source(key)));
        let identity = tls::identity(&source(&ca), client.as_ref().map(|(cert, key)| (cert, key)))?;
        Ok::<_, Lack>(identity)
    });
    let login = login.map(|(user, password)| {
        let password = password?.password()?;
        Ok::<_, Lack>(Login { user: user.name.clone(), password })
    });
    let server_name = config.tls.as_ref().and_then(|tls| tls.server_name.as_deref()).map(server_name).transpose()?;
    Ok(Access { identity: identity.transpose()?, server_name, login: login.transpose()? })
}

fn source(content: &Content) -> Source<'_> {
    Source { path: &content.path, bytes: &content.bytes }
}

/// The config has checked it by the same rules.
fn server_name(name: &str) -> Result<ServerName<'static>, Lack> {
    ServerName::try_from(name.to_owned()).map_err(|e| format!("tls.serverName: {name:?}: {e}").into())
}
