//! A network namespace of the test's own, with a keeper in it and `ip` as the operator's hand.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use netlink_packet_route::address::{AddressAttribute, AddressProtocol};
use nix::sched::{CloneFlags, unshare};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use vipd::election::action::Wish;
use vipd::election::event::{Event, Generation, LinkId, Outcome, VipId};
use vipd::link::LinkChoice;
use vipd::moment::Moment;
use vipd::node::clock::now;
use vipd::node::keeper::{Keeper, KeptVip, LinkState, LinkStates, LinkView, Wanted, Wishes};
use vipd::node::kernel::Kernel;
use vipd::node::netlink::{Address, Netlink};
use vipd::node::put::{LATE, Putter};
use vipd::node::vlan::Missing;

pub(crate) const V4: &str = "10.9.0.9";
pub(crate) const V6: &str = "fd09::9";
pub(crate) const VIP: VipId = VipId(0);

/// Runs a test on a thread that is alone in a new network namespace; the machine's own is not touched.
pub(crate) fn alone<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(move || {
        if let Err(e) = unshare(CloneFlags::CLONE_NEWNET) {
            return println!("skipped, because a network namespace of its own is not permitted: {e}");
        }
        if Command::new("ip").arg("-V").output().is_err() {
            return println!("skipped, because there is no `ip` command");
        }
        ip("link set lo up");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// The operator's hand. Its process is in the namespace of the thread that starts it.
pub(crate) fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(done.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

/// `eth0`, up and carrying; its other end is `far`.
pub(crate) fn plug_in() {
    ip("link add eth0 type veth peer name far");
    ip("link set far up");
    ip("link set eth0 up");
}

pub(crate) async fn addresses(ips: &[&str]) -> Vec<Address> {
    let ips: Vec<IpAddr> = ips.iter().map(|ip| ip.parse().unwrap()).collect();
    Netlink::open().await.unwrap().addresses(&ips).await.unwrap()
}

pub(crate) async fn link_of(name: &str) -> LinkId {
    Netlink::open().await.unwrap().link(name).await.unwrap().unwrap().id
}

/// An address for ever with this mark, which `ip` of Debian 12 cannot say.
pub(crate) async fn put_marked(link: &str, ip: &str, prefix: u8, mark: u8) {
    let index = link_of(link).await.0;
    let (connection, handle, _) = rtnetlink::new_connection().unwrap();
    let connection = tokio::spawn(connection);
    let mut request = handle.address().add(index, ip.parse().unwrap(), prefix);
    let mark = AddressAttribute::Protocol(AddressProtocol::Other(mark));
    request.message_mut().attributes.push(mark);
    request.execute().await.unwrap();
    connection.abort();
}

pub(crate) fn in_ms(millis: u64) -> Moment {
    now() + Duration::from_millis(millis)
}

/// A running keeper and what it is told and tells.
pub(crate) struct World {
    pub(crate) wishes: watch::Sender<Wishes>,
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) views: watch::Receiver<LinkStates>,
    pub(crate) missing: watch::Receiver<BTreeSet<Missing>>,
    pub(crate) plans: watch::Sender<Vec<KeptVip>>,
    pub(crate) keeper: JoinHandle<std::io::Result<()>>,
    generation: u64,
}

impl World {
    /// The VIP's link, which serves.
    pub(crate) fn view(&self) -> LinkView {
        self.views.borrow()[&VIP].serves().expect("it serves").clone()
    }

    /// Why it does not serve.
    pub(crate) fn lack(&self) -> String {
        match &self.views.borrow()[&VIP] {
            LinkState::Lacks(why) => why.clone(),
            LinkState::Serves(link) => panic!("{} serves", link.name),
        }
    }

    /// A keeper of one VIP with these addresses on `eth0`.
    pub(crate) async fn new(ips: &[&str]) -> Self {
        Self::with_late(ips, LATE).await
    }

    /// The same, with another bound for the kernel's answer to a put.
    pub(crate) async fn with_late(ips: &[&str], late: Duration) -> Self {
        Self::build(ips, LinkChoice::named("eth0"), late).await
    }

    /// A keeper of one VIP that belongs on another link.
    pub(crate) async fn on(link: LinkChoice) -> Self {
        Self::build(&[V4], link, LATE).await
    }

    async fn build(ips: &[&str], link: LinkChoice, late: Duration) -> Self {
        let kernel = Kernel::with(Netlink::open().await.unwrap(), Putter::start_with(late).unwrap());
        let addresses = ips.iter().map(|ip| ip.parse().unwrap()).collect();
        let (plans, plan) = watch::channel(vec![KeptVip { id: VIP, addresses, link }]);
        let (wishes, wished) = watch::channel(Wishes::new());
        let (say, events) = mpsc::channel(64);
        let (show, views) = watch::channel(BTreeMap::new());
        let (miss, missing) = watch::channel(BTreeSet::new());
        let keeper = tokio::spawn(Keeper::new(kernel, plan, wished, say, show, miss).unwrap().run());
        Self { wishes, events, views, missing, plans, keeper, generation: 0 }
    }

    /// The same, when it has said that `eth0` serves.
    pub(crate) async fn ready(ips: &[&str]) -> (Self, LinkId) {
        let mut world = Self::new(ips).await;
        let link = world.link().await.expect("eth0 serves");
        (world, link)
    }

    /// A wish of a new generation.
    pub(crate) fn wish(&mut self, link: LinkId, wish: Wish) -> Generation {
        self.generation += 1;
        self.move_fence(link, wish)
    }

    /// The same generation, with another fence.
    pub(crate) fn move_fence(&self, link: LinkId, wish: Wish) -> Generation {
        let generation = Generation(self.generation);
        self.wishes.send_modify(|w| {
            w.insert(VIP, Wanted { generation, link: Some(link), wish, at: now() });
        });
        generation
    }

    pub(crate) async fn next(&mut self) -> Event {
        let event = tokio::time::timeout(Duration::from_secs(8), self.events.recv()).await;
        event.expect("the keeper says something").expect("the keeper lives")
    }

    /// Nothing is said for so long.
    pub(crate) async fn silent_for(&mut self, time: Duration) {
        if let Ok(event) = tokio::time::timeout(time, self.events.recv()).await {
            panic!("{event:?}");
        }
    }

    pub(crate) async fn settled(&mut self) -> Outcome {
        match self.next().await {
            Event::Settled { vip: VIP, generation, outcome } => {
                assert_eq!(generation, Generation(self.generation));
                outcome
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn link(&mut self) -> Option<LinkId> {
        match self.next().await {
            Event::Link { vip: VIP, link } => link,
            other => panic!("{other:?}"),
        }
    }
}
