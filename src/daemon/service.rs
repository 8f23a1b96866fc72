//! The service manager: told when the daemon is ready, what it does, and that it lives (sd_notify(3)). Without one it is
//! told to nobody.
//!
//! Part of the loop, so that a loop that is stuck says nothing. It says that all is well only while the keeper of
//! addresses gets answers from the kernel and no address is past its fence: else the watchdog ends this process, and the
//! unit's clean-up takes the addresses off. A thread of its own does the saying, because a service manager that does not
//! listen must not hold up the loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
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
/// The kernel takes an address off 1.05 s after its end at the latest.
const OVERDUE: Duration = Duration::from_secs(3);

/// What waits to be said at the most. More means that nobody listens.
const WAITING: usize = 32;

/// Something to say.
enum Word {
    Ready,
    Alive,
    Status(String),
    Stopping,
}

const BEGINNING: u8 = 0;
const READY: u8 = 1;
const STOPPING: u8 = 2;

/// Whether the daemon is ready, as the service manager was told.
#[derive(Clone, Debug, Default)]
pub(super) struct Readiness(Arc<AtomicU8>);

impl Readiness {
    pub(super) fn become_ready(&self) {
        // Not when it is stopping already.
        let _stops = self.0.compare_exchange(BEGINNING, READY, Relaxed, Relaxed);
    }

    pub(super) fn stop(&self) {
        self.0.store(STOPPING, Relaxed);
    }

    /// What it lacks.
    pub(super) fn lack(&self) -> Option<&'static str> {
        match self.0.load(Relaxed) {
            BEGINNING => Some("etcd has not answered yet"),
            STOPPING => Some("the daemon is stopping"),
            _ => None,
        }
    }
}

/// What was said.
pub(super) struct Service {
    words: SyncSender<Word>,
    start: Moment,
    ready: bool,
    readiness: Readiness,
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
        let (words, said) = sync_channel(WAITING);
        // It ends with this value.
        thread::spawn(move || say_all(&said));
        Self {
            words,
            start: now,
            ready: false,
            readiness: Readiness::default(),
            line: String::new(),
            said_at: None,
            alive_every,
            alive_at: None,
            ill: false,
            pulse,
        }
    }

    /// What others may know of that.
    pub(super) fn readiness(&self) -> Readiness {
        self.readiness.clone()
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
            self.say(Word::Status(line.clone()));
            self.line = line;
        }
    }

    /// The loop went round once more.
    pub(super) fn round(&mut self, election: &Election, now: Moment) {
        if !self.ready && (election.picture().is_known() || now >= self.start + PATIENCE) {
            self.ready = true;
            self.readiness.become_ready();
            self.say(Word::Ready);
        }
        let due = self.alive_every.is_some_and(|every| self.alive_at.is_none_or(|at| now >= at + every));
        if !due {
            return;
        }
        self.alive_at = Some(now);
        let illness = self.illness(election, now);
        match illness {
            None => self.say(Word::Alive),
            Some(what) if !self.ill => error!("{what}: the watchdog will end this process if that stays so"),
            Some(_) => {}
        }
        self.ill = illness.is_some();
    }

    /// The end begins.
    pub(super) fn stopping(&self) {
        self.readiness.stop();
        self.say(Word::Stopping);
    }

    fn say(&self, word: Word) {
        if self.words.try_send(word).is_err() {
            debug!("the service manager does not listen");
        }
    }

    fn illness(&self, election: &Election, now: Moment) -> Option<&'static str> {
        if self.pulse.is_dead(now) {
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

fn say_all(words: &Receiver<Word>) {
    for word in words {
        let said = match &word {
            Word::Ready => notify(&[NotifyState::Ready]),
            Word::Alive => notify(&[NotifyState::Watchdog]),
            Word::Status(line) => notify(&[NotifyState::Status(line)]),
            Word::Stopping => notify(&[NotifyState::Stopping]),
        };
        if let Err(e) = said {
            debug!("the service manager could not be told: {e}");
        }
    }
}
