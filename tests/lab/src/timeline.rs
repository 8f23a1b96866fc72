//! Who had which address, when: pure book-keeping over address events, and what can be asked of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::clock::At;

/// A node's place in the world, from 0.
pub(crate) type NodeIndex = usize;

/// An address came to a node or left it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Change {
    /// When the news of it arrived.
    pub(crate) at: At,
    /// Where.
    pub(crate) node: NodeIndex,
    /// It came; else it left.
    pub(crate) present: bool,
}

/// The history of one address.
#[derive(Clone, Default, Debug)]
struct Track {
    /// The links that have it now, for each node.
    links: BTreeMap<NodeIndex, BTreeSet<u32>>,
    /// In the order of time.
    changes: Vec<Change>,
    /// Every put, first ones and refreshes.
    puts: usize,
    /// When the kernel will take it away by itself, going by the latest put, for each node.
    ends: BTreeMap<NodeIndex, Option<At>>,
}

/// How two addresses stood to each other for a while.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Pair {
    /// One on this node while the other was on that.
    pub(crate) split: Duration,
    /// One of them on some node, the other on none.
    pub(crate) half: Duration,
}

impl Pair {
    fn add(&mut self, holders: &[BTreeSet<NodeIndex>; 2], span: Duration) {
        let [a, b] = holders;
        if a.is_empty() != b.is_empty() {
            self.half += span;
        } else if a != b {
            self.split += span;
        }
    }
}

/// The history of all addresses.
#[derive(Clone, Default, Debug)]
pub(crate) struct Timeline {
    tracks: BTreeMap<IpAddr, Track>,
    /// Addresses that move as one.
    groups: Vec<Vec<IpAddr>>,
    /// Events the kernel could not deliver; a verdict over them would be worth nothing.
    pub(crate) lost: usize,
    /// How late the kernel took addresses away whose lifetime had ended.
    pub(crate) lateness: Vec<Duration>,
}

impl Timeline {
    /// The address was put on a link of a node, or put again.
    pub(crate) fn put(&mut self, at: At, node: NodeIndex, ip: IpAddr, link: u32, valid: u32) {
        let track = self.tracks.entry(ip).or_default();
        track.puts += 1;
        let ends = (valid != u32::MAX).then(|| at + Duration::from_secs(valid.into()));
        track.ends.insert(node, ends);
        let links = track.links.entry(node).or_default();
        let first = links.is_empty();
        links.insert(link);
        if first {
            track.changed(Change { at, node, present: true });
        }
    }

    /// The address left a link of a node.
    pub(crate) fn gone(&mut self, at: At, node: NodeIndex, ip: IpAddr, link: u32) {
        let track = self.tracks.entry(ip).or_default();
        let links = track.links.entry(node).or_default();
        let had = links.remove(&link);
        if had && links.is_empty() {
            track.changed(Change { at, node, present: false });
        }
    }

    /// The kernel took the address away by itself. Where that was not at the end of its lifetime there was another
    /// cause (a link that went).
    pub(crate) fn ended(&mut self, at: At, node: NodeIndex, ip: IpAddr) {
        const EARLY: Duration = Duration::from_millis(100);
        let end = self.ends(ip, node).filter(|end| at + EARLY >= *end);
        self.lateness.extend(end.map(|end| at.since(end)));
    }

    /// What is left of the record when these are all the addresses that `node` has: the news of the others' going
    /// is still under way.
    pub(crate) fn seen(&mut self, at: At, node: NodeIndex, there: &[(IpAddr, u32)]) {
        let mut missing = Vec::new();
        for (ip, track) in &self.tracks {
            let links = track.links.get(&node).into_iter().flatten();
            missing.extend(links.map(|link| (*ip, *link)).filter(|known| !there.contains(known)));
        }
        missing.into_iter().for_each(|(ip, link)| self.gone(at, node, ip, link));
    }

    /// Who has it now.
    pub(crate) fn holders(&self, ip: IpAddr) -> Vec<NodeIndex> {
        let Some(track) = self.tracks.get(&ip) else { return Vec::new() };
        track.links.iter().filter(|(_, links)| !links.is_empty()).map(|(node, _)| *node).collect()
    }

