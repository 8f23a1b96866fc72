//! All members of the cluster and the one that is asked first: our own rotation, never a library's balancing.
//!
//! Shared by every task of the adapter. It knows who answered last, not what the answers mean.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::connect::Link;
use super::credentials::Credentials;
use super::failure::Failure;
use super::line::Line;
use super::version::Known;
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

/// The cluster's members.
pub(super) struct Members {
    pub(super) lines: Vec<Line>,
    /// Who is asked first: the last one known to be good.
    first: watch::Sender<usize>,
    /// Who we are for all of them.
    credentials: Credentials,
    versions: Known,
}

impl Members {
    pub(super) fn new(config: &config::Etcd) -> Arc<Self> {
        let lines = config.endpoints.iter().map(|url| Line::new(url)).collect();
        let (credentials, versions) = (Credentials::new(config), Known::default());
        Arc::new(Self { lines, first: watch::Sender::new(0), credentials, versions })
    }

    /// The tasks that keep the connections up, and what they are made with.
    pub(super) fn keepers(self: &Arc<Self>) -> impl Iterator<Item = impl Future<Output = ()> + Send + use<>> {
        let members = Arc::clone(self);
        (0..=self.lines.len()).map(move |i| {
            let members = Arc::clone(&members);
            async move {
                match members.lines.get(i) {
                    Some(line) => line.keep(&members.credentials, &members.versions).await,
                    None => members.credentials.keep().await,
                }
            }
        })
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
                tracing::debug!(member = %self.lines[member].url, "this member is asked first now");
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
        let n = self.lines.len();
        let first = self.first();
        let mut order: Vec<usize> = (0..n).map(|i| (first + i) % n).collect();
        order.sort_by_key(|&i| (!self.lines[i].is_up(), self.lines[i].doubtful()));
        order
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
        let line = &self.lines[member];
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
                    self.prefer_over_failed(n, member);
                    break;
                }
                Err(failure) => tracing::debug!(member = %self.lines[member].url, "a call failed: {failure}"),
            }
        }
        result
    }

    /// Who answered after others had failed is asked first from now on.
    fn prefer_over_failed(&self, failed: usize, member: usize) {
        if failed > 0 {
            self.prefer(member);
        }
    }
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
        m.lines[0].late();
        m.lines[2].late();
        m.lines[2].answered();
        assert_eq!(m.in_order(), [1, 2, 0]);
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
