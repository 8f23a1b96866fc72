//! The loop: wait, handle, carry out. Carrying out never waits, so a slow etcd cannot delay the fence.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing::{debug, error, info, trace, warn};

use super::VERSION;
use super::control::Ask;
use super::measures::Measures;
use super::memory::Memory;
use super::reload::{Loaded, Reloader};
use super::service::Service;
use super::tell::{self, Teller};
use crate::election::action::{Action, Occasion, Wish};
use crate::election::contender::earliest;
use crate::election::event::{Event, LeaseId, LinkId, VipId};
use crate::election::machine::Election;
use crate::election::session::Session;
use crate::moment::Moment;
use crate::node::announce::Announcer;
use crate::node::clock::{Alarm, calendar_millis, now, time_of_day};
use crate::node::conflict::Prober;
use crate::node::conflict::lookout::Lookout;
use crate::node::etcd::Etcd;
use crate::node::keeper::{LinkState, LinkStates, Wanted, Wishes};
use crate::plan::Plan;
use crate::status::{Beside, Status, Story, line, snapshot};

/// How long ago the election may have been asked when something is announced.
const FRESH: Duration = Duration::from_millis(100);

/// The adapters, and what they report to.
pub struct Driver {
    /// This node's name.
    pub node: String,
    /// What to do on this node.
    pub plan: Plan,
    /// Facts from all adapters.
    pub events: mpsc::Receiver<Event>,
    /// Wishes for the keeper.
    pub wishes: watch::Sender<Wishes>,
    /// The links of VIPs.
    pub views: watch::Receiver<LinkStates>,
    /// etcd.
    pub etcd: Etcd,
    /// Announcements.
    pub announcer: Announcer,
    /// Probes.
    pub prober: Prober,
    /// Claims of others.
    pub lookout: Lookout,
    /// What the next start must know.
    pub memory: Memory,
    /// The service manager.
    pub service: Service,
    /// What happened, for people.
    pub story: Story,
    /// What happens, in the log.
    pub teller: Teller,
    /// What is counted.
    pub measures: Measures,
    /// The config that holds.
    pub loaded: Loaded,
    /// What is asked over the control socket.
    pub asks: mpsc::Receiver<Ask>,
    /// Reads the config anew.
    pub reloader: Reloader,
}

/// The signals that mean something.
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    asked: bool,
    reloader: Reloader,
}

/// How the daemon ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// All was given back.
    Clean,
    /// The addresses are off, or the kernel's clock takes them off; etcd has not heard it all.
    Unfinished,
}

impl Driver {
    /// Drives the election until it orders the end.
    ///
    /// # Errors
    /// When timer or signals break, which leaves nothing to drive with: the kernel's clock takes the addresses off.
    pub async fn run(mut self, mut election: Election, first: Vec<Action>) -> io::Result<End> {
        let (alarm, mut signals) = (Alarm::new()?, Signals::new(self.reloader.clone())?);
        if let Some(end) = self.carry_out(first, now()) {
            return Ok(end);
        }
        loop {
            // For announcements that wait the election is asked first, too: what it lets go of now is not announced.
            let deadline =
                earliest([election.deadline(now()), self.announcer.deadline(), self.service.deadline(now())]);
            let event = tokio::select! {
                biased;
                asked = signals.next() => asked,
                rang = alarm.wait(deadline) => rang.map(|()| Event::Tick)?,
                event = self.events.recv() => event.ok_or(io::ErrorKind::BrokenPipe)?,
                Some(ask) = self.asks.recv() => match self.answer(ask, &election) {
                    Some(event) => event,
                    None => continue,
                },
            };
            self.measures.event(&event);
            self.prepare(&event);
            if event == Event::Stop {
                self.service.stopping();
            }
            trace!(?event);
            let (at, before) = (now(), counted(&election));
            let actions = election.handle(event, at);
            let after = counted(&election);
            trace_pair(before, after, at);
            self.measures.pair(before, after, at);
            if let Some(end) = self.carry_out(actions, at) {
                return self.finish(end);
            }
            self.go_on_announcing(at);
            self.report(&election, at);
        }
    }

    /// Tells the service manager, and remembers for whoever asks.
    fn report(&mut self, election: &Election, at: Moment) {
        self.story.look(election, calendar_millis());
        self.measures.round(election, self.announcer.counts());
        self.service.round(election, at);
        if self.service.wants_line(at) {
            let line = line(&self.snapshot(election, at), &time_of_day);
            self.service.status(line, at);
        }
    }

    fn snapshot(&self, election: &Election, at: Moment) -> Status {
        let views = self.views.borrow();
        let link = |vip| match views.get(&vip) {
            Some(LinkState::Serves(link)) => Ok(link.name.clone()),
            Some(LinkState::Lacks(why)) => Err(why.clone()),
            None => Err("not looked for yet".into()),
        };
        let (node, version, plan, story) = (self.node.as_str(), VERSION, &self.plan, &self.story);
        let config = self.loaded.told();
        snapshot(election, &Beside { node, version, plan, link: &link, story, config }, at)
    }

    /// Answers; what the election must hear of it is a fact like any other. Whoever asked may have gone.
    fn answer(&mut self, ask: Ask, election: &Election) -> Option<Event> {
        match ask {
            Ask::Status(tell) => {
                let _gone = tell.send(self.snapshot(election, now()));
                None
            }
            Ask::Reload(config, tell) => {
                let (verdict, event) = self.reload(*config, election);
                let _gone = tell.send(verdict);
                event
            }
            Ask::Refused(lines) => {
                self.refused(&lines);
                None
            }
        }
    }

