//! Everything under the prefix: read it all, watch on from there, and after any break begin again.
//!
//! One task, from the start on, without a lease. It holds no picture: it tells. Every fact is told whole, and one
//! revision is one fact. Breaks are not told: the next full read replaces everything.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::WatchOptions;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::connect::Link;
use super::failure::Failure;
use super::pace::{Backoff, Told};
use super::tally::{Broken, Tally};
use super::{Shared, TELL, answer};
use crate::election::event::Event;

/// How long a full read, or the opening of the watch, may take: first, and after failures.
const BOUND: Duration = Duration::from_secs(1);
const BOUND_AT_MOST: Duration = Duration::from_secs(5);
/// A watch that lived so long was a good one.
const GOOD_LIFE: Duration = Duration::from_secs(1);

/// Why a round ended.
enum End {
    /// It was ordered to begin again.
    Ordered,
    /// Another member is asked first now, because this one was late.
    Left,
    /// The watch is of no use any more, for no fault of the member.
    Compacted,
    /// The member failed.
    Failed(Failure),
}

struct Rounds {
    shared: Arc<Shared>,
    again: Arc<Notify>,
    backoff: Backoff,
    /// Reads that failed since the last good one.
    failures: usize,
    unreachable: Told,
}

/// A watch that is to be counted when it ends, also by being dropped because another member is asked first.
struct Watching<'a> {
    tally: &'a Tally,
    why: Broken,
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        self.tally.watch(self.why);
    }
}

/// Tells the picture, for ever.
pub(super) async fn run(shared: Arc<Shared>, again: Arc<Notify>) {
    if shared.members.count() == 0 {
        return;
    }
    let backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
    let mut rounds = Rounds { shared, again, backoff, failures: 0, unreachable: Told::every(TELL) };
    while !rounds.shared.events.is_closed() {
        rounds.round().await;
    }
}

impl Rounds {
    /// One read and its watch, up to the end of that watch.
    async fn round(&mut self) {
        let shared = Arc::clone(&self.shared);
        let member = shared.members.in_order().first().copied().unwrap_or(0);
        shared.members.prefer(member);
        let end = tokio::select! {
            end = self.read_and_watch(member) => end,
            () = shared.members.left(member) => End::Left,
        };
        match end {
            End::Ordered | End::Left => {}
            End::Compacted => self.pause().await,
            End::Failed(failure) => {
                tracing::debug!(member = %shared.members.line(member).url, "the picture broke: {failure}");
                shared.members.avoid(member);
                self.pause().await;
            }
        }
    }

    /// Before the next round. An order to read cuts it short: etcd answered somebody, and a VIP may wait for that read.
    async fn pause(&mut self) {
        tokio::select! {
            () = self.backoff.pause() => {}
            () = self.again.notified() => {}
        }
    }

    async fn read_and_watch(&mut self, member: usize) -> End {
        let (link, revision) = match self.read(member).await {
            Ok(read) => read,
            Err(failure) => {
                self.tell_unreachable(member, &failure);
                return End::Failed(failure);
            }
        };
        let since = Instant::now();
        let line = self.shared.members.line(member);
        let mut watching = Watching { tally: &self.shared.tally, why: Broken::Left };
        let replaced = line.moved_on_from(link.id);
        let end = tokio::select! {
            end = self.watch(member, link, revision) => end,
            () = self.again.notified() => End::Ordered,
            // The old connection shall end.
            () = replaced => End::Left,
        };
        watching.why = match end {
            End::Ordered => Broken::Ordered,
            End::Left => Broken::Left,
            End::Compacted => Broken::Compacted,
            End::Failed(_) => Broken::Failed,
        };
        if since.elapsed() >= GOOD_LIFE {
            self.backoff.reset();
        }
        end
    }

    /// Reads and tells everything. An order to begin again does not cut this short: it would never come to an end
    /// when etcd is slow and orders are many.
    async fn read(&mut self, member: usize) -> Result<(Arc<Link>, i64), Failure> {
        let shared = &self.shared;
        let bound = (BOUND * u32::try_from(self.failures + 1).unwrap_or(u32::MAX)).min(BOUND_AT_MOST);
        let read = |link: Arc<Link>| async move {
            let picture = answer::read_all(&mut link.kv.clone(), &shared.prefix).await?;
            Ok((link, picture))
        };
        let (link, picture) = shared.members.ask(member, bound, read).await?;
        let revision = picture.header.revision;
        let (sent_at, header, entries) = (picture.sent_at, picture.header, picture.entries);
        shared.report(Event::PictureRead { sent_at, header, entries }).await;
        self.failures = 0;
        if self.unreachable.over() {
            tracing::info!("etcd answers again");
        }
        Ok((link, revision))
    }

    async fn watch(&self, member: usize, link: Arc<Link>, revision: i64) -> End {
        let mut watch = link.watch.clone();
        let from = WatchOptions::new().with_prefix().with_start_revision(revision.saturating_add(1));
        let opened = timeout(BOUND_AT_MOST, watch.watch(answer::range(&self.shared.prefix), Some(from))).await;
        let mut stream = match opened {
            Ok(Ok(stream)) => stream,
            Ok(Err(e)) => return self.broke(member, &link, e.into()),
            Err(_) => return self.broke(member, &link, Failure::Silent(BOUND_AT_MOST)),
        };
        loop {
            // Bounded by HTTP/2 pings, which go out while this stream is open.
            let answer = match stream.message().await {
                Ok(Some(answer)) => answer,
                Ok(None) => return self.broke(member, &link, Failure::Broken("the watch ended".into())),
                Err(e) => return self.broke(member, &link, e.into()),
            };
            if answer.compact_revision() != 0 {
                tracing::debug!(
                    from = revision + 1,
                    compacted = answer.compact_revision(),
                    "the watch is behind a compaction"
                );
                return End::Compacted;
            }
            if answer.canceled() {
                return self.broke(member, &link, Failure::said(answer.cancel_reason()));
            }
            for (revision, changes) in answer::changes(&self.shared.prefix, answer.events()) {
                self.shared.report(Event::Changed { revision, changes }).await;
            }
        }
    }

    fn broke(&self, member: usize, link: &Link, failure: Failure) -> End {
        self.shared.members.line(member).failed(link, &failure);
        End::Failed(failure)
    }

    /// A member that fails is no news while another answers.
    fn tell_unreachable(&mut self, member: usize, failure: &Failure) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.shared.members.count() && self.unreachable.again() {
            let member = &self.shared.members.line(member).url;
            tracing::warn!(member, "etcd does not answer: {}", self.shared.in_words(failure));
        }
    }
}
