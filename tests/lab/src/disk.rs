//! A disk that stalls under one program, or a thread that is held up in what it sends: strace holds every such call of
//! it back. Nothing else is touched.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::clock;
use crate::scenario::Skip;
use crate::shell;

/// The stall; it ends when this is dropped.
pub(crate) struct Stall {
    strace: Child,
}

impl Stall {
    /// From now on nothing that process `pid` writes gets to its disk, for as long as `atmost`.
    pub(crate) fn begin(pid: u32, atmost: Duration) -> Result<Self> {
        Self::of(pid, "fdatasync:delay_exit", atmost, &["-f"])
    }

    /// From now on everything that this one thread sends leaves so much later.
    pub(crate) fn sends(thread: u32, later: Duration) -> Result<Self> {
        Self::of(thread, "sendto:delay_enter", later, &[])
    }

    fn of(pid: u32, what: &str, delay: Duration, more: &[&str]) -> Result<Self> {
        if shell::missing(&["strace"]).is_some() {
            return Err(Skip("`strace` is not installed".to_owned()).into());
        }
        let call = what.split(':').next().unwrap_or(what);
        let (trace, inject) = (format!("trace={call}"), format!("inject={what}={}", delay.as_micros()));
        let mut strace = Command::new("strace");
        strace.args(more).args(["-q", "-e", &trace, "-e", &inject, "-p", &pid.to_string()]);
        let strace = strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let stall = Self { strace: strace.context("start strace")? };
        let attached = clock::poll_until(Duration::from_secs(2), || traced(pid));
        ensure!(attached, "strace did not get hold of process {pid}");
        Ok(stall)
    }
}

impl Drop for Stall {
    /// A signal makes strace let go of the program, which goes on.
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.strace.id() as i32), Signal::SIGINT);
        // It has been seen to wait for ever for a program that was killed in the middle of a write.
        if !clock::poll_until(Duration::from_secs(2), || !matches!(self.strace.try_wait(), Ok(None))) {
            let _ = self.strace.kill();
        }
        let _ = self.strace.wait();
    }
}

fn traced(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
}
