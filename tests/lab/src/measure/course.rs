//! Trouble of any kind, watched from its first blow until all is quiet: for what is more than one fault and one move.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::AFTER;
use crate::clock::{self, At, millis};
use crate::figures::Figures;
use crate::probe::Probe;
use crate::timeline::NodeIndex;
use crate::world::World;

/// The moment something was done, and who had the address then.
pub(crate) struct Blow<'a> {
    /// The address.
    pub(crate) vip: IpAddr,
    /// Who had it.
    pub(crate) from: NodeIndex,
    /// When.
    pub(crate) at: At,
    probe: &'a Probe,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    /// Who has the address in the end.
    pub(crate) holder: NodeIndex,
    /// From the blow until the first holder had lost it, if it ever did.
    pub(crate) off: Option<Duration>,
    /// From the blow until it came to where it is in the end, if it went anywhere.
    pub(crate) back: Option<Duration>,
    /// Time on no node.
    pub(crate) gap: Duration,
    /// The longest that the client was without an answer.
    pub(crate) outage: Duration,
}

impl<'a> Blow<'a> {
    /// To be called right before something is done.
    pub(crate) fn now(world: &World, vip: IpAddr, probe: &'a Probe) -> Result<Self> {
        let from = world.monitor.timeline().holder(vip).with_context(|| format!("no single holder of {vip}"))?;
        Ok(Self { vip, from, at: clock::now(), probe })
    }

    /// Waits until the first holder has lost the address.
    pub(crate) fn off(&self, world: &World, within: Duration) -> Result<Duration> {
        let off = world.monitor.wait(within, |timeline| timeline.left(self.vip, self.at, self.from));
        let name = world.names(&[self.from]);
        Ok(off.with_context(|| format!("{name} still has {} after {within:?}", self.vip))?.since(self.at))
    }

    /// Waits until another node has it.
    pub(crate) fn elsewhere(&self, world: &World, within: Duration) -> Result<NodeIndex> {
        let came = world.monitor.wait(within, |timeline| timeline.came(self.vip, self.at, Some(self.from)));
        if came.is_none() {
            world.monitor.no_overlap(self.at, clock::now())?;
        }
        Ok(came.with_context(|| format!("{} did not come to another node within {within:?}", self.vip))?.node)
    }

    /// Waits for the one holder that answers, and measures everything since the blow. Two holders are an error.
    pub(crate) fn course(&self, world: &World, within: Duration) -> Result<Course> {
        let holder = world.one_holder(self.vip, within)?;
        ensure!(self.probe.answers(clock::now(), Duration::from_secs(3)), "the client gets no answer in the end");
        clock::sleep(AFTER);
        let end = clock::now();
        world.monitor.no_overlap(self.at, end)?;
        let timeline = world.monitor.timeline();
        let last = timeline.changes(self.vip, self.at).into_iter().rfind(|change| change.present);
        Ok(Course {
            holder,
            off: timeline.left(self.vip, self.at, self.from).map(|at| at.since(self.at)),
            back: last.map(|change| change.at.since(self.at)),
            gap: timeline.gap(self.vip, self.at, end),
            outage: self.probe.worst(self.at, end),
        })
    }

    /// Watches for `span` that it stays where it is; how often it blinked there. `why` is for people.
    pub(crate) fn stays(&self, world: &World, span: Duration, why: &str) -> Result<usize> {
        stays_on(world, self.vip, self.from, self.at, span, why)
    }
}

/// Watches until `span` after now that since `since` the address was on `node` alone. A blink there (off and on again)
/// is counted and no error.
pub(crate) fn stays_on(
    world: &World,
    vip: IpAddr,
    node: NodeIndex,
    since: At,
    span: Duration,
    why: &str,
) -> Result<usize> {
    clock::sleep(span);
    let changes = world.monitor.timeline().changes(vip, since);
    let elsewhere = changes.iter().find(|change| change.node != node);
    if let Some(change) = elsewhere {
        let (to, after) = (world.names(&[change.node]), millis(change.at.since(since)));
        anyhow::bail!("{vip} came from {} to {to} after {after}: {why}", world.names(&[node]));
    }
    world.monitor.no_overlap(since, clock::now())?;
    Ok(changes.len() / 2)
}

/// The figures of several courses, for one row of the table.
#[derive(Clone, Default)]
pub(crate) struct Tally {
    pub(crate) off: Figures,
    pub(crate) back: Figures,
    pub(crate) gap: Figures,
    pub(crate) outage: Figures,
}

impl Tally {
    /// Takes one more in.
    pub(crate) fn add(&mut self, course: &Course) {
        course.off.into_iter().for_each(|off| self.off.add(off));
        course.back.into_iter().for_each(|back| self.back.add(back));
        self.gap.add(course.gap);
        self.outage.add(course.outage);
    }

    /// A tally of one.
    pub(crate) fn of(course: &Course) -> Self {
        let mut one = Self::default();
        one.add(course);
        one
    }
}
