//! Addresses that are where they should not be, or not where they should.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::clock::{self, At, millis};
use crate::faults::{Fault, Who};
use crate::figures::Figures;
use crate::measure::{Tally, row};
use crate::scenario::Context;
use crate::world::{Options, VIP};

/// Killed and started again on the same node, before the kernel's own clock would have cleaned up.
pub(super) fn leftover(lab: &Context) -> Result<()> {
    let mut world = lab.world(Options::default())?;
    world.one_holder(VIP, Duration::from_secs(5))?;
    let (mut gone, mut back) = (Figures::default(), Figures::default());
    for _ in 0..lab.rounds(1, 10) {
        let holder = world.all_daemons_back(VIP)?;
        Fault::kill(holder).hit(&mut world)?;
        world.service(holder, Who::Vipd).ends(Duration::from_secs(1)).context("a killed daemon runs")?;
        ensure!(world.monitor.timeline().holder(VIP) == Some(holder), "there is no leftover to find");
        let from = clock::now();
        Fault::Start(holder, Who::Vipd).hit(&mut world)?;
        let left = world.monitor.wait(Duration::from_secs(5), |timeline| timeline.left(VIP, from, holder));
        let left = left.context("the leftover is still there")?.since(from);
        ensure!(left < Duration::from_secs(2), "the leftover was gone only after {}", millis(left));
        world.one_holder(VIP, Duration::from_secs(10))?;
        let came = world.monitor.timeline().came(VIP, from, None).context("nobody came")?.at;
        gone.add(left);
        back.add(came.since(from));
    }
    lab.say(row("start to leftover gone", &gone));
    lab.say(row("start to address held", &back));
    let tally = Tally { off: gone, back, ..Tally::default() };
    lab.row("started beside a left-over of its killed self", &tally, "off first; one holder")?;
    world.monitor.no_overlap(At::default(), clock::now())
}

/// The operator's own address, the same as the VIP: not ours to touch. Once it is gone, somebody takes the VIP.
pub(super) fn foreign(lab: &Context) -> Result<()> {
    let mut world = lab.world(Options { vipd: false, ..Options::default() })?;
    Fault::Put(0, VIP, 24).hit(&mut world)?;
    let from = clock::now();
    world.start_daemons()?;
    clock::sleep(Duration::from_secs(8));
    let touched = world.monitor.timeline().changes(VIP, from).into_iter().find(|change| change.node == 0);
    ensure!(touched.is_none(), "the operator's {VIP} was taken off n1");
    let ends = world.monitor.timeline().ends(VIP, 0);
    ensure!(ends.is_none(), "the operator's {VIP} was given a lifetime");
    let others = world.monitor.timeline().holders(VIP).into_iter().filter(|node| *node != 0).count();
    lab.say(format_args!("{VIP}/24 put on n1 by hand stays as it is; on {others} other nodes meanwhile"));
    Fault::Delete(0, VIP).hit(&mut world)?;
    let holder = world.one_holder(VIP, Duration::from_secs(40)).context("after the operator's address was gone")?;
    lab.say(format_args!("deleted by hand again: {} holds", world.names(&[holder])));
    Ok(())
}

/// `ip address del`, by somebody else.
pub(super) fn hand_delete(lab: &Context) -> Result<()> {
    let mut world = lab.world(Options::default())?;
    let holder = world.one_holder(VIP, Duration::from_secs(5))?;
    world.all_stand(VIP)?;
    let probe = world.probe(VIP)?;
    let (mut gap, mut outage) = (Figures::default(), Figures::default());
    let rounds = lab.rounds(2, 20);
    // Many times a minute is a reason to give the turn up, and another scenario.
    let pace = Duration::from_millis(if rounds > 10 { 6500 } else { 1000 });
    for _ in 0..rounds {
        clock::sleep(pace);
        let from = clock::now();
        Fault::Delete(holder, VIP).hit(&mut world)?;
        let back = world.monitor.wait(Duration::from_secs(5), |timeline| timeline.came(VIP, from, None));
        let back = back.context("the address did not come back")?;
        ensure!(
            back.node == holder,
            "it came back on {}, not on {}",
            world.names(&[back.node]),
            world.names(&[holder])
        );
        clock::sleep(Duration::from_millis(400));
        let end = clock::now();
        gap.add(world.monitor.timeline().gap(VIP, from, end));
        outage.add(probe.worst(from, end));
    }
    let name = world.names(&[holder]);
    lab.say(row(&format!("deleted, back on {name}: gap"), &gap));
    lab.say(row("client outage", &outage));
    lab.row("address deleted by hand", &Tally { gap, outage, ..Tally::default() }, "back on the same node")?;
    world.monitor.no_overlap(At::default(), clock::now())
}
