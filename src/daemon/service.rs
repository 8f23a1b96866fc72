//! The service manager: told when the daemon is ready, what it does, and that it lives (sd_notify(3)). Without one it is
//! told to nobody.
//!
//! Part of the loop, so that a loop that is stuck says nothing. It says that all is well only while the keeper of
//! addresses gets answers from the kernel and no address is past its fence: else the watchdog ends this process, and the
//! unit's clean-up takes the addresses off.

use std::time::Duration;

use sd_notify::{NotifyState, notify, watchdog_enabled};
use tracing::{debug, error};

use crate::election::machine::Election;
use crate::election::session::Session;
use crate::moment::Moment;
use crate::node::keeper::Pulse;

/// So long after the start the daemon is ready, though etcd has not answered: it runs, and says what it waits for.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often the status line may change.
const EVERY: Duration = Duration::from_millis(250);
/// A keeper that has had no answer from the kernel for so long is dead.
const KEEPER_DEAD: Duration = Duration::from_secs(15);
/// The kernel takes an address off 1.05 s after its end at the latest.
const OVERDUE: Duration = Duration::from_secs(3);

/// What was said.
pub(super) struct Service {
    start: Moment,
    ready: bool,
    line: String,
    said_at: Option<Moment>,
    /// How often to say that all is well, if somebody wants to know.
    alive_every: Option<Duration>,
    alive_at: Option<Moment>,
    ill: bool,
    pulse: Pulse,
}

impl Service {
    pub(super) fn new(pulse: Pulse, now: Moment) -> Self {
        // A third of the bound: one that is lost does no harm.
        let alive_every = watchdog_enabled().map(|bound| bound / 3);
        Self {
            start: now,
            ready: false,
            line: String::new(),
            said_at: None,
            alive_every,
            alive_at: None,
            ill: false,
            pulse,
        }
    }

    /// When it has something to say although nothing happens.
    pub(super) fn deadline(&self, now: Moment) -> Option<Moment> {
        let ready = (!self.ready).then(|| self.start + PATIENCE);
        let alive = self.alive_every.map(|every| self.alive_at.map_or(now, |at| at + every));
        [ready, alive].into_iter().flatten().min()
    }

    /// Whether the status line may be written anew.
    pub(super) fn wants_line(&self, now: Moment) -> bool {
        self.said_at.is_none_or(|at| now.since(at) >= EVERY)
    }

    /// What the daemon does, in one line.
    pub(super) fn status(&mut self, line: String, now: Moment) {
        self.said_at = Some(now);
        if line != self.line {
            self.line = line;
            say(&[NotifyState::Status(&self.line)]);
        }
    }

    /// The loop went round once more.
    pub(super) fn round(&mut self, election: &Election, now: Moment) {
        if !self.ready && (election.picture().is_known() || now >= self.start + PATIENCE) {
            self.ready = true;
            say(&[NotifyState::Ready]);
        }
        let due = self.alive_every.is_some_and(|every| self.alive_at.is_none_or(|at| now >= at + every));
        if !due {
            return;
        }
        self.alive_at = Some(now);
        match self.illness(election, now) {
            None => say(&[NotifyState::Watchdog]),
            Some(what) if !std::mem::replace(&mut self.ill, true) => {
                error!("{what}: the watchdog will end this process if that stays so");
            }
            Some(_) => return,
        }
        self.ill = self.illness(election, now).is_some();
    }

    /// The end begins.
    pub(super) fn stopping(&self) {
        say(&[NotifyState::Stopping]);
    }

    fn illness(&self, election: &Election, now: Moment) -> Option<&'static str> {
        if now.since(self.pulse.last()) > KEEPER_DEAD {
            return Some("the kernel does not answer the keeper of addresses");
        }
        let overdue = match election.session() {
            Session::Live(live) => live.fence.is_some_and(|fence| now > fence + OVERDUE),
            Session::Silent { .. } | Session::Asking { .. } => false,
        };
        let is_on = election.contenders().iter().any(|contender| !contender.is_off());
        (overdue && is_on).then_some("an address is not known to be off long after its fence")
    }
}

fn say(what: &[NotifyState<'_>]) {
    if let Err(e) = notify(what) {
        debug!("the service manager could not be told: {e}");
    }
}
