//! The book of renewals: which requests are open at which member, since when, which are late, who may be asked next.
//!
//! It sends nothing and reads no clock. A request's lateness counts from when it was sent, whatever was ordered since:
//! in a silence of etcd orders come sooner than a request is late.

use std::time::Duration;

use tokio::time::Instant;

use crate::election::event::LeaseId;

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

/// The book.
#[derive(Default)]
pub(super) struct Requests {
    /// By member, oldest first.
    open: Vec<Vec<Open>>,
    /// The newest order, until it is answered.
    order: Option<Order>,
    orders: u64,
    /// How long a pair usually takes.
    usual: Duration,
}

struct Open {
    sent: Instant,
    /// When it is late; none once that was noticed.
    late_at: Option<Instant>,
}

struct Order {
    number: u64,
    lease: LeaseId,
    /// Members that were asked for it.
    asked: Vec<usize>,
}

impl Requests {
    /// To renew was ordered; whatever was ordered before is asked for no more.
    pub(super) fn order(&mut self, lease: LeaseId) {
        self.orders += 1;
        self.order = Some(Order { number: self.orders, lease, asked: Vec::new() });
    }

    /// The number of the order that nobody has answered yet, and its lease.
    pub(super) fn unanswered(&self) -> Option<(u64, LeaseId)> {
        self.order.as_ref().map(|o| (o.number, o.lease))
    }

    /// Whether this member may be asked: not twice for one order, and not beside a request that is not stuck.
    pub(super) fn may_ask(&self, member: usize, now: Instant) -> bool {
        let open = self.open.get(member).map_or(&[][..], Vec::as_slice);
        let is_free = open.last().is_none_or(|o| now - o.sent >= STUCK && open.len() < OPEN);
        is_free && self.order.as_ref().is_some_and(|o| !o.asked.contains(&member))
    }

    /// This member is asked now.
    pub(super) fn sent(&mut self, member: usize, now: Instant) {
        if self.open.len() <= member {
            self.open.resize_with(member + 1, Vec::new);
        }
        let late = (self.usual * LATE_TIMES).clamp(LATE, LATE_AT_MOST);
        self.open[member].push(Open { sent: now, late_at: Some(now + late) });
        if let Some(order) = &mut self.order {
            order.asked.push(member);
        }
    }

    /// When the next open request is late.
    pub(super) fn late_at(&self) -> Option<Instant> {
        self.open.iter().flatten().filter_map(|o| o.late_at).min()
    }

    /// Members that have a request open that is late since the last call of this.
    pub(super) fn take_late(&mut self, now: Instant) -> Vec<usize> {
        let mut late = Vec::new();
        for (member, open) in self.open.iter_mut().enumerate() {
            for request in open.iter_mut() {
                if request.late_at.take_if(|at| *at <= now).is_some() {
                    late.push(member);
                }
            }
        }
        late
    }

    /// The request that was sent to this member at that time came back.
    pub(super) fn came_back(&mut self, member: usize, sent: Instant) {
        self.open[member].retain(|o| o.sent != sent);
    }

    /// That order was answered: how many were asked for it, if it is the newest one and was not answered before.
    pub(super) fn answered(&mut self, number: u64) -> Option<usize> {
        self.order.take_if(|o| o.number == number).map(|o| o.asked.len())
    }

