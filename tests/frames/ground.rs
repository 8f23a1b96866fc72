//! Two machines joined by a cable: network namespaces of two threads, and a veth between them.
//!
//! `near` is the test's own thread, `far` the other one. Both go with their threads; nothing is left on the machine.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;
use pnet::util::MacAddr;
use socket2::{Domain, Protocol, Socket, Type};
use vipd::election::event::LinkId;
use vipd::node::packet::PacketSocket;

/// The VIP of the tests, one of each family.
pub(crate) const V4: &str = "10.9.0.15";
pub(crate) const V6: &str = "fd09::15";

/// Two joined machines.
pub(crate) struct Ground {
    far: Far,
}

type Job = Box<dyn FnOnce() + Send>;

/// The thread of the far machine, which does what it is sent.
struct Far {
    tid: i32,
    jobs: mpsc::Sender<Job>,
}

/// Runs a test on fresh ground, in a thread of its own, or says why it cannot.
pub(crate) fn on_ground(test: impl FnOnce(&Ground) + Send + 'static) {
    let near = thread::spawn(|| match new_namespace() {
        Err(why) => println!("skipped, because {why}"),
        Ok(()) => test(&Ground::build()),
    });
    if let Err(panic) = near.join() {
        std::panic::resume_unwind(panic);
    }
}

fn new_namespace() -> Result<(), String> {
    if Command::new("ip").arg("-V").output().is_err_and(|e| e.kind() == ErrorKind::NotFound) {
        return Err("the command `ip` is not installed".into());
    }
    unshare(CloneFlags::CLONE_NEWNET).map_err(|e| format!("this process may not make network namespaces ({e})"))
}

impl Ground {
    fn build() -> Self {
        let far = Far::start();
        ip("link set lo up");
        let ground = Self { far };
        ground.lay_cable("");
        ground
    }

    /// Joins the machines; `options` are for the near end, as in `ip link add`.
    pub(crate) fn lay_cable(&self, options: &str) {
        ip(&format!("link add near {options} type veth peer name far"));
        ip(&format!("link set far netns {}", self.far.tid));
        self.far(|| finish("far", 2));
        finish("near", 1);
        wait_for("the carrier", || ip("link show near").contains("LOWER_UP"));
    }

    /// Does something on the far machine.
    pub(crate) fn far<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> R {
        self.start_far(job).recv().expect("the far machine did not panic")
    }

    /// Starts something on the far machine; the result comes when it is done.
    pub(crate) fn start_far<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> mpsc::Receiver<R> {
        let (done, result) = mpsc::channel();
        let job = move || drop(done.send(job()));
        self.far.jobs.send(Box::new(job)).expect("the far machine runs until it is dropped");
        result
    }

    /// `ip` on the far machine.
    pub(crate) fn far_ip(&self, arguments: &str) -> String {
        let arguments = arguments.to_owned();
        self.far(move || ip(&arguments))
    }
}

/// Addresses without link-local ones, so that nothing but what a test does is on the cable.
fn finish(name: &str, number: u8) {
    ip(&format!("link set {name} addrgenmode none up"));
    ip(&format!("addr add 10.9.0.{number}/24 dev {name}"));
    ip(&format!("addr add fd09::{number}/64 dev {name} nodad"));
}

impl Far {
    fn start() -> Self {
        let (jobs, todo) = mpsc::channel::<Job>();
        let (tell, tid) = mpsc::channel();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("the near machine could do it");
            tell.send(gettid().as_raw()).expect("the near machine waits for it");
            todo.into_iter().for_each(|job| job());
        });
        Self { tid: tid.recv().expect("it says so first"), jobs }
    }
}

/// `ip` in this thread's namespace.
pub(crate) fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("`ip` was there before");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "ip {arguments}: {said}");
    said
}

/// The near or far end of the cable, seen from its own machine.
pub(crate) fn link(name: &str) -> LinkId {
    let said = ip(&format!("-o link show {name}"));
    let number = said.split(':').next().expect("split gives one part at least");
    LinkId(number.parse().unwrap_or_else(|_| panic!("no link number in {said}")))
}

pub(crate) fn mac_of(name: &str) -> MacAddr {
    PacketSocket::sender(link(name)).and_then(|socket| socket.mac()).expect("a veth is Ethernet")
}

pub(crate) fn v4() -> IpAddr {
    V4.parse().expect("a constant")
}

pub(crate) fn v6() -> IpAddr {
    V6.parse().expect("a constant")
}

/// Waits up to two seconds.
pub(crate) fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    for _ in 0..200 {
        if there() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("waited in vain for {what}");
}

/// Hears every frame on every link of the machine it is opened on.
pub(crate) fn tap() -> Socket {
    let everything = Protocol::from(i32::from((nix::libc::ETH_P_ALL as u16).to_be()));
    let tap = Socket::new(Domain::PACKET, Type::RAW, Some(everything)).expect("raw sockets are allowed here");
    tap.set_read_timeout(Some(Duration::from_millis(300))).expect("a socket has a timeout");
    tap
}
