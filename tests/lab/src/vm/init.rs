//! Inside the guest: the first process, and the agent that does what the lab says and reports address events.
//!
//! The agent is reached over a virtio port and not over the network, because the network is what scenarios break.

use std::ffi::CStr;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::wait::wait;
use nix::unistd::Pid;

use super::words::{Answer, Order, Word};
use crate::clock::{self, At};
use crate::netlink::{ADDRESSES, Listener, News};

/// Where this binary is in a guest.
pub(super) const PROGRAM: &str = "/bin/vipd-lab";
/// Where the modules lie, named in the order of loading.
pub(super) const MODULES: &str = "/modules";
/// The virtio port's name.
pub(super) const PORT: &str = "lab";

/// The first process: makes the file systems, starts the agent, and then only buries the dead, so that a killed
/// daemon is gone and not a zombie that looks alive.
pub(crate) fn run() -> Result<()> {
    set_up().inspect_err(|error| eprintln!("init: {error:#}"))?;
    let agent = Command::new(PROGRAM).arg("agent").spawn().context("start the agent")?;
    let agent = Pid::from_raw(agent.id() as i32);
    while wait()?.pid() != Some(agent) {}
    reboot(RebootMode::RB_POWER_OFF)?;
    Ok(())
}

fn set_up() -> Result<()> {
    for (kind, place) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/run")] {
        let flags = MsFlags::MS_NOSUID;
        mount(Some(kind), place, Some(kind), flags, None::<&str>).with_context(|| format!("mount {place}"))?;
    }
    load_modules()?;
    // Every applet by its name: busybox knows which it has.
    Command::new("/bin/busybox").args(["--install", "-s", "/usr/local/bin"]).status().context("start busybox")?;
    Ok(())
}

fn load_modules() -> Result<()> {
    fs::create_dir_all("/usr/local/bin")?;
    let mut modules: Vec<PathBuf> = fs::read_dir(MODULES)?.flatten().map(|entry| entry.path()).collect();
    modules.sort();
    for module in modules {
        let file = File::open(&module)?;
        if let Err(error) = finit_module(&file, parameters(&module), ModuleInitFlags::empty()) {
            // Not the end: a machine without that device is one that a scenario may not need.
            eprintln!("init: {}: {error}", module.display());
        }
    }
    Ok(())
}

/// Some make a first link of their own when they are loaded; none should be there but what a scenario makes.
fn parameters(module: &Path) -> &'static CStr {
    let name = module.to_string_lossy();
    if name.ends_with("-bonding.ko") {
        c"max_bonds=0"
    } else if name.ends_with("-dummy.ko") {
        c"numdummies=0"
    } else {
        c""
    }
}

/// The agent: does one order after the other.
pub(crate) fn agent() -> Result<()> {
    let port = open_port()?;
    let mouth = Mouth(Arc::new(Mutex::new(port.try_clone()?)));
    let mut listener = Listener::open(ADDRESSES)?;
    let reporter = mouth.clone();
    thread::Builder::new().name("report".to_owned()).spawn(move || {
        while let Ok(news) = listener.next() {
            let at = now();
            // What was lost is nothing that could be told; the lab's verdicts count on none being lost.
            news.into_iter().flatten().filter(is_told).for_each(|news| reporter.say(&Word::News { at, news }));
        }
    })?;
    mouth.say(&Word::Answer(Answer { number: 0, code: 0, said: String::new(), ended: now() }));
    let mut ear = BufReader::new(port);
    let mut line = String::new();
    loop {
        line.clear();
        // Nothing to read: the lab is not there (yet).
        if ear.read_line(&mut line)? == 0 {
            clock::sleep(Duration::from_millis(20));
        } else if let Some(order) = Order::parse(&line) {
            mouth.say(&Word::Answer(carry_out(&order)));
        }
    }
}

fn is_told(news: &News) -> bool {
    matches!(news, News::AddressPut { .. } | News::AddressGone { .. })
}

fn carry_out(order: &Order) -> Answer {
    // busybox prefers its own `ip`, which knows no lifetimes. What an order leaves running says where its output goes,
    // or it would hold this pipe open.
    let line = format!("exec 2>&1\nip() {{ /bin/ip \"$@\"; }}\n{}", order.line);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &line]).stdin(Stdio::null()).stderr(Stdio::null());
    shell.env("PATH", "/bin:/usr/local/bin").env("ETCDCTL_API", "3");
    let (code, said) = match shell.output() {
        Ok(output) => {
            (output.status.code().map_or(-1, i64::from), String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(error) => (-1, format!("start a shell: {error}")),
    };
    Answer { number: order.number, code, said, ended: now() }
}

/// What the agent says, from more than one thread, a line at a time.
#[derive(Clone)]
struct Mouth(Arc<Mutex<File>>);

impl Mouth {
    fn say(&self, word: &Word) {
        let mut port = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = port.write_all(word.to_line().as_bytes()) {
            eprintln!("agent: cannot speak: {error}");
        }
    }
}

fn now() -> Duration {
    clock::now().since(At::default())
}

/// The port is found by the name that qemu gave it; it comes up a moment after its driver.
fn open_port() -> Result<File> {
    let mut found = None;
    clock::poll_until(Duration::from_secs(10), || {
        found = find_port();
        found.is_some()
    });
    let Some(port) = found else { bail!("there is no virtio port `{PORT}`") };
    OpenOptions::new().read(true).write(true).open(&port).with_context(|| format!("open {}", port.display()))
}

fn find_port() -> Option<PathBuf> {
    let ports = fs::read_dir("/sys/class/virtio-ports").ok()?.flatten();
    let named = |directory: &PathBuf| fs::read_to_string(directory.join("name")).is_ok_and(|name| name.trim() == PORT);
    let directory = ports.map(|entry| entry.path()).find(named)?;
    let device = Path::new("/dev").join(directory.file_name()?);
    device.exists().then_some(device)
}
