//! Asks the daemon on this node over its control socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::daemon::control::{Answer, Request};

/// How long the daemon may take. It gives itself less.
const BOUND: Duration = Duration::from_secs(6);
/// The longest answer: hundreds of VIPs with their queues.
const LONGEST: u64 = 16 * 1024 * 1024;

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
