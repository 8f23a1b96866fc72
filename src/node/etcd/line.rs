//! The connection to one etcd member: one pinned channel, kept up by its own task, shared by all who call that member.
//!
//! It never balances and never tries another member. Callers bound their own calls and say when one failed;
//! a fresh channel is then made, with back-off, while they go elsewhere.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::connect::{Link, connect};
use super::credentials::{Access, Credentials, Held};
use super::dial::Address;
use super::ending::Ending;
use super::failure::Failure;
use super::pace::{Backoff, Told};
use super::pin::Pin;
use super::trouble::{Lasts, Trouble};
use super::version::Known;

/// A connection that ended sooner than this is not made anew without a pause.
const SHORT_LIFE: Duration = Duration::from_secs(1);
/// So many calls in a row without an answer, and a new connection is tried: after a partition TCP may
/// wait long before it sends again.
const SILENCES: u32 = 3;
/// How often a member that cannot be used as things are is told.
const UNFIT: Duration = Duration::from_secs(600);

/// No two connections have one number, whatever lines they are of.
static NEXT_LINK: AtomicU32 = AtomicU32::new(1);

enum State {
    /// Being connected; worth waiting for.
    Connecting,
    Up(Arc<Link>),
    /// The last try failed; the next one comes with back-off.
    Down(Arc<str>),
    /// No member any more, for ever.
    Retired,
}

/// Who answers there, as its answers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) cluster: u64,
    pub(super) member: u64,
}

/// One member.
pub(super) struct Line {
    /// As configured, or as etcd's list has it.
    pub(super) url: String,
    /// By the operator.
    configured: AtomicBool,
    /// It is to be asked: the config names it, or it was found and members are looked for.
    wanted: AtomicBool,
    state: watch::Sender<State>,
    /// Calls in a row that were not answered.
    silences: AtomicU32,
    /// The connection that must be replaced, once its successor is up.
    outworn: watch::Sender<u32>,
    /// It said that it is a learner, which serves nobody.
    learner: AtomicBool,
    /// Who answered there last, and over which connection; of a member that was found, who shall answer there.
    who: Mutex<(Option<Who>, u32)>,
    /// Told when a connection came about or broke.
    news: Arc<Notify>,
}

impl Line {
    /// By the operator.
    pub(super) fn configured(url: &str, news: &Arc<Notify>) -> Self {
        Self {
            url: url.to_owned(),
            configured: AtomicBool::new(true),
            wanted: AtomicBool::new(true),
            state: watch::Sender::new(State::Connecting),
            silences: AtomicU32::new(0),
            outworn: watch::Sender::new(0),
            learner: AtomicBool::new(false),
            who: Mutex::default(),
            news: Arc::clone(news),
        }
    }

    /// From etcd's list.
    pub(super) fn found(url: &str, who: Who, news: &Arc<Notify>) -> Self {
        Self { configured: AtomicBool::new(false), who: Mutex::new((Some(who), 0)), ..Self::configured(url, news) }
    }

    /// Whether the operator named it.
    pub(super) fn is_configured(&self) -> bool {
        self.configured.load(Relaxed)
    }

    /// The operator names it now.
    pub(super) fn configure(&self) {
        self.configured.store(true, Relaxed);
        self.want(true);
    }

