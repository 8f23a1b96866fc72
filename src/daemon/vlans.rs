//! The links of VLANs that vipd creates, from the daemon's start to its end.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::warn;

use crate::node::keeper::KeptVip;
use crate::node::kernel::chain;
use crate::node::vlan::{Missing, create_missing, remove_created};
use crate::plan::Plan;

/// How long the end waits for a task that the kernel holds up.
const PATIENCE: Duration = Duration::from_secs(2);

/// At the start: removes what an earlier life created and this one has no use for. `ours` are the addresses that are no
/// use by somebody else.
pub async fn clean(plan: &Plan, ours: &[IpAddr]) {
    let needed: Vec<_> = plan.vips.iter().map(|vip| &vip.link).collect();
    if let Err(e) = remove_created(&needed, ours).await {
        warn!("cannot look for VLAN links that an earlier life created: {}", chain(&e));
    }
}

/// When the daemon is gone: removes all that it created.
pub async fn remove_all(ours: &[IpAddr]) {
    if let Err(e) = remove_created(&[], ours).await {
        warn!("cannot look for the VLAN links that vipd created: {}", chain(&e));
    }
}

/// The task that creates what is missing, and removes what a reload left without a VIP.
#[derive(Debug)]
pub struct Vlans {
    task: JoinHandle<()>,
    plan: watch::Receiver<Vec<KeptVip>>,
    /// There was a VIP on a VLAN.
    used: Arc<AtomicBool>,
}

impl Vlans {
    /// Starts it.
    pub fn start(plan: watch::Receiver<Vec<KeptVip>>, missing: watch::Receiver<BTreeSet<Missing>>) -> Self {
        let used = Arc::default();
        let task = tokio::spawn(care(plan.clone(), missing, Arc::clone(&used)));
        Self { task, plan, used }
    }

    /// Waits until nothing is created any more, and removes what was. The wishes are dropped by now, so the keeper ends,
    /// and with it the task.
    pub async fn finish(self, keeper: JoinHandle<io::Result<()>>) {
        if !self.used.load(Relaxed) {
            return;
        }
        let ended = tokio::time::timeout(PATIENCE, async { (keeper.await, self.task.await) });
        if ended.await.is_err() {
            warn!("the kernel holds up the creation of a VLAN's link; it is left to the next start");
        }
        let plan = self.plan.borrow().clone();
        remove_all(&ours(&plan)).await;
    }
}

/// Until nobody says any more what is missing.
async fn care(
    mut plan: watch::Receiver<Vec<KeptVip>>,
    missing: watch::Receiver<BTreeSet<Missing>>,
    used: Arc<AtomicBool>,
) {
    let mut creating = pin!(create_missing(missing));
    let mut before = plan.borrow_and_update().clone();
    loop {
        if before.iter().any(|vip| vip.link.vlan.is_some()) {
            used.store(true, Relaxed);
        }
        tokio::select! {
            () = &mut creating => return,
            Ok(()) = plan.changed() => {
                let new = plan.borrow_and_update().clone();
                let is_left = |old: &KeptVip| old.link.vlan.is_some() && !new.iter().any(|vip| vip.link == old.link);
                if before.iter().any(is_left) {
                    remove_left(&new, &before).await;
                }
                before = new;
            }
        }
    }
}

/// No VIP of the plan is on them any more.
async fn remove_left(plan: &[KeptVip], before: &[KeptVip]) {
    let needed: Vec<_> = plan.iter().map(|vip| &vip.link).collect();
    if let Err(e) = remove_created(&needed, &ours(before)).await {
        warn!("cannot look for VLAN links that no VIP needs any more: {}", chain(&e));
    }
}

fn ours(plan: &[KeptVip]) -> Vec<IpAddr> {
    plan.iter().flat_map(|vip| vip.addresses.clone()).collect()
}
