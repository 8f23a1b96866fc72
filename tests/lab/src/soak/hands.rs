//! Somebody with `etcdctl` who deletes the first candidate's key, or revokes its lease.

use std::process::Command;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};

use super::notes::Notes;
use crate::keys::Ctl;
use crate::shell;
use crate::world::{VIP, World};

/// What is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Loss {
    /// The candidate's key.
    Key,
    /// Its lease, and with it all of its node's keys.
    Lease,
}

/// Does it on the side, because an etcd that is broken besides makes one wait.
pub(super) fn lose(world: &World, loss: Loss, notes: &Notes) -> Result<JoinHandle<()>> {
    let (ctl, notes) = (world.ctl(), notes.clone());
    let hands = thread::Builder::new().name("hands".to_owned()).spawn(move || {
        // Any one member may be the broken one.
        let done = (0..3).find_map(|_| by_hand(&ctl, loss).ok());
        let what = done.unwrap_or_else(|| format!("{loss:?} not lost: etcd does not answer"));
        notes.note(format_args!("by hand  {what}"));
    })?;
    Ok(hands)
}

fn by_hand(ctl: &Ctl, loss: Loss) -> Result<String> {
    let prefix = format!("vipd/{VIP}/");
    let words = ["get", &prefix, "--prefix", "--keys-only", "--sort-by=CREATE", "--order=ASCEND", "--limit=1"];
    let said = shell::output(patient(ctl).args(words))?;
    let key = said.lines().find(|line| line.starts_with(&prefix)).context("nobody stands")?;
    let lease = key.trim_start_matches(&prefix);
    match loss {
        Loss::Key => shell::output(patient(ctl).args(["del", key]))?,
        Loss::Lease => shell::output(patient(ctl).args(["lease", "revoke", lease]))?,
    };
    Ok(format!("{loss:?} of {key}"))
}

/// With little of it.
fn patient(ctl: &Ctl) -> Command {
    let mut command = ctl.command();
    command.args(["--dial-timeout=1s", "--command-timeout=2s"]);
    command
}
