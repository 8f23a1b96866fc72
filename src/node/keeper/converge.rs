//! One VIP: what the kernel has, what is wished, and the way from one to the other.

mod absent;
mod theirs;
mod why;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use nix::errno::Errno;
use tracing::{debug, warn};

use super::{KeptVip, RETRY, Wanted};
use crate::election::action::Wish;
use crate::election::event::{Event, Generation, LinkId, Outcome, VipId};
use crate::election::lifetime::{self, Next, SECOND};
use crate::election::record::vip_name;
use crate::moment::Moment;
use crate::node::clock::now;
use crate::node::guards::{self, Guard};
use crate::node::kernel::{Kernel, Seen, chain};
use crate::node::netlink::Address;
use crate::node::put::{self, Over, Put};

/// How often a put is begun anew because something came in between, before it waits for [`RETRY`].
const ROUNDS: usize = 6;

/// How many late or held-up puts or failed top-ups in a row are a failure.
const IN_A_ROW: u32 = 3;

/// How much before its end the kernel may take an address off by itself (measured: 0.02 s); gone earlier than that,
/// somebody else took it.
const KERNEL_EARLY: Duration = Duration::from_millis(100);

/// By how much the kernel's count of the seconds left may exceed ours: it counts in whole ones.
const COUNTING: Duration = Duration::from_secs(2);

/// One VIP and what is known about it.
#[derive(Debug)]
pub(super) struct Kept {
    vip: KeptVip,
    generation: Option<Generation>,
    /// What was put, or may have been.
    held: BTreeMap<IpAddr, Held>,
    said: Option<Outcome>,
    next: Option<Moment>,
    lates: u32,
    failures: u32,
    /// Somebody took an address off that should be there, and it is not back yet.
    robbed: bool,
    /// The last look failed: what it was for is still to be seen.
    unseen: bool,
    /// What was complained of last, so that it is printed once.
    complaint: Option<String>,
}

/// An address that was put, or may have been.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Held {
    link: LinkId,
    /// Until when the kernel keeps it, if it said that it has it.
    end: Option<Moment>,
    /// When the kernel says it was put, if it was seen since.
    created: Option<u32>,
}

/// How one round went.
enum Round {
    /// Nothing more to do now.
    Done,
    /// Something came in between: look again.
    Again,
    /// It cannot be done.
    Failed(String),
}

impl Kept {
    pub(super) fn new(vip: KeptVip) -> Self {
        Self {
            vip,
            generation: None,
            held: BTreeMap::new(),
            said: None,
            next: None,
            lates: 0,
            failures: 0,
            robbed: false,
            unseen: false,
            complaint: None,
        }
    }

    pub(super) fn id(&self) -> VipId {
        self.vip.id
    }

    pub(super) fn addresses(&self) -> &[IpAddr] {
        &self.vip.addresses
    }

    /// Whether the last that was said is that it is off.
    pub(super) fn is_absent(&self) -> bool {
        self.said == Some(Outcome::Absent)
    }

    /// When it wants to be attended to although nothing happened.
    pub(super) fn next(&self) -> Option<Moment> {
        self.next
    }

    /// Makes the kernel agree with the wish. `serving`: the VIP's link, if it can serve; `look`: something happened to
    /// addresses or links. Nothing is asked of the kernel when nothing happened and nothing is due.
    pub(super) async fn converge(
        &mut self,
        kernel: &mut Kernel,
        wanted: Wanted,
        serving: Option<LinkId>,
        look: bool,
    ) -> Vec<Event> {
        if self.generation != Some(wanted.generation) {
            self.begin(wanted.generation);
        }
        let look = look || self.unseen || self.next.is_some_and(|at| at <= now());
        let mut events = Vec::new();
        match wanted.wish {
            Wish::Absent if look || self.said.is_none() => self.clear(kernel, &mut events).await,
            Wish::Absent => {}
            Wish::Until(_) if self.said.is_none() && self.held.is_empty() && wanted.is_stale(now()) => {
                debug!(vip = self.vip.id.0, "an old wish puts nothing: waiting for the next one");
                self.next = None;
            }
            Wish::Until(fence) => {
                self.next = None;
                match wanted.link.filter(|link| serving == Some(*link)) {
                    Some(link) => self.keep(kernel, link, fence, look, &mut events).await,
                    // Nothing is put where it cannot serve; when it can again, that is no repair.
                    None => self.forget_presence(),
                }
            }
        }
        events
    }

    fn begin(&mut self, generation: Generation) {
        (self.generation, self.said, self.complaint) = (Some(generation), None, None);
        (self.lates, self.failures, self.robbed) = (0, 0, false);
    }

    async fn keep(&mut self, kernel: &mut Kernel, link: LinkId, fence: Moment, look: bool, events: &mut Vec<Event>) {
        if matches!(self.said, Some(Outcome::Failed(_) | Outcome::NotOurs(_))) {
            return;
        }
        if self.said == Some(Outcome::Present) && !look && !self.is_due(fence) {
            return self.schedule(fence);
        }
        for _ in 0..ROUNDS {
            match self.round(kernel, link, fence, events).await {
                Round::Again => {}
                Round::Done => return,
                Round::Failed(cause) => return self.fail(kernel, cause, events).await,
            }
        }
        self.next = Some(now() + RETRY);
    }

