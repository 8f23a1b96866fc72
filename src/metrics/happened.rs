//! What the loop counts: what happened, as it passes by.
//!
//! Every series is made beforehand, when a VIP is adopted, so that counting is an atomic addition and nothing more; and
//! so that a count that was never raised is told as 0.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

use super::labels::{Conflict, OfVip, Outcome, REASONS, Reason, Transition, reason, vip_name};
use super::latency::Latency;
use crate::election::action::Note;
use crate::election::event::{Answer, Event, Pair, VipId};
use crate::moment::Moment;
use crate::node::announce::Counts;
use crate::plan::Plan;

/// How a VIP was taken: all before it had given their word; after a look at the network; although somebody still
/// answered; under a turn that it had never given up.
const WAYS: [&str; 4] = ["released", "probed", "insisted", "resumed"];
const FRAMES: [&str; 4] = ["sent", "no_room", "failed", "too_old"];

/// What the loop counts.
#[derive(Debug)]
pub struct Happened {
    families: Families,
    vips: BTreeMap<VipId, OfOne>,
    sessions_began: Counter,
    sessions_ended: BTreeMap<&'static str, Counter>,
    term_changes: Counter,
    watch_deaf: Counter,
    pairs: Latency,
    keepalives: Latency,
    frames: [Counter; FRAMES.len()],
    /// When the newest linearizable read that was answered was sent.
    heard: Arc<AtomicI64>,
}

#[derive(Clone, Debug, Default)]
struct Families {
    transitions: Family<Transition, Counter>,
    repairs: Family<OfVip, Counter>,
    announcements: Family<OfVip, Counter>,
    conflicts: Family<Conflict, Counter>,
}

/// The counters of one VIP.
#[derive(Debug)]
struct OfOne {
    name: String,
    taken: BTreeMap<&'static str, Counter>,
    let_go: BTreeMap<&'static str, Counter>,
    repairs: Counter,
    announcements: Counter,
    claimed: Counter,
    answered: Counter,
    /// How it is taken, if it is.
    way: &'static str,
}

impl Happened {
    pub(super) fn new(registry: &mut Registry, now: Moment) -> Self {
        let families = Families::default();
        registry.register("transitions", "Times this node began or ceased to hold a VIP", families.transitions.clone());
        registry.register(
            "repairs",
            "Times somebody else took an address off or changed it, and it was put right",
            families.repairs.clone(),
        );
        registry.register("announcements", "Times the network was told of a VIP", families.announcements.clone());
        registry.register("conflicts", "Times another host claimed or answered for a VIP", families.conflicts.clone());
        let (began, ended) = (Counter::default(), Family::<Reason, Counter>::default());
        registry.register("sessions_began", "Leases that a session began with", began.clone());
        registry.register("sessions_ended", "Sessions that ended", ended.clone());
        let term_changes = Counter::default();
        registry.register("term_changes", "Renewals that a change of etcd's leader spoilt", term_changes.clone());
        let (pairs, keepalives) = (Latency::default(), Latency::default());
        let help = "From sending a renewal to its proof, the pair that moves the fence";
        registry.register_with_unit("pair", help, Unit::Seconds, pairs.clone());
        registry.register_with_unit("keepalive", "A renewal's answer alone", Unit::Seconds, keepalives.clone());
        let watch_deaf = Counter::default();
        registry.register("watch_deaf", "Times etcd's watch had told less than a read", watch_deaf.clone());
        let frames = Family::<Outcome, Counter>::default();
        registry.register("announcement_frames", "Frames that tell the network of VIPs", frames.clone());
        Self {
            families,
            vips: BTreeMap::new(),
            sessions_began: began,
            sessions_ended: REASONS.map(|r| (r, ended.get_or_create_owned(&Reason { reason: r }))).into(),
            term_changes,
            watch_deaf,
            pairs,
            keepalives,
            frames: FRAMES.map(|outcome| frames.get_or_create_owned(&Outcome { outcome })),
            heard: Arc::new(AtomicI64::new(now.as_nanos())),
        }
    }

    pub(super) fn heard_at(&self) -> Arc<AtomicI64> {
        Arc::clone(&self.heard)
    }

    /// Counts for these VIPs from now on, and for no others; what was counted of one that stays is kept.
    pub fn adopt(&mut self, plan: &Plan) {
        let mut before = std::mem::take(&mut self.vips);
        for planned in &plan.vips {
            let name = vip_name(&planned.addresses);
            let known = before.remove(&planned.id).filter(|of| of.name == name);
            self.vips.insert(planned.id, known.unwrap_or_else(|| self.families.of(name)));
        }
    }

