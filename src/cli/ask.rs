//! Asks the daemon on this node over its control socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use crate::config::{self, Host, Refusal};
use crate::daemon::control::{self, Answer, Request};

/// How long the daemon may take. It gives itself less.
const BOUND: Duration = Duration::from_secs(6);
/// The longest answer: hundreds of VIPs with their queues.
const LONGEST: u64 = 16 * 1024 * 1024;

/// Where the daemon listens. It goes on beside a file that is refused, which does not tell where that is: mostly where it
/// would be without one.
///
/// # Errors
/// The refusal, if no daemon listens there.
pub(super) fn find_socket(path: &Path) -> Result<PathBuf, Refusal> {
    let refusal = match config::load(path) {
        Ok(config) => return Ok(control::path(&config.runtime_dir)),
        Err(refusal) => refusal,
    };
    let usual = control::path(&config::usual_runtime_dir(&Host::this()));
    if usual.exists() { Ok(usual) } else { Err(refusal) }
}

/// One request, one answer.
pub(super) fn ask(socket: &Path, request: &Request) -> anyhow::Result<Answer> {
    let mut stream = UnixStream::connect(socket).with_context(|| {
        format!("cannot ask the daemon at {} (does it run here? it is root's and its group's)", socket.display())
    })?;
    stream.set_read_timeout(Some(BOUND))?;
    stream.set_write_timeout(Some(BOUND))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream.take(LONGEST)).read_line(&mut answer).context("the daemon did not answer")?;
    serde_json::from_str(&answer).context("the daemon's answer is not understood")
}
