//! qemu's own control socket: stop the machine, let it go on, wake it up.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::clock;

/// A conversation with one qemu.
pub(super) struct Qmp(BufReader<UnixStream>);

impl Qmp {
    /// Over a stream just connected: hears the greeting, and enters command mode.
    pub(super) fn open(stream: UnixStream) -> Result<Self> {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut qmp = Self(BufReader::new(stream));
        qmp.line().context("qemu's greeting")?;
        qmp.order("qmp_capabilities")?;
        Ok(qmp)
    }

    /// Does one thing and returns qemu's answer. News of events in between are passed over.
    pub(super) fn order(&mut self, what: &str) -> Result<Value> {
        let order = json!({ "execute": what });
        self.0.get_mut().write_all(format!("{order}\n").as_bytes()).with_context(|| format!("tell qemu: {what}"))?;
        loop {
            let mut said = self.line().with_context(|| format!("qemu's answer to {what}"))?;
            if let Some(error) = said.get("error") {
                bail!("qemu refuses {what}: {error}");
            }
            if let Some(answer) = said.get_mut("return") {
                return Ok(answer.take());
            }
        }
    }

    /// Waits until the machine is in that state: `running`, `paused`, `suspended`.
    pub(super) fn state(&mut self, wanted: &str, within: Duration) -> Result<()> {
        let deadline = clock::now() + within;
        loop {
            let status = self.order("query-status")?["status"].take();
            if status == wanted {
                return Ok(());
            }
            ensure!(clock::now() < deadline, "the machine is not {wanted} after {within:?}, but {status}");
            clock::sleep(Duration::from_millis(5));
        }
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        ensure!(self.0.read_line(&mut line)? > 0, "qemu is gone");
        Ok(serde_json::from_str(&line)?)
    }
}