    /// Look, compare, put what is missing or due, read back.
    async fn round(&mut self, kernel: &mut Kernel, link: LinkId, fence: Moment, events: &mut Vec<Event>) -> Round {
        let mut seen = match kernel.look(&self.vip.addresses).await {
            Ok(seen) => seen,
            Err(e) => {
                self.unseen = true;
                return self.later(format!("cannot look for the VIP's addresses: {}", chain(&e)));
            }
        };
        self.unseen = false;
        self.know_again(&mut seen);
        if let Some(foreign) = seen.foreign.first() {
            self.forget_replaced(&seen);
            self.say(Outcome::NotOurs(foreign.to_string()), events);
            return Round::Done;
        }
        for stray in seen.ours.iter().filter(|a| !fits(a, link)) {
            warn!(vip = vip_name(&self.vip.addresses), address = %stray, "an address of ours is where or how it should not be: taken off");
            if let Err(e) = kernel.take_off(stray.link, stray.ip, stray.prefix).await {
                return self.later(format!("cannot take {stray} off: {}", chain(&e)));
            }
        }
        self.miss(&seen, link);
        let mut fresh = Vec::new();
        for ip in self.vip.addresses.clone() {
            let there = seen.ours.iter().find(|a| a.ip == ip && fits(a, link));
            let Some(over) = self.wants_put(ip, there, fence) else { continue };
            match self.put(kernel, link, ip, fence, over).await {
                Ok(true) if over == Over::Nothing => fresh.push(ip),
                // Too little time is left to put what is not there, or to put right what may outlive the fence.
                Ok(false) if matches!(over, Over::Nothing | Over::Whatever) => return self.shed(kernel).await,
                Ok(_) => {}
                Err(round) => return round,
            }
        }
        if !fresh.is_empty() && !self.read_back(kernel, link, &fresh).await {
            return Round::Again;
        }
        if std::mem::take(&mut self.robbed) && self.said == Some(Outcome::Present) {
            events.extend(self.generation.map(|generation| Event::Repaired { vip: self.vip.id, generation }));
        }
        self.say(Outcome::Present, events);
        self.schedule(fence);
        Round::Done
    }

    /// Notes which addresses went although they should be there, and whether it was somebody else who took one off.
    fn miss(&mut self, seen: &Seen, link: LinkId) {
        let gone = |ip: &IpAddr| !seen.ours.iter().any(|a| a.ip == *ip && fits(a, link));
        let gone: Vec<IpAddr> = self.vip.addresses.iter().copied().filter(gone).collect();
        for ip in gone {
            // One without an end may still come: the kernel did not answer its put. Only its deletion's answer ends that.
            let Some(end) = self.held.get(&ip).and_then(|held| held.end) else { continue };
            self.held.remove(&ip);
            if now() + KERNEL_EARLY < end {
                self.robbed |= self.said == Some(Outcome::Present);
            } else {
                // The kernel's own clock: it is present anew, not repaired.
                self.forget_presence();
            }
        }
    }

    /// Whether an address is to be put now, and over what.
    fn wants_put(&self, ip: IpAddr, there: Option<&Address>, fence: Moment) -> Option<Over> {
        let Some(there) = there else { return Some(Over::Nothing) };
        let now = now();
        let end = self.held.get(&ip).and_then(|held| held.end);
        match end {
            Some(end) if end <= fence && now + there.valid * SECOND <= end + COUNTING => {
                (lifetime::next(now, fence, Some(end)) == Next::Now).then_some(Over::Until(end))
            }
            // An end beyond the fence, or one that somebody else gave it, or that nobody knows: it is set right.
            _ => Some(Over::Whatever),
        }
    }

    /// One put. `Ok(false)`: nothing was changed and that is no failure.
    async fn put(
        &mut self,
        kernel: &Kernel,
        link: LinkId,
        ip: IpAddr,
        fence: Moment,
        over: Over,
    ) -> Result<bool, Round> {
        let fresh = over == Over::Nothing;
        let before = self.held.get(&ip).copied();
        let created = before.filter(|_| !fresh).and_then(|held| held.created);
        self.held.insert(ip, Held { link, end: None, created });
        match kernel.put(link, ip, fence, over).await {
            Ok(Put::Done(end)) => {
                self.held.insert(ip, Held { link, end: Some(end), created });
                (self.lates, self.failures) = (0, 0);
                Ok(true)
            }
            Ok(Put::NotSent) => {
                self.restore(ip, before);
                Ok(false)
            }
            Ok(Put::Late { took, off }) => Err(self.late(ip, took, off)),
            Ok(Put::HeldUp) => {
                self.restore(ip, before);
                Err(self.held_up(ip))
            }
            Err(put::Error::Refused(e)) if fresh && e.raw_os_error() == Some(Errno::EEXIST as i32) => {
                self.restore(ip, before);
                Err(Round::Again)
            }
            Err(put::Error::Silent) => Err(Round::Failed(format!("cannot put {ip}: {}", put::Error::Silent))),
            Err(e) => {
                self.restore(ip, before);
                self.failures += 1;
                let what = if fresh { "put" } else { "keep" };
                let cause = format!("cannot {what} {ip}: {}{}", chain(&e), why::refused(ip, &e));
                if fresh || self.failures >= IN_A_ROW { Err(Round::Failed(cause)) } else { Err(self.later(cause)) }
            }
        }
    }

