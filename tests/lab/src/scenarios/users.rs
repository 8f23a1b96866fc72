//! etcd's users: switched on under running daemons, their password changed; and an etcd that has none, nor TLS.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::calm::{AFTER, Calm, Kept, Vote, a_world};
use super::certificates::still_moves;
use crate::clock::{self, At};
use crate::faults::{Fault, Who};
use crate::measure::{Moves, Watched, a_move};
use crate::scenario::Context;
use crate::world::{BY_PASSWORD, Options, Security, VIP, World};

const PATIENCE: Duration = Duration::from_secs(20);

/// Users and roles come while a VIP is held, by the daemon that says who it is with a password; then the password
/// changes, in etcd first and then in the file.
pub(super) fn switched_on(lab: &Context) -> Result<()> {
    let options = Options { security: Security::RbacLater, ..Options::default() };
    let (mut world, probe) = a_world(lab, options)?;
    make_holder(&mut world, BY_PASSWORD)?;
    let mut on = Kept::new("etcd's RBAC switched on", Vote::No);
    let calm = Calm::begins(&world, &probe)?;
    world.switch_on_users()?;
    clock::sleep(Duration::from_secs(6));
    on.add(&world, &calm)?;
    on.tell(lab)?;
    world.all_stand(VIP)?;

    let mut changed = Kept::new("the daemons' password changed", Vote::No);
    for round in 0..lab.rounds(1, 20) {
        let calm = Calm::begins(&world, &probe)?;
        let password = format!("another-{round}");
        world.change_password(&password)?;
        clock::sleep(AFTER);
        world.access()?.password(&password)?;
        clock::sleep(Duration::from_secs(6));
        changed.add(&world, &calm)?;
    }
    changed.tell(lab)?;
    ensure!(world.one_holder(VIP, PATIENCE)? == BY_PASSWORD, "another one holds");
    still_moves(lab, &mut world, &probe)
}

/// Whoever else has it gives it up until that node has.
fn make_holder(world: &mut World, wanted: usize) -> Result<()> {
    for _ in 0..world.nodes.len() {
        let holder = world.one_holder(VIP, PATIENCE)?;
        world.all_stand(VIP)?;
        if holder == wanted {
            return Ok(());
        }
        Fault::term(holder).hit(world)?;
        world.service(holder, Who::Vipd).ends_with(0, Duration::from_secs(5))?;
        world.monitor.wait(PATIENCE, |timeline| timeline.holder(VIP).filter(|now| *now != holder));
        Fault::Start(holder, Who::Vipd).hit(world)?;
    }
    ensure!(world.one_holder(VIP, PATIENCE)? == wanted, "{} does not come to hold", world.names(&[wanted]));
    world.all_stand(VIP)
}

/// The smallest etcd there is to be had, and the figures of a move beside those with everything.
pub(super) fn plain(lab: &Context) -> Result<()> {
    let mut world = lab.world(Options { security: Security::Plain, ..Options::default() })?;
    world.one_holder(VIP, PATIENCE)?;
    let (probe, mut moves) = (world.probe(VIP)?, Moves::default());
    world.a_lease_later();
    for _ in 0..lab.rounds(2, 20) {
        let holder = world.all_daemons_back(VIP)?;
        let watched = Watched { vip: VIP, probe: &probe, quiet: Duration::from_secs(3), within: PATIENCE };
        moves.add(&a_move(&mut world, &watched, &Fault::term(holder))?);
        world.service(holder, Who::Vipd).ends_with(0, Duration::from_secs(3))?;
    }
    lab.say_all(moves.table());
    lab.row("SIGTERM to the holder's daemon, etcd plain", &moves.tally(), "next holds; exit 0")?;
    world.monitor.no_overlap(At::default(), clock::now())
}
