//! Keeps the ways to members that are not asked now fit to be asked: a connection on which nobody speaks may be dead for
//! hours, because a firewall forgot it or the machine behind it went without a word, and a login may have run out.
//!
//! One task. It asks with the read of a counted pair, beside all else; the answers do not matter to anybody else.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use super::answer;
use super::connect::Link;
use super::failure::Failure;
use super::line::Line;
use super::members::Members;

/// How often. A failover must find the others fit; and what a node asks with three members is one read every 2.5 s.
const EVERY: Duration = Duration::from_secs(5);
/// A round trip, and a commit of etcd's for the read.
const BOUND: Duration = Duration::from_secs(1);

/// Asks, for ever.
pub(super) async fn run(members: Arc<Members>) {
    loop {
        sleep(EVERY).await;
        let first = members.first();
        let spares = members.lines().into_iter().filter(|(place, _)| *place != first).map(|(_, line)| line);
        join_all(spares.map(|line| exercise(line, &members.prefix))).await;
    }
}

async fn exercise(line: Arc<Line>, prefix: &str) {
    let Some(link) = line.link() else { return };
    match timeout(BOUND, answer::read_short(&mut link.kv.clone(), prefix)).await {
        Ok(Ok(_)) => {}
        Ok(Err(failure)) => line.failed(&link, &failure),
        Err(_) if is_mute(&link).await => line.outworn(&link),
        // It is there, and etcd has no leader just now, or is slow.
        Err(_) => {}
    }
}

/// Whether it does not even answer what a member knows by itself.
async fn is_mute(link: &Link) -> bool {
    let asked = timeout(BOUND, link.maintenance.clone().status()).await;
    !matches!(asked.map(|answer| answer.map_err(Failure::from)), Ok(Ok(_) | Err(Failure::Refused(_) | Failure::Denied)))
}
