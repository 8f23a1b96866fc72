//! The counted pairs of one daemon, from its own log, and how long etcd was silent between them.
//!
//! *Silence* is what the fence must outlast: from the moment a counted pair's renewal was sent until the next pair is
//! counted. The daemon says both moments of every pair, by the clock that is the lab's as well; nothing else is asked.

use std::time::Duration;

use crate::clock::At;
use crate::timeline::NodeIndex;
use crate::world::World;

/// What makes the daemons say their pairs.
pub(crate) const LOG: &str = "info,vipd::pair=trace";

/// A pair that counted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pair {
    /// The session's lease.
    pub(crate) lease: String,
    /// When its renewal was sent.
    pub(crate) sent: At,
    /// When it counted.
    pub(crate) counted: At,
}

/// What one daemon says from some moment on.
pub(crate) struct Pairs {
    node: NodeIndex,
    since: u64,
}

impl Pairs {
    /// From now on.
    pub(crate) fn from_now_on(world: &World, node: NodeIndex) -> Self {
        Self { node, since: world.nodes[node].vipd.said_so_far() }
    }

    /// Those that counted since.
    pub(crate) fn so_far(&self, world: &World) -> Vec<Pair> {
        let said = world.nodes[self.node].vipd.said_since(self.since).unwrap_or_default();
        pairs(&said)
    }
}

/// All that a log tells of.
pub(crate) fn pairs(log: &str) -> Vec<Pair> {
    log.lines().filter_map(pair).collect()
}

fn pair(line: &str) -> Option<Pair> {
    let (_, fields) = line.split_once("a pair counted")?;
    let field = |name: &str| fields.split_whitespace().find_map(|word| word.strip_prefix(name));
    let moment = |name: &str| field(name)?.parse().ok().map(|ms| At::since_boot(Duration::from_millis(ms)));
    Some(Pair { lease: field("lease=")?.to_owned(), sent: moment("sent_ms=")?, counted: moment("counted_ms=")? })
}

/// The longest from a renewal's sending until the next pair counted, of those that counted from `from` on.
pub(crate) fn longest_silence(pairs: &[Pair], from: At) -> Option<Duration> {
    let same = pairs.windows(2).filter(|two| two[0].lease == two[1].lease && two[1].counted >= from);
    same.map(|two| two[1].counted.since(two[0].sent)).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> At {
        At::since_boot(Duration::from_millis(ms))
    }

    fn said(lease: &str, sent: u64, counted: u64) -> Pair {
        Pair { lease: lease.to_owned(), sent: at(sent), counted: at(counted) }
    }

    #[test]
    fn a_line_of_the_log_is_read() {
        let line = "2026-11-21T10:00:00Z TRACE a pair counted lease=7a sent_ms=1500 counted_ms=1503";
        assert_eq!(pair(line), Some(said("7a", 1500, 1503)));
        assert_eq!(pair("2026-11-21T10:00:00Z  INFO vipd runs"), None);
    }

    #[test]
    fn a_silence_runs_from_a_sending_to_the_next_counting_under_the_same_lease() {
        let story = [said("a", 0, 3), said("a", 500, 504), said("a", 2400, 2410), said("b", 9000, 9001)];
        assert_eq!(longest_silence(&story, at(600)), Some(Duration::from_millis(1910)));
        assert_eq!(longest_silence(&story, at(0)), Some(Duration::from_millis(1910)));
        assert_eq!(longest_silence(&story[2..], at(0)), None);
    }
}
