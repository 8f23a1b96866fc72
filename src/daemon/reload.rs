//! Reload: the config is read anew, checked as at the start, and the difference applied. What did not change is not touched.
//!
//! The reading is done beside the loop, on a thread that a file system may hang; the loop gets a checked configuration
//! and applies it in one go, or refuses it whole. `vipd reload` waits for the answer; SIGHUP leaves it to the log.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::control::{Answer, Ask};
use super::driver::Driver;
use super::{SetLevel, kept};
use crate::config::{self, Config, LOG_LEVEL, Lease, Ttl};
use crate::election::action::{Action, Note};
use crate::election::event::{Event, Reconfiguration, VipId};
use crate::election::machine::Election;
use crate::node::clock::calendar_millis;
use crate::node::keeper::KeptVip;
use crate::node::kernel::chain;
use crate::plan::Difference;
use crate::status;

/// How long the file may take to be read. Less than a client of the control socket has.
const READ: Duration = Duration::from_secs(4);

/// What a reload did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reloaded {
    /// The file that was read.
    pub file: String,
    /// What changed; a VIP that goes, and one that waits for it, may take a moment from now.
    pub applied: Vec<String>,
    /// What changes with the next session.
    pub later: Vec<String>,
}

/// Why a file was refused; nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// The file that was read.
    pub file: String,
    /// All that is wrong with it.
    pub lines: Vec<String>,
}

/// What the loop says to a checked configuration.
pub(super) type Verdict = Result<Reloaded, Vec<String>>;

/// Reads the config and hands it to the loop.
#[derive(Clone, Debug)]
pub(super) struct Reloader {
    path: Arc<Path>,
    asks: mpsc::Sender<Ask>,
    /// One after the other: the file as it was read last is the one that counts.
    turn: Arc<Mutex<()>>,
}

impl Reloader {
    pub(super) fn new(path: &Path, asks: mpsc::Sender<Ask>) -> Self {
        Self { path: path.into(), asks, turn: Arc::default() }
    }

    /// Reloads, and says what came of it.
    pub(super) async fn reload(&self) -> Answer {
        let _turn = self.turn.lock().await;
        let path = Arc::clone(&self.path);
        let read = tokio::task::spawn_blocking(move || config::load(&path));
        let config = match timeout(READ, read).await {
            Ok(Ok(Ok(config))) => config,
            Ok(Ok(Err(refusal))) => {
                let lines: Vec<String> = refusal.problems().iter().map(ToString::to_string).collect();
                // Who refuses is here; the loop only keeps it for the status.
                let _ending = self.asks.send(Ask::Refused(lines.clone())).await;
                return Answer::Refused(Refused { file: self.file(), lines });
            }
            Ok(Err(broke)) => return Answer::Error(format!("reading {} broke: {broke}", self.file())),
            Err(_) => {
                return Answer::Error(format!(
                    "{} could not be read within {READ:?}; nothing was changed",
                    self.file()
                ));
            }
        };
        let (tell, told) = oneshot::channel();
        let _ending = self.asks.send(Ask::Reload(Box::new(config), tell)).await;
        match told.await {
            Ok(Ok(done)) => Answer::Reload(Reloaded { file: self.file(), ..done }),
            Ok(Err(lines)) => Answer::Refused(Refused { file: self.file(), lines }),
            Err(_) => Answer::Error("the daemon is ending; nothing was changed".into()),
        }
    }

    /// Reloads on SIGHUP, for nobody who waits.
    pub(super) fn on_signal(&self) {
        info!(file = self.file(), "SIGHUP: reading the config anew");
        let this = self.clone();
        tokio::spawn(async move {
            // What came of it is in the log, but for what never reached the loop.
            if let Answer::Error(why) = this.reload().await {
                error!("not reloaded: {why}");
            }
        });
    }

    fn file(&self) -> String {
        self.path.display().to_string()
    }
}

/// What the loop must know to reload.
pub(super) struct Loaded {
    /// What holds now.
    pub(super) config: Config,
    /// The next number for a VIP.
    pub(super) free: VipId,
    /// The plan, for who keeps addresses and links.
    pub(super) kept: watch::Sender<Vec<KeptVip>>,
    /// Changes what is logged; none: the command line says that.
    set_level: Option<SetLevel>,
    /// For people.
    pub(super) told: status::Config,
    /// What the last lease was asked for with, and what the session's was.
    asked: Lease,
    session: Option<Lease>,
}

impl Loaded {
    pub(super) fn new(
        config: Config,
        free: VipId,
        kept: watch::Sender<Vec<KeptVip>>,
        set_level: Option<SetLevel>,
    ) -> Self {
        let told = status::Config { loaded_at: calendar_millis(), ..status::Config::default() };
        let asked = config.lease;
        Self { config, free, kept, set_level, told, asked, session: None }
    }

    /// Something was ordered: with which timings does the session live?
    pub(super) fn heed(&mut self, order: &Action) {
        match order {
            Action::GrantLease => self.asked = self.config.lease,
            Action::Tell(Note::SessionBegan { .. }) => self.session = Some(self.asked),
            _ => {}
        }
    }

