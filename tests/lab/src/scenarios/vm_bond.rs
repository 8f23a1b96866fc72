//! A link that is moved under a bond while it has the VIP, in a machine whose kernel has bonds.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::vm::{GUEST, PATIENCE, guest, held};
use crate::clock::{self, At, millis};
use crate::scenario::Context;
use crate::vm;
use crate::world::{Options, VIP, VIP6, Vip};

/// As an operator does it: the address of the node's own goes to the bond.
const MOVE: &str = "set -e
    ip link add bond0 type bond mode active-backup miimon 100
    ip link set eth0 down
    ip addr flush dev eth0 scope global
    ip link set eth0 master bond0
    ip link set bond0 up";

/// A VIP of each family on `eth0`, which becomes the port of a bond: off while the link is down, and only the IPv4 one may
/// be there again.
pub(super) fn moved(lab: &Context) -> Result<()> {
    let vips = [VIP, VIP6].map(|ip| Vip { ip, link: "eth0".to_owned() }).to_vec();
    let mut world = lab.world(Options { vips, vipd: false, ..Options::default() })?;
    let mut vm = guest(lab, &world)?;
    vm.start_vipd()?;
    held(&world, &vm)?;
    ensure!(world.one_holder(VIP6, PATIENCE)? == GUEST, "{VIP6} is not on the machine");
    for node in &mut world.nodes[..2] {
        node.vipd.start()?;
    }
    world.a_lease_later();
    let from = clock::now();
    vm.sh(&format!("{MOVE}; ip addr add {}/24 dev bond0", vm::address(GUEST)))?;
    let left = world.monitor.timeline().left(VIP, from, GUEST).context("it stayed while its link was down")?;
    let events = vm.vipd_said().matches("the link is down or gone").count();
    ensure!(events >= 1, "its daemon did not see the link go down");
    let warned = clock::poll_until(PATIENCE, || vm.vipd_says("port of bond0") && vm.vipd_says("it belongs on bond0"));
    ensure!(warned, "it does not say that its link is a port now: {}", vm.vipd_said());
    lab.say(format_args!("off {} after the order to move the link under a bond", millis(left.since(from))));
    // Time for a lost lease, and more.
    clock::sleep(Duration::from_secs(8));
    for (vip, on_port) in [(VIP, true), (VIP6, false)] {
        let holder = world.one_holder(vip, PATIENCE)?;
        let on = world.names(&[holder]);
        ensure!(on_port || holder != GUEST, "{vip} is on {on}, on the port of a bond");
        ensure!(
            world.probe(vip)?.answers(clock::now(), Duration::from_secs(3)),
            "{vip} is on {on}, which does not answer"
        );
        lab.say(format_args!("{vip} is on {on}, which answers"));
    }
    world.monitor.no_overlap(At::default(), clock::now())
}
