//! A node that is a machine of its own: a real kernel under qemu, joined to the lab's bridge by a tap.
//!
//! What namespaces cannot show is shown here: another kernel, VLANs, a machine that is paused, suspended, or given
//! another time of day. Software emulation only, so that it runs wherever the lab does.
//!
//! ```text
//!   br0 ── tap-v1 ── qemu ── eth0 in the guest        the lab ── virtio port ── agent in the guest
//! ```
//! Address events are stamped by the lab's clock when they arrive, so that one reading orders them with those of the
//! namespaces; the guest's own stamps are kept beside, for what must not count the way here.

mod capture;
mod hear;
mod image;
mod init;
mod initramfs;
mod kernel;
mod qemu;
mod qmp;
mod words;

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

pub(crate) use self::capture::{Frame, frames};
use self::hear::{Event, Heard};
pub(crate) use self::init::{agent, run as init};
use self::kernel::Kernel;
pub(crate) use self::kernel::Release;
use self::qemu::Qemu;
use self::qmp::Qmp;
use self::words::{Answer, Order};
use crate::clock::{self, At};
use crate::monitor::Monitor;
use crate::netlink::News;
use crate::scenario::Context;
use crate::timeline::NodeIndex;

/// What a guest's shell can start besides busybox and the daemon.
const TOOLS: [&str; 4] = ["ip", "tc", "etcd", "etcdctl"];
/// From qemu's start to the agent's first word. It takes 3 to 6 s here, on a machine with nothing else to do.
const BOOT: Duration = Duration::from_secs(60);

/// A machine that runs. It is switched off when this is dropped.
pub(crate) struct Vm {
    /// `v1`.
    pub(crate) name: String,
    /// Its place in the timeline.
    pub(crate) node: NodeIndex,
    qmp: Qmp,
    orders: UnixStream,
    heard: Heard,
    last: u64,
    directory: PathBuf,
    /// Last, so that it ends when nobody talks to it any more.
    _qemu: Qemu,
}

/// What a machine should be like.
pub(crate) struct Machine<'a> {
    /// Whose kernel.
    pub(crate) release: Release,
    /// Its place in the timeline: the first one behind the world's nodes, if there is a world.
    pub(crate) node: NodeIndex,
    /// The daemon's config.
    pub(crate) config: &'a str,
    /// Files that the config names, found at the same paths there, for nobody but root to read.
    pub(crate) files: Vec<PathBuf>,
}

/// A machine's address on the bridge.
pub(crate) fn address(node: NodeIndex) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 11 + node as u8)
}

impl Vm {
    /// Boots it and gives it its address; returns once its agent answers.
    pub(crate) fn boot(lab: &Context, monitor: &Monitor, machine: &Machine) -> Result<Self> {
        qemu::is_here()?;
        let (kernel, node) = (Kernel::find(machine.release)?, machine.node);
        let name = format!("v{}", node + 1);
        let initrd = lab.directory.join(format!("{name}.cpio"));
        fs::write(&initrd, image::build(&kernel, &lab.vipd, machine, &TOOLS)?).context("write the initramfs")?;
        let mut qemu = Qemu::start(&name, node, &lab.directory, &kernel, &initrd)?;
        let from = clock::now();
        let orders = qemu.connect(&lab.directory.join(format!("{name}.port")))?;
        let qmp = Qmp::open(qemu.connect(&lab.directory.join(format!("{name}.qmp")))?)?;
        let heard = Heard::listen(orders.try_clone()?, node, monitor)?;
        heard.answer(0, BOOT).with_context(|| format!("{name} did not boot: {}", last_line(&lab.directory, &name)))?;
        lab.say(format_args!("{name} runs {} after {:.1} s", kernel.version(), clock::now().since(from).as_secs_f64()));
        let directory = lab.directory.clone();
        let mut vm = Self { name, node, qmp, orders, heard, last: 0, directory, _qemu: qemu };
        vm.settle()?;
        Ok(vm)
    }

    /// As a node of the lab: no waiting for IPv6 addresses, a name, an address on the bridge.
    fn settle(&mut self) -> Result<()> {
        let (name, address) = (self.name.clone(), address(self.node));
        self.sh(&format!(
            "set -e
            hostname {name}
            echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
            ip link set lo up
            ip link set eth0 up
            ip addr add {address}/24 dev eth0"
        ))?;
        Ok(())
    }

    /// Runs a line of shell in the guest; what it prints is the answer, another exit code than 0 an error.
    pub(crate) fn sh(&mut self, line: &str) -> Result<String> {
        self.order(line)?;
        Ok(self.answer(Duration::from_secs(30))?.said)
    }

