//! qemu itself: its command line, its cable to the bridge, its sockets, its end.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::init;
use super::kernel::Kernel;
use crate::clock;
use crate::scenario::Skip;
use crate::shell;
use crate::timeline::NodeIndex;

const EMULATOR: &str = "qemu-system-x86_64";

/// A running one. It ends, and its tap goes, when this is dropped.
pub(super) struct Qemu {
    name: String,
    child: Child,
}

impl Qemu {
    /// Starts the machine `name`; its files lie in `directory` and are called after it.
    pub(super) fn start(name: &str, node: NodeIndex, directory: &Path, kernel: &Kernel, initrd: &Path) -> Result<Self> {
        lay_tap(name)?;
        let child = command(name, node, directory, kernel, initrd).spawn();
        let child = child.with_context(|| format!("start {EMULATOR}"))?;
        Ok(Self { name: name.to_owned(), child })
    }

    /// Connects to one of its sockets, which it makes a moment after its start.
    pub(super) fn connect(&mut self, path: &Path) -> Result<UnixStream> {
        let mut stream = UnixStream::connect(path);
        clock::poll_until(Duration::from_secs(10), || {
            if stream.is_err() {
                stream = UnixStream::connect(path);
            }
            stream.is_ok() || !matches!(self.child.try_wait(), Ok(None))
        });
        let log = path.with_file_name(format!("{}-qemu.log", self.name));
        stream.with_context(|| format!("qemu is not there: {}", fs::read_to_string(log).unwrap_or_default().trim()))
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = shell::run(&format!("ip link del tap-{}", self.name));
    }
}

/// What it takes here; a skip if something is missing.
pub(super) fn is_here() -> Result<()> {
    let missing = shell::missing(&[EMULATOR, "ldd"]);
    ensure!(missing.is_none(), Skip(format!("`{}` is not installed", missing.unwrap_or_default())));
    Ok(())
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
