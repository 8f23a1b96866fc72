//! The language of transcripts: a line of text is a fact, an order is a line of text.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::election::action::{Action, Note, Occasion, Wish};
use crate::election::contender::OnConflict;
use crate::election::event::{
    Answer, Change, Entry, Event, Generation, Header, LeaseId, LinkId, Outcome, Pair, Reconfiguration, Record,
    ShortRead, VipId,
};
use crate::election::guards::Guards;
use crate::election::machine::{Election, Settings};
use crate::election::picture::Said;
use crate::election::record::{Key, NodeRecord, Released, naming_address};
use crate::election::timings::Schedule;
use crate::moment::Moment;
use crate::plan::{Plan, PlannedVip};

const TTL: Duration = Duration::from_secs(5);

pub struct Script {
    election: Election,
    /// The virtual prefix: only to count keys for pairs that agree.
    keys: Vec<(Key, i64)>,
    cluster: u64,
    revision: i64,
    term: u64,
    /// Of each VIP's last wish.
    generations: BTreeMap<VipId, Generation>,
    round: u64,
    /// The VIPs that are wanted, and the one that was last ordered something.
    vips: Vec<(VipId, Vec<IpAddr>)>,
    vip: VipId,
    next: u32,
    /// Time passes unseen until then.
    frozen_until: Option<Moment>,
}

impl Script {
    /// Plays a transcript's facts and writes it anew with what the election orders now.
    pub fn play(text: &str) -> String {
        Self::play_with(text, Guards::default())
    }

    /// The same with these guards.
    pub fn play_with(text: &str, guards: Guards) -> String {
        let plan = plan(text);
        let settings = settings(text, guards);
        let (election, first) = Election::start(settings, &plan, at("0"));
        let mut script = Self {
            election,
            keys: Vec::new(),
            cluster: 7,
            revision: 10,
            term: 3,
            generations: BTreeMap::new(),
            round: 0,
            vips: plan.vips.iter().map(|v| (v.id, v.addresses.clone())).collect(),
            vip: VipId(0),
            next: 1,
            frozen_until: None,
        };
        let mut told = String::new();
        let mut begun = false;
        for line in text.lines().filter(|l| !l.starts_with("   ")) {
            if !begun && line.starts_with(|c: char| c.is_ascii_digit()) {
                begun = true;
                script.tell(&mut told, "start", &first);
            }
            if line == "start" {
                continue;
            }
            if let Some(until) = line.strip_prefix("frozen until ") {
                script.frozen_until = Some(at(until));
            }
            if !line.starts_with(|c: char| c.is_ascii_digit()) {
                told += &format!("{line}\n");
                continue;
            }
            let (time, fact) = line.split_once(' ').unwrap();
            script.let_time_pass(time, &mut told);
            let event = script.event(fact.trim(), at(time));
            let actions = script.election.handle(event, at(time));
            script.tell(&mut told, line, &actions);
        }
        told
    }

    /// Ticks that come before the next line are lines of their own.
    fn let_time_pass(&mut self, until: &str, told: &mut String) {
        let mut now = None::<Moment>;
        while let Some(due) = self.election.deadline(now.unwrap_or(at("0"))).filter(|d| *d < at(until)) {
            if self.frozen_until.is_some_and(|thaw| due < thaw) {
                return;
            }
            assert!(now != Some(due), "it spins at {due:?} after\n{told}");
            now = Some(due);
            let actions = self.election.handle(Event::Tick, due);
            // A renewal that falls due is worth a line only where something else happens with it.
            if actions.iter().any(|a| !matches!(a, Action::Renew { .. })) {
                *told += &format!("   (at {:.3})\n", since_start(due));
                self.orders(told, &actions);
            }
        }
    }

    fn tell(&mut self, told: &mut String, line: &str, actions: &[Action]) {
        *told += &format!("{line}\n");
        self.orders(told, actions);
    }

    fn orders(&mut self, told: &mut String, actions: &[Action]) {
        for action in actions {
            if let Action::Put { vip, generation, .. } = action {
                self.vip = *vip;
                self.generations.insert(*vip, *generation);
            }
            if let Action::Probe { round, .. } = action {
                self.round = *round;
            }
            *told += &format!("   -> {}\n", order(action));
        }
    }

