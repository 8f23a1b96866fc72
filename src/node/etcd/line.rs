//! The connection to one etcd member: one pinned channel, kept up by its own task, shared by all who call that member.
//!
//! It never balances and never tries another member. Callers bound their own calls and say when one failed;
//! a fresh channel is then made, with back-off, while they go elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::connect::{Link, connect};
use super::credentials::{Access, Credentials, Held};
use super::dial::Address;
use super::failure::Failure;
use super::pace::{Backoff, Told};
use super::trouble::Trouble;
use super::version::Known;

/// A connection that ended sooner than this is not made anew without a pause.
const SHORT_LIFE: Duration = Duration::from_secs(1);
/// So many calls in a row without an answer, and a new connection is tried: after a partition TCP may
/// wait long before it sends again.
const SILENCES: u32 = 3;
/// How often a member that cannot be used as things are is told.
const UNFIT: Duration = Duration::from_secs(600);

enum State {
    /// Being connected; worth waiting for.
    Connecting,
    Up(Arc<Link>),
    /// The last try failed; the next one comes with back-off.
    Down(Arc<str>),
}

/// One member.
pub(super) struct Line {
    /// As configured, for people.
    pub(super) url: String,
    state: watch::Sender<State>,
    /// Calls in a row that were not answered.
    silences: AtomicU32,
    /// The connection that must be replaced, once its successor is up.
    outworn: watch::Sender<u32>,
}

