//! The etcd cluster as a whole: who leads it, and lives it should never have had.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Service, World};
use crate::clock;
use crate::shell;
use crate::timeline::NodeIndex;

impl World {
    /// Makes the member of that node lead etcd.
    pub(crate) fn lead(&self, node: NodeIndex) -> Result<()> {
        let leads = || self.etcd_leader() == Some(node);
        for _ in 0..5 {
            if leads() {
                return Ok(());
            }
            // Refused in the middle of an election; then it is asked again.
            let _ = shell::output(self.etcdctl().args(["move-leader", &self.member_id(node)?]));
            clock::poll_until(Duration::from_secs(2), leads);
        }
        ensure!(leads(), "{} did not come to lead etcd", self.nodes[node].name);
        Ok(())
    }

    /// Whether a member beside that node's says that it leads.
    pub(crate) fn leads_beside(&self, node: NodeIndex) -> bool {
        let others = self.nodes.iter().enumerate().filter(|(index, _)| *index != node);
        others.into_iter().any(|(_, other)| other.member.leads())
    }

    /// As `etcdctl` wants it.
    pub(super) fn member_id(&self, node: NodeIndex) -> Result<String> {
        let ask = self.ctl_at(&[self.client_url(node)]);
        let answer = shell::output(ask.command().args(["endpoint", "status", "--write-out=json"]))?;
        let status: Value = serde_json::from_str(&answer).context("a member's status")?;
        let id = status[0]["Status"]["header"]["member_id"].as_u64().context("no member id in its status")?;
        Ok(format!("{id:x}"))
    }

    /// Saves a backup.
    pub(crate) fn back_up(&self, file: &Path) -> Result<()> {
        let save = self.ctl_at(&[self.client_url(0)]);
        shell::output(save.command().args(["snapshot", "save"]).arg(file)).map(|_| ())
    }

    /// What an operator does who restores a backup: all members down, new data, all members up.
    pub(crate) fn restore(&mut self, backup: &Path) -> Result<()> {
        self.wipe_etcd()?;
        let members = self.members();
        for member in &members {
            let mut restore = Command::new("etcdctl");
            restore.env("ETCDCTL_API", "3").args(["snapshot", "restore"]).arg(backup);
            shell::output(restore.args(member.membership(&members, &self.directory, &self.options)))?;
        }
        self.start_etcd()
    }

    /// Another cluster, empty, behind the same endpoints.
    pub(crate) fn replace_etcd(&mut self, token: &'static str) -> Result<()> {
        self.wipe_etcd()?;
        self.options.token = token;
        let members = self.members();
        for node in &mut self.nodes {
            let command = node.member.command(&members, &self.directory, &self.options);
            node.etcd = Service::new(&node.ns, "etcd", command, &self.directory);
        }
        self.start_etcd()
    }

    fn wipe_etcd(&mut self) -> Result<()> {
        self.keys = None;
        for node in &mut self.nodes {
            node.etcd.kill();
            let data = node.member.data(&self.directory);
            fs::remove_dir_all(&data).with_context(|| format!("remove {}", data.display()))?;
        }
        Ok(())
    }
}
