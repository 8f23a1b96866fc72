//! What a status says, from a real election that is told a few facts.

use std::net::IpAddr;
use std::time::Duration;

use super::*;
use crate::election::contender::OnConflict;
use crate::election::event::{
    Change, Entry, Event, Generation, Header, LeaseId, LinkId, Outcome, Pair, Record, ShortRead, VipId,
};
use crate::election::guards::Guards;
use crate::election::machine::{Election, Settings};
use crate::election::record::{Key, NodeRecord, Released, candidate_key, node_key};
use crate::election::timings::Schedule;
use crate::moment::Moment;
use crate::plan::{Plan, PlannedVip};

const CLUSTER: u64 = 7;

struct World {
    plan: Plan,
    election: Election,
    story: Story,
    now: Moment,
    revision: i64,
}

fn ip() -> IpAddr {
    IpAddr::from([10, 0, 0, 1])
}

fn clock(at: u64) -> String {
    format!("@{at}")
}

fn candidate(lease: i64, create: i64) -> Entry {
    let record = Record::Candidate { lease: LeaseId(lease), addresses: vec![ip()], who: format!("cp-{lease}") };
    Entry { key: candidate_key("vipd", ip(), LeaseId(lease)), create, modified: create, record }
}

fn node(lease: i64, create: i64) -> Entry {
    let record = Record::Node { lease: LeaseId(lease), record: NodeRecord::default() };
    Entry { key: node_key("vipd", LeaseId(lease)), create, modified: create, record }
}

impl World {
    fn new() -> Self {
        let plan = Plan { vips: vec![PlannedVip::for_test(VipId(0), ip())] };
        let settings = Settings {
            node: "cp-1".into(),
            version: "test".into(),
            prefix: "vipd".into(),
            margin: None,
            announce: Schedule::default(),
            on_conflict: OnConflict::Refuse,
            guards: Guards::default(),
        };
        let now = Moment::from_millis(1000);
        let (election, _) = Election::start(settings, &plan, now);
        Self { plan, election, story: Story::default(), now, revision: 10 }
    }

    fn tell(&mut self, event: Event) {
        for action in self.election.handle(event, self.now) {
            if let crate::election::action::Action::Tell(note) = &action {
                self.story.note(note, |cause| format!("{cause:?}"), self.now);
            }
        }
        self.story.look(&self.election, self.revision as u64);
    }

    fn header(&self) -> Header {
        Header { cluster: CLUSTER, term: 1, revision: self.revision }
    }

    /// A session, the link, and a picture with these keys.
    fn begun(entries: Vec<Entry>) -> Self {
        let mut world = Self::new();
        let (header, sent_at) = (world.header(), world.now);
        let (count, newest) = (entries.len() as u64, entries.iter().map(|e| e.modified).max().unwrap_or(0));
        world.tell(Event::PictureRead { sent_at, header, entries });
        world.tell(Event::Settled { vip: VipId(0), generation: Generation(1), outcome: Outcome::Absent });
        world.tell(Event::Link { vip: VipId(0), link: Some(LinkId(2)) });
        world.tell(Event::LeaseGranted { lease: LeaseId(1), ttl: Duration::from_secs(5), sent_at, header });
        world.pair(count, newest);
        world
    }

    fn pair(&mut self, count: u64, newest: i64) {
        let (header, sent_at) = (self.header(), self.now);
        let read = ShortRead { sent_at, header, count, newest };
        let ttl = Duration::from_secs(5);
        let pair = Pair { lease: LeaseId(1), sent_at, answered_at: sent_at, ttl, renewed: header, read };
        self.tell(Event::PairAnswered(pair));
    }

    fn changed(&mut self, changes: Vec<Change>) {
        self.revision += 1;
        let revision = self.revision;
        self.tell(Event::Changed { revision, changes });
    }

    fn status(&self) -> Status {
        let link = |_| Ok("eth0".to_owned());
        let config = Config { reloads: 2, ..Config::default() };
        let beside =
            Beside { node: "cp-1", version: "test", plan: &self.plan, link: &link, story: &self.story, config };
        snapshot(&self.election, &beside, self.now)
    }
}