    /// What becomes of a setting that changed.
    fn at_once(&self, name: &str) -> String {
        match &self.set_level {
            None if name == LOG_LEVEL => format!("{name}: changed, but --log-level or VIPD_LOG of the daemon wins"),
            _ => format!("{name}: changed"),
        }
    }

    /// How the config stands, for people.
    pub(super) fn told(&self) -> status::Config {
        let (now, then) = (self.session.unwrap_or(self.config.lease), self.config.lease);
        let ttl = (now.ttl != then.ttl).then(|| format!("vipd.lease.ttl: {}, now {}", ttl(then.ttl), ttl(now.ttl)));
        let margin = (now.margin != then.margin)
            .then(|| format!("vipd.lease.margin: {}, now {}", margin(then.margin), margin(now.margin)));
        status::Config { later: ttl.into_iter().chain(margin).collect(), ..self.told.clone() }
    }
}

fn ttl(ttl: Ttl) -> String {
    match ttl {
        Ttl::Auto => "auto".into(),
        Ttl::Fixed(ttl) => format!("{ttl:?}"),
    }
}

fn margin(margin: Option<Duration>) -> String {
    margin.map_or_else(|| "default".into(), |margin| format!("{margin:?}"))
}

impl Driver {
    /// A checked configuration, whole or not at all; the fact for the election.
    pub(super) fn reload(&mut self, new: Config, election: &Election) -> (Verdict, Option<Event>) {
        match self.try_reload(new, election) {
            Ok((done, event)) => {
                info!(applied = ?done.applied, later = ?done.later, "reloaded");
                (Ok(done), Some(event))
            }
            Err(lines) => {
                self.refused(&lines);
                (Err(lines), None)
            }
        }
    }

    /// A file was refused.
    pub(super) fn refused(&mut self, lines: &[String]) {
        warn!(?lines, "the config is refused; nothing was changed");
        self.loaded.told.refused = Some(status::Refused { at: calendar_millis(), why: lines.to_vec() });
        self.loaded.told.refusals += 1;
    }

    fn try_reload(&mut self, new: Config, election: &Election) -> Result<(Reloaded, Event), Vec<String>> {
        if election.is_ending() {
            return Err(vec!["the daemon is ending".into()]);
        }
        let settings = self.loaded.config.difference(&new);
        if !settings.needs_restart.is_empty() {
            let lines = settings.needs_restart.iter().map(|name| format!("{name}: changed, and that needs a restart"));
            return Err(lines.collect());
        }
        let vips = self.plan.follow(&new, self.loaded.free);
        let vips = vips.ok_or_else(|| vec!["too many VIPs came and went: a restart is needed".to_owned()])?;
        // Before any of them may be put. Those that go are among them.
        let addresses = vips.plan.vips.iter().flat_map(|vip| vip.addresses.clone()).collect();
        self.memory.will_put(addresses).map_err(|e| vec![chain(&e)])?;
        let applied = settings.at_once.iter().map(|name| self.loaded.at_once(name)).chain(vips.told.iter().cloned());
        let later = settings.next_session.iter().map(|name| format!("{name}: from the next session on"));
        let done = Reloaded { applied: applied.collect(), later: later.collect(), ..Reloaded::default() };
        Ok((done, self.apply(new, vips)))
    }

    fn apply(&mut self, new: Config, vips: Difference) -> Event {
        (self.plan, self.loaded.free) = (vips.plan, vips.free);
        self.measures.adopt(&self.plan);
        self.loaded.kept.send_replace(kept(&self.plan));
        let told = &mut self.loaded.told;
        (told.loaded_at, told.refused) = (calendar_millis(), None);
        told.reloads += 1;
        self.loaded.config = new;
        if let Some(set) = &self.loaded.set_level
            && let Err(e) = set(self.loaded.config.log_level)
        {
            error!("what is logged cannot be changed: {e}");
        }
        let config = &self.loaded.config;
        self.etcd.reconfigure(&config.etcd, config.lease.ttl);
        let stands_for = self.plan.wanted().map(|vip| (vip.id, vip.addresses.clone()));
        Event::Reconfigured(Reconfiguration {
            margin: config.lease.margin,
            announce: config.announce.clone(),
            on_conflict: config.on_conflict,
            vips: stands_for.collect(),
        })
    }

    /// A VIP that was taken out is given back.
    pub(super) fn forget(&mut self, vip: VipId) {
        info!(vip = super::tell::name(&self.plan, vip), "given back: it was taken out of the config");
        self.plan.forget(vip);
        self.measures.adopt(&self.plan);
        self.loaded.kept.send_replace(kept(&self.plan));
        self.wishes.send_if_modified(|wishes| wishes.remove(&vip).is_some());
        self.announcer.forget(vip);
        self.lookout.leave(vip);
        self.story.forget(vip);
        self.teller.forget(vip);
        let addresses = self.plan.vips.iter().flat_map(|vip| vip.addresses.clone()).collect();
        if let Err(e) = self.memory.will_put(addresses) {
            warn!("the next start will look for one address more: {}", chain(&e));
        }
    }
}
