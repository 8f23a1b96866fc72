//! The way into a lab: own pid, mount, network and IPC namespaces, and without root a user namespace round them.
//!
//! ```text
//! runner ── enter (one thread, unshares) ── world (PID 1 inside: bridge, nodes, etcd, vipd, threads)
//!              └── janitor (outside; removes the working directory when `enter` is gone, however it went)
//! ```
//! PID 1 dies with `enter` and `enter` with the runner (parent-death signals), and everything inside dies with PID 1:
//! after a SIGKILL of any of them the kernel takes the processes and namespaces away, the janitor the files.

use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{getgid, getuid};

use crate::{clock, shell};

/// The exit code that says "skipped", as automake and others have it.
pub(crate) const SKIPPED: i32 = 77;

/// What a lab cannot do without.
const TOOLS: [&str; 4] = ["ip", "bridge", "etcd", "etcdctl"];

/// Stage one: makes the namespaces and the working directory, runs `inside ARGS...` as PID 1 in them, returns its
/// exit code. Must be called while the process has one thread.
pub(crate) fn enter(args: &[String]) -> Result<i32> {
    set_pdeathsig(Signal::SIGKILL)?;
    if let Some(tool) = shell::missing(&TOOLS) {
        println!("   skipped, because `{tool}` is not installed");
        return Ok(SKIPPED);
    }
    let directory = working_directory()?;
    let janitor = hire_janitor(&directory)?;
    let code = match make_namespaces() {
        Ok(()) => start_inside(&directory, args),
        Err(cause) => {
            println!("   skipped, because namespaces cannot be made here: {cause:#}");
            Ok(SKIPPED)
        }
    };
    dismiss(janitor);
    code
}

fn start_inside(directory: &Path, args: &[String]) -> Result<i32> {
    let mut inside = Command::new("/proc/self/exe");
    inside.arg("inside").arg("--dir").arg(directory).args(args);
    let mut inside = inside.spawn().context("start the lab's first process")?;
    // How others find the way in: its number as seen from outside, which it cannot know itself.
    fs::write(directory.join("pid"), inside.id().to_string()).context("note the first process")?;
    Ok(inside.wait()?.code().unwrap_or(1))
}

/// Where working directories are made. On a real disk: etcd's fsync should cost what it costs. `/tmp` is often
/// memory, `/var/tmp` is not.
pub(crate) fn base() -> PathBuf {
    std::env::var_os("VIPD_LAB_DIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from)
}

fn working_directory() -> Result<PathBuf> {
    let directory = base().join(format!("vipd-lab-{}-{}", getuid(), std::process::id()));
    // A left-over under the same process id can only be a dead lab's.
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir(&directory).with_context(|| format!("make {}", directory.display()))?;
    Ok(directory)
}

fn make_namespaces() -> Result<()> {
    let (uid, gid) = (getuid(), getgid());
    let mut wanted =
        CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC;
    if !uid.is_root() {
        wanted |= CloneFlags::CLONE_NEWUSER;
    }
    unshare(wanted).context("unshare (no root, and no unprivileged user namespaces?)")?;
    if !uid.is_root() {
        fs::write("/proc/self/setgroups", "deny").context("write setgroups")?;
        fs::write("/proc/self/uid_map", format!("0 {uid} 1")).context("write uid_map")?;
        fs::write("/proc/self/gid_map", format!("0 {gid} 1")).context("write gid_map")?;
    }
    Ok(())
}

/// Stage two, first thing: a private view of the file system and a loopback. Anything that fails here is a machine
/// that does not allow labs (AppArmor's limits on user namespaces show up in `mount`).
pub(crate) fn settle() -> Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).context("make mounts private")?;
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), safe, nothing).context("mount /proc")?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), safe, Some("mode=755")).context("mount /run")?;
    shell::run("ip link set lo up")?;
    shell::run("ip link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0").context("make a bridge")
}

/// Starts the janitor in a process group of its own, so that a Ctrl-C for the lab does not reach it.
fn hire_janitor(directory: &Path) -> Result<Child> {
    let mut janitor = Command::new("/proc/self/exe");
    janitor.arg("janitor").arg(directory).stdin(Stdio::piped()).process_group(0);
    janitor.spawn().context("start the janitor")
}

/// Closes the janitor's standard input, its sign to begin, and waits until it is done.
fn dismiss(mut janitor: Child) {
    drop(janitor.stdin.take());
    let _ = janitor.wait();
}

/// The janitor: waits until standard input closes, then removes the directory (again and again for a while, because
/// a dying etcd may still write) and gives the terminal its cursor back, which a killed demo leaves hidden.
pub(crate) fn janitor(directory: &Path) {
    let _ = io::stdin().read_to_end(&mut Vec::new());
    let gone = || fs::remove_dir_all(directory).is_ok() || !directory.exists();
    clock::poll_until(Duration::from_secs(10), gone);
    let mut terminal = io::stdout();
    if terminal.is_terminal() {
        let _ = terminal.write_all(b"\x1b[?25h\x1b[0m");
        let _ = terminal.flush();
    }
}
