//! One endpoint of several is ill, and it is the nearest: the member on the holder's own node. Nothing may move, and
//! what it costs is told as the longest silence between good renewals.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::calm::{AFTER, Calm, Kept, Vote, a_world};
use crate::clock::{self, At};
use crate::faults::{Fault, Who};
use crate::measure::led_from;
use crate::scenario::Context;
use crate::timeline::NodeIndex;
use crate::world::{Cut, Known, Options, World};

/// For longer than the lease: who waits for that endpoint loses it.
const ILL: Duration = Duration::from_millis(6500);

/// The member list is asked for as often, and a little.
const FOUND: Duration = Duration::from_secs(6);

/// What ails it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ailment {
    /// Nothing listens.
    Refused,
    /// Nothing comes back.
    Swallowed,
    /// It is stopped: its connections stand, and nobody reads them.
    Frozen,
    /// It is cut off from the other members.
    Minority,
    /// It has no vote yet, and answers nobody but with that.
    Learner,
    /// It shakes hands and then says nothing.
    Mute,
    /// It takes its time, two seconds for every answer.
    Late,
}

impl Ailment {
    fn what(self) -> &'static str {
        match self {
            Self::Refused => "own endpoint of three refused",
            Self::Swallowed => "own endpoint of three black-holed",
            Self::Frozen => "own endpoint of three frozen (SIGSTOP)",
            Self::Minority => "own endpoint of three cut off from its peers",
            Self::Learner => "own endpoint of three a learner",
            Self::Mute => "own endpoint of three mute",
            Self::Late => "own endpoint of three 2 s late",
        }
    }

    fn begins(self, world: &mut World, node: NodeIndex) -> Result<()> {
        match self {
            Self::Refused => world.cut(node, Cut::Refused),
            Self::Swallowed => world.cut(node, Cut::Swallowed),
            Self::Minority => world.cut(node, Cut::FromPeers),
            Self::Frozen => Fault::Signal(node, Who::Etcd, Signal::SIGSTOP).hit(world),
            Self::Learner => {
                world.remove_member(node)?;
                world.add_learner(node)
            }
            Self::Mute => own_proxy(world, node).map(|proxy| proxy.freeze(true)),
            Self::Late => own_proxy(world, node).map(|proxy| proxy.delay(Duration::from_secs(2))),
        }
    }

    fn ends(self, world: &mut World, node: NodeIndex) -> Result<()> {
        match self {
            Self::Refused | Self::Swallowed | Self::Minority => world.uncut(node),
            Self::Frozen => Fault::Signal(node, Who::Etcd, Signal::SIGCONT).hit(world),
            Self::Learner => world.promote(node),
            Self::Mute => own_proxy(world, node).map(|proxy| proxy.freeze(false)),
            Self::Late => own_proxy(world, node).map(|proxy| proxy.delay(Duration::ZERO)),
        }?;
        world.etcd_answers(node)
    }
}

fn own_proxy(world: &World, node: NodeIndex) -> Result<&crate::proxy::Proxy> {
    world.nodes[node].proxies.first().context("this world was built without proxies")
}

/// Refused, black-holed, frozen, cut off from the others, a learner.
pub(super) fn away(lab: &Context) -> Result<()> {
    use Ailment::{Frozen, Learner, Minority, Refused, Swallowed};
    of_three(lab, Options::default(), &[Refused, Swallowed, Frozen, Minority, Learner])
}

/// Mute, and late.
pub(super) fn mute(lab: &Context) -> Result<()> {
    of_three(lab, Options { proxies: true, ..Options::default() }, &[Ailment::Mute, Ailment::Late])
}

fn of_three(lab: &Context, options: Options, ailments: &[Ailment]) -> Result<()> {
    let (mut world, probe) = a_world(lab, options)?;
    let mut kinds: Vec<_> = ailments.iter().map(|ailment| (ailment, Kept::new(ailment.what(), Vote::No))).collect();
    for _ in 0..lab.rounds(1, 20) {
        for (ailment, kept) in &mut kinds {
            // Led from elsewhere, so that it is about the endpoint and not about an election.
            let holder = led_from(&world, 1)?;
            let calm = Calm::begins(&world, &probe)?;
            ailment.begins(&mut world, holder)?;
            clock::sleep(ILL);
            ailment.ends(&mut world, holder)?;
            kept.add(&world, &calm)?;
        }
    }
    kinds.iter().try_for_each(|(_, kept)| kept.tell(lab))?;
    world.monitor.no_overlap(At::default(), clock::now())
}

/// The daemons know their own member only, as by default, and the holder's is killed.
pub(super) fn own_only(lab: &Context) -> Result<()> {
    let (mut world, probe) = a_world(lab, Options { known: Known::Own, ..Options::default() })?;
    let mut kept = Kept::new("own endpoint the only one known, its member killed", Vote::No);
    for _ in 0..lab.rounds(1, 20) {
        let holder = led_from(&world, 1)?;
        let calm = Calm::begins(&world, &probe)?;
        world.service(holder, Who::Etcd).kill();
        clock::sleep(ILL);
        Fault::Start(holder, Who::Etcd).hit(&mut world)?;
        world.etcd_answers(holder)?;
        kept.add(&world, &calm)?;
    }
    kept.tell(lab)?;
    world.monitor.no_overlap(At::default(), clock::now())
}

/// Every member is replaced by one at another address, until none is left of those that the daemons began with; they
/// know their own member only, whose address nobody answers at in the end.
pub(super) fn all_replaced(lab: &Context) -> Result<()> {
    let (mut world, probe) = a_world(lab, Options { known: Known::Own, ..Options::default() })?;
    let mut kept = Kept::new("every etcd member replaced, none at an old address", Vote::No);
    for _ in 0..lab.rounds(1, 5) {
        let calm = Calm::begins(&world, &probe)?;
        for step in 0..world.nodes.len() {
            let node = (calm.blow.from + step) % 3;
            // Whoever leads goes last but is asked to hand over first.
            world.lead((node + 1) % 3)?;
            world.remove_member(node)?;
            clock::sleep(AFTER);
            world.add_member_elsewhere(node)?;
            // Nobody is quicker by hand; the daemons find the new one meanwhile.
            clock::sleep(FOUND);
        }
        ensure!(world.members().iter().all(|member| !member.is_original()), "an original member is left");
        kept.add(&world, &calm)?;
    }
    kept.tell(lab)?;
    let holder = world.one_holder(crate::world::VIP, Duration::from_secs(10))?;
    let used = world.connections(holder)?;
    lab.say(format_args!("the holder's connections: {}", used.into_iter().collect::<Vec<_>>().join(", ")));
    world.monitor.no_overlap(At::default(), clock::now())
}