    fn event(&mut self, fact: &str, now: Moment) -> Event {
        let words: Vec<&str> = fact.split_whitespace().collect();
        let vip = self.vip;
        match words.as_slice() {
            ["granted", lease] => {
                Event::LeaseGranted { lease: id(lease), ttl: TTL, sent_at: now, header: self.header() }
            }
            ["lost", lease] => Event::LeaseLost { lease: id(lease) },
            ["revoked", lease] => Event::LeaseRevoked { lease: id(lease) },
            ["link", "up"] | ["link", "of-another-mac"] => Event::Link { vip, link: Some(LinkId(2)) },
            ["link", "down"] => Event::Link { vip, link: None },
            ["on"] => self.settled(Outcome::Present),
            ["off"] => self.settled(Outcome::Absent),
            ["late-news", generation, "off"] => {
                Event::Settled { vip, generation: Generation(generation.parse().unwrap()), outcome: Outcome::Absent }
            }
            ["put-failed"] => self.settled(Outcome::Failed("no permission".into())),
            ["not-ours"] => self.settled(Outcome::NotOurs("10.0.0.9/24 on eth0".into())),
            ["repaired"] => Event::Repaired { vip, generation: self.generations[&vip] },
            ["silence"] => Event::ProbeSilent { vip, round: self.round },
            ["claimed", "by", who] => Event::Claimed { vip, by: (*who).into(), times: 1 },
            ["claimed", "by", who, times] => Event::Claimed { vip, by: (*who).into(), times: times.parse().unwrap() },
            ["cannot-ask"] => Event::ProbeAnswered { vip, round: self.round, by: Answer::NotAsked("no right".into()) },
            ["answer"] => Event::ProbeAnswered { vip, round: self.round, by: Answer::Host("02:00:00:00:00:01".into()) },
            ["wants", vips @ ..] => self.wants(vips),
            ["vip", vip, fact @ ..] => self.of(vip, fact, now),
            ["stop"] => Event::Stop,
            ["stop-now"] => Event::StopNow,
            ["tick"] => Event::Tick,
            ["new-term"] => {
                self.term += 1;
                Event::Tick
            }
            ["another-cluster"] => {
                (self.cluster, self.revision) = (self.cluster + 1, 1);
                Event::Tick
            }
            ["pair", rest @ ..] => Event::PairAnswered(self.pair(rest, now)),
            ["read", entries @ ..] => self.read(entries, now),
            ["seen", changes @ ..] => self.seen(changes),
            ["late-watch", revision] => Event::Changed { revision: revision.parse().unwrap(), changes: Vec::new() },
            _ => panic!("no such fact: {fact}"),
        }
    }

    /// `wants 10.0.0.9 10.0.0.8+fd00::8`: the VIPs of a reload; `anew:10.0.0.9`: on another link.
    fn wants(&mut self, vips: &[&str]) -> Event {
        let before = std::mem::take(&mut self.vips);
        for text in vips {
            let (anew, text) = text.strip_prefix("anew:").map_or((false, *text), |text| (true, text));
            let addresses: Vec<IpAddr> = text.split('+').map(ip).collect();
            let same = before.iter().find(|(_, named)| !anew && *named == addresses).map(|(id, _)| *id);
            let id = same.unwrap_or_else(|| {
                self.next += 1;
                VipId(self.next - 1)
            });
            self.vips.push((id, addresses));
        }
        let Settings { margin, announce, on_conflict, .. } = settings("", Guards::default());
        Event::Reconfigured(Reconfiguration { margin, announce, on_conflict, vips: self.vips.clone() })
    }

    /// `vip 2 link up`: a fact of that VIP, not of the one that was ordered something last.
    fn of(&mut self, vip: &str, fact: &[&str], now: Moment) -> Event {
        let before = std::mem::replace(&mut self.vip, VipId(vip.parse().unwrap()));
        let event = self.event(&fact.join(" "), now);
        self.vip = before;
        event
    }

    fn settled(&self, outcome: Outcome) -> Event {
        Event::Settled { vip: self.vip, generation: self.generations[&self.vip], outcome }
    }

    fn header(&self) -> Header {
        Header { cluster: self.cluster, term: self.term, revision: self.revision }
    }

