//! The connection to one etcd member: one pinned channel, kept up by its own task, shared by all who call that member.
//!
//! It never balances and never tries another member. Callers bound their own calls and say when one failed;
//! a fresh channel is then made, with back-off, while they go elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::connect::{Link, connect, endpoint};
use super::failure::{Failure, whole};
use super::pace::Backoff;

/// A connection that ended sooner than this is not made anew without a pause.
const SHORT_LIFE: Duration = Duration::from_secs(1);
/// So many calls in a row without an answer, and a new connection is tried: after a partition TCP may
/// wait long before it sends again.
const SILENCES: u32 = 3;
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
}

impl Line {
    pub(super) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), state: watch::Sender::new(State::Connecting), silences: AtomicU32::new(0) }
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
            Failure::NotConnected(_) | Failure::Refused(_) | Failure::LeaseNotFound => false,
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

    /// Keeps the connection up, for ever.
    pub(super) async fn keep(&self) {
        let endpoint = match endpoint(&self.url) {
            Ok(endpoint) => endpoint,
            Err(e) => {
                tracing::error!(member = %self.url, "this is no usable etcd endpoint: {}", whole(&e));
                self.state.send_replace(State::Down(whole(&e).into()));
                return std::future::pending().await;
            }
        };
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        let mut state = self.state.subscribe();
        for id in 0.. {
            match connect(&endpoint, id).await {
                Ok(link) => {
                    tracing::debug!(member = %self.url, "connected");
                    let since = Instant::now();
                    self.state.send_replace(State::Up(Arc::new(link)));
                    // Dropped at once: it locks the state.
                    drop(state.wait_for(|s| !matches!(s, State::Up(_))).await);
                    tracing::debug!(member = %self.url, "connection given up");
                    if since.elapsed() >= SHORT_LIFE {
                        backoff.reset();
                        continue;
                    }
                    self.state.send_replace(State::Down("it broke at once".into()));
                }
                Err(why) => {
                    tracing::debug!(member = %self.url, %why, "cannot connect");
                    self.state.send_replace(State::Down(why));
                }
            }
            backoff.pause().await;
        }
    }
}
