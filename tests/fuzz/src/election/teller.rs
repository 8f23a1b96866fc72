//! Turns bytes into facts, and tells them to a real election.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use vipd::election::contender::OnConflict;
use vipd::election::event::{
    Answer, Change, Entry, Event, Generation, Header, LeaseId, LinkId, Outcome, Pair, Record, ShortRead, VipId,
};
use vipd::election::guards::Guards;
use vipd::election::machine::{Election, Settings};
use vipd::election::record::{Key, NodeRecord, Released, candidate_key, node_key};
use vipd::election::session::Session;
use vipd::election::timings::Schedule;
use vipd::link::LinkChoice;
use vipd::moment::Moment;
use vipd::plan::{Plan, PlannedVip};

use super::judge::Judge;
use crate::bytes::Bytes;

pub(super) const PREFIX: &str = "vipd";
const MS: Duration = Duration::from_millis(1);
/// TTLs that are granted, in seconds; the last one is the longest that etcd knows.
const TTLS: [u64; 8] = [5, 3, 10, 20, 4, 1, 0, 9_000_000_000];
/// Steps of time, in milliseconds.
const STEPS: [u32; 12] = [0, 1, 10, 50, 100, 200, 500, 1000, 2000, 3800, 5000, 30_000];
/// Three years after boot; what wants to be woken later will not be.
const END_OF_TIME: Moment = Moment::from_millis(100_000_000_000);
/// A tick at a deadline may order a tick at the same moment so often.
const TICKS_MOST: usize = 3;

/// The election, and what it was told so far.
pub(super) struct Teller {
    election: Election,
    judge: Judge,
    plan: Plan,
    now: Moment,
    /// What stands under the prefix as far as it was told.
    told: BTreeMap<Key, Entry>,
    header: Header,
    granted: i64,
    traced: bool,
}

impl Teller {
    pub(super) fn new(bytes: &mut Bytes<'_>) -> Self {
        let head = bytes.byte();
        let plan = plan(head);
        let margin = (head & 0x10 != 0).then_some(2000 * MS);
        let settings = Settings {
            node: "me".into(),
            version: "1".into(),
            prefix: PREFIX.into(),
            margin,
            announce: Schedule::default(),
            on_conflict: if head & 0x40 == 0 { OnConflict::Refuse } else { OnConflict::Claim },
            guards: Guards::default(),
        };
        let now = Moment::from_millis(1_000_000);
        let (election, actions) = Election::start(settings, &plan, now);
        let mut judge = Judge::new(&plan);
        judge.look(&actions, now, &election);
        let header = Header { cluster: 7, term: 3, revision: 10 };
        let traced = std::env::var_os("VIPD_FUZZ_TRACE").is_some();
        let mut teller = Self { election, judge, plan, now, told: BTreeMap::new(), header, granted: 0x100, traced };
        if head & 0x20 == 0 {
            teller.begin_well();
        }
        teller
    }

    /// What every story needs before anything can go wrong: links, a lease, a picture, a counted pair.
    fn begin_well(&mut self) {
        for vip in self.vips() {
            self.tell(Event::Link { vip, link: Some(LinkId(2)) });
            self.tell(Event::Settled { vip, generation: Generation(1), outcome: Outcome::Absent });
        }
        self.grant(&mut Bytes(&[]));
        self.read(&mut Bytes(&[]));
        self.pair(&mut Bytes(&[]));
    }

    /// The next fact, or step of time.
    pub(super) fn tell_one(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.below(18) {
            0 | 1 => self.pass(bytes),
            2 | 3 => self.until_due(),
            4 => self.grant(bytes),
            5 | 6 => self.pair(bytes),
            7 => self.read(bytes),
            8..=10 => self.change(bytes),
            11 | 12 => self.settle(bytes),
            13 => self.probe(bytes),
            14 => self.link(bytes),
            15 => self.tell_repaired(bytes),
            16 => self.lose(bytes),
            _ => self.stop(bytes),
        }
    }

    fn tell(&mut self, event: Event) {
        if self.traced {
            println!("{:?} <- {event:?}", self.now);
        }
        self.judge.hear(&event, &self.election);
        let actions = self.election.handle(event, self.now);
        if self.traced {
            actions.iter().for_each(|action| println!("       -> {action:?}"));
        }
        self.judge.look(&actions, self.now, &self.election);
    }

    fn vips(&self) -> Vec<VipId> {
        self.plan.vips.iter().map(|vip| vip.id).collect()
    }