#[test]
fn a_node_that_waits_tells_who_holds_and_who_is_next() {
    let mut world = World::begun(vec![node(2, 3), candidate(2, 4)]);
    world.changed(vec![Change::Put(node(1, 11)), Change::Put(candidate(1, 11))]);
    let status = world.status();
    let names: Vec<_> = status.vips[0].queue.iter().map(|c| (c.node.as_str(), c.this, c.vipd)).collect();
    assert_eq!(names, [("cp-2", false, true), ("cp-1", true, true)]);
    assert_eq!(status.vips[0].here, Here::Waits);
    assert_eq!(line(&status, &clock), "cp-2 holds 10.0.0.1");
}

#[test]
fn a_move_is_told_with_its_reason_and_its_time() {
    let mut world = World::begun(vec![node(2, 3), candidate(2, 4)]);
    world.changed(vec![Change::Put(node(3, 11)), Change::Put(candidate(3, 11))]);
    world.changed(vec![Change::Deleted(candidate(2, 4).key)]);
    let vip = &world.status().vips[0];
    let why = "cp-2's key is gone without its word: it was lost";
    assert_eq!(vip.moves, [Move { at: 12, to: Some("cp-3".into()), why: why.into(), took_ms: None }]);
    assert_eq!(vip.first_since, Some(12));
    assert_eq!(line(&world.status(), &clock), "cp-3 holds 10.0.0.1 since @12");
    world.changed(vec![Change::Deleted(candidate(3, 11).key)]);
    assert_eq!(line(&world.status(), &clock), "nobody is known to hold 10.0.0.1");
    assert_eq!(world.status().health(), Health::NobodyHolds);
}

#[test]
fn a_turn_that_was_passed_on_is_no_holder_yet() {
    let mut world = World::begun(vec![node(2, 3), candidate(2, 4)]);
    world.changed(vec![Change::Put(node(3, 11)), Change::Put(candidate(3, 11))]);
    let passed = vec![Released { key: candidate(2, 4).key, create: 4 }];
    let record = NodeRecord { passed, ..NodeRecord::default() };
    let said = Entry { modified: 12, record: Record::Node { lease: LeaseId(2), record }, ..node(2, 3) };
    world.changed(vec![Change::Put(said), Change::Deleted(candidate(2, 4).key)]);
    let status = world.status();
    assert_eq!(status.vips[0].moves[0].why, "cp-2 had the turn and did not take it");
    let told = "nobody is known to hold 10.0.0.1: cp-3 has the turn, and the one before did not take it";
    assert_eq!((line(&status, &clock).as_str(), status.health()), (told, Health::NobodyHolds));
    world.now = world.now + Duration::from_secs(6);
    assert!(
        line(&world.status(), &clock).starts_with("cp-3 holds 10.0.0.1"),
        "it took it, or another would have the turn"
    );
}

#[test]
fn a_stranger_that_stands_first_holds_nothing() {
    let world = World::begun(vec![Entry { key: Key(b"vipd/10.0.0.1/2".to_vec()), ..candidate(2, 4) }]);
    let status = world.status();
    assert_eq!(line(&status, &clock), "nobody holds 10.0.0.1: \"cp-2\" stands first and is no vipd");
    assert_eq!(status.health(), Health::NobodyHolds);
}

#[test]
fn what_etcd_said_long_ago_is_no_news() {
    let mut world = World::begun(vec![node(2, 3), candidate(2, 4)]);
    assert_ne!(world.status().health(), Health::NobodyHolds);
    world.now = world.now + Duration::from_secs(60);
    let status = world.status();
    assert_eq!(line(&status, &clock), "cp-2 holds 10.0.0.1; etcd was heard 60.0 s ago");
    assert_eq!(status.health(), Health::NobodyHolds);
}

#[test]
fn many_are_counted() {
    let mut status = World::begun(vec![node(2, 3), candidate(2, 4)]).status();
    status.vips = vec![status.vips[0].clone(); 9];
    status.vips[0].here = Here::Holds;
    status.vips[8].queue.clear();
    let told = line(&status, &clock);
    assert!(told.starts_with("holds 1 of 9 VIPs; other nodes hold 7; nobody holds 1"), "{told}");
}

#[test]
fn what_is_written_is_read_again() {
    let status = World::begun(vec![node(2, 3), candidate(2, 4)]).status();
    let text = serde_json::to_string(&status).unwrap();
    assert!(text.starts_with(r#"{"format":1,"node":"cp-1","version":"test","etcd":{"state":"#), "{text}");
    assert!(text.contains(r#""here":"waits""#) || text.contains(r#""here":"aside""#), "{text}");
    assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
}
