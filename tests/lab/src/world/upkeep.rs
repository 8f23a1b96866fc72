//! What an operator does to a healthy etcd: restart members, compact, defragment, remove members and add others.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Service, World};
use crate::clock;
use crate::keys::Ctl;
use crate::shell;
use crate::timeline::NodeIndex;

/// A member comes up in a second or two; a busy disk makes it take its time.
const UP: Duration = Duration::from_secs(60);
/// Defragmenting is in proportion to the data, and what it holds up waits.
const LONG: Duration = Duration::from_secs(60);

impl World {
    /// Waits until a node's member answers and sees a leader.
    pub(crate) fn etcd_answers(&self, node: NodeIndex) -> Result<()> {
        let node = &self.nodes[node];
        let answers = clock::poll_until(UP, || node.member.is_healthy());
        ensure!(answers, "{}'s etcd did not come up: {}", node.name, node.etcd.tail(3).join(" | "));
        Ok(())
    }

    /// Restarts a member in order, as its unit would.
    pub(crate) fn restart_etcd(&mut self, node: NodeIndex) -> Result<()> {
        let member = &mut self.nodes[node].etcd;
        member.signal(Signal::SIGTERM)?;
        member.ends(Duration::from_secs(15)).context("an etcd member does not end on SIGTERM")?;
        member.start()?;
        self.etcd_answers(node)
    }

    /// Writes so many megabytes, in keys of 8 kB.
    pub(crate) fn fill_etcd(&self, megabytes: usize) -> Result<()> {
        const KEYS: usize = 100;
        let (ctl, value) = (self.ctl_at(&[self.client_url(0)]), "A".repeat(8 * 1024));
        for number in 0..megabytes * 1024 / 8 / KEYS {
            let key = |k: usize| number * KEYS + k;
            let puts: String = (0..KEYS).map(|k| format!("put lab/{:09} {value}\n", key(k))).collect();
            // Nothing compared, so these are done; nothing else.
            shell::fed(ctl.command().args([&long(), "txn"]), &format!("\n{puts}\n\n"))?;
        }
        Ok(())
    }

    /// What an operator does to a full etcd: deletes, compacts, defragments, and calls the alarm off.
    pub(crate) fn make_space(&self) -> Result<()> {
        let ctl = self.ctl();
        shell::output(ctl.command().args(["del", "--prefix", "lab/"]))?;
        let status = shell::output(ctl.command().args(["get", "x", "--write-out=json"]))?;
        let status: Value = serde_json::from_str(&status).context("the answer to a get")?;
        let revision = status["header"]["revision"].as_u64().context("no revision in the answer to a get")?;
        shell::output(ctl.command().args(["compaction", &revision.to_string()]))?;
        (0..self.nodes.len()).try_for_each(|node| self.defragment(node).map(drop))?;
        shell::output(ctl.command().args(["alarm", "disarm"])).map(drop)
    }

    /// Defragments a member; it answers nobody meanwhile. How long that took.
    pub(crate) fn defragment(&self, node: NodeIndex) -> Result<Duration> {
        let (ctl, from) = (self.ctl_at(&[self.client_url(node)]), clock::now());
        shell::output(ctl.command().args([&long(), "defrag"]))?;
        Ok(clock::now().since(from))
    }

    /// Forgets all revisions up to now.
    pub(crate) fn compact(&self) -> Result<()> {
        compact(&self.ctl())
    }

    /// Writes a key and forgets all revisions before it, again and again, until what this returns is dropped.
    pub(crate) fn compact_on_and_on(&self) -> Compacting {
        let ctl = self.ctl();
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&done));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // By whichever member is there.
                if compact(&ctl).is_ok() {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                clock::sleep(Duration::from_millis(50));
            }
        });
        Compacting { stop, done, thread: Some(thread) }
    }

    /// Removes a node's member from the cluster, and all that it knew.
    pub(crate) fn remove_member(&mut self, node: NodeIndex) -> Result<()> {
        let member = self.member_id(node)?;
        self.ask_beside(node, &["member", "remove", &member])?;
        // It may be told, and end by itself.
        self.nodes[node].etcd.ends(Duration::from_secs(2));
        self.nodes[node].etcd.kill();
        let data = self.nodes[node].member.data(&self.directory);
        fs::remove_dir_all(&data).with_context(|| format!("remove {}", data.display()))
    }

    /// Adds a new member in its place: as a learner, and promoted once it has caught up.
    pub(crate) fn add_member(&mut self, node: NodeIndex) -> Result<()> {
        self.add_learner(node)?;
        self.promote(node)
    }

    /// The same, at an address of its own.
    pub(crate) fn add_member_elsewhere(&mut self, node: NodeIndex) -> Result<()> {
        self.nodes[node].member = self.nodes[node].member.successor();
        self.add_member(node)
    }

    /// Adds a new member that has no vote.
    pub(crate) fn add_learner(&mut self, node: NodeIndex) -> Result<()> {
        let member = self.nodes[node].member;
        let peer = format!("--peer-urls={}", member.peer_url());
        self.ask_beside(node, &["member", "add", &member.name(), "--learner", &peer])?;
        let mut command = member.command(&self.members(), &self.directory, &self.options);
        command.args(["--initial-cluster-state", "existing"]);
        self.nodes[node].etcd = Service::new(&self.nodes[node].ns, "etcd", command, &self.directory);
        self.nodes[node].etcd.start()
    }

    /// Gives it its vote, once it has caught up.
    pub(crate) fn promote(&mut self, node: NodeIndex) -> Result<()> {
        let member = self.learner_id(node)?;
        self.ask_beside(node, &["member", "promote", &member])?;
        self.etcd_answers(node)
    }

    /// A learner tells who it is as soon as it is up.
    fn learner_id(&self, node: NodeIndex) -> Result<String> {
        let mut member = Err(anyhow::anyhow!("it never came up"));
        clock::poll_every(Duration::from_millis(200), UP, || {
            member = self.member_id(node);
            member.is_ok()
        });
        member
    }

    /// `etcdctl` through the members beside that node's. A change of members is refused until all the others have
    /// known one another for five seconds, so it is asked for again.
    fn ask_beside(&self, node: NodeIndex, words: &[&str]) -> Result<()> {
        let others = (0..self.nodes.len()).filter(|other| *other != node);
        let ctl = self.ctl_at(&others.map(|other| self.client_url(other)).collect::<Vec<_>>());
        let mut done = Ok(String::new());
        clock::poll_every(Duration::from_millis(200), UP, || {
            done = shell::output(ctl.command().args(words));
            done.is_ok()
        });
        done.map(drop)
    }
}

/// Ends when dropped.
pub(crate) struct Compacting {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Compacting {
    /// How often so far.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

impl Drop for Compacting {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn compact(ctl: &Ctl) -> Result<()> {
    const BOUND: &str = "--command-timeout=1s";
    let put = shell::output(ctl.command().args([BOUND, "put", "lab/compact", "x", "--write-out=json"]))?;
    let put: Value = serde_json::from_str(&put).context("the answer to a put")?;
    let revision = put["header"]["revision"].as_u64().context("no revision in the answer to a put")?;
    shell::output(ctl.command().args([BOUND, "compaction", &revision.to_string()])).map(drop)
}

fn long() -> String {
    format!("--command-timeout={}s", LONG.as_secs())
}
