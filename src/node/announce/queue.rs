//! Which announcement goes out next, and when: a limit for each link, what matters most first.
//!
//! Pure. Two hundred VIPs taken at once are a thousand frames within seconds, each copied by every switch port and
//! looked at by every host. A single VIP's few frames always fit and leave at once; what is more waits here.
//!
//! The limits: 128 frames at once and 4 a millisecond from then on. That is 11 kB in one go, less than the rings of the
//! smallest network cards and the buffer of any switch port hold, and then 3 Mbit/s. Of 200 dual-stack VIPs the last one
//! is first announced 0.12 s after the first. Repeats and refreshes, for which nobody waits, leave one a millisecond: if some
//! of the first ones were too many at once for somebody, these are not.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::election::action::Occasion;
use crate::election::event::{LinkId, VipId};
use crate::moment::Moment;

/// From one frame to the next on a link.
const EVERY: Duration = Duration::from_micros(250);
/// So many frames may leave at once.
const BURST: u32 = 128;
/// The same for announcements that nobody waits for.
const LESSER_EVERY: Duration = Duration::from_millis(1);
/// See `LESSER_EVERY`. A single VIP's repeats leave at once.
const LESSER_BURST: u32 = 32;
/// A link that had no room for a frame is left alone for this long.
const NO_ROOM: Duration = Duration::from_millis(5);
/// Nothing is sent this long after its order: by then it may not be true any more, and another one is due soon.
pub const FRESH: Duration = Duration::from_secs(1);
/// Frames are sent in small bunches rather than one by one: a wake-up costs more than they do.
const BUNCH: Duration = Duration::from_millis(1);

/// Announcements that wait for their turn on their link.
#[derive(Debug, Default)]
pub struct Queue {
    /// What matters most first, then in the order they came.
    waiting: BTreeMap<(Occasion, u64), Waiting>,
    number: u64,
    links: BTreeMap<LinkId, Pace>,
}

/// One announcement, perhaps begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Waiting {
    vip: VipId,
    link: LinkId,
    ordered_at: Moment,
    /// How many of its frames left.
    sent: usize,
}

/// A frame that may leave now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turn {
    /// Of which VIP.
    pub vip: VipId,
    /// On which link.
    pub link: LinkId,
    /// Which of its frames.
    pub frame: usize,
    key: (Occasion, u64),
}

impl Queue {
    /// One more announcement, ordered at that moment.
    pub fn add(&mut self, vip: VipId, link: LinkId, occasion: Occasion, ordered_at: Moment) {
        self.number += 1;
        self.waiting.insert((occasion, self.number), Waiting { vip, link, ordered_at, sent: 0 });
    }

    /// Nothing more of this VIP.
    pub fn forget(&mut self, vip: VipId) {
        self.waiting.retain(|_, w| w.vip != vip);
    }

    /// Takes out what has waited too long, and says whose it was.
    pub fn drop_old(&mut self, now: Moment) -> Vec<VipId> {
        let mut dropped = Vec::new();
        self.waiting.retain(|_, w| {
            let fresh = now.since(w.ordered_at) <= FRESH;
            if !fresh {
                dropped.push(w.vip);
            }
            fresh
        });
        if self.waiting.is_empty() {
            self.links.retain(|_, pace| !pace.is_rested(now));
        }
        dropped
    }

    /// The next frame that may leave now. To be followed by [`Queue::left`], [`Queue::end`] or [`Queue::no_room`].
    pub fn next(&self, now: Moment) -> Option<Turn> {
        let free = |occasion, link| self.links.get(&link).is_none_or(|pace| pace.free_at(occasion) <= now);
        let (key, w) = self.waiting.iter().find(|(key, w)| free(key.0, w.link))?;
        Some(Turn { vip: w.vip, link: w.link, frame: w.sent, key: *key })
    }

    /// It left.
    pub fn left(&mut self, turn: &Turn, now: Moment) {
        self.links.entry(turn.link).or_insert_with(Pace::new).left(turn.key.0, now);
        self.pass(turn);
    }

