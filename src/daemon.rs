//! The daemon: start order, the loop, stop order.
//!
//! Start: claim the network namespace, take off what an earlier life left, then etcd, the keeper and the election. The
//! claim comes first because nobody may touch addresses without it; left-overs come before etcd because they need not
//! wait for it. Stop is the election's affair ([`crate::election`]); when it says `Finish`, everything is dropped.

mod claim;
mod driver;
mod memory;
mod release;
pub mod tell;

use anyhow::Context;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

pub use claim::{Claim, ClaimError};
use driver::Driver;
pub use driver::End;
use memory::Memory;
pub use release::release;

use crate::config::Config;
use crate::election::event::Event;
use crate::election::guards::Guards;
use crate::election::machine::{Election, Settings};
use crate::node::announce::Announcer;
use crate::node::clock::now;
use crate::node::conflict::Prober;
use crate::node::conflict::lookout::Lookout;
use crate::node::etcd::Etcd;
use crate::node::keeper::{Keeper, KeptVip, Wishes};
use crate::node::kernel::Kernel;
use crate::node::leftovers::clean_leftovers;
use crate::plan::Plan;

/// Facts that may wait for the election. The driver takes them in microseconds; an adapter that finds it full waits.
const FACTS: usize = 1024;

/// This daemon's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs the daemon until it is asked to stop.
///
/// # Errors
/// When it cannot start (nothing was changed then, or what an earlier life left is still there and the error says so),
/// or when what it stands on breaks.
pub async fn run(config: Config) -> anyhow::Result<End> {
    let _claim = Claim::take()?;
    let plan = Plan::new(&config);
    let mut memory = Memory::open(&config.runtime_dir)?;
    let mut kernel = Kernel::open().await.context("cannot reach the kernel's network configuration")?;
    let addresses: Vec<_> = plan.vips.iter().flat_map(|v| v.addresses.clone()).collect();
    let ours: Vec<_> = addresses.iter().chain(memory.addresses()).copied().collect();
    for left in clean_leftovers(&mut kernel, &ours).await? {
        warn!(address = %left, "took off what an earlier life left");
    }
    memory.will_put(addresses)?;

    let (report, events) = mpsc::channel(FACTS);
    let mut etcd = Etcd::start(&config.etcd, config.lease.ttl, report.clone());
    for lease in memory.leases() {
        etcd.release(lease, &config.node, VERSION);
    }
    let (wishes, wished) = watch::channel(Wishes::new());
    let keeper = keeper(&plan, kernel, wished, report.clone())?;
    let (election, first) = Election::start(settings(&config), &plan, now());
    let (prober, lookout) = (Prober::new(report.clone()), Lookout::start(report));
    let driver = Driver { plan, events, wishes, etcd, announcer: Announcer::new(), prober, lookout, memory };
    info!(node = config.node, version = VERSION, vips = driver.plan.vips.len(), "vipd runs");
    tokio::select! {
        end = driver.run(election, first) => end.context("the daemon's timer or signals broke"),
        end = keeper => {
            end.context("the keeper of addresses broke")?;
            anyhow::bail!("the keeper of addresses ended by itself")
        }
    }
}

fn settings(config: &Config) -> Settings {
    Settings {
        node: config.node.clone(),
        version: VERSION.into(),
        prefix: config.etcd.prefix.clone(),
        margin: config.lease.margin,
        announce: config.announce.clone(),
        on_conflict: config.on_conflict,
        guards: Guards::default(),
    }
}

/// The keeper, in a task of its own.
fn keeper(
    plan: &Plan,
    kernel: Kernel,
    wishes: watch::Receiver<Wishes>,
    report: mpsc::Sender<Event>,
) -> anyhow::Result<impl Future<Output = std::io::Result<()>> + use<>> {
    let kept =
        plan.vips.iter().map(|v| KeptVip { id: v.id, addresses: v.addresses.clone(), link_name: v.link.clone() });
    let (views, _) = watch::channel(std::collections::BTreeMap::new());
    let keeper = Keeper::new(kernel, kept.collect(), wishes, report, views)?;
    let task = tokio::spawn(keeper.run());
    Ok(async move { task.await.map_err(std::io::Error::other)? })
}
