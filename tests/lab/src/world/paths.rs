//! The ways between a node's programs and the members: what of them can be cut on the node itself, and which are used.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::World;
use crate::scenario::Skip;
use crate::shell;
use crate::timeline::NodeIndex;

/// What becomes of what a node sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cut {
    /// To its own member, as a client: refused.
    Refused,
    /// To its own member, as a client: gone without a word.
    Swallowed,
    /// From its own member to the others and from them to it: gone without a word.
    FromPeers,
}

impl Cut {
    fn rules(self, client: u16, peer: u16) -> String {
        match self {
            Self::Refused => format!("tcp dport {client} reject with tcp reset"),
            Self::Swallowed => format!("tcp dport {client} drop"),
            // What it asks of the others, and what it answers them.
            Self::FromPeers => format!("tcp dport {peer} drop\ntcp sport {peer} drop"),
        }
    }
}

impl World {
    /// Cuts a node's program off from its own member, or that member from the others.
    pub(crate) fn cut(&self, node: NodeIndex, cut: Cut) -> Result<()> {
        if shell::missing(&["nft"]).is_some() {
            return Err(Skip("`nft` is not installed".to_owned()).into());
        }
        let (client, peer) = self.nodes[node].member.ports();
        let own = self.nodes[node].address;
        // The others' client ports stay open, also to this node.
        let whose = if cut == Cut::FromPeers { String::new() } else { format!("ip daddr {{ {own}, 127.0.0.1 }} ") };
        let rules = format!("{whose}{}", cut.rules(client, peer));
        let table = format!("table inet cut {{\nchain out {{\ntype filter hook output priority 0\n{rules}\n}}\n}}\n");
        self.nodes[node].ns.run(|| shell::fed(Command::new("nft").args(["-f", "-"]), &table))
    }

    /// Undoes it.
    pub(crate) fn uncut(&self, node: NodeIndex) -> Result<()> {
        self.nodes[node].ns.run(|| shell::output(Command::new("nft").args(["delete", "table", "inet", "cut"])))?;
        Ok(())
    }

    /// The TCP connections of a node's daemon, each by its own end and the other.
    pub(crate) fn connections(&self, node: NodeIndex) -> Result<BTreeSet<String>> {
        let node = &self.nodes[node];
        let pid = node.vipd.pid().context("that vipd does not run")?;
        let shown = node.ns.run(|| shell::output(Command::new("ss").args(["-Htnp", "state", "established"])))?;
        let own = shown.lines().filter(|line| line.contains(&format!("pid={pid},")));
        // Bytes waiting in and out, then the two ends.
        Ok(own.map(|line| line.split_whitespace().skip(2).take(2).collect::<Vec<_>>().join(" to ")).collect())
    }
}
