//! How long the kernel may keep an address, and when to tell it a later end. Pure (protocol 5.3 and 5.5).
//!
//! The kernel counts an address's life in whole seconds, and the life must end before the fence: so every put rounds
//! down. What rounding loses is won back by choosing the moment of the put; what that costs is an event for everybody
//! who listens to this node's addresses, so a put has to be worth it.

use std::time::Duration;

use crate::moment::Moment;

/// The kernel's unit, and the least life it takes: with less than this left until the fence nothing is put.
pub const SECOND: Duration = Duration::from_secs(1);

/// How long before a whole second (counted back from the fence) a put is best: rounding then loses only this much.
///
/// Less would be lost to a busy machine, which is late by more and then loses a whole second.
pub const EARLY: Duration = Duration::from_millis(20);

/// A put that wins at least this much is worth its event.
///
/// A little less than a second, because renewals come at half seconds give or take a network's jitter: two of them are
/// worth a put, one is not, and with exactly one second every other pair of them would be found a hair too short.
pub const WORTH: Duration = Duration::from_millis(900);

/// With less than this left of the address's life any gain is worth its event.
///
/// Two lives' worth of trouble away from losing the address: a renewal that is late, and a put that comes late.
pub const LOW: Duration = Duration::from_millis(1500);

/// When to put an address next.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Next {
    /// At once.
    Now,
    /// At this moment, if the fence has not moved by then.
    At(Moment),
    /// Not before the fence moves.
    Never,
}

/// The life a put may give at `now`, in whole seconds: never beyond the fence, never 0.
pub fn whole_seconds(now: Moment, fence: Moment) -> Option<u32> {
    match fence.since(now).as_secs() {
        0 => None,
        seconds => Some(u32::try_from(seconds).unwrap_or(u32::MAX - 1)),
    }
}

/// When an address that the kernel keeps until `end` (`None`: it is not there) is to be put next, so that it lives to
/// within [`EARLY`] of the fence if the fence never moves again, with about one put a second while it does move.
///
/// Never to an earlier end, and never with less than [`SECOND`] left. Asked at the moment it named or up to [`EARLY`]
/// after it, it says `Now`; later than that, the moment is lost and it names the next.
pub fn next(now: Moment, fence: Moment, end: Option<Moment>) -> Next {
    let Some(seconds) = whole_seconds(now, fence) else { return Next::Never };
    let Some(end) = end else { return Next::Now };
    let put_now = now + seconds * SECOND;
    let is_good_moment = fence.since(put_now) <= EARLY;
    if (is_good_moment || fence.since(end) > SECOND) && worth(now, put_now, end) {
        return Next::Now;
    }
    let best = fence - EARLY;
    // The whole seconds left, the farthest first: one late or lost put leaves the next.
    let mut moments = (1..=seconds).rev().map(|left| best - left * SECOND).filter(|at| *at > now);
    moments.find(|at| worth(*at, best, end)).map_or(Next::Never, Next::At)
}

