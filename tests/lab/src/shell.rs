//! Runs the small tools that build the lab (`ip`, `bridge`, `nft`, `etcdctl`) and says what they said when they fail.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs `line`, split at blanks; fails with the tool's own words.
pub(crate) fn run(line: &str) -> Result<()> {
    let mut words = line.split_whitespace();
    let Some(tool) = words.next() else { bail!("an empty command") };
    output(Command::new(tool).args(words)).map(|_| ())
}

/// Runs a command to its end and returns what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let answer = command.stdin(Stdio::null()).output().with_context(|| format!("start `{shown}`"))?;
    if !answer.status.success() {
        let said = String::from_utf8_lossy(&answer.stderr);
        bail!("`{shown}` failed ({}): {}", answer.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&answer.stdout).into_owned())
}

/// Runs a command that reads `text`.
pub(crate) fn fed(command: &mut Command, text: &str) -> Result<()> {
    let shown = shown(command);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = piped.spawn().with_context(|| format!("start `{shown}`"))?;
    // Who ends before it has read all says why.
    let fed = child.stdin.take().context("no pipe")?.write_all(text.as_bytes());
    let answer = child.wait_with_output()?;
    if !answer.status.success() {
        bail!("`{shown}` failed ({}): {}", answer.status, String::from_utf8_lossy(&answer.stderr).trim());
    }
    fed.with_context(|| format!("feed `{shown}`"))
}

/// The command as one would type it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Where a tool stands, searched in `PATH` and the system directories that an ordinary user's `PATH` lacks.
pub(crate) fn find(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    directories.map(|directory| directory.join(tool)).find(|candidate| candidate.is_file())
}

/// The first of `tools` that is not installed.
pub(crate) fn missing<'a>(tools: &[&'a str]) -> Option<&'a str> {
    tools.iter().copied().find(|tool| find(tool).is_none())
}
