//! Whom to send a renewal to, and whom as well when its answer is late.
//!
//! One task. Each member has at most one open request; a late one stays open beside the next member's, and counts by
//! its own send time when it comes. Nothing here waits for a connection to be made.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::Shared;
use super::failure::Failure;
use super::renewer::Renewer;
use crate::election::event::{Event, LeaseId, Pair};

/// No answer for this long is late, at the least.
const LATE: Duration = Duration::from_millis(300);
/// No answer for so many times the usual is late.
const LATE_TIMES: u32 = 3;
/// No answer for this long is late, however slow etcd usually is: the fence comes some 3 s after the last good one.
const LATE_AT_MOST: Duration = Duration::from_millis(1500);

/// A request that came back.
struct Back {
    renewer: Renewer,
    attempt: u64,
    took: Duration,
    result: Result<Pair, Failure>,
}

/// The order that is being carried out.
struct Attempt {
    number: u64,
    lease: LeaseId,
    /// Members that were asked for it.
    asked: Vec<usize>,
    late_at: Option<Instant>,
}

struct Renewals {
    shared: Arc<Shared>,
    /// By member; `None` while its request is open.
    idle: Vec<Option<Renewer>>,
    open: FuturesUnordered<BoxFuture<'static, Back>>,
    attempt: Option<Attempt>,
    attempts: u64,
    /// How long a pair usually takes.
    usual: Duration,
}

/// Renews when ordered to, for ever.
pub(super) async fn run(shared: Arc<Shared>, mut orders: mpsc::Receiver<LeaseId>) {
    let idle = (0..shared.members.lines.len()).map(|member| Some(Renewer::new(member))).collect();
    let open = FuturesUnordered::new();
    let mut this = Renewals { shared, idle, open, attempt: None, attempts: 0, usual: Duration::ZERO };
    loop {
        let late_at = this.attempt.as_ref().and_then(|a| a.late_at);
        tokio::select! {
            order = orders.recv() => match order {
                Some(lease) => this.begin(lease),
                None => return,
            },
            Some(back) = this.open.next(), if !this.open.is_empty() => this.came_back(back).await,
            () = until(late_at), if late_at.is_some() => this.late(),
        }
    }
}

async fn until(deadline: Option<Instant>) {
    if let Some(deadline) = deadline {
        sleep_until(deadline).await;
    }
}

impl Renewals {
    fn begin(&mut self, lease: LeaseId) {
        self.attempts += 1;
        self.attempt = Some(Attempt { number: self.attempts, lease, asked: Vec::new(), late_at: None });
        self.ask_next();
    }

    /// Asks the best member that has no open request and was not asked for this order.
    fn ask_next(&mut self) {
        let Some(attempt) = &mut self.attempt else { return };
        attempt.late_at = None;
        let members = &self.shared.members;
        let free = |&i: &usize| self.idle[i].is_some() && !attempt.asked.contains(&i);
        let next = members.in_order().into_iter().filter(free).find_map(|i| Some((i, members.lines[i].link()?)));
        let Some((member, link)) = next else { return };
        let Some(mut renewer) = self.idle[member].take() else { return };
        let late = (self.usual * LATE_TIMES).clamp(LATE, LATE_AT_MOST);
        attempt.asked.push(member);
        attempt.late_at = Some(Instant::now() + late);
        let (number, lease, shared) = (attempt.number, attempt.lease, Arc::clone(&self.shared));
        self.open.push(Box::pin(async move {
            let (sent, bound) = (Instant::now(), shared.ttl());
            let result = timeout(bound, renewer.pair(&link, &shared, lease)).await;
            let line = &shared.members.lines[member];
            if result.is_err() {
                // A whole TTL without a word: TCP may be waiting to send again long after the network is back.
                renewer.give_up();
                line.replace(&link);
            }
            let result = result.unwrap_or(Err(Failure::Silent(bound)));
            match &result {
                Ok(_) | Err(Failure::LeaseNotFound) => line.answered(),
                Err(failure) => line.failed(&link, failure),
            }
            Back { renewer, attempt: number, took: sent.elapsed(), result }
        }));
    }

    /// The member asked last has not answered: another is asked as well, and first from now on if it is quicker.
    fn late(&mut self) {
        if let Some(&member) = self.attempt.as_ref().and_then(|a| a.asked.last()) {
            self.shared.members.lines[member].late();
        }
        self.ask_next();
    }

    async fn came_back(&mut self, back: Back) {
        let member = back.renewer.member;
        self.idle[member] = Some(back.renewer);
        let current = self.attempt.as_ref().is_some_and(|a| a.number == back.attempt);
        match back.result {
            Ok(pair) => {
                tracing::trace!(member = %self.shared.members.lines[member].url, took = ?back.took, "renewed");
                self.learn(back.took);
                self.shared.learn_ttl(pair.ttl);
                if current {
                    self.attempt = None;
                    self.shared.members.prefer(member);
                }
                self.shared.report(Event::PairAnswered(pair)).await;
            }
            Err(Failure::LeaseNotFound) => {
                if let Some(lease) = self.attempt.take_if(|_| current).map(|a| a.lease) {
                    self.shared.report(Event::LeaseLost { lease }).await;
                }
            }
            Err(failure) => {
                tracing::debug!(member = %self.shared.members.lines[member].url, "a renewal failed: {failure}");
                if current {
                    self.ask_next();
                }
            }
        }
    }

    /// Slow answers are learnt quickly, so that a slow etcd is not asked twice for long; quick ones slowly.
    fn learn(&mut self, took: Duration) {
        let (old, new) = if took > self.usual { (1, 1) } else { (7, 1) };
        self.usual = (self.usual * old + took * new) / (old + new);
    }
}
