//! `vipd status`: what the daemon on this node knows, asked over its control socket.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;

use crate::daemon::control::{Answer, Request};
use crate::node::clock::time_of_day;
use crate::status::{Health, Status, page};

/// How often `--watch` asks.
const EVERY: Duration = Duration::from_secs(1);
/// Clears a terminal and goes to its top.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// What to print, and how often.
#[derive(clap::Args)]
pub(super) struct How {
    /// One line of JSON (format 1) instead of text
    #[arg(long)]
    json: bool,
    /// Again every second, until interrupted
    #[arg(long)]
    watch: bool,
}

/// Asks and prints; the exit code tells the health.
pub(super) fn report(socket: &Path, how: &How) -> anyhow::Result<ExitCode> {
    loop {
        let status = ask(socket)?;
        print(&status, how)?;
        if !how.watch {
            return Ok(code(status.health()));
        }
        std::thread::sleep(EVERY);
    }
}

fn ask(socket: &Path) -> anyhow::Result<Status> {
    match super::ask::ask(socket, &Request::Status)? {
        Answer::Status(status) => Ok(status),
        Answer::Error(why) => bail!("the daemon says: {why}"),
        Answer::Reload(_) | Answer::Refused(_) => bail!("the daemon answers what was not asked"),
    }
}

fn print(status: &Status, how: &How) -> anyhow::Result<()> {
    let mut text = if how.json { serde_json::to_string(status)? + "\n" } else { page(status, &time_of_day) };
    if how.watch && !how.json {
        text.insert_str(0, CLEAR);
    }
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn code(health: Health) -> ExitCode {
    match health {
        Health::Healthy => ExitCode::SUCCESS,
        Health::Degraded => ExitCode::from(3),
        Health::NobodyHolds => ExitCode::from(4),
    }
}
