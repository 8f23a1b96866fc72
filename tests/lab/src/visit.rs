//! Going into a lab that is up, from another terminal.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::SystemTime;

use anyhow::{Context, Result};
use nix::unistd::getuid;

use crate::enter;

/// Replaces this process by a shell (or `command`) in the newest lab of this user, in the namespace called `name`.
pub(crate) fn open(name: Option<&str>, command: &[String]) -> Result<ExitCode> {
    let pid = newest_lab().context("no lab is up (start one with `vipd-lab demo --keep`)")?;
    let mut enter = Command::new("nsenter");
    enter.args(["--target", &pid, "--mount", "--net", "--pid", "--ipc"]);
    if !getuid().is_root() {
        enter.args(["--user", "--preserve-credentials"]);
    }
    enter.arg("--");
    if let Some(name) = name {
        enter.args(["nsenter", &format!("--net=/run/netns/{name}"), "--"]);
    }
    match command {
        [] => enter.arg("bash").env("PS1", format!("vipd-lab {} # ", name.unwrap_or("bridge"))).arg("--norc"),
        words => enter.args(words),
    };
    Err(enter.exec()).context("start nsenter")
}

/// The first process of the lab that was started last.
fn newest_lab() -> Option<String> {
    let mine = format!("vipd-lab-{}-", getuid());
    let directories = fs::read_dir(enter::base()).ok()?.flatten();
    let labs = directories.filter(|entry| entry.file_name().to_string_lossy().starts_with(&mine));
    let pid_files = labs.map(|entry| entry.path().join("pid")).filter(|file| file.exists());
    let newest = pid_files
        .max_by_key(|file| fs::metadata(file).and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH));
    let newest: PathBuf = newest?;
    fs::read_to_string(newest).ok().map(|pid| pid.trim().to_owned())
}
