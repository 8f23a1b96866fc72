//! All members of the cluster and the one that is asked first: our own rotation, never a library's balancing.
//!
//! Shared by every task of the adapter. It knows who answered last, not what the answers mean.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::connect::Link;
use super::credentials::{Credentials, Held};
use super::failure::Failure;
use super::line::{Line, Who};
use super::pin::Pin;
use super::roster::Reach;
use super::tls::Expiry;
use super::{discover, home, spares, version};
use crate::config;

/// How long a call may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    /// While there is another member to ask.
    pub(super) each: Duration,
    /// When nobody is left to ask.
    pub(super) last: Duration,
}

impl Bound {
    /// The same for all.
    pub(super) const fn each(d: Duration) -> Self {
        Self { each: d, last: d }
    }
}

/// So many members at the most, retired ones too until their places are needed.
const PLACES: usize = 64;
/// So long the others wait at the start until the first endpoint has answered or refused.
const HOME_FIRST: Duration = Duration::from_secs(1);

/// The cluster's members, each at a place that stays its own for as long as it is a member.
pub(super) struct Members {
    lines: RwLock<Vec<Arc<Line>>>,
    /// Those of them that nobody keeps up yet.
    pub(super) unkept: Mutex<Vec<Arc<Line>>>,
    /// The place of the first endpoint: this node's own member, as a rule.
    home: AtomicUsize,
    /// Who is asked first: the last one known to be good.
    first: watch::Sender<usize>,
    /// A connection came about or broke.
    news: Arc<Notify>,
    /// Who we are for all of them.
    pub(super) credentials: Credentials,
    versions: version::Known,
    pub(super) reach: RwLock<Reach>,
    pin: Pin,
    /// What our keys begin with.
    pub(super) prefix: String,
    pub(super) discover: AtomicBool,
}

impl Members {
    pub(super) fn new(config: &config::Etcd) -> Arc<Self> {
        let news = Arc::default();
        let lines = config.endpoints.iter().map(|url| Arc::new(Line::configured(url, &news))).collect();
        Arc::new(Self {
            lines: RwLock::new(lines),
            unkept: Mutex::default(),
            home: AtomicUsize::new(0),
            first: watch::Sender::new(0),
            news,
            credentials: Credentials::new(config),
            versions: version::Known::default(),
            reach: RwLock::new(Reach { tls: config.tls.is_some(), vips: config.vips.clone() }),
            pin: Pin::default(),
            prefix: config.prefix.clone(),
            discover: AtomicBool::new(config.discover && !shows_password(config)),
        })
    }

    /// The tasks that find members, keep the connections up and fit, and keep what they are made with.
    pub(super) fn keepers(self: &Arc<Self>) -> [BoxFuture<'static, ()>; 4] {
        let [credentials, found, home, others] = [(); 4].map(|()| Arc::clone(self));
        [
            Box::pin(async move { credentials.credentials.keep().await }),
            Box::pin(discover::run(found)),
            Box::pin(home::run(home)),
            Box::pin(spares::run(others)),
        ]
    }

    /// Keeps one connection up, until its line is retired.
    pub(super) async fn keep(self: Arc<Self>, line: Arc<Line>) {
        let home = self.line(self.home());
        if !Arc::ptr_eq(&home, &line) {
            // Where endpoints are of two clusters the first one's is used, on every node the same.
            let _late = timeout(HOME_FIRST, home.settled()).await;
        }
        line.keep(&self.credentials, &self.versions, &self.pin).await;
    }

    /// A lease ends so long after its last renewal.
    pub(super) fn learn_ttl(&self, ttl: Duration) {
        self.pin.learn_ttl(ttl);
    }

    /// When what connections are made with ends.
    pub(super) fn own_expiries(&self) -> Vec<Expiry> {
        match &*self.credentials.subscribe().borrow() {
            Held::Ready(access) => access.identity.iter().flat_map(|identity| identity.expiries.clone()).collect(),
            Held::Reading | Held::Lacking(_) => Vec::new(),
        }
    }

