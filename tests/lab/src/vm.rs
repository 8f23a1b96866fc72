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
mod image;
mod init;
mod initramfs;
mod kernel;
mod qmp;
mod words;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

pub(crate) use self::capture::{Frame, frames};
pub(crate) use self::init::{agent, run as init};
use self::kernel::Kernel;
pub(crate) use self::kernel::Release;
use self::qmp::Qmp;
use self::words::{Answer, Order, Word};
use crate::clock::{self, At};
use crate::monitor::Monitor;
use crate::netlink::News;
use crate::scenario::{Context, Skip};
use crate::shell;
use crate::timeline::NodeIndex;

/// What a guest's shell can start besides busybox and the daemon.
const TOOLS: [&str; 4] = ["ip", "tc", "etcd", "etcdctl"];
/// From qemu's start to the agent's first word. It takes 3 to 6 s here, on a machine with nothing else to do.
const BOOT: Duration = Duration::from_secs(60);
const EMULATOR: &str = "qemu-system-x86_64";

/// A machine that runs. It is switched off when this is dropped.
pub(crate) struct Vm {
    /// `v1`.
    pub(crate) name: String,
    /// Its place in the timeline.
    pub(crate) node: NodeIndex,
    qemu: Child,
    qmp: Qmp,
    orders: UnixStream,
    heard: Heard,
    last: u64,
    directory: PathBuf,
}

/// What a machine should be like.
pub(crate) struct Machine<'a> {
    /// Whose kernel.
    pub(crate) release: Release,
    /// Its place in the timeline: the first one behind the world's nodes, if there is a world.
    pub(crate) node: NodeIndex,
    /// The daemon's config.
    pub(crate) config: &'a str,
}

/// What the guest said, taken in by a thread.
struct Heard {
    answers: Receiver<Answer>,
    news: Arc<Mutex<Vec<Event>>>,
}

/// An address event in a guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Event {
    /// On the guest's clock, taken there.
    pub(crate) inside: Duration,
    /// On the lab's, taken on arrival.
    pub(crate) at: At,
    /// What happened.
    pub(crate) news: News,
}

/// A machine's address on the bridge.
pub(crate) fn address(node: NodeIndex) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 11 + node as u8)
}

impl Vm {
    /// Boots it and gives it its address; returns once its agent answers.
    pub(crate) fn boot(lab: &Context, monitor: &Monitor, machine: &Machine) -> Result<Self> {
        for tool in [EMULATOR, "ldd"] {
            ensure!(shell::find(tool).is_some(), Skip(format!("`{tool}` is not installed")));
        }
        let (kernel, node) = (Kernel::find(machine.release)?, machine.node);
        let name = format!("v{}", node + 1);
        lay_tap(&name)?;
        let initrd = lab.directory.join(format!("{name}.cpio"));
        fs::write(&initrd, image::build(&kernel, &lab.vipd, machine.config, &TOOLS)?).context("write the initramfs")?;
        let qemu = command(&name, node, &lab.directory, &kernel, &initrd)
            .spawn()
            .with_context(|| format!("start {EMULATOR}"))?;
        let mut running = Running(Some(qemu));
        let from = clock::now();
        let orders = connect(&lab.directory.join(format!("{name}.port")), &mut running)?;
        let qmp = Qmp::open(connect(&lab.directory.join(format!("{name}.qmp")), &mut running)?)?;
        let heard = Heard::listen(orders.try_clone()?, node, monitor)?;
        heard.answer(0, BOOT).with_context(|| format!("{name} did not boot: {}", last_line(&lab.directory, &name)))?;
        lab.say(format_args!("{name} runs {} after {:.1} s", kernel.version(), clock::now().since(from).as_secs_f64()));
        let qemu = running.0.take().context("qemu is gone")?;
        let directory = lab.directory.clone();
        let mut vm = Self { name, node, qemu, qmp, orders, heard, last: 0, directory };
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
        // Through a pipe: a serial line is a terminal, slow and coloured.
        self.sh("{ vipd run 2>&1 | cat > /dev/ttyS1; } > /dev/null 2>&1 < /dev/null &").map(|_| ())
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

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        let _ = shell::run(&format!("ip link del tap-{}", self.name));
    }
}

/// qemu while it starts: an error on the way must not leave it running.
struct Running(Option<Child>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(qemu) = &mut self.0 {
            let _ = qemu.kill();
            let _ = qemu.wait();
        }
    }
}

impl Heard {
    fn listen(stream: UnixStream, node: NodeIndex, monitor: &Monitor) -> Result<Self> {
        let (sender, answers) = channel();
        let (news, monitor) = (Arc::new(Mutex::default()), monitor.clone());
        let heard = Self { answers, news: Arc::clone(&news) };
        let listen = move || hear(stream, node, &monitor, &sender, &news);
        thread::Builder::new().name(format!("guest-{node}")).spawn(listen)?;
        Ok(heard)
    }

