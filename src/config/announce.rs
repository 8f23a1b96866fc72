//! How the network is told of a VIP, and what is done when somebody else has it: `vipd.announce`, `vipd.onConflict`.
//!
//! Owned by `config`; the defaults are the election's own.

use std::time::Duration;

use super::check::{Checked, list, text};
use super::raw::Node;
use super::refusal::Problems;
use super::settings::Section;
use super::timings::{duration, span};
use crate::election::contender::OnConflict;
use crate::election::timings::Schedule;

/// The keys below `vipd.announce`.
const KEYS: [&str; 2] = ["schedule", "refresh"];
/// The most announcements after a taking. Whoever has not heard of it by then hears of it with the refresh.
const MOST: usize = 32;
/// The last of them at the latest.
const LATEST: Duration = Duration::from_secs(60);
/// The bounds of the refresh.
const REFRESH: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));

/// Reads `announce` below `vipd`.
pub(super) fn read(root: &Section<'_>, problems: &mut Problems) -> Schedule {
    let section = root.section("announce", &KEYS, problems);
    let usual = Schedule::default();
    let times = section.setting("schedule", schedule, problems);
    let refresh = section.setting("refresh", refresh, problems);
    Schedule { times: times.unwrap_or(usual.times), refresh: refresh.unwrap_or(usual.refresh) }
}

/// When to announce, counted from the taking.
fn schedule(node: &Node) -> Checked<Vec<Duration>> {
    let nodes = list(node)?;
    let times = nodes.iter().map(time).collect::<Checked<Vec<_>>>()?;
    if times.first() != Some(&Duration::ZERO) {
        return Err("does not begin with 0s; clients wait for the first announcement".into());
    }
    if let Some(two) = times.windows(2).find(|two| two[0] >= two[1]) {
        return Err(format!("{:?} after {:?} is not ascending", two[1], two[0]));
    }
    if times.len() > MOST {
        return Err(format!("{} announcements; at most {MOST}", times.len()));
    }
    Ok(times)
}

fn time(node: &Node) -> Checked<Duration> {
    let shown = node.shown();
    let at = span(node).ok_or_else(|| format!("{shown} is not a duration, such as 0s or 100ms"))?;
    if at > LATEST {
        return Err(format!("{shown} is too late; the last announcement is due within {LATEST:?}"));
    }
    Ok(at)
}

/// From one later announcement to the next; `false`: none.
fn refresh(node: &Node) -> Checked<Option<Duration>> {
    if *node == Node::Bool(false) {
        return Ok(None);
    }
    let every = duration(node).map_err(|text| format!("{text}, nor false"))?;
    let (least, most) = REFRESH;
    if every < least || every > most {
        return Err(format!("{} is out of bounds; a refresh is 1s to 1h, or false", node.shown()));
    }
    Ok(Some(every))
}

/// What to do at a first claim when somebody else answers.
pub(super) fn on_conflict(node: &Node) -> Checked<OnConflict> {
    match text(node)? {
        "refuse" => Ok(OnConflict::Refuse),
        "claim" => Ok(OnConflict::Claim),
        _ => Err(format!("{} is neither refuse nor claim", node.shown())),
    }
}
