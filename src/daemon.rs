//! The daemon: start order, the loop, stop order.
//!
//! Start: claim the network namespace, take off what an earlier life left, then etcd, the keeper and the election. The
//! claim comes first because nobody may touch addresses without it; left-overs come before etcd because they need not
//! wait for it. The links of VLANs that vipd created go last, when nothing of ours is on them any more. Stop is the election's affair ([`crate::election`]); when it says `Finish`, everything is dropped.

mod auditor;
mod claim;
pub mod control;
mod driver;
mod measures;
mod memory;
mod release;
pub mod reload;
mod scrape;
mod service;
pub mod tell;
mod vlans;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use anyhow::Context;
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use auditor::Auditor;
pub use claim::{Claim, ClaimError};
use control::{Ask, Control, WAITING};
use driver::Driver;
pub use driver::End;
use measures::Measures;
use memory::Memory;
pub use release::{release, take_off};
use reload::{Loaded, Reloader};
use scrape::{Scrape, Source};
use service::Service;
use tell::Teller;
use vlans::Vlans;

use crate::config::{Config, LogLevel};
use crate::election::guards::Guards;
use crate::election::machine::{Election, Settings};
use crate::metrics::metrics;
use crate::node::announce::Announcer;
use crate::node::clock::now;
use crate::node::conflict::Prober;
use crate::node::conflict::lookout::Lookout;
use crate::node::etcd::Etcd;
use crate::node::keeper::{Keeper, KeptVip, Wishes};
use crate::node::kernel::Kernel;
use crate::node::leftovers::clean_leftovers;
use crate::plan::Plan;
use crate::status::Story;

/// Facts that may wait for the election. The driver takes them in microseconds; an adapter that finds it full waits.
const FACTS: usize = 1024;

/// This daemon's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Changes what is logged.
pub type SetLevel = Box<dyn Fn(LogLevel) -> Result<(), String> + Send>;

/// Runs the daemon until it is asked to stop. `path`: where the config is read anew from; `set_level`: none, if what is
/// logged is not for the config to say.
///
/// # Errors
/// When it cannot start (nothing was changed then, or what an earlier life left is still there and the error says so),
/// or when what it stands on breaks.
pub async fn run(config: Config, path: &Path, set_level: Option<SetLevel>) -> anyhow::Result<End> {
    let _claim = Claim::take()?;
    let plan = Plan::new(&config);
    let mut memory = Memory::open(&config.runtime_dir)?;
    let mut kernel = Kernel::open().await.context("cannot reach the kernel's network configuration")?;
    let addresses: Vec<_> = plan.vips.iter().flat_map(|v| v.addresses.clone()).collect();
    let ours: Vec<_> = addresses.iter().chain(memory.addresses()).copied().collect();
    for left in clean_leftovers(&mut kernel, &ours).await? {
        warn!(address = %left, "took off what an earlier life left");
    }
    vlans::clean(&plan, &ours).await;
    memory.will_put(addresses)?;

    let (report, events) = mpsc::channel(FACTS);
    let mut etcd = Etcd::start(&config.etcd, config.lease.ttl, report.clone());
    for lease in memory.leases() {
        etcd.release(lease, &config.node, VERSION);
    }
    let (wishes, wished) = watch::channel(Wishes::new());
    let ((show, views), (miss, missing)) = (watch::channel(BTreeMap::new()), watch::channel(BTreeSet::new()));
    let there = kernel.there();
    let (keep, to_keep) = watch::channel(kept(&plan));
    let keeper = Keeper::new(kernel, to_keep.clone(), wished, report.clone(), show, miss)?;
    let pulse = keeper.pulse();
    let service = Service::new(pulse.clone(), now());
    let mut keeper = tokio::spawn(keeper.run());
    let vlans = Vlans::start(to_keep, missing);
    let (election, first) = Election::start(settings(&config), &plan, now());
    let (prober, lookout) = (Prober::new(report.clone()), Lookout::start(report));
    let (happened, audit, page) = metrics(&config.node, VERSION, now());
    let measures = Measures::new(happened, &plan);
    tokio::spawn(Auditor::new(audit, measures.claims(), there)?.run());
    let (ask, asks) = mpsc::channel(WAITING);
    let reloader = Reloader::new(path, ask.clone());
    let _control = listen(&config.runtime_dir, ask.clone(), reloader.clone());
    let source = Source { asks: ask, page, outlook: etcd.outlook(), pulse, readiness: service.readiness() };
    let _scrape = config.metrics.map(|at| Scrape::start(at, source)).transpose()?;
    let (announcer, story, teller) = (Announcer::new(), Story::default(), Teller::default());
    let node = config.node.clone();
    info!(node, version = VERSION, vips = plan.vips.len(), "vipd runs");
    let loaded = Loaded::new(config, plan.first_free(), keep, set_level);
    let driver = Driver {
        node,
        plan,
        events,
        wishes,
        views,
        etcd,
        announcer,
        prober,
        lookout,
        memory,
        service,
        story,
        teller,
        measures,
        loaded,
        asks,
        reloader,
    };
    let end = tokio::select! {
        end = driver.run(election, first) => end.context("the daemon's timer or signals broke")?,
        end = &mut keeper => {
            end.map_err(std::io::Error::other).flatten().context("the keeper of addresses broke")?;
            anyhow::bail!("the keeper of addresses ended by itself")
        }
    };
    vlans.finish(keeper).await;
    Ok(end)
}

/// Without it the VIPs are held all the same; it is said, and nobody can ask.
fn listen(runtime_dir: &Path, asks: mpsc::Sender<Ask>, reloader: Reloader) -> Option<Control> {
    let failed = |e: &io::Error| error!("there is no control socket, so `vipd status` cannot ask: {e}");
    Control::start(runtime_dir, asks, reloader).inspect_err(failed).ok()
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

/// The plan, as far as the keeper needs it.
fn kept(plan: &Plan) -> Vec<KeptVip> {
    let kept = plan.vips.iter();
    kept.map(|v| KeptVip { id: v.id, addresses: v.addresses.clone(), link: v.link.clone() }).collect()
}