    fn late(&mut self, ip: IpAddr, took: Duration, off: Result<(), put::Error>) -> Round {
        self.lates += 1;
        warn!(%ip, ?took, in_a_row = self.lates, "a put was answered late, so it was taken off again");
        match off {
            Ok(()) => drop(self.held.remove(&ip)),
            Err(e) => warn!(%ip, "and the kernel does not confirm that it is off: {}", chain(&e)),
        }
        self.forget_presence();
        if self.lates < IN_A_ROW {
            return Round::Again;
        }
        Round::Failed(format!(
            "cannot put {ip}: {} times in a row the kernel's answer was late, now {took:?}",
            self.lates
        ))
    }

    /// This process was held up before it could send: what is there is as it was, and the fence may be past by now.
    fn held_up(&mut self, ip: IpAddr) -> Round {
        self.lates += 1;
        warn!(%ip, in_a_row = self.lates, "this process was held up in a put, so it was not sent");
        if self.lates < IN_A_ROW {
            return Round::Again;
        }
        Round::Failed(format!("cannot put {ip}: {} times in a row this process was held up in it", self.lates))
    }

    /// The fence is too near for one of the addresses: what there is of the VIP is taken off. It is served whole or not
    /// at all.
    async fn shed(&mut self, kernel: &mut Kernel) -> Round {
        if self.held.is_empty() {
            return Round::Done;
        }
        // If somebody took one off, its coming back is a repair of the whole.
        if !self.robbed {
            self.forget_presence();
        }
        if !self.sweep(kernel).await {
            self.next = Some(now() + RETRY);
        }
        Round::Done
    }

    fn restore(&mut self, ip: IpAddr, before: Option<Held>) {
        match before {
            Some(held) => drop(self.held.insert(ip, held)),
            None => drop(self.held.remove(&ip)),
        }
    }

    /// Whether what was put fresh is there, and ours.
    async fn read_back(&mut self, kernel: &mut Kernel, link: LinkId, fresh: &[IpAddr]) -> bool {
        let Ok(mut back) = kernel.look(fresh).await else { return false };
        if let Some(a) = back.ours.first() {
            kernel.learn_from_put(a);
        }
        self.know_again(&mut back);
        let is_there = |a: &Address| fits(a, link) && (a.is_finite() || !guards::on(Guard::KernelLifetime));
        fresh.iter().all(|ip| back.ours.iter().any(|a| a.ip == *ip && is_there(a)))
    }

    /// What was put before this moment does not make the next `Present` a repair.
    fn forget_presence(&mut self) {
        if self.said == Some(Outcome::Present) {
            self.said = None;
        }
    }

    fn is_due(&self, fence: Moment) -> bool {
        let now = now();
        self.ends().any(|end| lifetime::next(now, fence, end) == Next::Now || end > Some(fence))
    }

    fn schedule(&mut self, fence: Moment) {
        let now = now();
        let next = self.ends().filter_map(|end| match lifetime::next(now, fence, end) {
            Next::Now => Some(now),
            Next::At(at) => Some(at),
            Next::Never => None,
        });
        self.next = next.min();
    }

    fn ends(&self) -> impl Iterator<Item = Option<Moment>> + '_ {
        self.vip.addresses.iter().map(|ip| self.held.get(ip).and_then(|held| held.end))
    }

    fn later(&mut self, cause: String) -> Round {
        self.complain(cause);
        self.next = Some(now() + RETRY);
        Round::Done
    }

    /// Prints a complaint, once as long as it is the same.
    fn complain(&mut self, complaint: String) {
        if self.complaint.as_ref() != Some(&complaint) {
            warn!(vip = vip_name(&self.vip.addresses), "{complaint}; trying again");
            self.complaint = Some(complaint);
        }
    }

    /// Says what became of the wish, unless that was said last.
    fn say(&mut self, outcome: Outcome, events: &mut Vec<Event>) {
        let Some(generation) = self.generation else { return };
        if self.said.as_ref() == Some(&outcome) {
            return;
        }
        debug!(vip = self.vip.id.0, generation = generation.0, ?outcome, "settled");
        self.said = Some(outcome.clone());
        events.push(Event::Settled { vip: self.vip.id, generation, outcome });
    }
}

/// Whether an address of ours is where it should be, and for itself alone. How long it lives is set right where it is.
fn fits(a: &Address, link: LinkId) -> bool {
    a.link == link && a.is_host()
}