    /// A pair took so long. Slow answers are learnt quickly, so that a slow etcd is not asked twice for long; quick ones
    /// slowly. What was held for seconds tells no more than that it was late.
    pub(super) fn learn(&mut self, took: Duration) {
        let took = took.min(LATE_AT_MOST / LATE_TIMES);
        let (old, new) = if took > self.usual { (1, 1) } else { (7, 1) };
        self.usual = (self.usual * old + took * new) / (old + new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Requests sent by the millisecond: `ask` is what the adapter does on an order and on lateness.
    struct Desk {
        requests: Requests,
        start: Instant,
        /// Members known to be late are asked after the others.
        late: Vec<usize>,
        sent: Vec<(u64, usize)>,
    }

    impl Desk {
        fn new() -> Self {
            Self { requests: Requests::default(), start: Instant::now(), late: Vec::new(), sent: Vec::new() }
        }

        fn ask(&mut self, at: u64) {
            let now = self.start + ms(at);
            let mut members = [0, 1, 2];
            members.sort_by_key(|m| self.late.contains(m));
            if let Some(&member) = members.iter().find(|m| self.requests.may_ask(**m, now)) {
                self.requests.sent(member, now);
                self.sent.push((at, member));
            }
        }

        /// Nobody answers for so long; an order comes every `every`.
        fn silence(&mut self, every: u64, until: u64) {
            for at in 0..until {
                if at % every == 0 {
                    self.requests.order(LeaseId(1));
                    self.ask(at);
                }
                let late = self.requests.take_late(self.start + ms(at));
                if !late.is_empty() {
                    self.late.extend(late);
                    self.ask(at);
                }
            }
        }
    }

    #[test]
    fn a_request_is_late_by_its_own_time_also_when_orders_come_sooner() {
        let mut desk = Desk::new();
        desk.silence(200, 301);
        assert_eq!(desk.sent, [(0, 0), (200, 1), (300, 2)]);
        assert_eq!(desk.late, [0], "at 0.3 s");
    }

    #[test]
    fn in_a_silence_every_member_is_asked_anew_as_soon_as_it_is_stuck_and_no_oftener() {
        let mut desk = Desk::new();
        desk.silence(200, 3000);
        for member in 0..3 {
            let times: Vec<u64> = desk.sent.iter().filter(|(_, m)| *m == member).map(|(at, _)| *at).collect();
            let gaps: Vec<u64> = times.windows(2).map(|w| w[1] - w[0]).collect();
            assert!(gaps.iter().all(|gap| (500..=700).contains(gap)), "{member}: {times:?}");
        }
    }

    #[test]
    fn no_more_are_open_than_allowed() {
        let mut desk = Desk::new();
        desk.silence(200, 20_000);
        assert_eq!(desk.sent.len(), 3 * OPEN);
    }

    #[test]
    fn a_request_is_late_once_and_not_after_it_came_back() {
        let mut r = Requests::default();
        let start = Instant::now();
        r.order(LeaseId(1));
        r.sent(0, start);
        r.sent(1, start + ms(10));
        assert_eq!(r.late_at(), Some(start + LATE));
        r.came_back(0, start);
        assert_eq!(r.late_at(), Some(start + LATE + ms(10)));
        assert!(r.take_late(start + LATE).is_empty());
        assert_eq!(r.take_late(start + ms(400)), [1]);
        assert_eq!((r.take_late(start + ms(500)), r.late_at()), (vec![], None));
    }

    #[test]
    fn only_the_newest_order_is_answered_and_once() {
        let mut r = Requests::default();
        r.order(LeaseId(1));
        r.order(LeaseId(2));
        assert_eq!(r.unanswered(), Some((2, LeaseId(2))));
        r.sent(0, Instant::now());
        r.sent(1, Instant::now());
        assert_eq!([r.answered(1), r.answered(2), r.answered(2)], [None, Some(2), None]);
        assert!(!r.may_ask(2, Instant::now()), "nothing is asked for without an order");
    }

    #[test]
    fn an_etcd_that_takes_its_time_is_not_late_for_long_and_one_that_held_its_answer_is_not_slow() {
        let late = |r: &mut Requests| {
            let now = Instant::now();
            r.sent(0, now);
            let late = r.late_at().unwrap() - now;
            r.came_back(0, now);
            late
        };
        let mut slow = Requests::default();
        slow.learn(ms(400));
        assert!(late(&mut slow) > ms(400));
        let mut held = Requests::default();
        held.learn(ms(7000));
        for _ in 0..8 {
            held.learn(ms(5));
        }
        assert_eq!(late(&mut held), LATE);
    }
}
