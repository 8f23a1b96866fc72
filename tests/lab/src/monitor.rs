//! Listens to address events in every node's namespace and keeps the [`Timeline`].
//!
//! One blocking thread for each namespace: the stamp is taken as soon as the kernel wakes it. On a busy machine that
//! can be milliseconds late, and an address that went from one node to another would seem to have been on both. So
//! whenever one comes up (or its key is gone), all namespaces are looked at, too: what is not there any more at that
//! moment has left by then, even if the news of it is still under way. What overlap remains was seen with both there.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::clock::{self, At};
use crate::netlink::{ADDRESSES, Listener, News};
use crate::netns::NetNs;
use crate::timeline::{NodeIndex, Timeline};
use crate::urgent;

/// The shared timeline, and news of its growth.
#[derive(Clone, Default)]
pub(crate) struct Monitor {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    timeline: Mutex<Timeline>,
    grown: Condvar,
    /// For looking at each node's addresses; its place is the node's.
    lookers: Mutex<Vec<Listener>>,
}

impl Monitor {
    /// Begins to listen in `namespace`, the node number `node`; returns once the socket stands.
    pub(crate) fn watch(&self, node: NodeIndex, namespace: &NetNs) -> Result<()> {
        let (mut listener, looker) = namespace.run(|| Ok((Listener::open(ADDRESSES)?, Listener::open(0)?)))?;
        self.shared.lookers.lock().unwrap_or_else(PoisonError::into_inner).insert(node, looker);
        let shared = Arc::clone(&self.shared);
        thread::Builder::new().name(format!("monitor-{node}")).spawn(move || shared.listen(node, &mut listener))?;
        Ok(())
    }

    /// These addresses move as one: when one of them comes to a node it matters where the others are.
    pub(crate) fn as_one(&self, group: &[std::net::IpAddr]) {
        self.shared.lock().as_one(group);
    }

    /// Looks at all nodes: what left them has left by `at`.
    pub(crate) fn look(&self, at: At) {
        self.shared.look(&mut self.shared.lock(), at);
    }

    /// Takes in what was learnt of a node that is no namespace here. It cannot be looked at, so the news of an address
    /// leaving it may come late, and never early.
    pub(crate) fn tell(&self, node: NodeIndex, at: At, news: &News) {
        let mut timeline = self.shared.lock();
        if comes_elsewhere(&timeline, node, news) {
            self.shared.look(&mut timeline, at);
        }
        record(&mut timeline, at, node, news);
        drop(timeline);
        self.shared.grown.notify_all();
    }

    /// The timeline as it is now.
    pub(crate) fn timeline(&self) -> MutexGuard<'_, Timeline> {
        self.shared.lock()
    }

    /// Waits until `seen` finds what it looks for.
    pub(crate) fn wait<T>(&self, within: Duration, mut seen: impl FnMut(&Timeline) -> Option<T>) -> Option<T> {
        let deadline = clock::now() + within;
        let mut timeline = self.shared.lock();
        loop {
            if let Some(found) = seen(&timeline) {
                return Some(found);
            }
            let left = deadline.since(clock::now());
            if left.is_zero() {
                return None;
            }
            let woken = self.shared.grown.wait_timeout(timeline, left);
            timeline = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Fails if any address ever seen stood on two nodes at once between the two moments, or if events were lost.
    pub(crate) fn no_overlap(&self, from: At, to: At) -> Result<()> {
        let timeline = self.timeline();
        ensure!(timeline.lost == 0, "the kernel dropped address events: no verdict");
        for ip in timeline.addresses().into_iter().filter(|ip| !own_to_every_node(*ip)) {
            let overlap = timeline.overlap(ip, from, to);
            ensure!(overlap.is_zero(), "{ip} stood on two nodes for {}", clock::millis(overlap));
        }
        Ok(())
    }
}

/// Loopback's addresses are everywhere, by design.
fn own_to_every_node(ip: std::net::IpAddr) -> bool {
    ip.is_loopback()
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Timeline> {
        self.timeline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Under the timeline's lock: so whatever it says is there was there before the look.
    fn look(&self, timeline: &mut Timeline, at: At) {
        let mut lookers = self.lookers.lock().unwrap_or_else(PoisonError::into_inner);
        for (node, looker) in lookers.iter_mut().enumerate() {
            if let Ok(there) = looker.addresses() {
                timeline.seen(at, node, &there);
            }
        }
    }

    fn listen(&self, node: NodeIndex, listener: &mut Listener) {
        urgent::this_thread();
        while let Ok(news) = listener.next() {
            let at = clock::now();
            let mut timeline = self.lock();
            match news {
                None => timeline.lost += 1,
                Some(news) => {
                    if news.iter().any(|one| comes_elsewhere(&timeline, node, one)) {
                        self.look(&mut timeline, at);
                    }
                    news.iter().for_each(|one| record(&mut timeline, at, node, one));
                }
            }
            drop(timeline);
            self.grown.notify_all();
        }
    }
}

/// It came to this node while another seems to have it.
fn comes_elsewhere(timeline: &Timeline, node: NodeIndex, news: &News) -> bool {
    let News::AddressPut { ip, .. } = *news else { return false };
    let elsewhere = |ip: &std::net::IpAddr| timeline.holders(*ip).iter().any(|holder| *holder != node);
    !own_to_every_node(ip) && (elsewhere(&ip) || timeline.fellows(ip).iter().any(elsewhere))
}

fn record(timeline: &mut Timeline, at: At, node: NodeIndex, news: &News) {
    match *news {
        News::AddressPut { ip, link, valid, .. } => timeline.put(at, node, ip, link, valid),
        News::AddressGone { ip, link, by_kernel } => {
            if by_kernel {
                timeline.ended(at, node, ip);
            }
            timeline.gone(at, node, ip, link);
        }
        News::Neighbour { .. } | News::NeighbourGone { .. } | News::Done => {}
    }
}
