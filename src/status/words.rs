//! A status in words: one line for the unit, a page for people.

use std::fmt::Write;

use super::{Candidate, Config, Here, Move, Refused, Session, Status, Vip};
use crate::election::record::vip_name;

/// The longest line for the unit; hundreds of VIPs are counted, not listed.
const LISTED: usize = 4;

/// Times of day, as this machine has them: milliseconds since 1970 to `12:03:07`.
pub type Clock<'a> = &'a dyn Fn(u64) -> String;

/// "holds 192.168.0.15 on eth0 since 12:03:07; cp-2 holds 192.168.1.15".
pub fn line(status: &Status, clock: Clock<'_>) -> String {
    if status.vips.len() > LISTED {
        return counted(status);
    }
    let mut parts: Vec<String> = status.vips.iter().map(|vip| one(vip, clock)).collect();
    parts.extend(etcd_trouble(&status.etcd));
    parts.join("; ")
}

fn counted(status: &Status) -> String {
    let count = |is: &dyn Fn(&&Vip) -> bool| status.vips.iter().filter(is).count();
    let here = count(&|vip| vip.here == Here::Holds);
    let others = count(&|vip| vip.here != Here::Holds && vip.holder().is_some());
    let mut text = format!("holds {here} of {} VIPs; other nodes hold {others}", status.vips.len());
    let nobody = status.vips.len() - here - others;
    if nobody > 0 {
        let _ = write!(text, "; nobody holds {nobody}");
    }
    etcd_trouble(&status.etcd).map_or(text.clone(), |trouble| format!("{text}; {trouble}"))
}

fn one(vip: &Vip, clock: Clock<'_>) -> String {
    let name = vip_name(&vip.addresses);
    let since = vip.first_since.map(|at| format!(" since {}", clock(at))).unwrap_or_default();
    match (vip.here, vip.holder(), vip.queue.first()) {
        (Here::Holds, ..) => format!("holds {name} on {}{since}", vip.link),
        (Here::Takes, ..) => format!("takes {name}"),
        (Here::Paused, ..) => format!("has no {name} for now and keeps its turn"),
        (Here::LetsGo, ..) => format!("lets go of {name}"),
        (_, Some(holder), _) => format!("{} holds {name}{since}", holder.node),
        (_, None, Some(Candidate { node, vipd: false, .. })) => {
            format!("nobody holds {name}: {node:?} stands first and is no vipd")
        }
        (_, None, Some(Candidate { node, this: false, .. })) if vip.passed_on => {
            format!("nobody is known to hold {name}: {node} has the turn, and the one before did not take it")
        }
        (_, None, _) if !vip.link_up => {
            format!("nobody is known to hold {name}; waits for {} ({})", vip.link, lack(vip))
        }
        (_, None, _) => format!("nobody is known to hold {name}"),
    }
}

fn lack(vip: &Vip) -> &str {
    vip.link_lack.as_deref().unwrap_or("cannot serve now")
}

fn etcd_trouble(etcd: &Session) -> Option<String> {
    match etcd {
        Session::Silent { left_ms } => Some(format!("keeps away from another history of etcd for {}", ms(*left_ms))),
        Session::Asking => Some("waits for etcd".into()),
        Session::Live { fence_left_ms: 0, proven_ms_ago: Some(ago), .. } => {
            Some(format!("etcd was heard {} ago", ms(*ago)))
        }
        Session::Live { .. } => None,
    }
}

/// The whole picture, for a terminal.
pub fn page(status: &Status, clock: Clock<'_>) -> String {
    let mut text = format!("node   {} (vipd {})\n", status.node, status.version);
    let _ = writeln!(text, "etcd   {}", etcd(&status.etcd));
    config(&status.config, &mut text, clock);
    for vip in &status.vips {
        let _ = writeln!(text, "\n{}", one(vip, clock));
        let up = if vip.link_up { "can serve" } else { lack(vip) };
        let _ = writeln!(text, "  link   {} ({up})", vip.link);
        for (i, candidate) in vip.queue.iter().enumerate() {
            let this = if candidate.this { " (this node)" } else { "" };
            let foreign = if candidate.vipd { "" } else { " (no vipd)" };
            let _ = writeln!(text, "  {}  {}{this}{foreign}", if i == 0 { "first" } else { "next " }, candidate.node);
        }
        for change in &vip.moves {
            let _ = writeln!(text, "  {}", a_move(change, clock));
        }
    }
    text
}

/// Nothing, if it is as it was at the start.
fn config(config: &Config, text: &mut String, clock: Clock<'_>) {
    if config.reloads > 0 {
        let _ = writeln!(text, "config read anew at {}", clock(config.loaded_at));
    }
    for later in &config.later {
        let _ = writeln!(text, "config from the next session on: {later}");
    }
    if let Some(Refused { at, why }) = &config.refused {
        let _ = writeln!(text, "config refused at {}, so nothing was changed: {}", clock(*at), why.join("; "));
    }
}

fn etcd(session: &Session) -> String {
    match session {
        Session::Live { lease, ttl_ms, fence_left_ms, proven_ms_ago } => {
            let proven = proven_ms_ago.map_or("never".into(), |ago| format!("{} ago", ms(ago)));
            format!("lease {lease}, ttl {}, proven {proven}, fence in {}", ms(*ttl_ms), ms(*fence_left_ms))
        }
        Session::Silent { .. } | Session::Asking => etcd_trouble(session).unwrap_or_default(),
    }
}

fn a_move(change: &Move, clock: Clock<'_>) -> String {
    let to = change.to.as_deref().unwrap_or("nobody");
    let took = change.took_ms.map(|took| format!(", address on after {}", ms(took))).unwrap_or_default();
    format!("{}  to {to}: {}{took}", clock(change.at), change.why)
}

fn ms(ms: u64) -> String {
    if ms < 1000 { format!("{ms} ms") } else { format!("{}.{} s", ms / 1000, ms % 1000 / 100) }
}
