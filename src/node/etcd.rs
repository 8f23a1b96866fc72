//! The etcd adapter: carries out what the election orders of etcd and reports what etcd says, as facts.
//!
//! Owned by the daemon's driver. It decides nothing about the election: no renewal is sent that was not ordered, no
//! answer is judged. No order makes the caller wait; every call and every stream read is bounded in time (a watch by
//! HTTP/2 pings, and by `ReadAll` whenever the election finds it deaf).
//!
//! - [`credentials`], [`tls`], [`ending`]: who we are, and until when · [`dial`], [`login`], [`version`]: steps of [`connect`](mod@connect): one
//!   connection · [`line`]: to one member, kept up · [`pin`]: all of one cluster · [`trouble`]: why there is none
//! - [`members`]: whom to ask first · [`discover`], [`roster`]: who else is there · [`spares`]: those not asked now kept fit
//!   · [`home`]: back to this node's own · [`follow`]: another config · [`check`](mod@check), [`trial`](mod@trial): what `vipd check` asks of them
//! - [`renewals`], [`requests`], [`renewer`]: counted pairs · [`picture`]: read all, watch, again after any break
//! - [`grant`], [`orders`], [`release`](mod@release): the rest · [`answer`], [`failure`], [`pace`]: words
//! - [`tally`], [`outlook`]: what metrics tell of all that

mod answer;
mod check;
mod connect;
mod credentials;
mod dial;
mod discover;
mod ending;
mod failure;
mod follow;
mod grant;
mod home;
mod line;
mod login;
mod members;
mod orders;
mod outlook;
mod pace;
mod picture;
mod pin;
mod release;
mod renewals;
mod renewer;
mod requests;
mod roster;
mod spares;
mod tally;
mod tls;
mod trial;
mod trouble;
mod version;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};

pub use self::check::check;
pub use self::failure::Failure;
pub use self::grant::auto_ttl;
use self::members::Members;
pub use self::outlook::{Certificate, Outlook};
use self::pace::Told;
pub use self::release::{Release, release};
pub use self::tally::Tally;
pub use self::trial::{Trial, trial};
use crate::config;
use crate::election::action::Action;
use crate::election::event::{Event, LeaseId};

/// How often a trouble that lasts is told.
const TELL: Duration = Duration::from_secs(30);
/// What a renewal waits for at the longest, before any TTL is known.
const USUAL_TTL: Duration = Duration::from_secs(5);

/// The adapter. Dropping it ends all its tasks; what was sent may still be carried out.
pub struct Etcd {
    shared: Arc<Shared>,
    ttl: config::Ttl,
    renew: mpsc::Sender<LeaseId>,
    read_again: Arc<Notify>,
    granting: Arc<grant::Granting>,
    /// The write of the node's record that is under way: a newer record ends it, so that its retry cannot undo the newer.
    record: Mutex<Option<AbortHandle>>,
    tasks: JoinSet<()>,
}

/// What all tasks know.
struct Shared {
    config: RwLock<config::Etcd>,
    prefix: String,
    members: Arc<Members>,
    events: mpsc::Sender<Event>,
    /// The lease's TTL in milliseconds, from etcd's answers.
    ttl_ms: AtomicU64,
    /// Leases that are being revoked.
    revoking: Mutex<BTreeSet<LeaseId>>,
    failing: Told,
    tally: Tally,
}

impl Shared {
    /// Reports a fact. When nobody listens any more the daemon is ending.
    async fn report(&self, event: Event) {
        let _nobody_listens = self.events.send(event).await;
    }

    fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms.load(Relaxed))
    }

    fn learn_ttl(&self, ttl: Duration) {
        self.members.learn_ttl(ttl);
        self.ttl_ms.store(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX), Relaxed);
    }

    /// A failure, for people.
    fn in_words(&self, failure: &Failure) -> String {
        failure.in_words(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells that an order failed: WARN now and then, DEBUG in between. The election repeats its orders.
    fn tell_failed(&self, order: &str, failure: &Failure) {
        if self.failing.again() {
            tracing::warn!(order, "etcd did not carry out an order: {}", self.in_words(failure));
        } else {
            tracing::debug!(order, "etcd did not carry out an order: {failure}");
        }
    }
}

impl Etcd {
    /// Starts connecting, reading and watching; facts go to `events`. Must be called within a tokio runtime. It never
    /// fails: what is wrong with an endpoint is logged, and the others are used.
    pub fn start(config: &config::Etcd, ttl: config::Ttl, events: mpsc::Sender<Event>) -> Self {
        let shared = Arc::new(Shared {
            config: RwLock::new(config.clone()),
            prefix: config.prefix.clone(),
            members: Members::new(config),
            events,
            ttl_ms: AtomicU64::new(u64::try_from(USUAL_TTL.as_millis()).unwrap_or(u64::MAX)),
            revoking: Mutex::default(),
            failing: Told::every(TELL),
            tally: Tally::default(),
        });
        let mut tasks = JoinSet::new();
        for keeper in shared.members.keepers() {
            tasks.spawn(keeper);
        }
        // Room for one order: one that finds it taken would find every member busy, too.
        let (renew, orders) = mpsc::channel(1);
        tasks.spawn(renewals::run(Arc::clone(&shared), orders));
        let read_again = Arc::new(Notify::new());
        tasks.spawn(picture::run(Arc::clone(&shared), Arc::clone(&read_again)));
        Self { shared, ttl, renew, read_again, granting: Arc::default(), record: Mutex::default(), tasks }
    }

    /// Another config, but for the prefix. The connections to members that are still wanted stand, and so does the lease;
    /// the next one is asked for with this TTL.
    pub fn reconfigure(&mut self, config: &config::Etcd, ttl: config::Ttl) {
        self.ttl = ttl;
        *self.shared.config.write().unwrap_or_else(PoisonError::into_inner) = config.clone();
        self.shared.members.follow(config);
    }

    /// Carries out the orders that are etcd's, and leaves the others alone. Returns at once; must be called within
    /// the runtime.
    ///
    /// An order that fails is tried on one more member and then logged, not reported: the election repeats its orders.
    pub fn carry_out(&self, action: &Action) {
        let shared = Arc::clone(&self.shared);
        match action.clone() {
            Action::GrantLease => grant::spawn(shared, self.ttl, &self.granting),
            Action::Renew { lease } => {
                // Full: every member has an open request.
                let _skipped = self.renew.try_send(lease);
            }
            Action::RevokeLease { lease, record } => {
                self.supersede_record(None);
                orders::spawn_revoke(shared, lease, record);
            }
            Action::ReadAll => self.read_again.notify_one(),
            Action::Stand { key, lease, record } => {
                tokio::spawn(async move { orders::stand(&shared, key, lease, &record).await });
            }
            Action::WriteRecord { lease, record } => {
                let write = tokio::spawn(async move { orders::write_record(&shared, lease, &record).await });
                self.supersede_record(Some(write.abort_handle()));
            }
            Action::StepBack { key, create, lease, record } => {
                self.supersede_record(None);
                tokio::spawn(async move { orders::step_back(&shared, key, create, lease, &record).await });
            }
            Action::Put { .. }
            | Action::Probe { .. }
            | Action::Announce { .. }
            | Action::Forget { .. }
            | Action::Finish { .. }
            | Action::Tell(_) => {}
        }
    }

    /// Releases, in the background, a lease that a predecessor on this node left: see [`release`](fn@release). Ask for
    /// it only when the addresses of its candidates are known to be off this node.
    pub fn release(&mut self, old: LeaseId, node: &str, version: &str) {
        let (shared, who) =
            (Arc::clone(&self.shared), release::Who { node: node.to_owned(), version: version.to_owned() });
        self.tasks.spawn(async move { release::in_background(&shared, old, &who).await });
    }

    /// What can be seen of it from outside.
    pub fn outlook(&self) -> Outlook {
        Outlook::new(&self.shared)
    }

    fn supersede_record(&self, newer: Option<AbortHandle>) {
        let mut under_way = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(older) = std::mem::replace(&mut *under_way, newer) {
            older.abort();
        }
    }
}
