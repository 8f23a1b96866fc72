//! Where a test stops this process by itself: at a named step of a put, so that a stop at exactly that instruction is no
//! matter of luck. In a daemon as it is shipped this is nothing at all.
//!
//! Built for tests or with the feature `pause-points`, and with `VIPD_PAUSE_AT=put:clock:3` in its environment, the whole
//! process stops (as by SIGSTOP) the third time it comes to the step `clock`, once. Whoever set that sends SIGCONT.

/// A step of a put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// `before`: the guard is not armed yet.
    Before,
    /// `armed`: the guard is armed, the clock not read.
    Armed,
    /// `clock`: the clock was read.
    Clock,
    /// `life`: the life stands in the message, which was not sent.
    Life,
    /// `sent`: the kernel has it; its answer was not read.
    Sent,
}

/// Stops here if that was asked for.
#[cfg(not(any(test, feature = "pause-points")))]
pub(super) const fn at(_: Step) {}

#[cfg(any(test, feature = "pause-points"))]
pub(super) use there::at;

#[cfg(any(test, feature = "pause-points"))]
mod there {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use nix::sys::signal::{Signal, raise};

    use super::Step;

    /// The environment variable that asks for a stop.
    const ASKED: &str = "VIPD_PAUSE_AT";

    struct Plan {
        step: Step,
        left: AtomicU64,
    }

    /// Stops here if that was asked for.
    pub(in super::super) fn at(step: Step) {
        static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
        let plan = PLAN.get_or_init(|| std::env::var(ASKED).ok().map(|asked| read(&asked)));
        let Some(plan) = plan.as_ref().filter(|plan| plan.step == step) else { return };
        if plan.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            // To this thread, which so stops itself before it comes back; the others stop with it.
            raise(Signal::SIGSTOP).expect("a process may stop itself");
        }
    }

    fn read(asked: &str) -> Plan {
        let mut parts = asked.split(':');
        let (room, step, nth) = (parts.next(), parts.next(), parts.next().and_then(|n| n.parse().ok()));
        let step = match step {
            Some("before") => Some(Step::Before),
            Some("armed") => Some(Step::Armed),
            Some("clock") => Some(Step::Clock),
            Some("life") => Some(Step::Life),
            Some("sent") => Some(Step::Sent),
            _ => None,
        };
        match (room, step, nth, parts.next()) {
            // From 0 on it counts down past every number of puts.
            (Some("put"), Some(step), Some(nth), None) if nth > 0 => Plan { step, left: AtomicU64::new(nth) },
            _ => panic!("{ASKED}={asked} is none of put:{{before,armed,clock,life,sent}}:<from 1>"),
        }
    }
}
