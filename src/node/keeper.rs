//! The keeper: makes the kernel agree with the latest wish, VIP by VIP, and says what became of it.
//!
//! It wakes on a changed wish, on news from the kernel, at the next moment an address is to be topped up, and to try
//! again what failed. Whatever woke it, it does the same: look, compare, write, read back. It decides nothing: a wish
//! that failed, or met an address that is not ours, is over until the election gives another generation.
//!
//! It is the only one that writes addresses once it runs, one after the other. When it is dropped, it leaves what it put
//! to the kernel's own clock.

mod converge;
mod links;
mod pulse;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::warn;

use super::clock::{Alarm, now};
use super::kernel::{Kernel, chain};
use super::netlink::{Monitor, News};
use super::vlan::Missing;
use crate::election::action::Wish;
use crate::election::event::{Event, Generation, LinkId, VipId};
use crate::link::LinkChoice;
use crate::moment::Moment;
use converge::Kept;
use links::{Extent, Links};
pub use links::{LinkState, LinkStates, LinkView, is_neighbour};
pub use pulse::Pulse;

/// When to try again what the kernel refused or did not answer: its word must come, if it can.
pub const RETRY: Duration = Duration::from_millis(200);

/// A link that every network namespace has.
const LOOPBACK: LinkId = LinkId(1);

/// How old a wish may be that puts an address for the first time: an order takes microseconds to get here.
const FRESH: Duration = Duration::from_millis(100);

/// A VIP of the plan, as far as the keeper needs it. Which of its addresses go where never changes under one number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptVip {
    /// Which VIP.
    pub id: VipId,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The link it belongs on, which need not be there yet.
    pub link: LinkChoice,
}

/// What the election wants of one VIP: its latest `Put`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// The wish's number.
    pub generation: Generation,
    /// The link to put it on. It counts only while the link chosen for the VIP is this one, up and carrying.
    pub link: Option<LinkId>,
    /// The wish.
    pub wish: Wish,
    /// When the facts behind it were looked at.
    pub at: Moment,
}

impl Wanted {
    /// Whether this wish is too old for an address that is not there yet. Frozen between the order and the put, a process
    /// does not know what became of its turn meanwhile, and its fence may be seconds away. The next counted pair brings
    /// another wish of the same number.
    pub(super) fn is_stale(&self, now: Moment) -> bool {
        now.since(self.at) > FRESH
    }
}

/// The latest wish for every VIP. A VIP without one is left alone.
pub type Wishes = BTreeMap<VipId, Wanted>;

/// The keeper; see the module.
#[derive(Debug)]
pub struct Keeper {
    kernel: Kernel,
    monitor: Monitor,
    alarm: Alarm,
    links: Links,
    vips: Vec<Kept>,
    plan: watch::Receiver<Vec<KeptVip>>,
    wishes: watch::Receiver<Wishes>,
    events: mpsc::Sender<Event>,
    pulse: Pulse,
}

/// What a waking is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Look {
    links: Extent,
    addresses: bool,
}

const EVERYTHING: Look = Look { links: Extent::All, addresses: true };

impl Look {
    /// News of links, which take addresses along.
    fn concern(&mut self, extent: Extent) {
        self.links = self.links.max(extent);
        self.addresses |= extent != Extent::None;
    }
}

/// Nobody listens any more.
struct Deaf;

impl Keeper {
    /// A keeper for these VIPs, in this thread's network namespace. It does nothing until it runs. Who changes the plan
    /// does so before the wish for a new VIP, and takes out only what it has no wish for but to be absent. `views` has the
    /// link of each VIP, `missing` the VLANs that have none.
    ///
    /// # Errors
    /// When the socket for news or the timer cannot be opened.
    pub fn new(
        kernel: Kernel,
        plan: watch::Receiver<Vec<KeptVip>>,
        wishes: watch::Receiver<Wishes>,
        events: mpsc::Sender<Event>,
        views: watch::Sender<LinkStates>,
        missing: watch::Sender<BTreeSet<Missing>>,
    ) -> io::Result<Self> {
        let (monitor, alarm, pulse) = (Monitor::open()?, Alarm::new()?, Pulse::new(now()));
        let mut links = Links::new(views, missing);
        links.follow(&plan.borrow());
        let vips = plan.borrow().iter().cloned().map(Kept::new).collect();
        Ok(Self { kernel, monitor, alarm, links, vips, plan, wishes, events, pulse })
    }