    /// `pair LEASE sent=TIME [old-term] [keys=N] [behind]`
    fn pair(&self, words: &[&str], now: Moment) -> Pair {
        let named = |name: &str| words.iter().find_map(|w| w.strip_prefix(name));
        let sent_at = named("sent=").map_or(now, at);
        let term = if words.contains(&"old-term") { self.term - 1 } else { self.term };
        let count = named("keys=").map_or(self.keys.len() as u64, |n| n.parse().unwrap());
        let newest = self.keys.iter().map(|k| k.1).max().unwrap_or(0);
        let revision = if words.contains(&"behind") { 2 } else { self.revision };
        let header = Header { revision, ..self.header() };
        Pair {
            lease: id(words[0]),
            sent_at,
            answered_at: sent_at,
            ttl: TTL,
            renewed: Header { term, ..self.header() },
            read: ShortRead { sent_at: now, header, count, newest },
        }
    }

    /// `read [restored] [sent=TIME] [KEY@CREATE ...]`; `restored`: from here on the store is an old one.
    fn read(&mut self, words: &[&str], now: Moment) -> Event {
        let restored = words.contains(&"restored");
        let sent_at = words.iter().find_map(|w| w.strip_prefix("sent=")).map_or(now, at);
        let entries: Vec<Entry> = words.iter().filter(|w| w.contains('@')).map(|w| entry(w)).collect();
        self.keys = entries.iter().map(|e| (e.key.clone(), e.modified)).collect();
        let least = if restored { 2 } else { self.revision };
        self.revision = self.keys.iter().map(|k| k.1).max().unwrap_or(0).max(least);
        Event::PictureRead { sent_at, header: self.header(), entries }
    }

    /// `seen [+KEY@CREATE ...] [~KEY@CREATE ...] [-KEY ...] [word:LEASE=KEY@CREATE] [passed:LEASE=KEY@CREATE]`: one revision, the next or that of
    /// the first `+`. `~`: written over by somebody, without its lease.
    fn seen(&mut self, words: &[&str]) -> Event {
        self.revision += 1;
        let mut changes = Vec::new();
        for word in words {
            if let Some(key) = word.strip_prefix('-') {
                self.keys.retain(|k| k.0 != full(key));
                changes.push(Change::Deleted(full(key)));
                continue;
            }
            let mut new = match word.split_once(':') {
                Some(("word", said)) => node_record(said, Said::Word),
                Some(("passed", said)) => node_record(said, Said::Passed),
                _ => entry(word.strip_prefix(['+', '~']).unwrap()),
            };
            if word.starts_with('~') {
                new.record = Record::Ignored("it hangs on no lease");
            }
            new.modified = self.revision.max(new.modified);
            self.revision = new.modified;
            self.keys.retain(|k| k.0 != new.key);
            self.keys.push((new.key.clone(), new.modified));
            changes.push(Change::Put(new));
        }
        Event::Changed { revision: self.revision, changes }
    }
}

/// A line before the first fact: `group 10.0.0.9 fd00::9`. Else one VIP of one address.
fn plan(text: &str) -> Plan {
    let group = text.lines().find_map(|line| line.strip_prefix("group ")).unwrap_or("10.0.0.9");
    let addresses: Vec<IpAddr> = group.split(' ').map(ip).collect();
    let named = naming_address(&addresses).unwrap();
    Plan { vips: vec![PlannedVip { addresses, ..PlannedVip::for_test(VipId(0), named) }] }
}

/// Lines before the first fact: `onConflict claim`; `announce 0 1 4, refresh 30` or `announce 0, no refresh`.
fn settings(text: &str, guards: Guards) -> Settings {
    let mut settings = Settings {
        node: "me".into(),
        version: "1".into(),
        prefix: "vipd".into(),
        margin: None,
        announce: Schedule::default(),
        on_conflict: OnConflict::Refuse,
        guards,
    };
    for line in text.lines() {
        let seconds = |text: &str| Duration::from_secs_f64(text.parse().unwrap());
        if line == "onConflict claim" {
            settings.on_conflict = OnConflict::Claim;
        } else if let Some((times, refresh)) = line.strip_prefix("announce ").and_then(|l| l.split_once(", ")) {
            let times = times.split(' ').map(seconds).collect();
            settings.announce = Schedule { times, refresh: refresh.strip_prefix("refresh ").map(seconds) };
        }
    }
    settings
}