    /// The one holder now, if there is exactly one.
    pub(crate) fn holder(&self, ip: IpAddr) -> Option<NodeIndex> {
        match self.holders(ip).as_slice() {
            [one] => Some(*one),
            _ => None,
        }
    }

    /// All comings and goings from `from` on.
    pub(crate) fn changes(&self, ip: IpAddr, from: At) -> Vec<Change> {
        let all = self.tracks.get(&ip).map(|track| track.changes.as_slice()).unwrap_or_default();
        all.iter().copied().filter(|change| change.at >= from).collect()
    }

    /// When it first came to a node (not `not`) from `from` on.
    pub(crate) fn came(&self, ip: IpAddr, from: At, not: Option<NodeIndex>) -> Option<Change> {
        self.changes(ip, from).into_iter().find(|change| change.present && Some(change.node) != not)
    }

    /// When it first left `node` from `from` on.
    pub(crate) fn left(&self, ip: IpAddr, from: At, node: NodeIndex) -> Option<At> {
        let mut changes = self.changes(ip, from).into_iter();
        changes.find(|change| !change.present && change.node == node).map(|change| change.at)
    }

    /// The time with the address on two nodes or more.
    pub(crate) fn overlap(&self, ip: IpAddr, from: At, to: At) -> Duration {
        self.spans(ip, from, to).filter(|(count, _)| *count >= 2).map(|(_, span)| span).sum()
    }

    /// The time with the address on no node.
    pub(crate) fn gap(&self, ip: IpAddr, from: At, to: At) -> Duration {
        self.spans(ip, from, to).filter(|(count, _)| *count == 0).map(|(_, span)| span).sum()
    }

    /// These addresses move as one.
    pub(crate) fn as_one(&mut self, group: &[IpAddr]) {
        self.groups.push(group.to_vec());
    }

    /// What moves together with an address, itself included.
    pub(crate) fn fellows(&self, ip: IpAddr) -> &[IpAddr] {
        self.groups.iter().find(|group| group.contains(&ip)).map_or(&[], Vec::as_slice)
    }

    /// How two addresses stood to each other between two moments.
    pub(crate) fn pair(&self, a: IpAddr, b: IpAddr, from: At, to: At) -> Pair {
        let changes = |ip| self.changes(ip, At::default()).into_iter().map(move |change| (change.at, ip == b, change));
        let mut all: Vec<_> = changes(a).chain(changes(b)).collect();
        all.sort_by_key(|(at, ..)| *at);
        let (mut pair, mut holders, mut since) = (Pair::default(), [BTreeSet::new(), BTreeSet::new()], from);
        let ends = all.iter().map(|(at, which, change)| (*at, Some((*which, *change)))).chain([(to, None)]);
        for (at, next) in ends {
            let until = at.clamp(from, to);
            pair.add(&holders, until.since(since));
            since = until;
            if let Some((which, Change { node, present, .. })) = next {
                let holders: &mut BTreeSet<NodeIndex> = &mut holders[usize::from(which)];
                if present {
                    holders.insert(node)
                } else {
                    holders.remove(&node)
                };
            }
        }
        pair
    }

    /// How often it was put, refreshes counted.
    pub(crate) fn puts(&self, ip: IpAddr) -> usize {
        self.tracks.get(&ip).map_or(0, |track| track.puts)
    }

    /// When the kernel will take it away from `node` by itself; `None`: never.
    pub(crate) fn ends(&self, ip: IpAddr, node: NodeIndex) -> Option<At> {
        self.tracks.get(&ip)?.ends.get(&node).copied().flatten()
    }

    /// Addresses that were ever seen.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        self.tracks.keys().copied().collect()
    }

    /// Stretches of time between two moments with the number of holders in each.
    fn spans(&self, ip: IpAddr, from: At, to: At) -> impl Iterator<Item = (usize, Duration)> {
        let mut holding = BTreeSet::new();
        let mut spans = Vec::new();
        let mut since = from;
        for change in self.changes(ip, At::default()) {
            let at = change.at.clamp(from, to);
            spans.push((holding.len(), at.since(since)));
            since = at;
            if change.present {
                holding.insert(change.node)
            } else {
                holding.remove(&change.node)
            };
        }
        spans.push((holding.len(), to.since(since)));
        spans.into_iter()
    }
}