    /// Whether it is to be asked.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Relaxed)
    }

    /// From now on it is to be asked, or not.
    pub(super) fn want(&self, wanted: bool) {
        self.wanted.store(wanted, Relaxed);
    }

    /// That one answered over this connection.
    pub(super) fn is(&self, who: Who, link: &Link) {
        // A learner would not have answered.
        self.learner.store(false, Relaxed);
        *self.who.lock().unwrap_or_else(PoisonError::into_inner) = (Some(who), link.id);
    }

    /// Whether it is known who answers over this connection.
    pub(super) fn is_known_over(&self, link: &Link) -> bool {
        !self.learner.load(Relaxed) && self.who.lock().unwrap_or_else(PoisonError::into_inner).1 == link.id
    }

    /// The id of the member.
    pub(super) fn member(&self) -> Option<u64> {
        self.who.lock().unwrap_or_else(PoisonError::into_inner).0.map(|who| who.member)
    }

    /// It is no member any more: its connection and its keeper end.
    pub(super) fn retire(&self) {
        self.state.send_replace(State::Retired);
    }

    /// Whether it is no member any more.
    pub(super) fn is_retired(&self) -> bool {
        matches!(&*self.state.borrow(), State::Retired)
    }

    async fn retired(&self) {
        let mut state = self.state.subscribe();
        // Dropped at once: it locks the state.
        drop(state.wait_for(|s| matches!(s, State::Retired)).await);
    }

    /// The connection, if it is up.
    pub(super) fn link(&self) -> Option<Arc<Link>> {
        match &*self.state.borrow() {
            State::Up(link) => Some(Arc::clone(link)),
            State::Connecting | State::Down(_) | State::Retired => None,
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
            Ok(State::Retired) => Err(Failure::NotConnected("no member any more".into())),
            Ok(State::Connecting) | Err(_) => Err(Failure::NotConnected("stopping".into())),
        }
    }

    /// Whether the last call to this member went without an answer, or it serves nobody.
    pub(super) fn doubtful(&self) -> bool {
        self.silences.load(Relaxed) > 0 || self.learner.load(Relaxed)
    }

    /// A call was answered.
    pub(super) fn answered(&self) {
        self.silences.store(0, Relaxed);
        self.learner.store(false, Relaxed);
    }

    /// A call was not carried out: if that is a learner's word, others are asked first until it is none.
    pub(super) fn refused(&self, failure: &Failure) {
        if matches!(failure, Failure::Refused(said) if said.contains("not supported for learner")) {
            self.learner.store(true, Relaxed);
        }
    }

    /// No answer for longer than usual: others are asked first for now.
    pub(super) fn late(&self) {
        let _already = self.silences.compare_exchange(0, 1, Relaxed, Relaxed);
    }

    /// A call over `link` failed: makes a new connection if this one is to blame.
    pub(super) fn failed(&self, link: &Link, failure: &Failure) {
        self.refused(failure);
        let unknown = matches!(failure, Failure::Unknown(_));
        match failure {
            Failure::Broken(_) => self.replace(link),
            // The member may be slow, and this connection as good as any: it is used until another is up.
            Failure::Silent(_) if self.silences.fetch_add(1, Relaxed) + 1 >= SILENCES => self.outworn(link),
            // Switched on since, etcd takes a client certificate's name for the user while there is no token. Until a new
            // login is there, what needs none goes on over this one.
            Failure::Unknown(_) | Failure::Denied if link.logs_in && (link.without_token || unknown) => {
                self.outworn(link);
            }
            Failure::Silent(_)
            | Failure::NotConnected(_)
            | Failure::Refused(_)
            | Failure::Unknown(_)
            | Failure::Denied
            | Failure::LeaseNotFound => {}
        }
    }

    /// This connection is of no use any more; it stays until another is up.
    pub(super) fn outworn(&self, link: &Link) {
        self.outworn.send_replace(link.id);
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
        self.news.notify_one();
    }

    /// Returns when another connection than this one is up.
    pub(super) async fn moved_on_from(&self, id: u32) {
        let mut state = self.state.subscribe();
        if state.wait_for(|state| matches!(state, State::Up(link) if link.id != id)).await.is_err() {
            std::future::pending().await
        }
    }

    /// Returns when the first try to connect has ended, well or not.
    pub(super) async fn settled(&self) {
        let mut state = self.state.subscribe();
        // Dropped at once: it locks the state.
        drop(state.wait_for(|s| !matches!(s, State::Connecting)).await);
    }

    /// Keeps the connection up, until the line is retired.
    pub(super) async fn keep(&self, credentials: &Credentials, versions: &Known, pin: &Pin) {
        tokio::select! {
            () = self.keep_up(credentials, versions, pin) => {}
            () = self.retired() => {}
        }
    }

    /// What is good stays in use until what shall replace it is up.
    async fn keep_up(&self, credentials: &Credentials, versions: &Known, pin: &Pin) {
        let Some(address) = Address::parse(&self.url) else {
            tracing::error!(member = %self.url, "this is no usable etcd endpoint");
            self.down_unless_up("this is no usable endpoint".into());
            return std::future::pending().await;
        };
        let mut held = credentials.subscribe();
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        let (mut unfit, mut ending) = (Unfit::default(), Ending::new());
        loop {
            let id = NEXT_LINK.fetch_add(1, Relaxed);
            let access = self.access(&mut held).await;
            match connect(&address, &access, id).await.and_then(|link| self.one_of_ours(link, pin)) {
                Ok(link) => {
                    tracing::debug!(member = %self.url, status = ?link.status, "connected");
                    if let Some(warning) = link.status.version.and_then(|version| versions.warning(version)) {
                        tracing::warn!(member = %self.url, "{warning}");
                    }
                    unfit.over(self);
                    let since = Instant::now();
                    self.up(link);
                    self.until_worn_out(id, &mut held, &mut ending).await;
                    if since.elapsed() >= SHORT_LIFE {
                        backoff.reset();
                        continue;
                    }
                    self.down_unless_up("it broke at once".into());
                }
                Err(trouble) => {
                    unfit.tell(self, &trouble);
                    self.down_unless_up(trouble.why);
                }
            }
            tokio::select! {
                () = backoff.pause() => {}
                _ = held.changed() => {}
            }
        }
    }

    /// All members must be of one cluster, and whoever was found in a cluster's list of that one.
    fn one_of_ours(&self, mut link: Link, pin: &Pin) -> Result<Link, Trouble> {
        let who = self.who.lock().unwrap_or_else(PoisonError::into_inner).0;
        if let Some(trouble) =
            who.filter(|_| !self.is_configured()).and_then(|who| stranger(who.cluster, link.status.cluster))
        {
            return Err(trouble);
        }
        link.anchor = link.status.cluster.map(|cluster| pin.admit(cluster, &self.url)).transpose()?;
        Ok(link)
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
    async fn until_worn_out(&self, id: u32, held: &mut watch::Receiver<Held>, ending: &mut Ending) {
        let link = self.link();
        let (mut state, mut outworn) = (self.state.subscribe(), self.outworn.subscribe());
        tokio::select! {
            // Dropped at once: it locks the state.
            given_up = state.wait_for(|s| !matches!(s, State::Up(_))) => drop(given_up),
            worn_out = outworn.wait_for(|outworn| *outworn == id) => drop(worn_out),
            () = ending.tell(&self.url, link.as_deref()) => {}
            _ = held.changed() => {}
        }
        tracing::debug!(member = %self.url, up = self.is_up(), "a new connection is to be made");
    }

    fn up(&self, link: Link) {
        self.state.send_if_modified(|state| {
            let up = !matches!(state, State::Retired);
            if up {
                *state = State::Up(Arc::new(link));
            }
            up
        });
        self.news.notify_one();
    }

    fn down_unless_up(&self, why: Arc<str>) {
        self.state.send_if_modified(|state| {
            let down = !matches!(state, State::Up(_) | State::Retired);
            if down {
                *state = State::Down(why);
            }
            down
        });
    }
}

