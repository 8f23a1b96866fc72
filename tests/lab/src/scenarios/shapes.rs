//! VIPs of other shapes: IPv6, more than one, on two links. VLANs need another kernel: see `vlans`.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::clock::{self, At, millis};
use crate::faults::{Fault, Who};
use crate::figures::Figures;
use crate::measure::{Moves, Watched, a_move, row};
use crate::scenario::Context;
use crate::shell;
use crate::world::{Options, VIP, VIP6, Vip, World};

const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 101));
const PATIENCE: Duration = Duration::from_secs(10);

/// An IPv6 VIP.
pub(super) fn ipv6(lab: &Context) -> Result<()> {
    let vips = vec![Vip { ip: VIP6, link: "eth0".to_owned() }];
    let mut world = lab.world(Options { vips, ..Options::default() })?;
    world.one_holder(VIP6, PATIENCE)?;
    let probe = world.probe(VIP6)?;
    let (mut moves, mut turned) = (Moves::default(), Figures::default());
    world.a_lease_later();
    for _ in 0..lab.rounds(2, 20) {
        let holder = world.all_daemons_back(VIP6)?;
        ensure!(probe.answers(clock::now(), Duration::from_secs(3)), "no answer to a ping");
        let watched = Watched { vip: VIP6, probe: &probe, quiet: Duration::from_secs(3), within: PATIENCE };
        let moved = a_move(&mut world, &watched, &Fault::term(holder))?;
        let entry = world.neighbours.led_to(VIP6, world.nodes[moved.to].mac, moved.hit);
        let entry = entry.context("the client's neighbour entry did not change")?.since(moved.back);
        ensure!(entry < Duration::from_secs(2), "the client's neighbour entry changed only after {}", millis(entry));
        world.service(holder, Who::Vipd).ends_with(0, Duration::from_secs(3))?;
        turned.add(entry);
        moves.add(&moved);
    }
    lab.say_all(moves.table());
    lab.row("SIGTERM, an IPv6 VIP", &moves.tally(), "next holds; exit 0")?;
    lab.say(row("back to neighbour entry", &turned));
    world.monitor.no_overlap(At::default(), clock::now())
}

/// Two, one of them on `eth1`.
pub(super) fn two_vips(lab: &Context) -> Result<()> {
    let vip = |ip, link: &str| Vip { ip, link: link.to_owned() };
    let vips = vec![vip(VIP, "eth0"), vip(SECOND, "eth1")];
    let mut world = lab.world(Options { vips: vips.clone(), ..Options::default() })?;
    both_are_served(lab, &world, &vips)?;
    world.all_stand(VIP)?;
    world.all_stand(SECOND)?;
    world.a_lease_later();

    let holder = world.one_holder(SECOND, PATIENCE)?;
    let probe = world.probe(SECOND)?;
    let watched = Watched { vip: SECOND, probe: &probe, quiet: Duration::from_secs(1), within: PATIENCE };
    let moved = a_move(&mut world, &watched, &Fault::term(holder))?;
    lab.say(format_args!(
        "SIGTERM to {}: gap {}, outage {}",
        world.names(&[holder]),
        millis(moved.gap),
        millis(moved.outage)
    ));
    both_are_served(lab, &world, &vips)?;
    world.monitor.no_overlap(At::default(), clock::now())
}

fn both_are_served(lab: &Context, world: &World, vips: &[Vip]) -> Result<()> {
    for Vip { ip, link } in vips {
        let holder = world.one_holder(*ip, PATIENCE)?;
        let ns = world.nodes[holder].ns.name();
        let mut show = Command::new("ip");
        show.args(["-n", ns, "-o", "addr", "show", "dev", link, "to", &ip.to_string()]);
        ensure!(!shell::output(&mut show)?.is_empty(), "{ip} is not on {link}");
        let named = world.call(*ip, Duration::from_secs(3))?;
        ensure!(named == world.nodes[holder].name, "{ip} is answered by {named}");
        lab.say(format_args!("{ip} is on {link} of {named}, which answers on port 6443"));
    }
    Ok(())
}
