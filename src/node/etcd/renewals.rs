//! Whom to send a renewal to, and whom as well when its answer is late.
//!
//! One task. A late request stays open beside the next member's, and counts by its own send time when it comes. Each
//! member has one open request, and a further one, on a stream of its own, only beside one that is stuck: when the leader
//! freezes, its followers hold every renewal they had passed on for 7 s, but pass new ones on to the next leader.
//! Nothing here waits for a connection to be made.

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

/// A request that is open for so long is stuck: its member may be asked anew beside it. Half the least election timeout,
/// so that a new leader is asked soon after it is there.
const STUCK: Duration = Duration::from_millis(500);
/// So many requests to one member are open at the most: as many as get stuck before the
/// fence of a 5 s lease comes.
const OPEN: usize = 8;

/// A request that came back.
struct Back {
    renewer: Renewer,
    sent: Instant,
    attempt: u64,
    lease: LeaseId,
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

/// One member's requests.
#[derive(Default)]
struct Slot {
    /// Its stream, while no request is open on it.
    idle: Option<Renewer>,
    /// When the open requests were sent.
    sent: Vec<Instant>,
}

impl Slot {
    fn is_free(&self) -> bool {
        self.sent.last().is_none_or(|sent| sent.elapsed() >= STUCK && self.sent.len() < OPEN)
    }
}

struct Renewals {
    shared: Arc<Shared>,
    /// By member.
    slots: Vec<Slot>,
    open: FuturesUnordered<BoxFuture<'static, Back>>,
    attempt: Option<Attempt>,
    attempts: u64,
    /// How long a pair usually takes.
    usual: Duration,
}

/// Renews when ordered to, for ever.
pub(super) async fn run(shared: Arc<Shared>, mut orders: mpsc::Receiver<LeaseId>) {
    let slots = shared.members.lines.iter().map(|_| Slot::default()).collect();
    let open = FuturesUnordered::new();
    let mut this = Renewals { shared, slots, open, attempt: None, attempts: 0, usual: Duration::ZERO };
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

    /// Asks the best member that is free and was not asked for this order.
    fn ask_next(&mut self) {
        let Some(attempt) = &mut self.attempt else { return };
        attempt.late_at = None;
        let members = &self.shared.members;
        let free = |&i: &usize| self.slots[i].is_free() && !attempt.asked.contains(&i);
        let next = members.in_order().into_iter().filter(free).find_map(|i| Some((i, members.lines[i].link()?)));
        let Some((member, link)) = next else { return };
        let slot = &mut self.slots[member];
        let mut renewer = slot.idle.take().unwrap_or_else(|| Renewer::new(member));
        let sent = Instant::now();
        slot.sent.push(sent);
        let late = (self.usual * LATE_TIMES).clamp(LATE, LATE_AT_MOST);
        attempt.asked.push(member);
        attempt.late_at = Some(sent + late);
        let (number, lease, shared) = (attempt.number, attempt.lease, Arc::clone(&self.shared));
        self.open.push(Box::pin(async move {
            let bound = shared.ttl();
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
            Back { renewer, sent, attempt: number, lease, took: sent.elapsed(), result }
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
        let slot = &mut self.slots[member];
        slot.sent.retain(|sent| *sent != back.sent);
        slot.idle = Some(back.renewer);
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
            // However late, and whatever was ordered since: that lease is gone.
            Err(Failure::LeaseNotFound) => {
                self.attempt.take_if(|_| current);
                self.shared.report(Event::LeaseLost { lease: back.lease }).await;
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