/// Whether a put at `at` that moves the end from `end` to `later` is worth its event.
fn worth(at: Moment, later: Moment, end: Moment) -> bool {
    let gain = later.since(end);
    gain >= WORTH || (!gain.is_zero() && end.since(at) < LOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: i64) -> Moment {
        Moment::from_millis(millis)
    }

    #[test]
    fn a_life_is_rounded_down_and_never_nothing() {
        for (left, want) in [(-5, None), (0, None), (999, None), (1000, Some(1)), (1999, Some(1)), (3800, Some(3))] {
            assert_eq!(whole_seconds(ms(10_000), ms(10_000 + left)), want, "{left} ms left");
        }
        assert_ne!(whole_seconds(ms(0), Moment::from_nanos(i64::MAX)), Some(u32::MAX), "that means for ever");
    }

    #[test]
    fn the_rule_as_a_table() {
        // (until the fence, of the address's life left or none, what to do), all in milliseconds from now.
        let cases: &[(i64, Option<i64>, Next)] = &[
            (3800, None, Next::Now),
            (1000, None, Next::Now),
            (999, None, Next::Never),
            (-1, None, Next::Never),
            // Just put; the best moments are 0.78 and 1.78 s away; by the second there is little life left.
            (3800, Some(3000), Next::At(ms(1780))),
            // One pair later: 0.5 s could be won, which is not worth an event.
            (3800, Some(2500), Next::At(ms(780))),
            // Two pairs later.
            (3800, Some(2000), Next::Now),
            (3799, Some(2001), Next::Now),
            // It ends as near the fence as it can.
            (2500, Some(2480), Next::Never),
            (2500, Some(2500), Next::Never),
            // An end beyond the fence is not for this rule to shorten.
            (2500, Some(2600), Next::Never),
            // Little life left: any gain counts, at the last good moment.
            (1500, Some(1000), Next::At(ms(480))),
            (1021, Some(300), Next::At(ms(1))),
            (1019, Some(300), Next::Now),
            (2100, Some(1000), Next::Now),
            // At a good moment and just after it; then it is lost.
            (2020, Some(1300), Next::Now),
            (2001, Some(1300), Next::Now),
            (2000, Some(1300), Next::Now),
            (1999, Some(1300), Next::At(ms(979))),
            (1010, Some(5), Next::Now),
            (1015, Some(20), Next::Now),
            // Never to an earlier end.
            (2010, Some(2005), Next::Never),
        ];
        for (fence, end, want) in cases {
            let said = next(ms(0), ms(*fence), end.map(ms));
            assert_eq!(said, *want, "fence in {fence} ms, end in {end:?} ms");
        }
    }

    #[test]
    fn a_put_now_never_shortens_and_a_planned_moment_is_never_past() {
        for fence in (-500..6000).step_by(7) {
            for end in (-1500..6000).step_by(7) {
                match next(ms(0), ms(fence), Some(ms(end))) {
                    Next::Now => {
                        let seconds = whole_seconds(ms(0), ms(fence)).unwrap();
                        assert!(ms(i64::from(seconds) * 1000) > ms(end), "fence {fence}, end {end}");
                    }
                    Next::At(at) => {
                        assert!(at > ms(0) && at + SECOND <= ms(fence), "fence {fence}, end {end}");
                        assert!(ms(fence) - EARLY > ms(end), "fence {fence}, end {end}");
                    }
                    Next::Never => {}
                }
            }
        }
    }

    /// A simulated daemon: the fence moves with every counted pair until `last_pair`, and the rule is asked again `late`
    /// milliseconds after every moment it named.
    struct Run {
        puts: Vec<Moment>,
        end: Moment,
        least_left: Duration,
    }

    fn run(ttl: i64, margin: i64, answer: i64, last_pair: i64, until: i64, late: u64) -> Run {
        let (mut fence, mut end) = (ms(ttl - margin), None);
        let mut puts = Vec::new();
        let mut least_left = Duration::MAX;
        let mut due = Next::Now;
        for t in 0..until {
            let now = ms(t);
            if t > 0 && t % (ttl / 10) == answer && t <= last_pair {
                fence = ms(t - answer + ttl - margin);
                due = next(now, fence, end);
            }
            if matches!(due, Next::At(at) if now >= at + Duration::from_millis(late)) {
                due = next(now, fence, end);
                assert!(due == Next::Now || late > 20, "asked at its moment, {now:?}, it says {due:?}");
            }
            if due == Next::Now {
                let new = now + whole_seconds(now, fence).unwrap() * SECOND;
                assert!(new <= fence, "beyond the fence at {now:?}");
                assert!(end < Some(new), "to an earlier end at {now:?}");
                end = Some(new);
                puts.push(now);
                due = next(now, fence, end);
                assert_ne!(due, Next::Now, "nothing more to win at {now:?}");
            }
            let end = end.unwrap();
            assert!(end <= fence, "at {now:?} the kernel keeps it until {end:?}, the fence is {fence:?}");
            if t <= last_pair {
                least_left = least_left.min(end.since(now));
            }
        }
        Run { puts, end: end.unwrap(), least_left }
    }

    #[test]
    fn a_minute_at_ttl_5_costs_about_a_put_a_second() {
        for answer in [0, 3, 40, 200] {
            let r = run(5000, 1200, answer, 60_000, 60_000, 0);
            assert!((50..=63).contains(&r.puts.len()), "{} puts at {answer} ms an answer", r.puts.len());
            assert!(r.least_left >= Duration::from_millis(1500), "{:?} left", r.least_left);
        }
    }

    #[test]
    fn other_ttls_cost_no_more_and_never_come_near_their_end() {
        for (ttl, margin, most, least) in
            [(3000, 1180, 210, 600), (4000, 1190, 85, 1000), (10_000, 1250, 62, 1500), (20_000, 1350, 32, 1500)]
        {
            let r = run(ttl, margin, 5, 60_000, 60_000, 0);
            assert!(r.puts.len() <= most, "TTL {ttl}: {} puts", r.puts.len());
            assert!(r.least_left >= Duration::from_millis(least), "TTL {ttl}: {:?} left", r.least_left);
        }
    }

    #[test]
    fn any_margin_at_ttl_5_costs_about_a_put_a_second() {
        for margin in (1200..2500).step_by(10) {
            let r = run(5000, margin, 5, 60_000, 60_000, 0);
            assert!(r.puts.len() <= 85, "margin {margin}: {} puts", r.puts.len());
        }
    }

    #[test]
    fn when_no_pair_comes_any_more_it_lives_to_within_20_ms_of_the_fence() {
        for last in (10_000..11_000).step_by(13) {
            for answer in [0, 7, 90] {
                let r = run(5000, 1200, answer, last, last + 6000, 0);
                let fence = ms((last - answer).div_euclid(500) * 500 + 3800);
                assert!(fence.since(r.end) <= EARLY, "last pair at {last}: end {:?}, fence {fence:?}", r.end);
                let after = r.puts.iter().filter(|p| **p > ms(last)).count();
                assert!(after <= 3, "{after} puts after the last pair at {last}");
            }
        }
    }

    #[test]
    fn a_busy_machine_loses_a_second_and_never_passes_the_fence() {
        for late in [5, 19, 25, 60] {
            let r = run(5000, 1200, 5, 10_000, 16_000, late);
            let lost = ms(13_300).since(r.end);
            assert!(lost <= Duration::from_millis(1050), "{late} ms late: {lost:?} lost");
        }
    }
}
