//! Drives a soak: phase after phase of the plan, each ended by a healing that is judged.

use std::time::Duration;

use anyhow::Result;

use super::ground::Ground;
use super::history::Overlap;
use super::judge::{self, Judge};
use super::notes::Heal;
use super::paper::Paper;
use super::plan::{Phase, Plan};
use super::tally::{Seconds, Tally, minutes};
use super::{PROGRESS, Wishes};
use crate::clock::{self, At};
use crate::figures::Figures;
use crate::world::VIP;

/// From one look at what is due to the next.
const TICK: Duration = Duration::from_millis(10);
/// From one look for overlaps to the next.
const LOOK: Duration = Duration::from_millis(250);
/// What is this old has been heard from all nodes.
const NEWS: Duration = Duration::from_millis(200);

/// A soak under way.
pub(super) struct Drive<'a> {
    ground: Ground,
    judge: Judge,
    paper: &'a Paper,
    tally: Tally,
    heals: Vec<Heal>,
    ttl: Duration,
    start: At,
    noted: At,
    next_look: At,
    next_line: At,
}

impl<'a> Drive<'a> {
    /// `start` is its zero.
    pub(super) fn new(wishes: &Wishes, start: At, ground: Ground, judge: Judge, paper: &'a Paper) -> Self {
        let tally = Tally { minutes: wishes.minutes, seed: wishes.seed, ..Tally::default() };
        let ttl = Duration::from_secs(wishes.ttl);
        let (next_look, next_line) = (start + LOOK, start + PROGRESS);
        Self { ground, judge, paper, tally, heals: Vec::new(), ttl, start, noted: start, next_look, next_line }
    }

    /// Drives to the end of `span`, and to the end of the phase that it falls into. Returns whether all was well.
    pub(super) fn run(mut self, plan: Plan, span: Duration) -> Result<bool> {
        for phase in plan {
            self.phase(&phase);
            self.heal()?;
            self.paper.draw(&self.judge.history(), &self.heals, "soak: under way")?;
            if clock::now() >= self.start + span {
                break;
            }
        }
        self.verdict()
    }

    fn phase(&mut self, phase: &Phase) {
        let begun = clock::now();
        let mut next = phase.troubles.iter().peekable();
        while clock::now() < begun + phase.span {
            while let Some(planned) = next.next_if(|planned| begun + planned.after <= clock::now()) {
                self.tally.faults += usize::from(self.ground.strike(planned));
            }
            self.ground.work();
            self.look_around();
            clock::sleep(TICK);
        }
    }

    fn heal(&mut self) -> Result<()> {
        self.paper.notes.note("healing");
        let at = self.ground.heal()?;
        self.paper.notes.note("healed");
        self.tally.heals += 1;
        let settled = judge::settles(&self.ground.world, at, self.ttl).and_then(|(holder, after)| {
            judge::answers(&self.ground.world, holder)?;
            Ok((holder, after))
        });
        self.ground.work();
        self.look_around();
        match &settled {
            Ok((holder, after)) => {
                self.tally.good += 1;
                self.tally.settled.add(*after);
                self.paper.notes.note(format_args!("judged   n{} holds, since {after:.3?} after healing", holder + 1));
            }
            Err(why) => {
                self.paper.notes.say(format_args!("FAILED   {why}"));
                self.tell_more();
            }
        }
        self.heals.push(Heal { at, to: clock::now(), good: settled.is_ok() });
        Ok(())
    }

    /// Looks for overlaps now and then, and says how things are.
    fn look_around(&mut self) {
        let now = clock::now();
        if now < self.next_look {
            return;
        }
        self.next_look = now + LOOK;
        self.note_events(now - NEWS);
        for overlap in self.judge.new_overlaps() {
            self.tell_of(&overlap);
        }
        if now >= self.next_line {
            self.next_line = now + PROGRESS;
            self.progress(now);
        }
    }

    /// Writes down the address events up to a moment.
    fn note_events(&mut self, to: At) {
        for (at, line) in self.judge.events(self.noted, to) {
            self.paper.notes.note_at(at, line);
        }
        self.noted = to;
    }

    fn progress(&self, now: At) {
        let history = self.judge.history();
        let holders = self.ground.world.names(&self.ground.world.monitor.timeline().holders(VIP));
        let lasting = self.paper.notes.lasting();
        self.paper.notes.say(format_args!(
            "{:>7}  {:>4} faults  {:>4} moves  overlap {}  held by {holders}{}{lasting}",
            minutes(now.since(self.start)),
            self.tally.faults,
            history.moves,
            Seconds(history.overlap()),
            if lasting.is_empty() { "" } else { "  | " },
        ));
    }

    fn tell_of(&self, overlap: &Overlap) {
        let nodes = self.ground.world.names(&overlap.nodes);
        let from = overlap.from.since(self.start).as_secs_f64();
        let span = Seconds(overlap.to.since(overlap.from));
        self.paper.notes.say(format_args!("FAILED   OVERLAP of {span} at {from:.6} s: {nodes}"));
        self.tell_more();
    }

    /// What one wants to know when something is wrong.
    fn tell_more(&self) {
        let notes = &self.paper.notes;
        notes.say(format_args!("   broken now: {}", notes.lasting()));
        let now = clock::now();
        for (at, line) in self.judge.events(now - Duration::from_secs(20), now) {
            notes.say(format_args!("   {:10.6}  {line}", at.since(self.start).as_secs_f64()));
        }
        for node in &self.ground.world.nodes {
            notes.say(format_args!("   --- {}'s vipd", node.name));
            node.vipd.tail(12).iter().for_each(|line| notes.say(format_args!("   {line}")));
        }
    }

    fn verdict(mut self) -> Result<bool> {
        self.note_events(clock::now());
        for overlap in self.judge.new_overlaps() {
            self.tell_of(&overlap);
        }
        if self.judge.lost() > 0 {
            self.ground.problem(format!("the kernel dropped address events {} times: no verdict", self.judge.lost()));
        }
        self.tally.problems = self.ground.problems.len();
        let history = self.judge.history();
        let (good, verdict) = (self.tally.passes(&history), self.tally.verdict(&history));
        let mut lateness = Figures::default();
        self.ground.world.monitor.timeline().lateness.iter().for_each(|late| lateness.add(*late));
        let notes = &self.paper.notes;
        notes.say(format_args!("from a healing to the holder that stays: {}", self.tally.settled));
        notes.say(format_args!("the kernel took addresses away late by:  {lateness}"));
        notes.say(format_args!("blinks (back on the node that had it):   {}", history.blinks));
        if !good {
            let kept = self.paper.keep_logs(&self.ground.world)?;
            notes.say(format_args!("the programs' logs: {}", kept.display()));
        }
        self.paper.draw(&history, &self.heals, &verdict)?;
        notes.say(verdict);
        Ok(good)
    }
}
