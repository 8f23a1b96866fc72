//! The judge of a soak: never two holders; after each healing one, in time, who stays and answers.

use std::time::Duration;

use crate::clock::{self, At};
use crate::monitor::Monitor;
use crate::timeline::{Change, NodeIndex};
use crate::world::{VIP, World};

use super::history::{History, Overlap};

/// One holder has to stay for this long after a healing.
const CALM: Duration = Duration::from_secs(4);
/// What a healing may take beyond a lease.
const GRACE: Duration = Duration::from_secs(10);

/// Listens to the address events from a moment on.
pub(super) struct Judge {
    monitor: Monitor,
    start: At,
    told: Option<At>,
}

impl Judge {
    /// Judges from `start` on.
    pub(super) fn new(monitor: &Monitor, start: At) -> Self {
        Self { monitor: monitor.clone(), start, told: None }
    }

    /// What happened so far.
    pub(super) fn history(&self) -> History {
        let changes = self.monitor.timeline().changes(VIP, At::default());
        History::read(&changes, self.start, clock::now())
    }

    /// Overlaps that were not told of yet.
    pub(super) fn new_overlaps(&mut self) -> Vec<Overlap> {
        let told = self.told;
        let new: Vec<Overlap> =
            self.history().overlaps.into_iter().filter(|one| told.is_none_or(|told| one.from > told)).collect();
        self.told = new.last().map(|one| one.from).or(told);
        new
    }

    /// The address events from a moment up to another, as lines with their time.
    pub(super) fn events(&self, from: At, to: At) -> Vec<(At, String)> {
        let changes = self.monitor.timeline().changes(VIP, from);
        let line = |change: &Change| {
            let what = if change.present { "has it" } else { "does not have it any more" };
            (change.at, format!("address  n{} {what}", change.node + 1))
        };
        changes.iter().filter(|change| change.at < to).map(line).collect()
    }

    /// The kernel could not deliver so many events.
    pub(super) fn lost(&self) -> usize {
        self.monitor.timeline().lost
    }
}

/// Waits for one holder who stays, from `healed` on: after how long it was there.
pub(super) fn settles(world: &World, healed: At, ttl: Duration) -> Result<(NodeIndex, Duration), String> {
    let deadline = healed + ttl + GRACE;
    loop {
        let now = clock::now();
        let (holder, last) = {
            let timeline = world.monitor.timeline();
            (timeline.holder(VIP), timeline.changes(VIP, healed).last().map_or(healed, |change| change.at))
        };
        let calm_since = last.max(healed);
        match holder {
            Some(holder) if calm_since <= deadline && now.since(calm_since) >= CALM => {
                return Ok((holder, calm_since.since(healed)));
            }
            None if now > deadline => {
                return Err(format!("nobody holds {VIP} {:?} after all was healed", now.since(healed)));
            }
            _ if now > deadline + CALM => {
                return Err(format!(
                    "no holder of {VIP} stayed for {CALM:?} within {:?} of healing",
                    deadline.since(healed)
                ));
            }
            _ => clock::sleep(Duration::from_millis(20)),
        }
    }
}

/// A client finds the holder, and nobody else, behind the address.
pub(super) fn answers(world: &World, holder: NodeIndex) -> Result<(), String> {
    let mut said = String::new();
    let found = clock::poll_until(Duration::from_secs(3), || {
        said = match world.call(VIP, Duration::from_secs(1)) {
            Ok(name) => name,
            Err(error) => format!("nobody ({error:#})"),
        };
        said == world.nodes[holder].name
    });
    if found { Ok(()) } else { Err(format!("{} holds {VIP}, but a client finds {said} there", world.names(&[holder]))) }
}
