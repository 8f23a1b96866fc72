//! Measures for others: what a client sees of a VIP on nodes that somebody else has laid (booted systems of a script).
//!
//! Every line on the standard input ends a stretch and is answered by one line about it, in words and milliseconds:
//! `holder n2 outage 12.345 overlap 0.000`. `holder` is who has it now (`none`, or several with commas), `outage`
//! what the client missed in one piece, `overlap` the time with the VIP on two nodes.

use std::io::{self, BufRead as _, Write as _};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::clock::{self, At};
use crate::monitor::Monitor;
use crate::netns::NetNs;
use crate::probe::Probe;

/// What just happened may still be under way to us.
const NEWS: Duration = Duration::from_millis(50);

/// What to watch.
#[derive(Args)]
pub(crate) struct Wishes {
    /// The VIP
    #[arg(long)]
    vip: IpAddr,
    /// The client's network namespace, under /run/netns
    #[arg(long)]
    client: String,
    /// The nodes' network namespaces; what `holder` calls a node is what follows the last dash
    #[arg(required = true)]
    nodes: Vec<String>,
}

/// Watches until the standard input ends.
pub(crate) fn run(wishes: &Wishes) -> Result<()> {
    let monitor = Monitor::default();
    for (index, name) in wishes.nodes.iter().enumerate() {
        monitor.watch(index, &NetNs::open(name)?)?;
    }
    let probe = Probe::start(&NetNs::open(&wishes.client)?, wishes.vip)?;
    let mut from = clock::now();
    for line in io::stdin().lock().lines() {
        line.context("read what is wanted")?;
        clock::sleep(NEWS);
        let to = clock::now();
        println!("{}", stretch(wishes, &monitor, &probe, from, to)?);
        io::stdout().flush().context("answer")?;
        from = to;
    }
    Ok(())
}

fn stretch(wishes: &Wishes, monitor: &Monitor, probe: &Probe, from: At, to: At) -> Result<String> {
    let timeline = monitor.timeline();
    ensure!(timeline.lost == 0, "the kernel dropped address events: no verdict");
    let overlap = timeline.overlap(wishes.vip, from, to);
    let holders = timeline.holders(wishes.vip);
    drop(timeline);
    let short = |node: &usize| wishes.nodes[*node].rsplit('-').next().unwrap_or_default().to_owned();
    let holder = match holders.as_slice() {
        [] => "none".to_owned(),
        several => several.iter().map(short).collect::<Vec<_>>().join(","),
    };
    let ms = |span: Duration| span.as_secs_f64() * 1000.0;
    let outage = probe.worst(from, to);
    Ok(format!("holder {holder} outage {:.3} overlap {:.3}", ms(outage), ms(overlap)))
}