    /// It cannot leave, and no waiting will help.
    pub fn pass(&mut self, turn: &Turn) {
        if let Some(w) = self.waiting.get_mut(&turn.key) {
            w.sent = turn.frame + 1;
        }
    }

    /// Its announcement has no such frame: all of them left.
    pub fn end(&mut self, turn: &Turn) {
        self.waiting.remove(&turn.key);
    }

    /// The link had no room for it: it is tried again.
    pub fn no_room(&mut self, turn: &Turn, now: Moment) {
        self.links.entry(turn.link).or_insert_with(Pace::new).not_before = now + NO_ROOM;
    }

    /// When more may leave; none if nothing waits.
    pub fn deadline(&self) -> Option<Moment> {
        let at = |(key, w): (&(Occasion, u64), &Waiting)| self.links.get(&w.link).map(|pace| pace.free_at(key.0));
        // What waits on a link without a pace is free to leave and needs no waking.
        self.waiting.iter().filter_map(at).min().map(|at| at + BUNCH)
    }
}

/// What leaves on one link.
#[derive(Debug)]
struct Pace {
    all: Bucket,
    lesser: Bucket,
    not_before: Moment,
}

impl Pace {
    fn new() -> Self {
        let bucket = |every, burst| Bucket { every, burst, even_at: Moment::default() };
        Self { all: bucket(EVERY, BURST), lesser: bucket(LESSER_EVERY, LESSER_BURST), not_before: Moment::default() }
    }

    fn free_at(&self, occasion: Occasion) -> Moment {
        let free = self.all.free_at().max(self.not_before);
        if is_lesser(occasion) { free.max(self.lesser.free_at()) } else { free }
    }

    fn left(&mut self, occasion: Occasion, now: Moment) {
        self.all.take(now);
        if is_lesser(occasion) {
            self.lesser.take(now);
        }
    }

    fn is_rested(&self, now: Moment) -> bool {
        self.all.even_at <= now && self.lesser.even_at <= now && self.not_before <= now
    }
}

fn is_lesser(occasion: Occasion) -> bool {
    match occasion {
        Occasion::Put | Occasion::Claimed => false,
        Occasion::Repeat | Occasion::Refresh => true,
    }
}

/// One thing in so long, and so many at once after a rest.
#[derive(Debug)]
struct Bucket {
    every: Duration,
    burst: u32,
    /// When all that left would have left, had it left evenly.
    even_at: Moment,
}

impl Bucket {
    fn free_at(&self) -> Moment {
        self.even_at - self.every * (self.burst - 1)
    }

