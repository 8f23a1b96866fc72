//! Every duration of the election in one place, so that tests can make a world with others.

use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// How late the kernel may end an address (1.05 s measured), and 0.1 s for the put and the way there.
pub const MARGIN_FLOOR: Duration = Duration::from_millis(1150);

/// The least lease that is worth asking for; below it the fence leaves no whole second to hold an address.
pub const LEAST_TTL: Duration = Duration::from_secs(3);

/// What must be left between a renewal that is due and the fence. The kernel counts lifetimes in whole seconds and
/// nothing is put with less than one left; half a second on top lets the pair be answered.
pub const HOLD: Duration = Duration::from_millis(1500);

/// From the fence to the end of a lease of this length: `1.15 s + TTL/100`, the last part for clocks that run
/// at rates up to 1 % apart (protocol section 4).
pub fn least_margin(ttl: Duration) -> Duration {
    MARGIN_FLOOR + ttl / 100
}

/// The most margin that leaves room to hold an address between two renewals.
pub fn most_margin(ttl: Duration) -> Duration {
    ttl.saturating_sub(ttl / 10).saturating_sub(HOLD)
}

/// The kernel must confirm within this that an address is on or off.
pub const WORD_BOUND: Duration = Duration::from_secs(2);

/// However pressing, and however short the lease, renewals go out no faster than this.
pub const RENEW_PAUSE: Duration = Duration::from_millis(50);

/// A link that was lost this long ago is taken for sound again.
pub const LINK_REST: Duration = Duration::from_secs(60);

/// Beyond this, more losses of a link change nothing.
pub const LINK_LOSSES_MOST: u32 = 5;

/// When the network is told of a VIP that was taken: more than once, because a frame may be lost and a switch may need a
/// moment to learn.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Schedule {
    /// Counted from the taking, ascending.
    pub times: Vec<Duration>,
    /// From one later announcement to the next, for those that slept or came later; none if `None`.
    pub refresh: Option<Duration>,
}

impl Default for Schedule {
    fn default() -> Self {
        let times = [0, 100, 1100, 2200, 5000].map(|ms| ms * MS);
        Self { times: times.to_vec(), refresh: Some(60_000 * MS) }
    }
}

/// The durations a session lives by. All but the first four do not depend on the lease.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Timings {
    /// The lease's time to live.
    pub ttl: Duration,
    /// From the fence to the end of the lease.
    pub margin: Duration,
    /// From one renewal to the next: TTL/10, for any TTL that is worth having.
    pub renew_every: Duration,
    /// The same while none counts and there is a fence to save: TTL/25. Etcd is silent while it elects a leader, and
    /// what was asked before may never be answered; whoever asks soon after the election loses least.
    pub renew_silent: Duration,
    /// An order to etcd without a visible effect is given again after this.
    pub retry: Duration,
    /// A read that disagrees with the watch for this long: the watch is taken for deaf.
    pub deaf_after: Duration,
    /// A group that stands in another candidate's way gives way after this. Whoever steps back from several VIPs does so
    /// one after the other, and the next moment the group may have its turn.
    pub give_way_after: Duration,
    /// With less than this left until the fence no VIP is taken (a kernel lifetime is a whole second at least).
    pub least_hold: Duration,
    /// The kernel must confirm within this that an address is on or off.
    pub word_bound: Duration,
    /// Silence after probes is good for this long.
    pub probe_good: Duration,
    /// From one answered probing to the next.
    pub probe_pause: Duration,
    /// When to announce a VIP that was taken.
    pub announce: Schedule,
    /// From one announcement that answers another host's claim to the next (RFC 5227, DEFEND_INTERVAL): two hosts that
    /// both insist must not keep each other talking.
    pub defend_every: Duration,
    /// For so long after the taking a claim may be one of the holder before, still under way; the announcements after
    /// the taking answer it anyway.
    pub claim_grace: Duration,
    /// From one word to people about claims to the next.
    pub claim_told_every: Duration,
    /// So many repairs within `repair_window` are a fight, and the turn is given up.
    pub repair_limit: usize,
    /// See `repair_limit`.
    pub repair_window: Duration,
    /// Repairs within so long after one that counted are still the same hand's: `ip address flush` looks again and again
    /// until it finds nothing more.
    pub repair_burst: Duration,
    /// The longest back-off after a cause on this node.
    pub backoff_most: Duration,
    /// The longest rest after a link flapped.
    pub damping_most: Duration,
}

impl Timings {
    /// For a lease of `ttl` and, if given, a margin above the default one. A margin for which etcd granted too short a
    /// lease is not used.
    pub fn new(ttl: Duration, margin: Option<Duration>) -> Self {
        Self {
            ttl,
            margin: margin.filter(|m| *m <= most_margin(ttl)).unwrap_or_default().max(least_margin(ttl)),
            renew_every: (ttl / 10).max(RENEW_PAUSE),
            renew_silent: (ttl / 25).max(RENEW_PAUSE),
            retry: 500 * MS,
            deaf_after: 100 * MS,
            give_way_after: 200 * MS,
            least_hold: 1000 * MS,
            word_bound: WORD_BOUND,
            probe_good: 1000 * MS,
            probe_pause: 200 * MS,
            announce: Schedule::default(),
            defend_every: 10_000 * MS,
            claim_grace: 1000 * MS,
            claim_told_every: 60_000 * MS,
            repair_limit: 10,
            repair_window: 60_000 * MS,
            repair_burst: 100 * MS,
            backoff_most: 30_000 * MS,
            damping_most: 5000 * MS,
        }
    }

    /// The same with another schedule of announcements.
    pub fn announcing(self, announce: Schedule) -> Self {
        Self { announce, ..self }
    }

    /// How long after its last loss a link that was lost so many times in a row has to serve before somebody stands on
    /// it: 0 after the first one, then 1, 2, 4 and 5 s. Each turn on a link that flaps costs clients two moves.
    pub fn damping(&self, losses: u32) -> Duration {
        self.backoff(losses).min(self.damping_most)
    }

    /// Back-off after the given number of failures in a row: 0, 1, 2, 4 ... 30 s.
    pub fn backoff(&self, failures: u32) -> Duration {
        match failures {
            0 | 1 => Duration::ZERO,
            n => (1000 * MS * (1 << (n - 2).min(10))).min(self.backoff_most),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_seconds_give_the_margin_of_the_protocol() {
        assert_eq!(Timings::new(Duration::from_secs(5), None).margin, 1200 * MS);
        assert_eq!(Timings::new(Duration::from_secs(5), Some(MS)).margin, 1200 * MS, "never less");
        assert_eq!(Timings::new(Duration::from_secs(5), Some(2000 * MS)).margin, 2000 * MS);
    }

    #[test]
    fn a_lease_of_no_length_is_not_renewed_without_pause() {
        let none = Timings::new(Duration::ZERO, None);
        assert_eq!((none.renew_every, none.renew_silent), (RENEW_PAUSE, RENEW_PAUSE));
        assert_eq!(Timings::new(LEAST_TTL, None).renew_every, 300 * MS);
    }

    #[test]
    fn backoff_is_0_1_2_4_and_30_seconds_at_most() {
        let t = Timings::new(Duration::from_secs(5), None);
        let got: Vec<u64> = (1..9).map(|n| t.backoff(n).as_secs()).collect();
        assert_eq!(got, [0, 1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(t.backoff(u32::MAX).as_secs(), 30);
        let damping: Vec<u64> = (0..=LINK_LOSSES_MOST).map(|n| t.damping(n).as_secs()).collect();
        assert_eq!(damping, [0, 0, 1, 2, 4, 5]);
    }
}
