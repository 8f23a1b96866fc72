//! The search: every state that can be reached, breadth first, so that what goes wrong is shown by a shortest story.

use std::collections::{HashSet, VecDeque};

use super::choice::Chooser;
use super::world::{Step, World};

/// From one in so many states on all troubles end, to see one holder come of it.
const RECOVERED: u64 = 251;

/// What a search found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) states: usize,
    pub(super) steps: usize,
    /// How many steps the longest of all shortest stories has.
    pub(super) depth: usize,
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

struct Search<'a> {
    start: &'a World,
    seen: HashSet<u64>,
    ways: Vec<Way>,
    queue: VecDeque<(u32, usize, World)>,
    found: Found,
}

/// Looks at every state from `start` on, at most `most` of them.
pub(super) fn search(start: &World, most: usize) -> Found {
    let seen = HashSet::from([start.fingerprint()]);
    let queue = VecDeque::from([(0, 0, start.clone())]);
    let mut search = Search { start, seen, ways: Vec::new(), queue, found: Found::default() };
    search.found.whole = true;
    while let Some((id, depth, world)) = search.queue.pop_front() {
        search.found.depth = depth;
        for step in world.steps() {
            search.go(id, depth, &world, step);
        }
        search.found.states = search.ways.len() + 1;
        if search.found.states >= most {
            search.found.whole = false;
        }
        if search.found.wrong.is_some() || !search.found.whole {
            break;
        }
    }
    search.found
}

impl Search<'_> {
    /// One step from one state, in all its ways.
    fn go(&mut self, from: u32, depth: usize, world: &World, step: Step) {
        let mut choose = Chooser::default();
        loop {
            let mut next = world.clone();
            let fate = next.apply(step, &mut choose);
            self.found.steps += 1;
            let print = next.fingerprint();
            if self.seen.insert(print) && self.found.wrong.is_none() {
                self.ways.push(Way { from, step, choices: choose.taken().into() });
                let id = u32::try_from(self.ways.len()).expect("fewer states than that");
                match fate.and_then(|()| self.recover(print, &next)) {
                    Ok(()) => self.queue.push_back((id, depth + 1, next)),
                    Err(wrong) => self.found.wrong = Some((wrong, self.story(id))),
                }
            }
            if !choose.turn() {
                return;
            }
        }
    }

    /// Liveness, for some of the states: when all troubles end there is one holder soon.
    fn recover(&mut self, print: u64, world: &World) -> Result<(), String> {
        if !print.is_multiple_of(RECOVERED) {
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
