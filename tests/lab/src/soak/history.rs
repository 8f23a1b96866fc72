//! What the address events come to: who held from when to when, moves, blinks, overlaps, time with none. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::At;
use crate::timeline::{Change, NodeIndex};

/// A node had the address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Hold {
    /// Who.
    pub(super) node: NodeIndex,
    /// From when.
    pub(super) from: At,
    /// Until when.
    pub(super) to: At,
}

/// Two nodes had the address, or more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Overlap {
    /// From when.
    pub(super) from: At,
    /// Until when.
    pub(super) to: At,
    /// Who.
    pub(super) nodes: Vec<NodeIndex>,
}

/// All of it.
#[derive(Clone, Default, Debug)]
pub(super) struct History {
    /// Its beginning.
    pub(super) from: At,
    /// Its end.
    pub(super) to: At,
    /// In the order of their ends; the ones that last end where the history does.
    pub(super) holds: Vec<Hold>,
    /// In the order of time.
    pub(super) overlaps: Vec<Overlap>,
    /// It came to another node than had it last.
    pub(super) moves: usize,
    /// It came back to the node that had it last.
    pub(super) blinks: usize,
    /// The longest time on no node.
    pub(super) longest_none: Duration,
}

impl History {
    /// Reads events in the order of time; what was before `from` counts only for who had it then.
    pub(super) fn read(changes: &[Change], from: At, to: At) -> Self {
        let read = Self { from, to, ..Self::default() };
        let mut reader = Reader { read, since: from, ..Reader::default() };
        let (before, rest) = changes.split_at(changes.partition_point(|change| change.at < from));
        for change in before {
            if change.present {
                reader.holders.insert(change.node, from);
                reader.last = Some(change.node);
            } else {
                reader.holders.remove(&change.node);
            }
        }
        rest.iter().filter(|change| change.at <= to).for_each(|change| reader.add(change));
        reader.close(to);
        reader.read
    }

    /// The time with the address on two nodes or more.
    pub(super) fn overlap(&self) -> Duration {
        self.overlaps.iter().map(|overlap| overlap.to.since(overlap.from)).sum()
    }
}

/// A history being read.
#[derive(Default)]
struct Reader {
    read: History,
    holders: BTreeMap<NodeIndex, At>,
    last: Option<NodeIndex>,
    since: At,
}

impl Reader {
    fn add(&mut self, change: &Change) {
        self.span_ends(change.at);
        if change.present {
            if self.last == Some(change.node) {
                self.read.blinks += 1;
            } else {
                self.read.moves += usize::from(self.last.is_some());
            }
            self.last = Some(change.node);
            self.holders.insert(change.node, change.at);
        } else if let Some(from) = self.holders.remove(&change.node) {
            self.read.holds.push(Hold { node: change.node, from, to: change.at });
        }
    }

    /// From one event to the next the holders are the same.
    fn span_ends(&mut self, at: At) {
        match self.holders.len() {
            0 => self.read.longest_none = self.read.longest_none.max(at.since(self.since)),
            1 => {}
            // Stamped alike: the one went when the other was seen to come.
            _ if at <= self.since => {}
            _ => {
                let nodes = self.holders.keys().copied().collect();
                self.read.overlaps.push(Overlap { from: self.since, to: at, nodes });
            }
        }
        self.since = at;
    }

    fn close(&mut self, to: At) {
        self.span_ends(to);
        for (node, from) in std::mem::take(&mut self.holders) {
            self.read.holds.push(Hold { node, from, to });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> At {
        At::since_boot(Duration::from_millis(millis))
    }

    fn change(millis: u64, node: NodeIndex, present: bool) -> Change {
        Change { at: at(millis), node, present }
    }

    #[test]
    fn moves_and_blinks_are_told_apart() {
        let changes = [
            change(50, 0, true),
            change(200, 0, false),
            change(210, 1, true),
            change(300, 1, false),
            change(340, 1, true),
        ];
        let history = History::read(&changes, at(100), at(400));
        assert_eq!((history.moves, history.blinks), (1, 1));
        assert_eq!(history.longest_none, Duration::from_millis(40));
        assert_eq!(history.overlap(), Duration::ZERO);
        assert_eq!(history.holds[0], Hold { node: 0, from: at(100), to: at(200) });
        assert_eq!(history.holds[2], Hold { node: 1, from: at(340), to: at(400) });
    }

    #[test]
    fn an_overlap_is_found_with_its_nodes() {
        let changes = [change(100, 0, true), change(200, 2, true), change(230, 0, false)];
        let history = History::read(&changes, at(0), at(300));
        assert_eq!(history.overlaps, [Overlap { from: at(200), to: at(230), nodes: vec![0, 2] }]);
        assert_eq!(history.longest_none, Duration::from_millis(100));
    }

    #[test]
    fn none_at_the_end_counts() {
        let history = History::read(&[change(0, 0, true), change(100, 0, false)], at(50), at(400));
        assert_eq!(history.longest_none, Duration::from_millis(300));
        assert_eq!(history.moves, 0);
    }
}