    /// Tells whether it lives.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Keeps, until the wishes' sender or the events' receiver is dropped.
    ///
    /// # Errors
    /// When the timer breaks, which leaves nothing to keep time with.
    pub async fn run(mut self) -> io::Result<()> {
        let mut look = EVERYTHING;
        while self.attend(look).await.is_ok() {
            self.beat().await;
            let deadline = self.deadline();
            look = tokio::select! {
                biased;
                changed = self.wishes.changed() => match changed {
                    Ok(()) => Look::default(),
                    Err(_) => return Ok(()),
                },
                Ok(()) = self.plan.changed() => self.follow(),
                rang = self.alarm.wait(deadline) => rang.map(|()| Look::default())?,
                news = self.monitor.next() => self.heed(news).await,
            };
        }
        Ok(())
    }

    /// Another plan: who stays is not touched.
    fn follow(&mut self) -> Look {
        let plan = self.plan.borrow_and_update().clone();
        self.vips.retain(|kept| plan.iter().any(|vip| vip.id == kept.id()));
        for vip in &plan {
            if !self.vips.iter().any(|kept| kept.id() == vip.id) {
                self.vips.push(Kept::new(vip.clone()));
            }
        }
        self.links.follow(&plan);
        EVERYTHING
    }

    fn deadline(&self) -> Option<Moment> {
        self.vips.iter().filter_map(Kept::next).chain(self.links.next()).chain([self.pulse.next()]).min()
    }

    /// Asks the kernel something now and then, though there is nothing to do, to know that it answers.
    async fn beat(&mut self) {
        if self.pulse.next() > now() {
            return;
        }
        self.pulse.tried(now());
        match self.kernel.link_by_id(LOOPBACK).await {
            Ok(_) => self.pulse.beat(now()),
            Err(e) => warn!("the kernel does not answer: {}", chain(&e)),
        }
    }

    /// Looks at the links if need be, then makes every VIP agree with its latest wish.
    async fn attend(&mut self, look: Look) -> Result<(), Deaf> {
        let due = self.links.next().is_some_and(|at| at <= now());
        let extent = if due { Extent::All } else { look.links };
        if extent != Extent::None {
            for event in self.links.look(&mut self.kernel, extent).await {
                self.say(event).await?;
            }
        }
        self.wishes.mark_unchanged();
        for i in 0..self.vips.len() {
            let vip = &mut self.vips[i];
            // Only the latest wish counts, also if it came while another VIP was attended to.
            let Some(wanted) = self.wishes.borrow().get(&vip.id()).copied() else { continue };
            let serving = self.links.serving(vip.id());
            for event in vip.converge(&mut self.kernel, wanted, serving, look.addresses).await {
                self.say(event).await?;
            }
        }
        Ok(())
    }

    async fn say(&self, event: Event) -> Result<(), Deaf> {
        self.events.send(event).await.map_err(|_| Deaf)
    }

    /// What to look at after these news and all that came with them.
    async fn heed(&mut self, first: io::Result<News>) -> Look {
        let mut look = Look::default();
        let mut news = first.map(Some);
        loop {
            match news {
                Ok(Some(heard)) => self.weigh(&heard, &mut look),
                Ok(None) => return look,
                Err(e) => {
                    self.listen_anew(&e).await;
                    return EVERYTHING;
                }
            }
            news = self.monitor.try_next();
        }
    }

    /// Whether news are worth a look. A node where pods come and go has many links and addresses that are not ours.
    fn weigh(&self, news: &News, look: &mut Look) {
        match news {
            News::Link(link) => look.concern(self.links.concerned_by(link)),
            News::Port(id) => look.concern(self.links.concerned_by_id(*id)),
            // Not for our own puts and top-ups: the put's own answer has told of them.
            News::AddressNew(a) => look.addresses |= self.keeps(a.ip) && !(self.kernel.is_ours(a) && self.wants(a.ip)),
            // A link that goes down takes its IPv6 addresses along before it says that it is down: so both are looked
            // at, lest an address be put back on a link that cannot serve.
            News::AddressGone(ip) if self.keeps(*ip) => look.concern(Extent::Chosen),
            News::AddressGone(_) => {}
            News::Anything => *look = EVERYTHING,
        }
    }

    fn keeps(&self, ip: IpAddr) -> bool {
        self.vips.iter().any(|vip| vip.addresses().contains(&ip))
    }

    fn wants(&self, ip: IpAddr) -> bool {
        self.vips.iter().any(|vip| vip.addresses().contains(&ip) && !vip.is_absent())
    }

    /// The socket for news broke: another, and everything may have changed meanwhile.
    async fn listen_anew(&mut self, e: &io::Error) {
        warn!("listening to the kernel's news failed, listening anew: {e}");
        match Monitor::open() {
            Ok(monitor) => self.monitor = monitor,
            // The broken one answers at once again; not in a tight loop.
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}
