//! `vipd release`: what a unit runs after its daemon is gone, however it went.
//!
//! The same order as always: addresses off, the kernel's word, then etcd with the owner's word. The links of VLANs that
//! the daemon created go last. Beside a living daemon it is refused. Without etcd the addresses go all the same, and the
//! lease ends by itself. So it is where the config is refused by now: where etcd is, nobody knows then.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{Claim, ClaimError, Memory, VERSION, control, vlans};
use crate::config::Config;
use crate::election::event::LeaseId;
use crate::node::clock::now;
use crate::node::etcd::{self, Release};
use crate::node::kernel::Kernel;
use crate::node::leftovers::clean_leftovers;

/// How long a killed process may take to end: it has tens of megabytes at most.
const ENDING: Duration = Duration::from_millis(200);
/// When the claim is tried again.
const AGAIN: Duration = Duration::from_millis(5);

/// Takes off what a dead daemon left and gives its leases back, within `bound` for etcd's part.
///
/// # Errors
/// When a daemon lives here, or the kernel does not confirm that the addresses are off: then nothing was released.
pub async fn release(config: &Config, bound: Duration) -> anyhow::Result<()> {
    let configured: Vec<_> = config.vips.iter().flat_map(|v| v.addresses.clone()).collect();
    clean(&config.runtime_dir, &configured, async |leases| give_back(config, leases, bound).await).await
}

/// Takes off what a dead daemon left, as far as it remembered; for a unit whose config is refused by now. Its leases end by
/// themselves.
///
/// # Errors
/// As for [`release`].
pub async fn take_off(runtime_dir: &Path) -> anyhow::Result<()> {
    clean(runtime_dir, &[], async |_| false).await
}

/// `give_back` gets the leases when the addresses are off, and says whether all of them are given back.
async fn clean(
    runtime_dir: &Path,
    configured: &[IpAddr],
    give_back: impl AsyncFnOnce(Vec<LeaseId>) -> bool,
) -> anyhow::Result<()> {
    let _claim = claim().await?;
    let mut memory = Memory::open(runtime_dir)?;
    let mut kernel = Kernel::open().await.context("cannot reach the kernel's network configuration")?;
    let ours: Vec<_> = configured.iter().chain(memory.addresses()).copied().collect();
    for left in clean_leftovers(&mut kernel, &ours).await? {
        info!(address = %left, "took it off");
    }
    if give_back(memory.leases()).await {
        memory.forget()?;
    }
    control::forget(runtime_dir);
    // Last: nobody waits for it.
    vlans::remove_all(&ours).await;
    Ok(())
}

/// The claim. A daemon that was killed this instant may still be ending.
async fn claim() -> Result<Claim, ClaimError> {
    let until = now() + ENDING;
    loop {
        match Claim::take() {
            Err(ClaimError::Taken(_)) if now() < until => sleep(AGAIN).await,
            taken => return taken,
        }
    }
}

/// All leases side by side; whether every one of them is given back.
async fn give_back(config: &Config, leases: Vec<LeaseId>, bound: Duration) -> bool {
    let each = leases.into_iter().map(|lease| async move {
        match etcd::release(&config.etcd, lease, &config.node, VERSION, bound).await {
            Release::Done { released } => info!(%lease, candidates = released.len(), "released in etcd"),
            Release::Gone => info!(%lease, "gone from etcd already"),
            Release::GivenUp { why } => {
                warn!(%lease, "not released in etcd, the lease ends by itself: {why}");
                return false;
            }
        }
        true
    });
    futures_util::future::join_all(each).await.into_iter().all(|given_back| given_back)
}
