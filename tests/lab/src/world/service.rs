//! One program on one node: started, signalled, watched, its log kept.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::clock;
use crate::netns::NetNs;

/// A program that can be started, ended and started again. It is killed when this is dropped.
pub(crate) struct Service {
    ns: NetNs,
    what: String,
    command: Command,
    log: PathBuf,
    child: Option<Child>,
}

impl Service {
    /// Not started yet. The log will be `NODE-WHAT.log`.
    pub(crate) fn new(ns: &NetNs, what: &str, command: Command, directory: &Path) -> Self {
        let log = directory.join(format!("{}-{what}.log", ns.name()));
        Self { ns: ns.clone(), what: format!("{}'s {what}", ns.name()), command, log, child: None }
    }

    /// Starts it in its node's namespace, in a process group of its own (a Ctrl-C at the terminal is for the lab).
    pub(crate) fn start(&mut self) -> Result<()> {
        ensure!(!self.runs(), "{} runs already", self.what);
        let log = self.open_log()?;
        self.command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let (ns, command) = (&self.ns, &mut self.command);
        let child = ns.run(|| command.spawn().context("spawn")).with_context(|| format!("start {}", self.what))?;
        self.child = Some(child);
        Ok(())
    }

    fn open_log(&self) -> Result<File> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        log.with_context(|| format!("open {}", self.log.display()))
    }

    /// Says something in its environment from its next start on.
    pub(crate) fn env(&mut self, name: &str, value: &str) {
        self.command.env(name, value);
    }

    /// Sends a signal.
    pub(crate) fn signal(&mut self, signal: Signal) -> Result<()> {
        let child = self.child.as_ref().with_context(|| format!("{} was not started", self.what))?;
        kill(Pid::from_raw(child.id() as i32), signal).with_context(|| format!("{signal} to {}", self.what))
    }

    /// It was started and has not ended (a stopped one runs).
    pub(crate) fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// It was started, whether it still runs or not.
    pub(crate) fn is_started(&self) -> bool {
        self.child.is_some()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Waits for its end.
    pub(crate) fn ends(&mut self, within: Duration) -> Option<ExitStatus> {
        let child = self.child.as_mut()?;
        let mut status = None;
        clock::poll_until(within, || {
            status = child.try_wait().ok().flatten();
            status.is_some()
        });
        if status.is_some() {
            self.child = None;
        }
        status
    }

    /// Waits for an end with exit code `code`.
    pub(crate) fn ends_with(&mut self, code: i32, within: Duration) -> Result<()> {
        let what = self.what.clone();
        let status = self.ends(within).with_context(|| format!("{what} did not end within {within:?}"))?;
        let how = status.signal().map_or_else(|| format!("{:?}", status.code()), |signal| format!("signal {signal}"));
        ensure!(status.code() == Some(code), "{what} ended with {how}, not {code}: {}", self.tail(2).join(" | "));
        Ok(())
    }

    /// Kills it and waits for its end.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// All it ever said.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How much it has said, in bytes.
    pub(crate) fn said_so_far(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |log| log.len())
    }

    /// What it said after so many bytes.
    pub(crate) fn said_since(&self, bytes: u64) -> Result<String> {
        let mut text = String::new();
        let mut log = File::open(&self.log).with_context(|| format!("open {}", self.log.display()))?;
        log.seek(SeekFrom::Start(bytes))?;
        log.read_to_string(&mut text)?;
        Ok(text)
    }

    /// The last lines of it.
    pub(crate) fn tail(&self, lines: usize) -> Vec<String> {
        let said = self.said();
        let all: Vec<&str> = said.lines().collect();
        all.iter().rev().take(lines).rev().map(|line| (*line).to_owned()).collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}
