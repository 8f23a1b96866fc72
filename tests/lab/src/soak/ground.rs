//! The cluster under a soak: does the steps of troubles when they are due, and mends everything.

use std::iter;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

use super::hands::{self, Loss};
use super::notes::Notes;
use super::plan::{Planned, Role};
use super::trouble::{NODES, Part, Step, Trouble};
use crate::clock::{self, At};
use crate::disk::Stall;
use crate::faults::{Fault, Who};
use crate::shell;
use crate::timeline::NodeIndex;
use crate::world::{self, Service, VIP, World};

/// A unit's `TimeoutStopSec`: who has not ended by then is killed.
const STOP: Duration = Duration::from_secs(15);
/// How long one waits before asking again whether something has ended.
const AGAIN: Duration = Duration::from_millis(50);

/// The cluster, what is due, and what is known about it.
pub(super) struct Ground {
    /// The cluster.
    pub(super) world: World,
    /// What did not go as it should, as it is found.
    pub(super) problems: Vec<String>,
    notes: Notes,
    due: Vec<Due>,
    releases: Vec<Service>,
    hands: Vec<JoinHandle<()>>,
    stalls: [Option<Stall>; NODES],
    /// When the phase began: with the last healing.
    phase: At,
    /// Whose end was ordered, by node: of the daemon, of the member.
    ordered: [[Option<At>; 2]; NODES],
    leader: Arc<AtomicUsize>,
}

struct Due {
    at: At,
    step: Step,
    mark: usize,
}

impl Ground {
    /// Takes a world over.
    pub(super) fn new(world: World, vipd: &Path, notes: Notes) -> Result<Self> {
        let releases = world.nodes.iter().map(|node| {
            let mut release = Command::new(vipd);
            release.arg("release").arg("--config").arg(&node.config);
            Service::new(&node.ns, "release", release, world.directory())
        });
        let releases = releases.collect();
        let leader = watch_leader(&world)?;
        let (problems, due, hands) = (Vec::new(), Vec::new(), Vec::new());
        let (ordered, stalls, phase) = ([[None; 2]; NODES], [None, None, None], clock::now());
        Ok(Self { world, problems, notes, due, releases, hands, stalls, phase, ordered, leader })
    }

    /// Begins a trouble, unless nothing is to be done to anybody: others are at work there, or it would be unfair.
    /// Returns whether it did.
    pub(super) fn strike(&mut self, planned: &Planned) -> bool {
        let (trouble, aimed) = (planned.trouble, self.resolve(planned));
        let others = [planned.node, planned.node + 1, planned.node + 2].map(|node| node % NODES);
        let mut nodes = iter::once(aimed).chain(others);
        let free = nodes.find(|node| !self.is_taken(&trouble.parts(*node)));
        let why_not = match free {
            None => Some("something is at work there"),
            Some(_) if self.must_not_meet(trouble) => Some("no lease could help"),
            Some(node) if trouble == Trouble::AddressDeleted && !self.has_it(node) => {
                Some("there is nothing to delete")
            }
            Some(_) if matches!(trouble, Trouble::DiskStalled(_)) && shell::missing(&["strace"]).is_some() => {
                Some("strace is not installed")
            }
            Some(_) => None,
        };
        let node = free.unwrap_or(aimed);
        if let Some(why) = why_not {
            self.notes.note(format_args!("passed over, {why}: n{}: {trouble}", node + 1));
            return false;
        }
        let (now, mark) = (clock::now(), self.notes.open(trouble, node));
        for (after, step) in trouble.steps(node) {
            self.put_off(now + after, step, mark);
        }
        self.work();
        true
    }

    /// The plan keeps them apart by phases; this is the lock behind it.
    fn must_not_meet(&self, trouble: Trouble) -> bool {
        let marks = self.notes.marks();
        let met = |other: fn(Trouble) -> bool| marks.iter().any(|mark| mark.from >= self.phase && other(mark.trouble));
        trouble.breaks_promises() && met(Trouble::cuts) || trouble.cuts() && met(Trouble::breaks_promises)
    }

    fn has_it(&self, node: NodeIndex) -> bool {
        self.world.monitor.timeline().holders(VIP).contains(&node)
    }

