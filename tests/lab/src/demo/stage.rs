//! What there is to be seen at any moment, shared by the story that changes it and the painter that shows it.

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;

use super::screen::{self, Picture, Row, STRIP};
use crate::clock::{self, At};
use crate::monitor::Monitor;
use crate::probe::Probe;
use crate::world::{self, Member, VIP, World};

/// From one picture to the next.
const FRAME: Duration = Duration::from_millis(100);
/// The time that one column of the client's strip stands for.
const COLUMN: Duration = Duration::from_millis(200);

/// The stage and, unless plain, its painter.
pub(super) struct Stage {
    scene: Arc<Scene>,
    painter: Mutex<Option<JoinHandle<()>>>,
}

struct Scene {
    plain: bool,
    since: At,
    monitor: Monitor,
    probe: Probe,
    addresses: Vec<Ipv4Addr>,
    members: Vec<Member>,
    props: Mutex<Props>,
    closed: AtomicBool,
}

/// What the story says.
#[derive(Default)]
struct Props {
    vipd: [&'static str; 3],
    cable: [&'static str; 3],
    leader: Option<usize>,
    doing: String,
    log: Vec<String>,
}

impl Stage {
    /// Opens it: from now on the client probes, and the painter paints.
    pub(super) fn open(world: &World, plain: bool) -> Result<Self> {
        let (addresses, members) = (world.nodes.iter().map(|node| node.address).collect(), world.members());
        let props = Mutex::new(Props { vipd: ["-"; 3], ..Props::default() });
        let (monitor, probe, since) = (world.monitor.clone(), world.probe(VIP)?, clock::now());
        let scene =
            Arc::new(Scene { plain, since, monitor, probe, addresses, members, props, closed: AtomicBool::new(false) });
        let painter = if plain { None } else { Some(Scene::paint_from_now(&scene)?) };
        Ok(Self { scene, painter: Mutex::new(painter) })
    }

    /// The client's probe.
    pub(super) fn probe(&self) -> &Probe {
        &self.scene.probe
    }

    /// What is going on now.
    pub(super) fn doing(&self, what: impl Into<String>) {
        let what = what.into();
        if self.scene.plain && !what.is_empty() {
            println!("{}  ... {what}", self.scene.elapsed());
        }
        self.scene.props().doing = what;
    }

    /// Something happened that stays in the log.
    pub(super) fn log(&self, line: &str) {
        let line = format!("{}  {line}", self.scene.elapsed());
        if self.scene.plain {
            println!("{line}");
        }
        self.scene.props().log.push(line);
    }

    /// What to show of a node's daemon.
    pub(super) fn vipd(&self, node: usize, state: &'static str) {
        self.scene.props().vipd[node] = state;
    }

    /// What to show of a node's cable.
    pub(super) fn cable(&self, node: usize, state: &'static str) {
        self.scene.props().cable[node] = state;
    }

    /// Paints a last time and leaves the picture standing.
    pub(super) fn close(&self) {
        self.scene.closed.store(true, Ordering::Relaxed);
        let painter = self.painter.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(painter) = painter {
            let _ = painter.join();
            println!("{}", screen::GIVE_BACK);
        }
    }
}

impl Scene {
    fn props(&self) -> MutexGuard<'_, Props> {
        self.props.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elapsed(&self) -> String {
        let seconds = clock::now().since(self.since).as_secs();
        format!("{}:{:02}", seconds / 60, seconds % 60)
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    fn paint_from_now(scene: &Arc<Self>) -> Result<JoinHandle<()>> {
        let (asking, painting) = (Arc::clone(scene), Arc::clone(scene));
        thread::Builder::new().name("leader".to_owned()).spawn(move || asking.ask_who_leads())?;
        print!("{}", screen::TAKE);
        Ok(thread::Builder::new().name("painter".to_owned()).spawn(move || painting.paint())?)
    }

    /// Apart from the painter, because a node that is cut off makes one wait.
    fn ask_who_leads(&self) {
        while !self.is_closed() {
            let leader = world::leader_among(&self.members);
            self.props().leader = leader;
            clock::sleep(Duration::from_secs(1));
        }
    }

    fn paint(&self) {
        loop {
            let last = self.is_closed();
            let picture = screen::draw(&self.picture());
            let mut terminal = io::stdout().lock();
            let _ = terminal.write_all(picture.as_bytes());
            let _ = terminal.flush();
            drop(terminal);
            if last {
                return;
            }
            clock::sleep(FRAME);
        }
    }

    fn picture(&self) -> Picture {
        let now = clock::now();
        let strip = self.probe.strip(STRIP, COLUMN);
        let timeline = self.monitor.timeline();
        let holders = timeline.holders(VIP);
        let left = |node| timeline.ends(VIP, node).map(|end| end.since(now));
        let props = self.props();
        let row = |(node, address): (usize, &Ipv4Addr)| Row {
            name: format!("n{}", node + 1),
            address: address.to_string(),
            etcd: if props.leader == Some(node) { "leader" } else { "member" },
            vipd: props.vipd[node],
            cable: props.cable[node],
            holds: holders.contains(&node).then(|| left(node)),
        };
        let nodes = self.addresses.iter().enumerate().map(row).collect();
        Picture { elapsed: self.elapsed(), vip: VIP, nodes, strip, doing: props.doing.clone(), log: props.log.clone() }
    }
}
