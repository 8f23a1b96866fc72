//! One fault and its figures: when the address left, when it was back, what a client missed.

mod course;

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

pub(crate) use self::course::{Blow, Course, Tally, stays_on};
use crate::clock::{self, At, millis};
use crate::faults::Fault;
use crate::figures::Figures;
use crate::probe::Probe;
use crate::timeline::NodeIndex;
use crate::world::{VIP, World};

/// How long one goes on listening after the address is back, so that a second blink would be seen.
const AFTER: Duration = Duration::from_millis(400);

/// What to watch while something is done.
pub(crate) struct Watched<'a> {
    /// The address.
    pub(crate) vip: IpAddr,
    /// A client's probe to it.
    pub(crate) probe: &'a Probe,
    /// Quiet time before, in which the probe's own noise is taken.
    pub(crate) quiet: Duration,
    /// The address has to be on another node by then.
    pub(crate) within: Duration,
}

/// The address went from one node to another.
#[derive(Clone, Debug)]
pub(crate) struct Move {
    /// The node that had it.
    pub(crate) from: NodeIndex,
    /// The node that has it.
    pub(crate) to: NodeIndex,
    /// When the fault was done.
    pub(crate) hit: At,
    /// When it left `from`.
    pub(crate) gone: At,
    /// When it came to `to`.
    pub(crate) back: At,
    /// Time on no node.
    pub(crate) gap: Duration,
    /// What the client missed.
    pub(crate) outage: Duration,
    /// The same probe's worst gap, over the same time at most, with nothing moved.
    pub(crate) noise: Duration,
}

/// Does `fault`, waits for the move it causes, and measures it. Two holders at any moment are an error.
pub(crate) fn a_move(world: &mut World, watched: &Watched, fault: &Fault) -> Result<Move> {
    a_move_seen(world, watched, fault, || {})
}

/// The same, with something to be done as soon as the fault was done.
pub(crate) fn a_move_seen(world: &mut World, watched: &Watched, fault: &Fault, done: impl FnOnce()) -> Result<Move> {
    let vip = watched.vip;
    let from = world.monitor.timeline().holder(vip).with_context(|| format!("nobody holds {vip} before: {fault}"))?;
    clock::sleep(watched.quiet);
    let hit = clock::now();
    fault.hit(world)?;
    done();
    let seen = world.monitor.wait(watched.within, |timeline| {
        let back = timeline.came(vip, hit, Some(from))?;
        Some((timeline.left(vip, hit, from)?, back))
    });
    if seen.is_none() {
        // Two holders explain it better than no move.
        world.monitor.no_overlap(hit, clock::now())?;
    }
    let (gone, back) = seen.with_context(|| format!("{vip} did not move within {:?} of: {fault}", watched.within))?;
    ensure!(watched.probe.answers(back.at, Duration::from_secs(3)), "the client gets no answer after: {fault}");
    clock::sleep(AFTER);
    let end = clock::now();
    world.monitor.no_overlap(hit, end)?;
    let same_length = end.since(hit).min(watched.quiet);
    let gap = world.monitor.timeline().gap(vip, hit, end);
    let outage = watched.probe.worst(hit, end);
    let noise = watched.probe.worst(hit - same_length, hit - Duration::from_millis(2));
    Ok(Move { from, to: back.node, hit, gone, back: back.at, gap, outage, noise })
}

/// Makes the member on the holder's node (0), on the next one (1) or on the one after that (2) lead, with all well;
/// returns the holder.
pub(crate) fn led_from(world: &World, beside: usize) -> Result<NodeIndex> {
    const PATIENCE: Duration = Duration::from_secs(20);
    let holder = world.one_holder(VIP, PATIENCE)?;
    world.all_stand(VIP)?;
    world.lead((holder + beside) % 3)?;
    clock::sleep(Duration::from_secs(1));
    Ok(holder)
}

/// The figures of several moves.
#[derive(Default)]
pub(crate) struct Moves {
    gap: Figures,
    outage: Figures,
    noise: Figures,
    to_gone: Figures,
    to_back: Figures,
}

impl Moves {
    /// Takes one more in.
    pub(crate) fn add(&mut self, one: &Move) {
        self.gap.add(one.gap);
        self.outage.add(one.outage);
        self.noise.add(one.noise);
        self.to_gone.add(one.gone.since(one.hit));
        self.to_back.add(one.back.since(one.hit));
    }

    /// As one row of the run's table.
    pub(crate) fn tally(&self) -> Tally {
        let (off, back) = (self.to_gone.clone(), self.to_back.clone());
        Tally { off, back, gap: self.gap.clone(), outage: self.outage.clone() }
    }

    /// As a small table. The overlap stands there because a move with one is an error before it gets here.
    pub(crate) fn table(&self) -> Vec<String> {
        vec![
            row("fault to address off", &self.to_gone),
            row("fault to address back", &self.to_back),
            row("gap (on no node)", &self.gap),
            row("client outage", &self.outage),
            row("  the probe's own noise", &self.noise),
            format!("{:<28}{}", "overlap (on two nodes)", millis(Duration::ZERO)),
        ]
    }
}

/// One line of figures, its name in a column.
pub(crate) fn row(name: &str, figures: &Figures) -> String {
    format!("{name:<28}{figures}")
}
