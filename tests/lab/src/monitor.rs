//! Listens to address events in every node's namespace and keeps the [`Timeline`].
//!
//! One blocking thread for each namespace: the stamp is taken as soon as the kernel wakes it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::clock::{self, At};
use crate::netlink::{ADDRESSES, Listener, News};
use crate::netns::NetNs;
use crate::timeline::{NodeIndex, Timeline};

/// The shared timeline, and news of its growth.
#[derive(Clone, Default)]
pub(crate) struct Monitor {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    timeline: Mutex<Timeline>,
    grown: Condvar,
}

impl Monitor {
    /// Begins to listen in `namespace`, the node number `node`; returns once the socket stands.
    pub(crate) fn watch(&self, node: NodeIndex, namespace: &NetNs) -> Result<()> {
        let mut listener = namespace.run(|| Listener::open(ADDRESSES))?;
        let shared = Arc::clone(&self.shared);
        thread::Builder::new().name(format!("monitor-{node}")).spawn(move || shared.listen(node, &mut listener))?;
        Ok(())
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

    fn listen(&self, node: NodeIndex, listener: &mut Listener) {
        while let Ok(news) = listener.next() {
            let at = clock::now();
            let mut timeline = self.lock();
            match news {
                None => timeline.lost += 1,
                Some(news) => news.iter().for_each(|one| record(&mut timeline, at, node, one)),
            }
            drop(timeline);
            self.grown.notify_all();
        }
    }
}

fn record(timeline: &mut Timeline, at: At, node: NodeIndex, news: &News) {
    match *news {
        News::AddressPut { ip, link, valid } => timeline.put(at, node, ip, link, valid),
        News::AddressGone { ip, link } => timeline.gone(at, node, ip, link),
        News::Neighbour { .. } | News::NeighbourGone { .. } => {}
    }
}