    fn vip(&self, bytes: &mut Bytes<'_>) -> PlannedVip {
        self.plan.vips[bytes.below(self.plan.vips.len())].clone()
    }

    fn lease(&self) -> LeaseId {
        match self.election.session() {
            Session::Live(live) => live.lease,
            Session::Silent { .. } | Session::Asking { .. } => LeaseId(self.granted),
        }
    }

    // ---- time ----

    fn pass(&mut self, bytes: &mut Bytes<'_>) {
        self.now = self.now + MS * STEPS[bytes.below(STEPS.len())];
        self.tell(Event::Tick);
    }

    /// To the moment it wants to be woken at, and it must not want that for ever.
    fn until_due(&mut self) {
        for _ in 0..TICKS_MOST {
            let Some(due) = self.election.deadline(self.now).filter(|due| *due < END_OF_TIME) else { return };
            self.now = self.now.max(due);
            self.tell(Event::Tick);
            if self.election.deadline(self.now).is_none_or(|next| next > self.now) {
                return;
            }
        }
        panic!("it wants a tick at {:?} again and again: {:?}", self.now, self.election);
    }

    /// A moment up to 5 s ago.
    fn before(&self, bytes: &mut Bytes<'_>) -> Moment {
        self.now - u32::from(bytes.byte()) * 20 * MS
    }

    // ---- etcd ----

    fn grant(&mut self, bytes: &mut Bytes<'_>) {
        self.granted += 1;
        let ttl = Duration::from_secs(TTLS[bytes.below(TTLS.len())]);
        let sent_at = self.before(bytes);
        self.tell(Event::LeaseGranted { lease: LeaseId(self.granted), ttl, sent_at, header: self.header });
    }

    /// A renewal and its read; right, but for what the byte bends.
    fn pair(&mut self, bytes: &mut Bytes<'_>) {
        let bent = bytes.byte();
        let bit = |n: u8| bent >> n & 1 == 1;
        let sent_at = if bit(0) { self.before(bytes) } else { self.now };
        let answered_at = if bit(1) { sent_at } else { self.now };
        let mut renewed = self.header;
        let mut header = self.header;
        renewed.term -= u64::from(bit(2));
        renewed.cluster += u64::from(bit(3) && bit(4));
        header.revision -= i64::from(bit(5)) * 3;
        let (count, newest) = self.short_read();
        let count = count + u64::from(bit(6));
        let read = ShortRead { sent_at: answered_at, header, count, newest };
        let ttl = Duration::from_secs(if bit(7) { 4 } else { 5 });
        let lease = if bit(3) && !bit(4) { LeaseId(self.granted - 1) } else { self.lease() };
        self.tell(Event::PairAnswered(Pair { lease, sent_at, answered_at, ttl, renewed, read }));
    }

    fn short_read(&self) -> (u64, i64) {
        let newest = self.told.values().map(|entry| entry.modified).max().unwrap_or(0);
        (self.told.len() as u64, newest)
    }

    /// All is read anew: perhaps later, perhaps from a restored backup or another cluster, perhaps with less in it.
    fn read(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.below(8) {
            0 => self.header.revision += 1,
            1 => self.header.revision -= 4,
            2 => self.header.cluster += 1,
            3 => self.header.term += 1,
            4 => drop(self.told.pop_first()),
            5 => drop(self.told.pop_last()),
            6 => self.told.clear(),
            _ => {}
        }
        let entries = self.told.values().cloned().collect();
        let sent_at = self.before(bytes);
        self.tell(Event::PictureRead { sent_at, header: self.header, entries });
    }

    /// One revision, with one change or two.
    fn change(&mut self, bytes: &mut Bytes<'_>) {
        self.header.revision += 1;
        let mut changes = vec![self.one_change(bytes)];
        if bytes.below(4) == 3 {
            changes.push(self.one_change(bytes));
        }
        self.tell(Event::Changed { revision: self.header.revision, changes });
    }

