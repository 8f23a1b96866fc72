//! A network namespace with a name, and running things in it.
//!
//! A thread can change its own network namespace, and whatever it starts inherits it: so no child ever needs code
//! between fork and exec.

use std::fs::File;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use crate::shell;

/// One network namespace of the lab. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct NetNs {
    name: String,
    file: Arc<File>,
}

impl NetNs {
    /// Makes it, with its loopback up, under `/run/netns` (the lab's own `/run`), so that `ip -n NAME` finds it.
    pub(crate) fn create(name: &str) -> Result<Self> {
        shell::run(&format!("ip netns add {name}"))?;
        let made = Self::open(name)?;
        made.ip("link set lo up")?;
        Ok(made)
    }

    /// One that somebody has made under `/run/netns`.
    pub(crate) fn open(name: &str) -> Result<Self> {
        let file = File::open(format!("/run/netns/{name}")).with_context(|| format!("open namespace {name}"))?;
        Ok(Self { name: name.to_owned(), file: Arc::new(file) })
    }

    /// Runs `work` on a thread that stands in this namespace, and waits for it.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let inside = || {
            self.join()?;
            work()
        };
        thread::scope(|scope| scope.spawn(inside).join()).map_err(|_| anyhow!("a thread in {} panicked", self.name))?
    }

    /// Moves the calling thread in, for good. For threads that live there.
    pub(crate) fn join(&self) -> Result<()> {
        setns(self.file.as_ref(), CloneFlags::CLONE_NEWNET).with_context(|| format!("enter namespace {}", self.name))
    }

    /// `ip -n NAME ...`.
    pub(crate) fn ip(&self, words: &str) -> Result<()> {
        shell::run(&format!("ip -n {} {words}", self.name))
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}