    fn is_taken(&self, parts: &[(NodeIndex, Part)]) -> bool {
        let marks = self.notes.marks();
        let mut taken = marks.iter().filter(|mark| mark.to.is_none()).flat_map(|mark| mark.parts());
        taken.any(|part| part.1 != Part::Hand && parts.contains(&part))
    }

    fn resolve(&self, planned: &Planned) -> NodeIndex {
        let timeline = self.world.monitor.timeline();
        let by_role = match planned.role {
            Role::Anyone => None,
            Role::Leader => Some(self.leader.load(Ordering::Relaxed)).filter(|node| *node < NODES),
            Role::Holder => {
                timeline.holder(VIP).or_else(|| timeline.changes(VIP, At::default()).last().map(|change| change.node))
            }
        };
        by_role.unwrap_or(planned.node)
    }

    fn close_what_is_over(&self) {
        let lasting = self
            .notes
            .marks()
            .iter()
            .enumerate()
            .filter(|(_, mark)| mark.to.is_none())
            .map(|(n, _)| n)
            .collect::<Vec<_>>();
        let over = lasting.into_iter().filter(|number| self.due.iter().all(|due| due.mark != *number));
        over.for_each(|number| self.notes.close(number));
    }

    fn put_off(&mut self, at: At, step: Step, mark: usize) {
        let place = self.due.partition_point(|due| due.at <= at);
        self.due.insert(place, Due { at, step, mark });
    }

    /// Does what is due, and looks after who ended unasked.
    pub(super) fn work(&mut self) {
        while self.due.first().is_some_and(|due| due.at <= clock::now()) {
            let Due { step, mark, .. } = self.due.remove(0);
            if !self.take(&step) {
                self.put_off(clock::now() + AGAIN, step, mark);
            }
        }
        self.close_what_is_over();
        self.count_the_living();
    }

    /// Does a step; `false`: not yet.
    fn take(&mut self, step: &Step) -> bool {
        let done = match step {
            Step::Fault(Fault::Start(node, who)) => self.start(*node, *who),
            Step::Fault(Fault::Signal(node, who, signal)) => self.signal(*node, *who, *signal),
            Step::Fault(fault) => fault.hit(&mut self.world).map(|()| true),
            Step::Release(node) => self.release(*node),
            Step::StallDisk(node, span) => self.stall(*node, *span),
            Step::ReleaseDisk(node) => {
                self.stalls[*node] = None;
                Ok(true)
            }
            Step::DeleteKey => self.lose(Loss::Key),
            Step::RevokeLease => self.lose(Loss::Lease),
        };
        done.unwrap_or_else(|error| {
            // The address may go by itself a moment before somebody deletes it.
            if matches!(step, Step::Fault(Fault::Delete(..))) {
                self.notes.note(format_args!("too late: {error:#}"));
            } else {
                self.problem(format!("{step:?}: {error:#}"));
            }
            true
        })
    }

    fn stall(&mut self, node: NodeIndex, span: Duration) -> Result<bool> {
        // Should strace outlive its order, the disk goes on soon after all the same.
        self.stalls[node] = Some(self.world.stall_disk(node, span + Duration::from_secs(2))?);
        Ok(true)
    }

    fn lose(&mut self, loss: Loss) -> Result<bool> {
        self.hands.push(hands::lose(&self.world, loss, &self.notes)?);
        Ok(true)
    }

    fn signal(&mut self, node: NodeIndex, who: Who, signal: Signal) -> Result<bool> {
        // Who ended unasked has been told of; a number that is nobody's any more must not be signalled.
        if !self.world.service(node, who).runs() {
            return Ok(true);
        }
        if matches!(signal, Signal::SIGTERM | Signal::SIGKILL) {
            self.ordered[node][place(who)] = Some(clock::now());
        }
        self.world.service(node, who).signal(signal).map(|()| true)
    }

    fn start(&mut self, node: NodeIndex, who: Who) -> Result<bool> {
        if self.world.service(node, who).runs() {
            let Some(since) = self.ordered[node][place(who)] else { return Ok(true) };
            if clock::now().since(since) > STOP {
                self.problem(format!("n{}'s {who} was told to end and did not within {STOP:?}", node + 1));
                self.world.service(node, who).kill();
            }
            return Ok(false);
        }
        if who == Who::Vipd && self.releasing(node) {
            return Ok(false);
        }
        self.world.service(node, who).start()?;
        self.ordered[node][place(who)] = None;
        Ok(true)
    }

