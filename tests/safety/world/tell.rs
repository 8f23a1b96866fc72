//! What a world tells: to people the story, to the test what it covered.

use super::{Telling, World};
use crate::election::action::{Cause, Note};
use crate::election::event::{Change, LeaseId, Record, VipId};
use crate::election::record::Key;
use crate::election::safety::coverage::LET_GO;
use crate::election::safety::store::Revision;

impl World {
    /// A line of the story.
    pub(super) fn say(&mut self, who: &str, text: impl FnOnce() -> String) {
        if self.terms.telling != Telling::Nothing {
            self.fate.told.push(format!("{:9.4} {who:5} {}", self.now as f64 / 1e9, text()));
        }
    }

    pub(super) fn say_of(&mut self, node: usize, text: impl FnOnce() -> String) {
        if self.terms.telling != Telling::Nothing {
            let who = self.name(node);
            self.say(&who, text);
        }
    }

    pub(super) fn say_all(&mut self, node: usize, text: impl FnOnce() -> String) {
        if self.terms.telling == Telling::Everything {
            self.say_of(node, text);
        }
    }

    pub(super) fn name(&self, node: usize) -> String {
        format!("n{}", self.nodes[node].id)
    }

    pub(super) fn whose(&self, lease: LeaseId) -> String {
        self.owners.get(&lease).map_or_else(|| "nobody".into(), |node| format!("{} ({lease})", self.name(*node)))
    }

    pub(super) fn named(&self, node: usize, vip: VipId) -> String {
        if self.terms.telling == Telling::Nothing {
            return String::new();
        }
        self.nodes[node].addresses(vip).iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
    }

    /// Who stood for what, as its key says.
    fn owner_of(&self, key: &Key) -> String {
        let text = key.to_string();
        let (address, lease) = text.strip_prefix("vipd/").and_then(|k| k.split_once('/')).unwrap_or((&text, ""));
        let lease = i64::from_str_radix(lease, 16).map(LeaseId);
        format!("{}'s candidate for {address}", lease.map_or_else(|_| "nobody".into(), |l| self.whose(l)))
    }

    /// What etcd has committed, one line a change.
    pub(super) fn say_news(&mut self, news: &[Revision]) {
        if self.terms.telling == Telling::Nothing {
            return;
        }
        for (revision, changes) in news {
            for change in changes {
                let text = match change {
                    Change::Put(entry) => match &entry.record {
                        Record::Candidate { .. } => Some(format!("{} stands", self.owner_of(&entry.key))),
                        Record::Ignored(_) => Some(format!("{} is written over", self.owner_of(&entry.key))),
                        Record::Node { record, .. } => record
                            .released
                            .last()
                            .map(|word| format!("the word: {}, @{}, is off", self.owner_of(&word.key), word.create)),
                    },
                    Change::Deleted(key) if key.0.starts_with(b"vipd/.nodes/") => None,
                    Change::Deleted(key) => Some(format!("{} is gone", self.owner_of(key))),
                };
                if let Some(text) = text {
                    self.say("etcd", || format!("{text} (revision {revision})"));
                }
            }
        }
    }

    /// What the election tells people, for them and for the coverage.
    pub(super) fn noted(&mut self, node: usize, note: &Note) {
        if self.terms.telling != Telling::Nothing
            && let Some(text) = self.told(node, note)
        {
            self.say_of(node, || text);
        }
        let seen = match note {
            Note::WatchDeaf => Some("deaf watch"),
            Note::TermChanged => Some("changed term"),
            Note::SomebodyAnswers { .. } => Some("somebody answers"),
            Note::Queued { vip, .. } => {
                self.judge_let_go(node, *vip, false);
                None
            }
            Note::LeftQueue { vip, cause } => {
                self.judge_left_queue(node, *vip, cause);
                Some(if *cause == Cause::InTheWay { "gave way" } else { "left the queue" })
            }
            Note::TurnCame { vip, at_once } => {
                let way = if *at_once { "at once, by the word" } else { "after probes" };
                self.nodes[node].way.insert(*vip, way);
                None
            }
            Note::TookLoudly { vip, .. } => {
                self.nodes[node].way.insert(*vip, "loudly");
                None
            }
            // What the runtime directory says from then on.
            Note::SessionBegan { lease, .. } => {
                self.nodes[node].lease = Some(*lease);
                None
            }
            Note::Took { vip } => {
                self.judge_let_go(node, *vip, false);
                if self.nodes[node].addresses(*vip).len() > 1 {
                    self.fate.coverage.see("group taken");
                }
                self.nodes[node].way.insert(*vip, "resumed under the same turn")
            }
            Note::LetGo { vip, cause, kept_place } => {
                self.fate.coverage.see_one_of(LET_GO, cause);
                self.judge_let_go(node, *vip, *kept_place);
                None
            }
            Note::SessionEnded { cause, lease } => {
                self.judge_session_end(node, *lease, cause);
                Some(match cause {
                    Cause::AnotherHistory => "another history",
                    Cause::NoKernelWord => "no kernel's word",
                    Cause::Fruitless => "a key that stays",
                    _ => "lost lease",
                })
            }
            _ => None,
        };
        if let Some(seen) = seen {
            self.fate.coverage.see(seen);
        }
    }

    fn told(&self, node: usize, note: &Note) -> Option<String> {
        let vip = |vip: &VipId| self.named(node, *vip);
        Some(match note {
            Note::SessionBegan { lease, .. } => format!("has lease {lease}"),
            Note::SessionEnded { cause, .. } => format!("its session ends: {cause:?}"),
            Note::Queued { vip: v, behind } => format!("stands for {}, behind {behind}", vip(v)),
            Note::TurnCame { vip: v, at_once: true } => format!("has its turn for {}: all words are known", vip(v)),
            Note::TurnCame { vip: v, at_once: false } => format!("has its turn for {}: asks the network first", vip(v)),
            Note::Took { vip: v } => format!("took {}", vip(v)),
            Note::TookLoudly { vip: v, .. } => format!("takes {} although somebody answers for it", vip(v)),
            Note::SomebodyAnswers { vip: v, .. } => format!("somebody answers for {}", vip(v)),
            Note::LetGo { vip: v, cause, kept_place } => {
                format!("lets {} go: {cause:?}{}", vip(v), if *kept_place { ", keeps its place" } else { "" })
            }
            Note::LeftQueue { vip: v, cause } => format!("leaves the queue for {}: {cause:?}", vip(v)),
            Note::SteppedBack { vip: v } => format!("has stepped back from {}", vip(v)),
            Note::Repaired { vip: v, .. } => format!("{} was taken off by somebody and is back", vip(v)),
            Note::LinkChanged { vip: v, up } => format!("link of {} {}", vip(v), if *up { "up" } else { "down" }),
            Note::WatchDeaf => "finds its watch deaf and reads all again".into(),
            Note::TermChanged => "does not count a pair: its term changed".into(),
            Note::StrangerFirst { .. } | Note::KeyIgnored { .. } | Note::Claimed { .. } => return None,
        })
    }
}
