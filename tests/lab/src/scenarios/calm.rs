//! Watching that nothing happens while something is done to etcd: the VIP stays, and how long etcd was silent for it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::clock::{self, millis};
use crate::figures::Figures;
use crate::measure::{Blow, Tally, row};
use crate::pairs::{self, Pairs, longest_silence};
use crate::probe::Probe;
use crate::scenario::Context;
use crate::world::{Options, VIP, World};

const PATIENCE: Duration = Duration::from_secs(30);
/// So long after the last trouble one watches on.
pub(super) const AFTER: Duration = Duration::from_secs(1);

/// What is watched while something is done to etcd.
pub(super) struct Calm<'a> {
    pub(super) blow: Blow<'a>,
    pairs: Pairs,
}

/// Whether the members had to elect.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Vote {
    /// They had a leader all the time.
    No,
    /// For a while they had none.
    Yes,
}

/// A world whose daemons say their pairs, with a holder, and a probe to it.
pub(super) fn a_world(lab: &Context, options: Options) -> Result<(World, Probe)> {
    let world = lab.world(Options { log: Some(pairs::LOG), ..options })?;
    world.one_holder(VIP, PATIENCE)?;
    let probe = world.probe(VIP)?;
    Ok((world, probe))
}

impl<'a> Calm<'a> {
    /// From now on; waits for some pairs, so that what comes is told from what was.
    pub(super) fn begins(world: &World, probe: &'a Probe) -> Result<Self> {
        let holder = world.one_holder(VIP, PATIENCE)?;
        let pairs = Pairs::from_now_on(world, holder);
        let two = clock::poll_every(Duration::from_millis(100), PATIENCE, || pairs.so_far(world).len() >= 2);
        ensure!(two, "no pairs are counted on {}", world.names(&[holder]));
        Ok(Self { blow: Blow::now(world, VIP, probe)?, pairs })
    }
}

/// What several rounds of one trouble came to.
pub(super) struct Kept {
    what: &'static str,
    vote: Vote,
    tally: Tally,
    silence: Figures,
    blinks: usize,
}

impl Kept {
    /// None yet.
    pub(super) fn new(what: &'static str, vote: Vote) -> Self {
        Self { what, vote, tally: Tally::default(), silence: Figures::default(), blinks: 0 }
    }

    /// Nothing happened in this round, or with a vote nothing but a blink.
    pub(super) fn add(&mut self, world: &World, calm: &Calm) -> Result<()> {
        let (what, blow) = (self.what, &calm.blow);
        self.blinks += blow.stays(world, AFTER, what)?;
        self.tally.add(&blow.course(world, PATIENCE)?);
        let changes = world.monitor.timeline().changes(VIP, blow.at);
        ensure!(changes.is_empty() || self.vote == Vote::Yes, "{what}: {VIP} did not stay: {changes:?}");
        let silence = longest_silence(&calm.pairs.so_far(world), blow.at).context("no pair counted any more")?;
        self.silence.add(silence);
        Ok(())
    }

    /// One row of the table.
    pub(super) fn tell(&self, lab: &Context) -> Result<()> {
        let blinks = if self.blinks > 0 { format!(", {} blinks", self.blinks) } else { String::new() };
        let most = millis(self.silence.most());
        lab.row(self.what, &self.tally, &format!("stays{blinks}; etcd silent for {most} at most"))?;
        lab.say(row("  etcd silent for", &self.silence));
        Ok(())
    }
}
