//! The search: every state that can be reached.
//!
//! Depth first, which needs little memory, to see that nothing goes wrong; breadth first, so that what goes wrong is
//! shown by a shortest story.

use std::collections::{HashSet, VecDeque};

use super::choice::Chooser;
use super::world::{Step, World};
use crate::election::guards::Guards;

/// From one in so many states on all troubles end, to see one holder come of it.
const RECOVERED: u64 = 509;

/// So many states may wait to be looked at: each is a world of some kilobytes.
const WAITING: usize = 400_000;

/// What a search found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) states: usize,
    pub(super) steps: usize,
    /// From how many states one holder was seen to come of it when all troubles end.
    pub(super) recovered: usize,
    /// Whether every state was looked at.
    pub(super) whole: bool,
    /// What went wrong, and the story of it.
    pub(super) wrong: Option<(String, Vec<String>)>,
}

/// How a state was first reached: from which one, by which step and choices.
struct Way {
    from: u32,
    step: Step,
    choices: Box<[u8]>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Depth,
    Breadth,
}

struct Search<'a> {
    start: &'a World,
    first: First,
    seen: HashSet<u64>,
    /// Breadth first only: for the story.
    ways: Vec<Way>,
    queue: VecDeque<(u32, World)>,
    found: Found,
}

/// Looks at every state from `start` on, at most `most` of them, and as far as memory goes.
pub(super) fn every_state(start: &World, most: usize) -> Found {
    let found = Search::new(start, First::Depth).run(most);
    if found.wrong.is_some() { shortest(start, most) } else { found }
}

/// Looks at states in the order of their distance from `start`, until something goes wrong or `most` were seen.
pub(super) fn shortest(start: &World, most: usize) -> Found {
    Search::new(start, First::Breadth).run(most)
}

impl<'a> Search<'a> {
    fn new(start: &'a World, first: First) -> Self {
        let seen = HashSet::from([start.fingerprint()]);
        let queue = VecDeque::from([(0, start.clone())]);
        Self { start, first, seen, ways: Vec::new(), queue, found: Found::default() }
    }

    fn next(&mut self) -> Option<(u32, World)> {
        match self.first {
            First::Depth => self.queue.pop_back(),
            First::Breadth => self.queue.pop_front(),
        }
    }

    fn run(mut self, most: usize) -> Found {
        while let Some((id, world)) = self.next() {
            for step in world.steps() {
                self.go(id, &world, step);
            }
            self.found.states = self.seen.len();
            if self.found.wrong.is_some() || self.found.states >= most || self.queue.len() > WAITING {
                return self.found;
            }
        }
        self.found.whole = true;
        self.found
    }

    /// One step from one state, in all its ways.
    fn go(&mut self, from: u32, world: &World, step: Step) {
        let mut choose = Chooser::default();
        loop {
            let mut next = world.clone();
            let fate = next.apply(step, &mut choose);
            self.found.steps += 1;
            let print = next.fingerprint();
            if self.seen.insert(print) && self.found.wrong.is_none() {
                if self.first == First::Breadth {
                    self.ways.push(Way { from, step, choices: choose.taken().into() });
                }
                let id = u32::try_from(self.ways.len()).expect("fewer states than that");
                match fate.and_then(|()| self.recover(print, &next)) {
                    Ok(()) => self.queue.push_back((id, next)),
                    Err(wrong) => self.found.wrong = Some((wrong, self.story(id))),
                }
            }
            if !choose.turn() {
                return;
            }
        }
    }

    /// Liveness, for some of the states: when all troubles end there is one holder soon. Without a guard it may well be
    /// missed, and two holders are looked for: which states these are changes with every field of the election.
    fn recover(&mut self, print: u64, world: &World) -> Result<(), String> {
        if !print.is_multiple_of(RECOVERED) || world.rules.guards != Guards::default() {
            return Ok(());
        }
        self.found.recovered += 1;
        world.clone().recover()
    }

    /// The way to a state once more, this time with what happened.
    fn story(&self, mut id: u32) -> Vec<String> {
        let mut steps = Vec::new();
        while let Some(way) = (id as usize).checked_sub(1).map(|i| &self.ways[i]) {
            steps.push(way);
            id = way.from;
        }
        let mut world = World { trace: Some(Vec::new()), ..self.start.clone() };
        let mut fate = Ok(());
        for way in steps.iter().rev() {
            fate = world.apply(way.step, &mut Chooser::again(&way.choices));
        }
        if fate.is_ok() {
            // Then it is the recovery that goes wrong.
            world.say(|_| "all troubles end".into());
            let _ = world.recover();
        }
        world.trace.unwrap_or_default()
    }
}