    fn take(&mut self, now: Moment) {
        self.even_at = self.even_at.max(now) + self.every;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: LinkId = LinkId(2);
    const FRAMES: usize = 2;

    fn at(ms: i64) -> Moment {
        Moment::from_millis(1_000_000 + ms)
    }

    fn full(vips: u32, occasion: Occasion, ordered_at: Moment) -> Queue {
        let mut queue = Queue::default();
        (0..vips).for_each(|vip| queue.add(VipId(vip), LINK, occasion, ordered_at));
        queue
    }

    /// All that may leave at this moment.
    fn leave(queue: &mut Queue, now: Moment) -> Vec<(VipId, usize)> {
        let mut left = Vec::new();
        while let Some(turn) = queue.next(now) {
            left.push((turn.vip, turn.frame));
            queue.left(&turn, now);
            if turn.frame + 1 == FRAMES {
                queue.end(&turn);
            }
        }
        left
    }

    /// Wakes when the queue wants it until nothing waits; how many left when.
    fn drain(queue: &mut Queue, mut now: Moment) -> Vec<(Moment, usize)> {
        let mut waves = vec![(now, leave(queue, now).len())];
        while let Some(next) = queue.deadline() {
            assert!(next > now, "it spins");
            now = next;
            assert_eq!(queue.drop_old(now), [], "nothing is lost");
            waves.push((now, leave(queue, now).len()));
        }
        waves
    }

    #[test]
    fn a_single_vip_leaves_at_once_whatever_for() {
        for occasion in [Occasion::Put, Occasion::Claimed, Occasion::Repeat, Occasion::Refresh] {
            let mut queue = full(1, occasion, at(0));
            assert_eq!(leave(&mut queue, at(0)), [(VipId(0), 0), (VipId(0), 1)]);
            assert_eq!(queue.deadline(), None);
        }
    }

    #[test]
    fn two_hundred_leave_within_the_limit_and_none_is_lost() {
        for (occasion, burst, last) in [(Occasion::Put, 128, 70), (Occasion::Repeat, 32, 370)] {
            let waves = drain(&mut full(200, occasion, at(0)), at(0));
            assert_eq!(waves[0], (at(0), burst));
            assert_eq!(waves.iter().map(|(_, n)| n).sum::<usize>(), 400);
            assert!(waves[1..].iter().all(|(_, n)| *n <= 5), "{waves:?}");
            let end = waves.last().unwrap().0;
            assert!(end <= at(last), "{end:?}");
            // In no stretch of time more than the burst and what its length allows.
            for (i, (from, _)) in waves.iter().enumerate() {
                let ms = |to: &Moment| to.since(*from).as_millis() as usize;
                let sum = |to: usize| waves[i..=to].iter().map(|(_, n)| n).sum::<usize>();
                let per_ms = if burst == 128 { 4 } else { 1 };
                assert!((i..waves.len()).all(|to| sum(to) <= burst + (ms(&waves[to].0) + 1) * per_ms));
            }
        }
    }

    #[test]
    fn what_clients_wait_for_goes_first() {
        let mut queue = full(100, Occasion::Repeat, at(0));
        (100..200).for_each(|vip| queue.add(VipId(vip), LINK, Occasion::Put, at(0)));
        queue.add(VipId(200), LINK, Occasion::Claimed, at(0));
        let mut order = Vec::new();
        let mut now = at(0);
        while !queue.waiting.is_empty() {
            order.extend(leave(&mut queue, now));
            now = queue.deadline().unwrap_or(now);
        }
        let place = |vip: u32| order.iter().position(|(v, _)| *v == VipId(vip)).unwrap();
        assert!(place(199) < place(200) && place(200) < place(0) && place(0) < place(99));
    }

    #[test]
    fn links_do_not_wait_for_one_another() {
        let mut queue = full(200, Occasion::Put, at(0));
        queue.add(VipId(200), LinkId(3), Occasion::Refresh, at(0));
        let left = leave(&mut queue, at(0));
        assert_eq!((left.len(), left[128]), (130, (VipId(200), 0)));
    }

    #[test]
    fn nothing_of_a_vip_leaves_after_it_was_let_go() {
        let mut queue = full(200, Occasion::Put, at(0));
        leave(&mut queue, at(0));
        (0..199).for_each(|vip| queue.forget(VipId(vip)));
        assert_eq!(leave(&mut queue, at(50)), [(VipId(199), 0), (VipId(199), 1)]);
    }

    #[test]
    fn nothing_old_leaves() {
        let mut queue = full(200, Occasion::Put, at(0));
        leave(&mut queue, at(0));
        assert_eq!(queue.drop_old(at(1000)), []);
        let dropped = queue.drop_old(at(1001));
        assert_eq!((dropped.len(), dropped[0]), (136, VipId(64)));
        assert_eq!((queue.next(at(1001)), queue.deadline()), (None, None));
    }

    #[test]
    fn without_room_a_frame_is_tried_again() {
        let mut queue = full(1, Occasion::Put, at(0));
        let turn = queue.next(at(0)).unwrap();
        queue.no_room(&turn, at(0));
        assert_eq!(queue.next(at(4)), None);
        assert_eq!(queue.deadline(), Some(at(6)));
        assert_eq!(queue.next(at(6)), Some(turn), "the same frame");
        queue.pass(&turn);
        assert_eq!(queue.next(at(6)).map(|turn| turn.frame), Some(1));
    }

    #[test]
    fn links_that_rest_are_forgotten() {
        let mut queue = full(1, Occasion::Refresh, at(0));
        leave(&mut queue, at(0));
        queue.drop_old(at(0));
        assert_eq!(queue.links.len(), 1);
        queue.drop_old(at(3));
        assert_eq!(queue.links.len(), 0);
    }
}