    /// Waits for the answer with that number; earlier ones come from orders that nobody waited for.
    fn answer(&self, number: u64, within: Duration) -> Result<Answer> {
        let deadline = clock::now() + within;
        loop {
            let left = deadline.since(clock::now());
            match self.answers.recv_timeout(left) {
                Ok(answer) if answer.number == number => return Ok(answer),
                Ok(_) => {}
                Err(_) => bail!("no answer within {within:?}"),
            }
        }
    }

    fn news(&self) -> MutexGuard<'_, Vec<Event>> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hear(stream: UnixStream, node: NodeIndex, monitor: &Monitor, answers: &Sender<Answer>, kept: &Mutex<Vec<Event>>) {
    crate::urgent::this_thread();
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let at = clock::now();
        match Word::parse(&line) {
            Some(Word::News { at: inside, news }) => {
                monitor.tell(node, at, &news);
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(Event { inside, at, news });
            }
            Some(Word::Answer(answer)) => {
                let _ = answers.send(answer);
            }
            None => {}
        }
    }
}

/// Who may not make one (taps take real root) cannot run these.
fn lay_tap(name: &str) -> Result<()> {
    let tap = format!("tap-{name}");
    shell::run(&format!("ip tuntap add dev {tap} mode tap"))
        .map_err(|cause| Skip(format!("no tap can be made here: {cause:#}")))?;
    shell::run(&format!("ip link set {tap} master br0 up"))
}

/// qemu without anything it does not need, in a process group of its own.
fn command(name: &str, node: NodeIndex, directory: &Path, kernel: &Kernel, initrd: &Path) -> Command {
    let file = |kind: &str| directory.join(format!("{name}{kind}")).display().to_string();
    let mut qemu = Command::new(EMULATOR);
    qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    // Never KVM: what is measured should not depend on the machine having it.
    qemu.args(["-machine", "pc", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "768"]);
    qemu.arg("-kernel").arg(kernel.image()).arg("-initrd").arg(initrd);
    // The time stamp counter's rate is guessed at boot, badly so in an emulator; the HPET's is known.
    let arguments = "console=ttyS0 quiet panic=-1 clocksource=hpet mem_sleep_default=deep no_console_suspend";
    qemu.args(["-append", &format!("{arguments} rdinit={} -- init", init::PROGRAM)]);
    qemu.args([
        "-serial",
        &format!("file:{}", file("-console.log")),
        "-serial",
        &format!("file:{}", file("-vipd.log")),
    ]);
    // Without virtio's own header, which some versions leave before every frame that is dumped.
    qemu.args(["-netdev", &format!("tap,id=net,ifname=tap-{name},script=no,downscript=no,vnet_hdr=off")]);
    qemu.args(["-device", &format!("virtio-net-pci,netdev=net,mac=52:54:00:77:00:{:02x},romfile=", 11 + node)]);
    qemu.args(["-object", &format!("filter-dump,id=dump,netdev=net,file={}", file(".pcap"))]);
    qemu.args(["-device", "virtio-serial-pci", "-device", "virtio-rng-pci"]);
    qemu.args(["-chardev", &format!("socket,id=port,path={},server=on,wait=off", file(".port"))]);
    qemu.args(["-device", &format!("virtserialport,chardev=port,name={}", init::PORT)]);
    qemu.args(["-qmp", &format!("unix:{},server=on,wait=off", file(".qmp"))]);
    qemu.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    if let Ok(log) = File::create(file("-qemu.log")) {
        qemu.stderr(log);
    }
    qemu
}

/// qemu makes its sockets a moment after its start.
fn connect(path: &Path, qemu: &mut Running) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(path);
    clock::poll_until(Duration::from_secs(10), || {
        if stream.is_err() {
            stream = UnixStream::connect(path);
        }
        let ended = qemu.0.as_mut().is_none_or(|qemu| !matches!(qemu.try_wait(), Ok(None)));
        stream.is_ok() || ended
    });
    let log = path.with_file_name(format!("{}-qemu.log", path.file_stem().unwrap_or_default().to_string_lossy()));
    stream.with_context(|| format!("qemu is not there: {}", fs::read_to_string(log).unwrap_or_default().trim()))
}

fn last_line(directory: &Path, name: &str) -> String {
    let console = fs::read(directory.join(format!("{name}-console.log"))).unwrap_or_default();
    String::from_utf8_lossy(&console).lines().last().unwrap_or_default().to_owned()
}