    /// A fact comes in.
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::PairAnswered(pair) => self.answered(pair),
            Event::PictureRead { sent_at, .. } => self.heard(*sent_at),
            Event::Repaired { vip, .. } => self.count(*vip, |of| &of.repairs, 1),
            Event::Claimed { vip, times, .. } => self.count(*vip, |of| &of.claimed, u64::from(*times)),
            _ => {}
        }
    }

    fn answered(&self, pair: &Pair) {
        self.keepalives.observe(pair.answered_at.since(pair.sent_at));
        self.heard(pair.read.sent_at);
    }

    fn heard(&self, at: Moment) {
        self.heard.fetch_max(at.as_nanos(), Relaxed);
    }

    /// Something is told to people.
    pub fn note(&mut self, note: &Note) {
        match note {
            Note::SessionBegan { .. } => drop(self.sessions_began.inc()),
            Note::SessionEnded { cause, .. } => {
                if let Some(counter) = self.sessions_ended.get(reason(cause)) {
                    counter.inc();
                }
            }
            Note::TurnCame { vip, at_once } => self.goes(*vip, if *at_once { "released" } else { "probed" }),
            Note::TookLoudly { vip, .. } => self.goes(*vip, "insisted"),
            Note::Took { vip } => self.took(*vip),
            Note::LetGo { vip, cause, .. } => {
                if let Some(counter) = self.vips.get(vip).and_then(|of| of.let_go.get(reason(cause))) {
                    counter.inc();
                }
            }
            Note::SomebodyAnswers { vip, by: Answer::Host(_) } => self.count(*vip, |of| &of.answered, 1),
            Note::WatchDeaf => drop(self.watch_deaf.inc()),
            Note::TermChanged => drop(self.term_changes.inc()),
            Note::SomebodyAnswers { by: Answer::NotAsked(_), .. }
            | Note::Queued { .. }
            | Note::StrangerFirst { .. }
            | Note::Claimed { .. }
            | Note::LeftQueue { .. }
            | Note::SteppedBack { .. }
            | Note::Repaired { .. }
            | Note::LinkChanged { .. }
            | Note::KeyIgnored { .. } => {}
        }
    }

    fn goes(&mut self, vip: VipId, way: &'static str) {
        if let Some(of) = self.vips.get_mut(&vip) {
            of.way = way;
        }
    }

    fn took(&mut self, vip: VipId) {
        let Some(of) = self.vips.get_mut(&vip) else { return };
        if let Some(counter) = of.taken.get(std::mem::replace(&mut of.way, "resumed")) {
            counter.inc();
        }
    }

    /// A pair counted whose renewal was sent at `sent`.
    pub fn pair(&self, sent: Moment, counted: Moment) {
        self.pairs.observe(counted.since(sent));
    }

    /// The network is told of a VIP.
    pub fn announced(&self, vip: VipId) {
        self.count(vip, |of| &of.announcements, 1);
    }

    /// What became of all frames so far.
    pub fn frames(&self, counts: Counts) {
        let now = [counts.sent, counts.no_room, counts.failed, counts.too_old];
        for (counter, now) in self.frames.iter().zip(now) {
            counter.inner().store(now, Relaxed);
        }
    }

    fn count(&self, vip: VipId, which: impl Fn(&OfOne) -> &Counter, times: u64) {
        if let Some(of) = self.vips.get(&vip) {
            which(of).inc_by(times);
        }
    }
}

impl Families {
    fn of(&self, vip: String) -> OfOne {
        let transition =
            |to, reason| (reason, self.transitions.get_or_create_owned(&Transition { vip: vip.clone(), to, reason }));
        let of_vip = OfVip { vip: vip.clone() };
        let conflict = |kind| self.conflicts.get_or_create_owned(&Conflict { vip: vip.clone(), kind });
        OfOne {
            taken: WAYS.map(|way| transition("holding", way)).into(),
            let_go: REASONS.map(|reason| transition("not_holding", reason)).into(),
            repairs: self.repairs.get_or_create_owned(&of_vip),
            announcements: self.announcements.get_or_create_owned(&of_vip),
            claimed: conflict("claimed"),
            answered: conflict("answered"),
            way: "resumed",
            name: vip,
        }
    }
}
