//! Whom to send a renewal to, and whom as well when its answer is late.
//!
//! One task; [`super::requests`] keeps its book. A late request stays open beside the next member's, and counts by its
//! own send time when it comes. Each member has one open request, and a further one, on a stream of its own, only beside
//! one that is stuck: when the leader freezes, its followers hold every renewal they had passed on for 7 s, but pass new
//! ones on to the next leader.
//! Nothing here waits for a connection to be made.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::Shared;
use super::failure::Failure;
use super::renewer::Renewer;
use super::requests::Requests;
use crate::election::event::{Event, LeaseId, Pair};

/// A request that came back.
struct Back {
    renewer: Renewer,
    sent: Instant,
    /// The order that it was sent for.
    order: u64,
    lease: LeaseId,
    took: Duration,
    result: Result<Pair, Failure>,
}

struct Renewals {
    shared: Arc<Shared>,
    requests: Requests,
    /// By member: streams on which no request is open.
    idle: BTreeMap<usize, Renewer>,
    open: FuturesUnordered<BoxFuture<'static, Back>>,
}

/// Renews when ordered to, for ever.
pub(super) async fn run(shared: Arc<Shared>, mut orders: mpsc::Receiver<LeaseId>) {
    let open = FuturesUnordered::new();
    let mut this = Renewals { shared, requests: Requests::default(), idle: BTreeMap::new(), open };
    loop {
        let late_at = this.requests.late_at();
        tokio::select! {
            order = orders.recv() => match order {
                Some(lease) => {
                    this.requests.order(lease);
                    this.drop_old();
                    this.ask_next();
                }
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
    /// A stream of a connection that was replaced would keep that one open.
    fn drop_old(&mut self) {
        let members = &self.shared.members;
        self.idle.retain(|member, renewer| renewer.is_over(members.line(*member).link().as_deref()));
    }

    /// Asks the best member that may be asked for the order nobody has answered yet, if there is one.
    fn ask_next(&mut self) {
        let Some((order, lease)) = self.requests.unanswered() else { return };
        let (members, sent) = (&self.shared.members, Instant::now());
        let free = |&i: &usize| self.requests.may_ask(i, sent);
        let connected = |i: usize| Some((i, members.line(i))).and_then(|(i, line)| Some((i, line.link()?, line)));
        let next = members.in_order().into_iter().filter(free).find_map(connected);
        let Some((member, link, line)) = next else { return };
        let mut renewer = self.idle.remove(&member).unwrap_or_else(|| Renewer::new(member));
        self.requests.sent(member, sent);
        let shared = Arc::clone(&self.shared);
        self.open.push(Box::pin(async move {
            let bound = shared.ttl();
            let result = timeout(bound, renewer.pair(&link, &shared, lease)).await;
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
            Back { renewer, sent, order, lease, took: sent.elapsed(), result }
        }));
    }

    /// Somebody has not answered: another is asked as well, and first from now on if it is quicker.
    fn late(&mut self) {
        for member in self.requests.take_late(Instant::now()) {
            self.shared.members.line(member).late();
            self.shared.tally.late();
        }
        self.ask_next();
    }

    async fn came_back(&mut self, back: Back) {
        let member = back.renewer.member;
        self.requests.came_back(member, back.sent);
        self.idle.insert(member, back.renewer);
        if let Err(failure) = &back.result {
            self.shared.tally.renewal(failure);
        }
        match back.result {
            Ok(pair) => {
                tracing::trace!(member = %self.shared.members.line(member).url, took = ?back.took, "renewed");
                self.requests.learn(back.took);
                self.shared.learn_ttl(pair.ttl);
                if let Some(asked) = self.requests.answered(back.order) {
                    self.shared.members.answered_beside(asked.saturating_sub(1), member);
                }
                self.shared.report(Event::PairAnswered(pair)).await;
            }
            // However late, and whatever was ordered since: that lease is gone.
            Err(Failure::LeaseNotFound) => {
                self.requests.answered(back.order);
                self.shared.report(Event::LeaseLost { lease: back.lease }).await;
            }
            // Whichever order it was sent for: the newest one may be waiting for this member, too.
            Err(failure) => {
                tracing::debug!(member = %self.shared.members.line(member).url, "a renewal failed: {failure}");
                self.ask_next();
            }
        }
    }
}