/// `10.0.0.9/a1@12` is a candidate, `10.0.0.9+fd00::9/a1@12` one of a group under its key's name, `.nodes/a1@12` a node's
/// record (with `!` behind it: leaving). `10.0.0.9/a1@12~15` was last written at 15.
fn entry(text: &str) -> Entry {
    let (name, create) = text.split_once('@').unwrap();
    let (create, leaving) = create.strip_suffix('!').map_or((create, false), |c| (c, true));
    let (create, modified) = create.split_once('~').unwrap_or((create, create));
    let (create, modified) = (create.parse().unwrap(), modified.parse().unwrap());
    let (group, lease) = name.split_once('/').unwrap();
    let record = match group {
        ".nodes" => Record::Node { lease: id(lease), record: NodeRecord { leaving, ..NodeRecord::default() } },
        group => {
            let addresses = group.split('+').map(ip).collect();
            Record::Candidate { lease: id(lease), addresses, who: format!("node-{lease}") }
        }
    };
    let named = naming_address(record.addresses()).map_or_else(|| group.to_owned(), |ip| ip.to_string());
    Entry { key: full(&format!("{named}/{lease}")), create, modified, record }
}

/// `LEASE=KEY@CREATE`: the record of that lease says this of that candidate.
fn node_record(text: &str, said: Said) -> Entry {
    let (lease, candidate) = text.split_once('=').unwrap();
    let (key, create) = candidate.split_once('@').unwrap();
    let candidates = vec![Released { key: full(key), create: create.parse().unwrap() }];
    let record = match said {
        Said::Word => NodeRecord { released: candidates, ..NodeRecord::default() },
        Said::Passed => NodeRecord { passed: candidates, ..NodeRecord::default() },
    };
    let record = Record::Node { lease: id(lease), record };
    Entry { key: full(&format!(".nodes/{lease}")), create: 1, modified: 1, record }
}

fn full(name: &str) -> Key {
    Key(format!("vipd/{name}").into_bytes())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn id(text: &str) -> LeaseId {
    LeaseId(i64::from_str_radix(text, 16).unwrap())
}

fn at(seconds: &str) -> Moment {
    Moment::from_millis((seconds.parse::<f64>().unwrap() * 1000.0).round() as i64 + 100_000)
}

fn since_start(m: Moment) -> f64 {
    (m.as_nanos() / 1_000_000 - 100_000) as f64 / 1000.0
}

/// An order, short.
fn order(action: &Action) -> String {
    match action {
        Action::GrantLease => "ask for a lease".into(),
        Action::Renew { lease } => format!("renew {lease}"),
        Action::RevokeLease { lease, record: None } => format!("revoke {lease}"),
        Action::RevokeLease { lease, record: Some(record) } => format!("revoke {lease}{}", words(record)),
        Action::ReadAll => "read all again".into(),
        Action::Stand { key, .. } => format!("create {key}"),
        Action::WriteRecord { record, .. } => format!("write the node's record{}", words(record)),
        Action::StepBack { key, create, record, .. } => format!("delete {key}@{create}{}", words(record)),
        Action::Put { vip, generation, wish: Wish::Until(fence), .. } => {
            format!("address on until {:.3} (wish {}){}", since_start(*fence), generation.0, of(*vip))
        }
        Action::Put { vip, generation, wish: Wish::Absent, .. } => {
            format!("address off (wish {}){}", generation.0, of(*vip))
        }
        Action::Probe { vip, .. } => format!("probe{}", of(*vip)),
        Action::Announce { occasion: Occasion::Claimed, .. } => "announce: it is claimed".into(),
        Action::Announce { vip, .. } => format!("announce{}", of(*vip)),
        Action::Forget { vip } => format!("forget vip {}", vip.0),
        Action::Finish { clean } => format!("finish{}", if *clean { "" } else { ", not all given back" }),
        Action::Tell(note) => format!("tell: {}", told(note)),
    }
}

/// The first one is not named.
fn of(vip: VipId) -> String {
    if vip.0 == 0 { String::new() } else { format!(" of vip {}", vip.0) }
}

fn told(note: &Note) -> String {
    let text = format!("{note:?}");
    text.replace("vip: VipId(0), ", "").replace(" { vip: VipId(0) }", "")
}

fn words(record: &NodeRecord) -> String {
    let released = record.released.iter().map(|r| format!("{}@{} is off", r.key, r.create));
    let passed = record.passed.iter().map(|r| format!("{}@{} is passed on", r.key, r.create));
    let leaving = record.leaving.then(|| "leaving".to_owned());
    let all: Vec<_> = leaving.into_iter().chain(released).chain(passed).collect();
    if all.is_empty() { String::new() } else { format!(": {}", all.join(", ")) }
}