impl Track {
    /// Threads of several namespaces report; two events a moment apart may come in the other order.
    fn changed(&mut self, change: Change) {
        let place = self.changes.partition_point(|known| known.at <= change.at);
        self.changes.insert(place, change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn at(millis: u64) -> At {
        At::since_boot(Duration::from_millis(millis))
    }

    /// Held by 0 from 100 to 200, by 1 from 230 to 400, by 2 from 390 on.
    fn story() -> Timeline {
        let mut timeline = Timeline::default();
        timeline.put(at(100), 0, IP, 1, 3);
        timeline.put(at(150), 0, IP, 1, 3);
        timeline.gone(at(200), 0, IP, 1);
        timeline.put(at(230), 1, IP, 1, 3);
        timeline.put(at(390), 2, IP, 1, 3);
        timeline.gone(at(400), 1, IP, 1);
        timeline
    }

    #[test]
    fn overlap_and_gap_are_counted_between_two_moments() {
        let timeline = story();
        assert_eq!(timeline.gap(IP, at(100), at(500)), Duration::from_millis(30));
        assert_eq!(timeline.gap(IP, at(0), at(210)), Duration::from_millis(110));
        assert_eq!(timeline.overlap(IP, at(0), at(500)), Duration::from_millis(10));
        assert_eq!(timeline.overlap(IP, at(0), at(395)), Duration::from_millis(5));
        assert_eq!(timeline.overlap(IP, at(401), at(900)), Duration::ZERO);
    }

    #[test]
    fn a_refresh_is_a_put_but_no_change() {
        let timeline = story();
        assert_eq!(timeline.puts(IP), 4);
        assert_eq!(timeline.changes(IP, at(0)).len(), 5);
        assert_eq!(timeline.holder(IP), Some(2));
    }

    #[test]
    fn comings_and_goings_are_found() {
        let timeline = story();
        assert_eq!(timeline.left(IP, at(0), 0), Some(at(200)));
        assert_eq!(timeline.came(IP, at(120), Some(0)).map(|change| change.node), Some(1));
        assert_eq!(timeline.left(IP, at(0), 2), None);
    }

    #[test]
    fn a_look_overtakes_news_under_way() {
        let mut timeline = story();
        timeline.put(at(500), 0, IP, 1, 3);
        timeline.seen(at(500), 2, &[]);
        timeline.gone(at(507), 2, IP, 1);
        assert_eq!(timeline.overlap(IP, at(450), at(600)), Duration::ZERO);
        assert_eq!(timeline.holder(IP), Some(0));
    }

    #[test]
    fn the_kernels_lateness_is_counted_from_the_latest_put() {
        let mut timeline = story();
        timeline.put(at(1000), 0, IP, 1, 2);
        timeline.ended(at(1500), 0, IP);
        timeline.ended(at(3200), 0, IP);
        assert_eq!(timeline.lateness, [Duration::from_millis(200)]);
    }

    #[test]
    fn two_addresses_stand_together_apart_or_half() {
        let other: IpAddr = "fd00::1".parse().unwrap();
        let mut timeline = Timeline::default();
        for (ms, node, ip, comes) in [
            (10, 0, IP, true),
            (12, 0, other, true),
            (50, 0, IP, false),
            (53, 0, other, false),
            (60, 1, IP, true),
            (65, 2, other, true),
            (70, 2, other, false),
        ] {
            if comes { timeline.put(at(ms), node, ip, 1, 4) } else { timeline.gone(at(ms), node, ip, 1) }
        }
        let ms = Duration::from_millis;
        assert_eq!(timeline.pair(IP, other, at(0), at(100)), Pair { split: ms(5), half: ms(2 + 3 + 5 + 30) });
        assert_eq!(timeline.pair(IP, other, at(20), at(51)), Pair { split: ms(0), half: ms(1) });
    }

    #[test]
    fn an_unknown_address_is_on_no_node() {
        let timeline = Timeline::default();
        assert_eq!(timeline.gap(IP, at(0), at(50)), Duration::from_millis(50));
        assert_eq!(timeline.holder(IP), None);
    }
}
