//! Normal running, for long: nothing is done to the cluster, and the address must not blink.

use anyhow::Result;

use super::judge::Judge;
use super::paper::Paper;
use super::tally::{Seconds, minutes};
use super::{PROGRESS, Wishes};
use crate::clock::{self, At};
use crate::world::{VIP, World};

/// Watches; returns whether there was no blink and no move.
pub(super) fn watch(wishes: &Wishes, start: At, world: &World, judge: &Judge, paper: &Paper) -> Result<bool> {
    let before = world.monitor.timeline().puts(VIP);
    let until = start + wishes.span();
    let mut next = start + PROGRESS;
    loop {
        let now = clock::now();
        let history = judge.history();
        let puts = world.monitor.timeline().puts(VIP) - before;
        let a_second = puts as f64 / now.since(start).as_secs_f64().max(0.001);
        let events = history.moves + history.blinks;
        if now >= until {
            let good = events == 0 && history.overlap().is_zero() && judge.lost() == 0;
            let verdict = format!(
                "calm: {}{} min, TTL {} s: {} blinks, {} moves, overlap {}, {a_second:.2} address events a second",
                if good { "" } else { "FAILED: " },
                wishes.minutes,
                wishes.ttl,
                history.blinks,
                history.moves,
                Seconds(history.overlap()),
            );
            paper.draw(&history, &[], &verdict)?;
            paper.notes.say(verdict);
            return Ok(good);
        }
        if now >= next {
            let holders = world.names(&world.monitor.timeline().holders(VIP));
            let time = minutes(now.since(start));
            paper.notes.say(format_args!(
                "{time:>7}   {events} blinks and moves, {a_second:.2} address events a second, held by {holders}"
            ));
            next = now + PROGRESS * 3;
        }
        clock::sleep(next.since(now).min(until.since(now)));
    }
}