/// Why one who was found in the list of cluster `ours` is of no use.
fn stranger(ours: u64, theirs: Option<u64>) -> Option<Trouble> {
    match theirs {
        Some(theirs) if theirs == ours => None,
        Some(theirs) => Some(Trouble::lasting(format!(
            "etcd's member list leads there from cluster {ours:x}, but it is of cluster {theirs:x}; is that member's \
             --advertise-client-urls right?"
        ))),
        None => Some(Trouble::lasting("it was found in etcd's member list, and does not say of which cluster it is")),
    }
}

/// What makes a member useless to us until somebody does something.
struct Unfit {
    told: Told,
    why: Option<Arc<str>>,
    /// It has been of use.
    served: bool,
}

impl Default for Unfit {
    fn default() -> Self {
        Self { told: Told::every(UNFIT), why: None, served: false }
    }
}

impl Unfit {
    /// A fault of configuration is told at once and then now and then; what only looks like one, as a member that just dies
    /// may, when it is met again. A member that is down is no news to [`Line`].
    fn tell(&mut self, line: &Line, trouble: &Trouble) {
        let (member, why) = (line.url.as_str(), &trouble.why);
        let lasts = match trouble.lasts {
            Lasts::No => false,
            Lasts::Guess => !self.served,
            Lasts::Yes => true,
        };
        if !lasts {
            return tracing::debug!(member, %why, "cannot connect");
        }
        let is_new = self.why.as_ref() != Some(why);
        if is_new {
            let _told_another = self.told.over();
            self.why = Some(Arc::clone(why));
        }
        if (trouble.lasts == Lasts::Yes || !is_new) && self.told.again() {
            let what = if line.is_up() {
                "a new connection to this member of etcd cannot be made, the old one is used on"
            } else {
                "this member of etcd cannot be used"
            };
            tracing::warn!(member, "{what}: {why}");
        }
    }

    fn over(&mut self, line: &Line) {
        if self.told.over() {
            tracing::info!(member = %line.url, "this member of etcd can be used now");
        }
        (self.why, self.served) = (None, true);
    }
}