impl Line {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            state: watch::Sender::new(State::Connecting),
            silences: AtomicU32::new(0),
            outworn: watch::Sender::new(0),
        }
    }

    /// The connection, if it is up.
    pub(super) fn link(&self) -> Option<Arc<Link>> {
        match &*self.state.borrow() {
            State::Up(link) => Some(Arc::clone(link)),
            State::Connecting | State::Down(_) => None,
        }
    }

    /// Whether the connection is up.
    pub(super) fn is_up(&self) -> bool {
        matches!(&*self.state.borrow(), State::Up(_))
    }

    /// The connection; waits while it is being made, and fails at once between tries.
    pub(super) async fn wait(&self) -> Result<Arc<Link>, Failure> {
        let mut state = self.state.subscribe();
        let settled = state.wait_for(|s| !matches!(s, State::Connecting)).await;
        match settled.as_deref() {
            Ok(State::Up(link)) => Ok(Arc::clone(link)),
            Ok(State::Down(why)) => Err(Failure::NotConnected(Arc::clone(why))),
            Ok(State::Connecting) | Err(_) => Err(Failure::NotConnected("stopping".into())),
        }
    }

    /// Whether the last call to this member went without an answer.
    pub(super) fn doubtful(&self) -> bool {
        self.silences.load(Relaxed) > 0
    }

    /// A call was answered.
    pub(super) fn answered(&self) {
        self.silences.store(0, Relaxed);
    }

    /// No answer for longer than usual: others are asked first for now.
    pub(super) fn late(&self) {
        let _already = self.silences.compare_exchange(0, 1, Relaxed, Relaxed);
    }

    /// A call over `link` failed: makes a new connection if this one is to blame.
    pub(super) fn failed(&self, link: &Link, failure: &Failure) {
        let dead = match failure {
            Failure::Broken(_) => true,
            Failure::Silent(_) => self.silences.fetch_add(1, Relaxed) + 1 >= SILENCES,
            Failure::Unknown(_) if link.logs_in => {
                // A new login; until it is there, what needs none goes on over this one.
                self.outworn.send_replace(link.id);
                false
            }
            Failure::NotConnected(_)
            | Failure::Refused(_)
            | Failure::Unknown(_)
            | Failure::Denied
            | Failure::LeaseNotFound => false,
        };
        if dead {
            self.replace(link);
        }
    }

    /// Drops this connection, if it is still the one in use, and makes a new one.
    pub(super) fn replace(&self, link: &Link) {
        self.state.send_if_modified(|state| {
            let current = matches!(state, State::Up(up) if up.id == link.id);
            if current {
                *state = State::Connecting;
            }
            current
        });
    }

    /// Returns when another connection than this one is up.
    pub(super) async fn moved_on_from(&self, id: u32) {
        let mut state = self.state.subscribe();
        if state.wait_for(|state| matches!(state, State::Up(link) if link.id != id)).await.is_err() {
            std::future::pending().await
        }
    }

    /// Keeps the connection up, for ever. What is good stays in use until what shall replace it is up.
    pub(super) async fn keep(&self, credentials: &Credentials, versions: &Known) {
        let Some(address) = Address::parse(&self.url) else {
            tracing::error!(member = %self.url, "this is no usable etcd endpoint");
            self.state.send_replace(State::Down("this is no usable endpoint".into()));
            return std::future::pending().await;
        };
        let mut held = credentials.subscribe();
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        let mut unfit = Unfit::default();
        for id in 1.. {
            let access = self.access(&mut held).await;
            match connect(&address, &access, id).await {
                Ok(link) => {
                    tracing::debug!(member = %self.url, version = ?link.version, "connected");
                    if let Some(warning) = link.version.and_then(|version| versions.warning(version)) {
                        tracing::warn!(member = %self.url, "{warning}");
                    }
                    unfit.over(&self.url);
                    let since = Instant::now();
                    self.state.send_replace(State::Up(Arc::new(link)));
                    self.until_worn_out(id, &mut held).await;
                    if since.elapsed() >= SHORT_LIFE {
                        backoff.reset();
                        continue;
                    }
                    self.down_unless_up("it broke at once".into());
                }
                Err(trouble) => {
                    unfit.tell(&self.url, &trouble);
                    self.down_unless_up(trouble.why);
                }
            }
            tokio::select! {
                () = backoff.pause() => {}
                _ = held.changed() => {}
            }
        }
    }

    /// What to connect with; waits for it.
    async fn access(&self, held: &mut watch::Receiver<Held>) -> Arc<Access> {
        loop {
            let now = held.borrow_and_update().clone();
            match now {
                Held::Ready(access) => return access,
                Held::Lacking(why) => self.down_unless_up(why),
                Held::Reading => {}
            }
            if held.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Returns when this connection is given up, or another must be made beside it.
    async fn until_worn_out(&self, id: u32, held: &mut watch::Receiver<Held>) {
        let (mut state, mut outworn) = (self.state.subscribe(), self.outworn.subscribe());
        tokio::select! {
            // Dropped at once: it locks the state.
            given_up = state.wait_for(|s| !matches!(s, State::Up(_))) => drop(given_up),
            worn_out = outworn.wait_for(|outworn| *outworn == id) => drop(worn_out),
            _ = held.changed() => {}
        }
        tracing::debug!(member = %self.url, up = self.is_up(), "a new connection is to be made");
    }

    fn down_unless_up(&self, why: Arc<str>) {
        self.state.send_if_modified(|state| {
            let down = !matches!(state, State::Up(_));
            if down {
                *state = State::Down(why);
            }
            down
        });
    }
}

/// What makes a member useless to us until somebody does something.
struct Unfit {
    told: Told,
    why: Option<Arc<str>>,
}

impl Default for Unfit {
    fn default() -> Self {
        Self { told: Told::every(UNFIT), why: None }
    }
}

impl Unfit {
    /// A fault of configuration is told at once and then now and then; a member that is down is no news to [`Line`].
    fn tell(&mut self, member: &str, trouble: &Trouble) {
        let why = &trouble.why;
        if !trouble.lasting {
            return tracing::debug!(member, %why, "cannot connect");
        }
        if self.why.as_ref() != Some(why) {
            let _told_another = self.told.over();
            self.why = Some(Arc::clone(why));
        }
        if self.told.again() {
            tracing::warn!(member, "this member of etcd cannot be used: {why}");
        }
    }

    fn over(&mut self, member: &str) {
        if self.told.over() {
            tracing::info!(member, "this member of etcd can be used now");
        }
        self.why = None;
    }
}
