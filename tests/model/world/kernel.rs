//! The kernels and their keepers.

use std::time::Duration;

use super::node::{Held, VIP, Wanted};
use super::{Kind, World};
use crate::election::action::Wish;
use crate::election::event::{Answer, Event, Generation, Outcome};
use crate::election::lifetime::whole_seconds;
use crate::election::model::choice::Chooser;
use crate::moment::Moment;

impl World {
    /// A wish comes to the keeper, which looks at it before time goes on. A later end for an address that is there is
    /// seen to at once: it changes nothing that others could see in between.
    pub(super) fn wish(&mut self, i: usize, generation: Generation, wish: Wish) {
        let n = self.node(i);
        let said = n.wanted.take().filter(|w| w.generation == generation).and_then(|w| w.said);
        let is_later_end = said == Some(Outcome::Present) && n.kernel.is_some();
        n.wanted = Some(Wanted { generation, wish, is_fresh: true, done: false, said });
        let at_once = is_later_end && n.is_to_keep();
        if at_once && !self.may_fail(Kind::PutFails) {
            self.look(i);
        }
    }

    pub(super) fn keep(&mut self, i: usize, choose: &mut Chooser) {
        let facts = self.settle(i, choose).into_iter().collect();
        self.facts(i, facts, choose);
    }

    /// Says what became of the wish: once; or late; or once more, late.
    fn settle(&mut self, i: usize, choose: &mut Chooser) -> Option<Event> {
        let event = if self.fails(i, choose) { self.refused(i)? } else { self.look(i)? };
        if !self.may_fail(Kind::Delay) {
            return Some(event);
        }
        let way = choose.one_of(3);
        if way > 0 {
            self.say(|_| format!("  n{i}: held up: {event:?}"));
            self.left -= 1;
            self.node(i).held.push(Held::Report(event.clone()));
        }
        (way != 1).then_some(event)
    }

    fn fails(&mut self, i: usize, choose: &mut Chooser) -> bool {
        let is_put = self.nodes[i].wanted.as_ref().is_some_and(|w| w.wish != Wish::Absent);
        let fails = is_put && self.may_fail(Kind::PutFails) && choose.one_of(2) == 1;
        self.left -= u8::from(fails);
        fails
    }

    /// The kernel says no. What is there stays there.
    fn refused(&mut self, i: usize) -> Option<Event> {
        let outcome = Outcome::Failed("no permission".into());
        let wanted = self.node(i).wanted.as_mut()?;
        (wanted.done, wanted.said) = (true, Some(outcome.clone()));
        Some(Event::Settled { vip: VIP, generation: wanted.generation, outcome })
    }

    /// Looks, and writes; returns what is news.
    fn look(&mut self, i: usize) -> Option<Event> {
        let mut wanted = self.nodes[i].wanted.clone()?;
        wanted.done = true;
        let outcome = match wanted.wish {
            Wish::Absent => {
                self.take_off(i);
                Some(Outcome::Absent)
            }
            Wish::Until(fence) => self.put(i, fence, wanted.is_fresh),
        };
        let news = outcome.filter(|o| wanted.said.as_ref() != Some(o));
        if let Some(outcome) = &news {
            wanted.said = Some(outcome.clone());
        }
        let generation = wanted.generation;
        self.node(i).wanted = Some(wanted);
        Some(Event::Settled { vip: VIP, generation, outcome: news? })
    }

    /// A whole number of seconds, never past the fence; an old wish puts nothing new.
    fn put(&mut self, i: usize, fence: Moment, is_fresh: bool) -> Option<Outcome> {
        let n = self.node(i);
        let ends = n.now + Duration::from_secs(whole_seconds(n.now, fence).unwrap_or(0).into());
        match n.kernel {
            Some(old) if old >= ends => {}
            None if ends <= n.now || !is_fresh => return None,
            Some(_) => n.kernel = Some(ends),
            None => {
                n.kernel = Some(ends);
                self.say(|w| format!("  n{i} KERNEL: on, for {:?}", ends.since(w.nodes[i].now)));
            }
        }
        Some(Outcome::Present)
    }

    fn take_off(&mut self, i: usize) {
        if self.node(i).kernel.take().is_some() {
            self.say(|_| format!("  n{i} KERNEL: off"));
        }
    }

    /// The kernel ends the address; what was said of the wish is not true any more.
    pub(super) fn gone(&mut self, i: usize) {
        let n = self.node(i);
        n.kernel = None;
        if let Some(wanted) = &mut n.wanted {
            wanted.said = None;
        }
        self.say(|_| format!("  n{i} KERNEL: ended by its lifetime"));
    }

    /// Whoever has the address now answers; the answer may come late. By then a wish that was not looked at is old.
    pub(super) fn probe(&mut self, i: usize, choose: &mut Chooser) {
        let Some(round) = self.node(i).probing.take() else { return };
        for j in (0..self.nodes.len()).filter(|j| *j != i) {
            self.node(j).time_passes();
        }
        let hears = |n: &super::Node| !n.mute && !n.link_down;
        let has = |n: &super::Node| n.kernel.is_some() && n.shares_with(&self.nodes[i]);
        let answered = self.nodes.iter().enumerate().any(|(j, n)| j != i && has(n) && hears(n));
        let event = if hears(&self.nodes[i]) && answered {
            Event::ProbeAnswered { vip: VIP, round, by: Answer::Host("somebody".into()) }
        } else {
            Event::ProbeSilent { vip: VIP, round }
        };
        if !self.is_held_up(i, || Held::Report(event.clone()), choose) {
            self.fact(i, event, choose);
        }
    }
}