    /// What must be done before the election hears of it.
    fn prepare(&mut self, event: &Event) {
        match event {
            Event::LeaseGranted { lease, .. } => {
                if let Err(e) = self.memory.lease(*lease) {
                    error!("the next start will not know of this lease: {}", chain(&e));
                }
            }
            Event::Link { vip, link: Some(link) } => self.prepare_to_announce(*vip, *link),
            Event::Link { vip, link: None } => {
                debug!(vip = tell::name(&self.plan, *vip), "the link cannot serve for now");
            }
            _ => {}
        }
    }

    fn prepare_to_announce(&mut self, vip: VipId, link: LinkId) {
        let Some(planned) = self.plan.get(vip) else { return };
        if let Err(e) = self.announcer.prepare(vip, link, &planned.addresses) {
            warn!(vip = tell::name(&self.plan, vip), "cannot prepare announcements: {}", chain(&e));
        }
    }

    /// Carries out what was ordered at `at`.
    fn carry_out(&mut self, actions: Vec<Action>, at: Moment) -> Option<End> {
        let mut end = None;
        for action in actions {
            trace!(?action);
            self.loaded.heed(&action);
            match action {
                Action::Put { vip, generation, link, wish } => {
                    self.listen(vip, link, wish);
                    self.wishes.send_modify(|wishes| {
                        wishes.insert(vip, Wanted { generation, link, wish, at });
                    });
                }
                Action::Announce { vip, link, occasion } => self.announce(vip, link, occasion, at),
                Action::Probe { vip, link, round } => {
                    if let Some(planned) = self.plan.get(vip) {
                        self.prober.probe(vip, &planned.addresses, link, round);
                    }
                }
                Action::Tell(note) => {
                    self.measures.note(&note);
                    let lasted = self.story.note(&note, tell::why, at);
                    self.teller.tell(note, lasted, &self.plan, &self.views.borrow(), at);
                }
                Action::Forget { vip } => self.forget(vip),
                Action::Finish { clean } => end = Some(if clean { End::Clean } else { End::Unfinished }),
                Action::GrantLease
                | Action::Renew { .. }
                | Action::RevokeLease { .. }
                | Action::ReadAll
                | Action::Stand { .. }
                | Action::WriteRecord { .. }
                | Action::StepBack { .. } => self.etcd.carry_out(&action),
            }
        }
        end
    }

    /// From the taking to the letting go others are listened for; from then on nothing is said any more.
    fn listen(&mut self, vip: VipId, link: Option<LinkId>, wish: Wish) {
        match (wish, link, self.plan.get(vip)) {
            (Wish::Until(_), Some(link), Some(planned)) => self.lookout.watch(vip, link, &planned.addresses),
            (Wish::Until(_) | Wish::Absent, ..) => {
                self.announcer.hush(vip);
                self.lookout.leave(vip);
            }
        }
    }

    /// What waits is announced only just after the election was asked, so that nothing is said of what is past its fence.
    fn go_on_announcing(&mut self, asked_at: Moment) {
        let now = now();
        if now.since(asked_at) <= FRESH {
            self.announcer.go_on(now);
        }
    }

    fn announce(&mut self, vip: VipId, link: LinkId, occasion: Occasion, at: Moment) {
        // Frozen since the order, this node may hold nothing any more, and a late announcement would lead clients here.
        if now().since(at) > FRESH {
            debug!(vip = tell::name(&self.plan, vip), "an old announcement is not made");
            return;
        }
        match self.announcer.announce(vip, link, occasion, at) {
            Ok(frames) => {
                self.measures.announced(vip);
                debug!(vip = tell::name(&self.plan, vip), frames, ?occasion, "announced");
            }
            Err(e) => warn!(vip = tell::name(&self.plan, vip), "cannot announce: {}", chain(&e)),
        }
    }

    fn finish(mut self, end: End) -> io::Result<End> {
        if end == End::Clean
            && let Err(e) = self.memory.forget()
        {
            warn!("{}", chain(&e));
        }
        Ok(end)
    }
}

/// The session's lease, and when the renewal of its newest counted pair was sent.
fn counted(election: &Election) -> Option<(LeaseId, Moment)> {
    match election.session() {
        Session::Live(live) => Some((live.lease, live.counted_at?)),
        Session::Silent { .. } | Session::Asking { .. } => None,
    }
}

/// One line for each pair that counted, under a name of its own (`VIPD_LOG=info,vipd::pair=trace`): how long etcd was
/// silent for this node, which is what the fence must outlast, is read from these and not guessed.
fn trace_pair(before: Option<(LeaseId, Moment)>, after: Option<(LeaseId, Moment)>, at: Moment) {
    if let Some((lease, sent)) = after.filter(|_| after != before) {
        let millis = |moment: Moment| moment.as_nanos() / 1_000_000;
        trace!(target: "vipd::pair", %lease, sent_ms = millis(sent), counted_ms = millis(at), "a pair counted");
    }
}

impl Signals {
    fn new(reloader: Reloader) -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            asked: false,
            reloader,
        })
    }

    /// The first request to stop is orderly, every further one is in a hurry.
    async fn next(&mut self) -> Event {
        loop {
            tokio::select! {
                _ = self.term.recv() => break,
                _ = self.int.recv() => break,
                _ = self.hup.recv() => self.reloader.on_signal(),
            }
        }
        if std::mem::replace(&mut self.asked, true) {
            info!("asked again to stop: the addresses go now, etcd is left to the lease");
            return Event::StopNow;
        }
        info!("asked to stop");
        Event::Stop
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    crate::node::kernel::chain(error)
}
