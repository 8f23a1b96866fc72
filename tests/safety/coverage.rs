//! What happened in the worlds that were run: a safety test shows nothing about what its worlds never contained.

use std::collections::BTreeMap;
use std::fmt;

use super::case::Case;
use super::faults::MS;

/// How often something happened, for one world or many.
#[derive(Clone, Debug, Default)]
pub(super) struct Coverage {
    /// By what: in how many worlds, and how many times in all.
    seen: BTreeMap<&'static str, (u64, u64)>,
    worlds: u64,
    /// How long after the last fault each world had its holders, in milliseconds: most, sum.
    healed: (i64, i64),
}

/// All that must happen in a run, by group. No name stands twice.
const WANTED: &[(&str, &[&str])] = &[
    (
        FAULTS,
        &[
            "Freeze",
            "Kill",
            "KillCleaned",
            "Stop",
            "StopNow",
            "CutEtcd",
            "CutAll",
            "LinkDown",
            "OnlyLinkDown",
            "LinkReplaced",
            "LinkDeleted",
            "Robbed",
            "Refuses",
            "Lag",
            "Deaf",
            "WatchBreaks",
            "Wordless",
            "Slow",
            "Reload",
            "Squatter",
            "LoseLeader",
            "StallLeader",
            "LoseQuorum",
            "DeleteKey",
            "DeleteFirst",
            "Overwrite",
            "RevokeEarly",
            "BackUp",
            "Restore",
        ],
    ),
    (TAKINGS, &["at once, by the word", "after probes", "loudly", "resumed under the same turn"]),
    (
        LET_GO,
        &[
            "for Stopping",
            "for Removed",
            "for KeyGone",
            "for LeaseLost",
            "for Fenced",
            "for LinkDown",
            "for PutFailed",
            "for NotOurs",
            "for Fought",
        ],
    ),
    ("sessions ended by", &["lost lease", "another history", "no kernel's word", "a key that stays"]),
    (
        "starts and ends",
        &[
            "started with old keys standing",
            "started behind its own old key, which is first",
            "start held up by left-overs",
            "killed while it holds",
            "finished clean",
            "finished, not all given back",
        ],
    ),
    (
        "etcd",
        &[
            "restore that took revisions back",
            "restore that changed who is first",
            "lease ended by its clock",
            "renewal acknowledged by a stalled leader",
            "order carried out after 1 s or more",
            "order carried out twice",
            "order of a daemon that is gone",
            "message lost",
        ],
    ),
    (
        "noticed",
        &["deaf watch", "changed term", "somebody answers", "left the queue", "kernel ended the address itself"],
    ),
    (
        "reloads",
        &["a VIP is taken out", "a VIP changes its link", "the addresses are grouped anew", "what is held changes"],
    ),
    ("groups", &["gave way", "group taken", "address left alone for a group's sake"]),
    (
        "worlds",
        &[
            "3 nodes",
            "4 nodes",
            "5 nodes",
            "one VIP",
            "several VIPs",
            "a group",
            "mixed",
            "a group beside one of its addresses alone",
            "groups that overlap",
        ],
    ),
];

/// What happens too seldom to be counted on.
const SELDOM: &[(&str, &[&str])] = &[(LET_GO, &["for AnotherHistory", "for NoKernelWord", "for Fruitless"])];

pub(super) const FAULTS: &str = "faults that took effect";
pub(super) const TAKINGS: &str = "takings";
pub(super) const LET_GO: &str = "let go";

fn names(group: &str) -> impl Iterator<Item = &'static str> {
    WANTED.iter().chain(SELDOM).filter(move |(g, _)| *g == group).flat_map(|(_, names)| names.iter().copied())
}

impl Coverage {
    pub(super) fn see(&mut self, what: &'static str) {
        self.seen.entry(what).or_insert((1, 0)).1 += 1;
    }

    /// Something of this group, which goes by its name in the code without what is in it.
    pub(super) fn see_one_of(&mut self, group: &str, it: &impl fmt::Debug) {
        let text = format!("{it:?}");
        let name = text.split(['(', ' ']).next().unwrap_or_default();
        let known = names(group).find(|n| n.rsplit(' ').next() == Some(name));
        self.see(known.unwrap_or("something that is not on the list"));
    }

    pub(super) fn see_world(&mut self, case: &Case) {
        self.see(["3 nodes", "4 nodes", "5 nodes"][case.nodes.len().clamp(3, 5) - 3]);
        let vips = &case.nodes[0].vips;
        self.see(if vips.len() > 1 { "several VIPs" } else { "one VIP" });
        if vips.iter().any(|v| v.len() > 1) {
            self.see("a group");
        }
        if case.mixed() {
            self.see("mixed");
        }
        let all: Vec<&Vec<u8>> = case.nodes.iter().flat_map(|n| &n.vips).collect();
        let groups = || all.iter().filter(|v| v.len() > 1);
        if groups().any(|group| all.iter().any(|v| v.len() == 1 && group.contains(&v[0]))) {
            self.see("a group beside one of its addresses alone");
        }
        let overlap = |a: &[u8], b: &[u8]| a != b && a.iter().any(|x| b.contains(x));
        if groups().any(|a| groups().any(|b| overlap(a, b))) {
            self.see("groups that overlap");
        }
    }

    pub(super) fn end_of_world(&mut self, healed_after: i64) {
        self.worlds = 1;
        let ms = healed_after / MS;
        self.healed = (ms, ms);
    }

    pub(super) fn add(&mut self, world: &Self) {
        for (what, (worlds, times)) in &world.seen {
            let sum = self.seen.entry(what).or_default();
            *sum = (sum.0 + worlds, sum.1 + times);
        }
        self.worlds += world.worlds;
        self.healed = (self.healed.0.max(world.healed.0), self.healed.1 + world.healed.1);
    }

    pub(super) fn times(&self, what: &str) -> u64 {
        self.seen.get(what).map_or(0, |s| s.1)
    }

    pub(super) fn takings(&self) -> u64 {
        names(TAKINGS).map(|way| self.times(way)).sum()
    }

    /// What never happened, and what happened without being on the list.
    pub(super) fn gaps(&self) -> Vec<&'static str> {
        let wanted = WANTED.iter().flat_map(|(_, names)| names.iter().copied());
        let never = wanted.filter(|name| self.times(name) == 0);
        let known = |name: &str| WANTED.iter().chain(SELDOM).any(|(_, names)| names.contains(&name));
        never.chain(self.seen.keys().copied().filter(|name| !known(name))).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  worlds with it (times in all):")?;
        for (group, _) in WANTED {
            let seen = names(group).map(|name| {
                let (worlds, times) = self.seen.get(name).copied().unwrap_or_default();
                format!("{name} {worlds} ({times})")
            });
            writeln!(f, "  {group}: {}", seen.collect::<Vec<_>>().join(", "))?;
        }
        let mean = self.healed.1 / i64::try_from(self.worlds.max(1)).unwrap_or(i64::MAX);
        write!(f, "  healed after the last fault: {mean} ms on average, {} ms at the most", self.healed.0)
    }
}