    fn one_change(&mut self, bytes: &mut Bytes<'_>) -> Change {
        let vip = self.vip(bytes);
        let own = candidate_key(PREFIX, vip.key_address, self.lease());
        let other = LeaseId(0x10 + i64::from(bytes.byte() & 3));
        let his = candidate_key(PREFIX, vip.addresses[0], other);
        let candidate = |lease| Record::Candidate { lease, addresses: vip.addresses.clone(), who: "x".into() };
        match bytes.below(10) {
            0..=2 => self.put(own, candidate(self.lease())),
            3 => self.delete(own),
            4 => self.put(his, candidate(other)),
            5 => self.delete(his),
            6 => {
                let create = self.told.get(&his).map_or(0, |entry| entry.create);
                let record = NodeRecord { released: vec![Released { key: his, create }], ..NodeRecord::default() };
                self.put(node_key(PREFIX, other), Record::Node { lease: other, record })
            }
            7 => {
                let record = NodeRecord { leaving: bytes.coin(), ..NodeRecord::default() };
                self.put(node_key(PREFIX, self.lease()), Record::Node { lease: self.lease(), record })
            }
            8 => self.put(if bytes.coin() { own } else { his }, Record::Ignored("it hangs on no lease")),
            _ => {
                let key = self.told.keys().nth(bytes.below(4)).cloned().unwrap_or(own);
                self.delete(key)
            }
        }
    }

    fn put(&mut self, key: Key, record: Record) -> Change {
        let modified = self.header.revision;
        let create = self.told.get(&key).map_or(modified, |entry| entry.create);
        let entry = Entry { key: key.clone(), create, modified, record };
        self.told.insert(key, entry.clone());
        Change::Put(entry)
    }

    fn delete(&mut self, key: Key) -> Change {
        self.told.remove(&key);
        Change::Deleted(key)
    }

    fn lose(&mut self, bytes: &mut Bytes<'_>) {
        let which = bytes.byte();
        let lease = if which & 2 == 0 { self.lease() } else { LeaseId(self.granted) };
        self.tell(if which & 1 == 0 { Event::LeaseLost { lease } } else { Event::LeaseRevoked { lease } });
    }

    // ---- this node ----

    /// What became of the present wish, or late news of an earlier one.
    fn settle(&mut self, bytes: &mut Bytes<'_>) {
        let vip = self.vip(bytes).id;
        let what = bytes.byte();
        let (present, wished) = self.judge.wish(vip);
        let late = u64::from(what >> 4 & 3).min(present.0 - 1);
        let generation = Generation(present.0 - late);
        let any = [Outcome::Present, Outcome::Failed("no".into()), Outcome::NotOurs("his".into()), Outcome::Absent];
        // What was said of a wish fits that wish: every second one was for an address.
        let outcome = match (wished == (late % 2 == 0), what & 3) {
            (true, kind) => any[usize::from(kind) % 3].clone(),
            (false, _) => any[3].clone(),
        };
        self.tell(Event::Settled { vip, generation, outcome });
    }

    fn probe(&mut self, bytes: &mut Bytes<'_>) {
        let (vip, what) = (self.vip(bytes).id, bytes.byte());
        let round = self.judge.round(vip).saturating_sub(u64::from(what >> 4 == 1));
        self.tell(match what & 1 {
            0 => Event::ProbeSilent { vip, round },
            _ => Event::ProbeAnswered { vip, round, by: Answer::Host("him".into()) },
        });
    }

    /// Another link under the same name is told as gone first.
    fn link(&mut self, bytes: &mut Bytes<'_>) {
        let (vip, what) = (self.vip(bytes).id, bytes.byte());
        self.tell(Event::Link { vip, link: None });
        if what & 1 == 1 {
            self.tell(Event::Link { vip, link: Some(LinkId(2 + u32::from(what >> 1 & 1))) });
        }
    }

    fn tell_repaired(&mut self, bytes: &mut Bytes<'_>) {
        let (vip, times) = (self.vip(bytes).id, bytes.byte());
        if times & 0x80 != 0 {
            return self.tell(Event::Claimed { vip, by: "him".into(), times: u32::from(times & 15) });
        }
        let (generation, _) = self.judge.wish(vip);
        for _ in 0..=times & 15 {
            self.tell(Event::Repaired { vip, generation });
        }
    }

    fn stop(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.below(8) {
            0 | 1 => self.tell(Event::Stop),
            2 => self.tell(Event::StopNow),
            _ => {}
        }
    }
}

/// One address, two on their own, or two as a group.
fn plan(head: u8) -> Plan {
    let v4 = |last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
    let v6 = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
    let groups = match head & 3 {
        0 | 1 => vec![vec![v4(1)]],
        2 => vec![vec![v4(1)], vec![v4(2)]],
        _ => vec![vec![v6, v4(1)]],
    };
    let vips = groups.into_iter().zip(0..).map(|(addresses, id)| PlannedVip {
        id: VipId(id),
        key_address: *addresses.iter().find(|ip| ip.is_ipv4()).unwrap_or(&addresses[0]),
        addresses,
        link: LinkChoice::named("eth0"),
        place: String::new(),
        going: false,
    });
    Plan { vips: vips.collect() }
}
