//! The links of VLANs that vipd creates, from the daemon's start to its end.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::warn;

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

/// The task that creates what is missing.
#[derive(Debug)]
pub struct Vlans {
    /// None, if no VIP is on a VLAN.
    task: Option<JoinHandle<()>>,
    ours: Vec<IpAddr>,
}

impl Vlans {
    /// Starts it.
    pub fn start(plan: &Plan, missing: watch::Receiver<BTreeSet<Missing>>) -> Self {
        let wanted = plan.vips.iter().any(|vip| vip.link.vlan.is_some());
        let task = wanted.then(|| tokio::spawn(create_missing(missing)));
        Self { task, ours: plan.vips.iter().flat_map(|vip| vip.addresses.clone()).collect() }
    }

    /// Waits until nothing is created any more, and removes what was. The wishes are dropped by now, so the keeper ends,
    /// and with it the task.
    pub async fn finish(self, keeper: JoinHandle<io::Result<()>>) {
        let Some(task) = self.task else { return };
        let ended = tokio::time::timeout(PATIENCE, async { (keeper.await, task.await) });
        if ended.await.is_err() {
            warn!("the kernel holds up the creation of a VLAN's link; it is left to the next start");
        }
        remove_all(&self.ours).await;
    }
}