    fn release(&mut self, node: NodeIndex) -> Result<bool> {
        if self.world.service(node, Who::Vipd).runs() {
            return Ok(false);
        }
        self.releases[node].start().map(|()| true)
    }

    /// Whether `vipd release` still runs there; how it ended is looked at once.
    fn releasing(&mut self, node: NodeIndex) -> bool {
        if self.releases[node].runs() {
            return true;
        }
        if let Some(status) = self.releases[node].ends(Duration::ZERO)
            && !status.success()
        {
            let said = self.releases[node].tail(2).join(" | ");
            self.problem(format!("n{}'s vipd release ended with {status}: {said}", node + 1));
        }
        false
    }

    /// A program that ended though nobody ended it is a finding, and is started again as its unit would.
    fn count_the_living(&mut self) {
        for node in 0..NODES {
            for who in [Who::Vipd, Who::Etcd] {
                if self.ordered[node][place(who)].is_some() || self.world.service(node, who).runs() {
                    continue;
                }
                let status = self.world.service(node, who).ends(Duration::ZERO);
                let said: String = self.world.service(node, who).tail(1).join("").chars().take(200).collect();
                let how = status.map_or_else(|| "was not there".to_owned(), |status| format!("ended with {status}"));
                self.problem(format!("n{}'s {who} {how}, and nobody had ended it: {said}", node + 1));
                // Once per end, and as a unit does it.
                self.ordered[node][place(who)] = Some(clock::now());
                clock::sleep(Duration::from_millis(200));
                if let Err(error) = self.start(node, who) {
                    self.problem(format!("{error:#}"));
                }
            }
        }
    }

    /// Mends everything, and returns when it was: all programs run, all cables are in.
    pub(super) fn heal(&mut self) -> Result<At> {
        self.due.retain(|due| heals(&due.step));
        self.due.iter_mut().for_each(|due| due.at = At::default());
        self.close_what_is_over();
        for hand in std::mem::take(&mut self.hands) {
            let _ = hand.join();
        }
        let deadline = clock::now() + STOP + Duration::from_secs(10);
        while !self.due.is_empty() {
            if clock::now() > deadline {
                bail!("the lab could not heal: {}", self.notes.lasting());
            }
            self.work();
            // What has to wait for another's end comes first again, at once.
            self.due.iter_mut().for_each(|due| due.at = At::default());
            clock::sleep(Duration::from_millis(5));
        }
        self.phase = clock::now();
        Ok(self.phase)
    }

    /// Takes note of what did not go as it should, and says it.
    pub(super) fn problem(&mut self, what: String) {
        self.notes.say(format_args!("PROBLEM  {what}"));
        self.problems.push(what);
    }
}

fn place(who: Who) -> usize {
    usize::from(who == Who::Etcd)
}

/// Whether a step mends something.
fn heals(step: &Step) -> bool {
    match step {
        Step::Fault(fault) => matches!(
            fault,
            Fault::Start(..)
                | Fault::Plug(_)
                | Fault::Unsilence(_)
                | Fault::FreezeEtcd(_, false)
                | Fault::SlowEtcd(_, Duration::ZERO)
                | Fault::Signal(_, _, Signal::SIGCONT)
        ),
        Step::ReleaseDisk(_) => true,
        Step::StallDisk(..) | Step::Release(_) | Step::DeleteKey | Step::RevokeLease => false,
    }
}

/// Asks all the time who leads etcd, apart from the rest: who is cut off makes one wait.
fn watch_leader(world: &World) -> Result<Arc<AtomicUsize>> {
    let members = world.members();
    let leader = Arc::new(AtomicUsize::new(NODES));
    let told = Arc::downgrade(&leader);
    thread::Builder::new().name("leader".to_owned()).spawn(move || {
        while let Some(told) = told.upgrade() {
            if let Some(node) = world::leader_among(&members) {
                told.store(node, Ordering::Relaxed);
            }
            drop(told);
            clock::sleep(Duration::from_millis(500));
        }
    })?;
    Ok(leader)
}

/// The logs of all programs, to be kept.
pub(super) fn logs(world: &World) -> Vec<PathBuf> {
    let files = std::fs::read_dir(world.directory()).into_iter().flatten().flatten().map(|entry| entry.path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect()
}