    /// Sends a line without waiting: a guest that falls asleep over it answers when it wakes.
    pub(crate) fn order(&mut self, line: &str) -> Result<()> {
        self.last += 1;
        let order = Order { number: self.last, line: line.to_owned() };
        self.orders.write_all(order.to_line().as_bytes()).with_context(|| format!("tell {}", self.name))
    }

    /// The answer to the order sent last.
    pub(crate) fn answer(&self, within: Duration) -> Result<Answer> {
        let answer = self.heard.answer(self.last, within).with_context(|| format!("in {}", self.name))?;
        ensure!(answer.code == 0, "in {}: exit code {}: {}", self.name, answer.code, answer.said.trim());
        Ok(answer)
    }

    /// Starts the daemon. Its log goes over the second serial line to a file of the lab.
    pub(crate) fn start_vipd(&mut self) -> Result<()> {
        self.start_vipd_saying("info")
    }

    /// The same, with what it is to log.
    pub(crate) fn start_vipd_saying(&mut self, log: &str) -> Result<()> {
        // Through a pipe: a serial line is a terminal, slow and coloured.
        let run = format!("VIPD_LOG={log} vipd run 2>&1 | cat > /dev/ttyS1");
        self.sh(&format!("{{ {run}; }} > /dev/null 2>&1 < /dev/null &")).map(|_| ())
    }

    /// Sends the daemon a signal.
    pub(crate) fn signal_vipd(&mut self, signal: &str) -> Result<()> {
        self.sh(&format!("kill -{signal} $(pidof vipd)")).map(|_| ())
    }

    /// Waits until no daemon runs.
    pub(crate) fn vipd_ends(&mut self) -> Result<()> {
        self.sh("for i in $(seq 100); do pidof vipd > /dev/null || exit 0; sleep 0.1; done; exit 1").map(|_| ())
    }

    /// Waits until the daemon's log has that in it: the serial line takes its time.
    pub(crate) fn vipd_says(&self, what: &str) -> bool {
        clock::poll_until(Duration::from_secs(5), || self.vipd_said().contains(what))
    }

    /// The daemon's log.
    pub(crate) fn vipd_said(&self) -> String {
        fs::read_to_string(self.directory.join(format!("{}-vipd.log", self.name))).unwrap_or_default()
    }

    /// All frames that went over its cable, both ways, until now.
    pub(crate) fn frames(&self) -> Result<Vec<Frame>> {
        let path = self.directory.join(format!("{}.pcap", self.name));
        Ok(frames(&fs::read(&path).with_context(|| format!("read {}", path.display()))?))
    }

    /// Stops the machine, as a hypervisor does: nothing in it moves, no clock either.
    pub(crate) fn pause(&mut self) -> Result<()> {
        self.qmp.order("stop").map(|_| ())
    }

    /// Lets it go on; returns when it was told to.
    pub(crate) fn go_on(&mut self) -> Result<At> {
        let at = clock::now();
        self.qmp.order("cont")?;
        Ok(at)
    }

    /// Has the guest suspend itself to memory; returns once it sleeps.
    pub(crate) fn suspend(&mut self) -> Result<()> {
        self.order("echo mem > /sys/power/state")?;
        self.qmp.state("suspended", Duration::from_secs(20))
    }

    /// Wakes it up. Returns when it was told to, and the answer of the shell that had put it to sleep: the moment, on
    /// the guest's clock, at which its processes run again.
    pub(crate) fn wake(&mut self) -> Result<(At, Answer)> {
        let at = clock::now();
        self.qmp.order("system_wakeup")?;
        Ok((at, self.answer(Duration::from_secs(30))?))
    }

    /// The news of an address so far.
    pub(crate) fn events(&self, of: IpAddr) -> Vec<Event> {
        let about = |event: &&Event| match event.news {
            News::AddressPut { ip, .. } | News::AddressGone { ip, .. } => ip == of,
            _ => false,
        };
        self.heard.news().iter().filter(about).cloned().collect()
    }

    /// What the guest's `ip` says about an address; empty if it is not there.
    pub(crate) fn show(&mut self, ip: IpAddr) -> Result<String> {
        Ok(self.sh(&format!("ip -d address show to {ip}"))?.trim().to_owned())
    }
}

fn last_line(directory: &Path, name: &str) -> String {
    let console = fs::read(directory.join(format!("{name}-console.log"))).unwrap_or_default();
    String::from_utf8_lossy(&console).lines().last().unwrap_or_default().to_owned()
}