    /// Returns when a connection came about or broke since the last time.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    /// How those that are found are reached.
    pub(super) fn reach(&self) -> Reach {
        self.reach.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether members are looked for that nobody named.
    pub(super) fn discovers(&self) -> bool {
        self.discover.load(Relaxed)
    }

    /// The place of the first endpoint.
    pub(super) fn home(&self) -> usize {
        self.home.load(Relaxed)
    }

    /// Another endpoint is the first now.
    pub(super) fn set_home(&self, place: usize) {
        if self.home.swap(place, Relaxed) != place {
            // Who waits for home to be left looks again.
            self.first.send_modify(|_| {});
        }
    }

    /// Returns when another member than the first endpoint's is asked first.
    pub(super) async fn left_home(&self) {
        let mut first = self.first.subscribe();
        if first.wait_for(|f| *f != self.home()).await.is_err() {
            std::future::pending().await
        }
    }

    /// What new lines tell their news with.
    pub(super) fn news_teller(&self) -> &Arc<Notify> {
        &self.news
    }

    /// There is something to look at.
    pub(super) fn wake(&self) {
        self.news.notify_one();
    }

    /// The member at that place; a place once given is never empty.
    pub(super) fn line(&self, place: usize) -> Arc<Line> {
        Arc::clone(&self.read()[place])
    }

    /// All members with their places.
    pub(super) fn lines(&self) -> Vec<(usize, Arc<Line>)> {
        let lines = self.read();
        lines.iter().enumerate().filter(|(_, line)| !line.is_retired()).map(|(i, line)| (i, Arc::clone(line))).collect()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.lines().len()
    }

    /// A member that was found, at a new place or a retired one's; none if there are too many.
    pub(super) fn add(&self, url: &str, who: Who) -> Option<Arc<Line>> {
        self.put(Line::found(url, who, &self.news)).map(|place| self.line(place))
    }

    /// One more, and its place; none if there are too many.
    pub(super) fn put(&self, line: Line) -> Option<usize> {
        let mut lines = self.lines.write().unwrap_or_else(PoisonError::into_inner);
        let place = if lines.len() < PLACES { lines.len() } else { lines.iter().position(|line| line.is_retired())? };
        match lines.get_mut(place) {
            Some(retired) => *retired = Arc::new(line),
            None => lines.push(Arc::new(line)),
        }
        Some(place)
    }

    /// It is no member any more.
    pub(super) fn retire(&self, place: usize) {
        self.line(place).retire();
        self.avoid(place);
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<Arc<Line>>> {
        self.lines.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who is asked first.
    pub(super) fn first(&self) -> usize {
        *self.first.borrow()
    }

    /// From now on this one is asked first.
    pub(super) fn prefer(&self, member: usize) {
        self.first.send_if_modified(|first| {
            let news = *first != member;
            if news {
                tracing::debug!(member = %self.line(member).url, "this member is asked first now");
                *first = member;
            }
            news
        });
    }

    /// Returns when another member than this one is asked first.
    pub(super) async fn left(&self, member: usize) {
        let mut first = self.first.subscribe();
        if first.wait_for(|f| *f != member).await.is_err() {
            std::future::pending().await
        }
    }

    /// Everybody, in the order to ask: connected before not, silent ones after others, from the first on.
    pub(super) fn in_order(&self) -> Vec<usize> {
        let (lines, first) = (self.lines(), self.first());
        let (before, from) = lines.split_at(lines.partition_point(|(place, _)| *place < first));
        let mut order: Vec<_> = from.iter().chain(before).collect();
        order.sort_by_key(|(_, line)| (!line.is_up(), !line.is_wanted(), line.doubtful()));
        order.into_iter().map(|(place, _)| *place).collect()
    }

    /// A call to `member` failed by its own fault: another one is asked first.
    pub(super) fn avoid(&self, member: usize) {
        if self.first() != member {
            return;
        }
        if let Some(&other) = self.in_order().iter().find(|&&i| i != member) {
            self.prefer(other);
        }
    }

    /// Makes one bounded call to one member and keeps book of how it went.
    pub(super) async fn ask<T, F>(
        &self,
        member: usize,
        bound: Duration,
        call: impl FnOnce(Arc<Link>) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let line = self.line(member);
        let mut used = None;
        let whole = async {
            let link = line.wait().await?;
            call(Arc::clone(used.insert(link))).await
        };
        let result = timeout(bound, whole).await.unwrap_or(Err(Failure::Silent(bound)));
        match &result {
            Ok(_) | Err(Failure::LeaseNotFound) => line.answered(),
            Err(failure) => {
                if let Some(link) = used {
                    line.failed(&link, failure);
                }
                self.avoid(member);
            }
        }
        result
    }

    /// Makes a call, to at most `tries` members in turn. A member that says the lease is gone has answered.
    pub(super) async fn ask_in_turn<T, F>(
        &self,
        tries: usize,
        bound: Bound,
        call: impl Fn(Arc<Link>) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let order = self.in_order();
        let mut result = Err(Failure::NotConnected("no endpoints".into()));
        for (n, &member) in order.iter().cycle().take(if order.is_empty() { 0 } else { tries }).enumerate() {
            let bound = if n + 1 == tries { bound.last } else { bound.each };
            result = self.ask(member, bound, &call).await;
            match &result {
                Ok(_) | Err(Failure::LeaseNotFound) => {
                    if n > 0 {
                        self.prefer(member);
                    }
                    break;
                }
                Err(failure) => tracing::debug!(member = %self.line(member).url, "a call failed: {failure}"),
            }
        }
        result
    }

    /// A member answered what so many others were asked as well. It is asked first from now on, but if nobody else was
    /// asked and the first is well: an answer that was under way when home became the first must not undo that.
    pub(super) fn answered_beside(&self, others: usize, member: usize) {
        let first = self.line(self.first());
        if others > 0 || !first.is_up() || first.doubtful() {
            self.prefer(member);
        }
    }
}

/// Whether a login at a member that was found would send the password over the network in the clear, which the operator
/// has not asked for: his own endpoints are of this machine.
pub(super) fn shows_password(config: &config::Etcd) -> bool {
    let shows = config.user.is_some() && config.tls.is_none() && config.password_in_the_clear.is_none();
    if shows && config.discover {
        tracing::warn!("no other members of etcd are looked for: without TLS the password would go over the network");
    }
    shows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Arc<Members> {
        let endpoints = vec!["http://a".into(), "http://b".into(), "http://c".into()];
        Members::new(&config::Etcd { endpoints, ..config::Etcd::default() })
    }

    #[test]
    fn a_member_that_failed_is_asked_first_no_more() {
        let m = three();
        assert_eq!(m.in_order(), [0, 1, 2]);
        m.avoid(0);
        assert_eq!(m.in_order(), [1, 2, 0]);
        m.avoid(0);
        assert_eq!(m.first(), 1);
    }

    #[test]
    fn silent_members_come_last() {
        let m = three();
        m.line(0).late();
        m.line(2).late();
        m.line(2).answered();
        assert_eq!(m.in_order(), [1, 2, 0]);
    }

    #[test]
    fn an_answer_changes_who_is_first_only_if_the_first_is_not_well() {
        let m = three();
        m.answered_beside(0, 1);
        assert_eq!(m.first(), 1, "nobody is connected");
        m.answered_beside(1, 2);
        assert_eq!(m.first(), 2);
    }

    #[test]
    fn places_stay_and_are_given_again_only_when_there_are_no_others() {
        let m = three();
        let who = |member| Who { cluster: 1, member };
        for n in 3..PLACES as u64 {
            assert!(m.add(&format!("http://m{n}"), who(n)).is_some());
        }
        assert!(m.add("http://too-many", who(99)).is_none());
        m.prefer(5);
        m.retire(5);
        assert_ne!(m.first(), 5);
        assert!(!m.in_order().contains(&5));
        assert_eq!((m.line(5).url.as_str(), m.count()), ("http://m5", PLACES - 1));
        assert!(m.add("http://new", who(100)).is_some());
        assert_eq!((m.line(5).url.as_str(), m.count()), ("http://new", PLACES));
    }

    #[test]
    fn a_learner_comes_last_until_it_answers() {
        let m = three();
        m.line(0).refused(&Failure::Refused("etcdserver: rpc not supported for learner".into()));
        assert_eq!(m.in_order(), [1, 2, 0]);
        m.line(0).answered();
        assert_eq!(m.in_order(), [0, 1, 2]);
    }

    #[tokio::test]
    async fn a_call_is_bounded_even_without_a_connection() {
        let m = three();
        let bound = Duration::from_millis(5);
        let result: Result<(), _> = m.ask_in_turn(2, Bound::each(bound), |_| async { Ok(()) }).await;
        assert!(matches!(result, Err(Failure::Silent(_))));
        assert_eq!(m.first(), 2);
    }
}
