//! VLANs whose links vipd creates itself, in a machine whose kernel has VLANs and bonds.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::vm::{GUEST, PATIENCE, guest_with};
use crate::clock::{self, At, millis};
use crate::scenario::Context;
use crate::shell;
use crate::vm::Vm;
use crate::world::{Options, VIP, World};

/// VLAN 100 of the machine's card.
const ON_CARD: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 78, 0, 100));
/// VLAN 100 of a bond.
const ON_BOND: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 79, 0, 100));

const MAKE_BOND: &str = "set -e
    ip link add bond0 type bond mode active-backup miimon 100
    ip link add port0 type dummy
    ip link set port0 master bond0
    ip link set bond0 up";

/// One machine, three VIPs: on its card, which a selector finds, on VLAN 100 of that, and on VLAN 100 of a bond.
pub(super) fn created(lab: &Context) -> Result<()> {
    let world = lab.world(Options { vipd: false, ..Options::default() })?;
    let mut vm = guest_with(lab, &world, GUEST, config)?;
    let scene = &mut Scene { lab, world: &world, vm: &mut vm };
    scene.says_what_is_chosen()?;
    scene.creates()?;
    scene.comes_with_its_bond()?;
    scene.warns_of_the_network()?;
    scene.tagged()?;
    scene.leaves_nothing()?;
    scene.keeps_what_it_needs_and_releases()?;
    scene.leaves_what_others_use()?;
    scene.takes_what_is_there()?;
    scene.takes_another_name()?;
    world.monitor.no_overlap(At::default(), clock::now())
}

/// Two machines with the same three VIPs: each of them moves for what happens to its own link, and the others stay.
pub(super) fn moving(lab: &Context) -> Result<()> {
    let world = lab.world(Options { vipd: false, ..Options::default() })?;
    let (first, second) = (GUEST, GUEST + 1);
    let mut machines = [guest_with(lab, &world, first, config)?, guest_with(lab, &world, second, config)?];
    let all = [VIP, ON_CARD, ON_BOND];
    for vm in &mut machines {
        vm.sh(MAKE_BOND)?;
        vm.start_vipd()?;
        // The second one comes when the first one has everything.
        for vip in all {
            ensure!(world.one_holder(vip, PATIENCE)? == first, "{vip} is not on the first machine");
        }
    }
    for vip in all {
        two_stand(&world, vip)?;
    }
    world.a_lease_later();
    for (what, line, moving) in [
        ("the bond goes down", "ip link set bond0 down", ON_BOND),
        ("the VLAN's link goes down", "ip link set eth0.100 down", ON_CARD),
    ] {
        let from = clock::now();
        machines[0].sh(line)?;
        let came = world.monitor.wait(PATIENCE, |timeline| timeline.came(moving, from, Some(first)));
        let came = came.with_context(|| format!("{what}, and nobody takes {moving} over"))?;
        clock::sleep(Duration::from_secs(1));
        let timeline = world.monitor.timeline();
        let left = timeline.left(moving, from, first).context("it did not leave")?;
        for still in all.into_iter().filter(|vip| *vip != moving) {
            ensure!(timeline.changes(still, from).is_empty(), "{still} moved as well when {what}");
        }
        lab.say(format_args!("{what}: {moving} is on the other machine {} after it left", millis(came.at.since(left))));
    }
    machines[0].signal_vipd("TERM")?;
    ensure!(world.one_holder(VIP, PATIENCE)? == second, "the second machine does not have the last one");
    machines[0].vipd_ends()?;
    let left = machines[0].sh("ip -o link show type vlan")?;
    ensure!(left.is_empty(), "left behind: {left}");
    world.monitor.no_overlap(At::default(), clock::now())
}

/// Both machines have a candidate key for it.
fn two_stand(world: &World, vip: IpAddr) -> Result<()> {
    let stand = clock::poll_until(PATIENCE, || {
        let range = format!("vipd/{vip}/");
        let keys = shell::output(world.etcdctl().args(["get", "--prefix", "--keys-only", &range])).unwrap_or_default();
        keys.lines().filter(|line| !line.is_empty()).count() == 2
    });
    ensure!(stand, "not two candidates for {vip}");
    Ok(())
}

/// The lab's config with other links in it.
fn config(plain: &str) -> String {
    let card = format!(
        "      - deviceSelector: {{physical: true, driver: VIRTIO*, busPath: '0000:*', permanentAddr: '*:*:*'}}\n        vlans: \
         [{{vlanId: 100, vip: {{ip: {ON_CARD}}}}}]\n"
    );
    let bond = format!("      - interface: bond0\n        vlans: [{{vlanId: 100, vip: {{ip: {ON_BOND}}}}}]\nvipd:\n");
    plain.replacen("      - interface: eth0\n", &card, 1).replacen("vipd:\n", &bond, 1)
}

struct Scene<'s> {
    lab: &'s Context,
    world: &'s World,
    vm: &'s mut Vm,
}

impl Scene<'_> {
    fn says_what_is_chosen(&mut self) -> Result<()> {
        let said = self.vm.sh("vipd check")?;
        self.lab.say_all(said.lines().map(|line| format!("  check: {line}")));
        for wanted in [
            "here     eth0 (physical, permanentAddr ",
            "driver virtio_net, busPath 0000:00:",
            "none yet; vipd creates one for VLAN 100 on eth0",
            "the link \"bond0\"; there are: eth0 (physical",
        ] {
            ensure!(said.contains(wanted), "`vipd check` does not say: {wanted}");
        }
        Ok(())
    }

    /// The link is made, up and marked; what has no bond yet waits and says so.
    fn creates(&mut self) -> Result<()> {
        let from = clock::now();
        self.vm.start_vipd()?;
        let card = self.came(VIP, from)?;
        let vlan = self.came(ON_CARD, from)?;
        let link = self.vm.sh("ip -d link show eth0.100")?;
        for wanted in ["eth0.100@eth0", "UP", "vlan protocol 802.1Q id 100", "alias vipd: vlan 100 on eth0"] {
            ensure!(link.contains(wanted), "no `{wanted}` in: {link}");
        }
        ensure!(self.vm.show(ON_CARD)?.contains("eth0.100"), "it is not on the VLAN");
        ensure!(self.vm.show(VIP)?.contains(" eth0"), "it is not on the card");
        ensure!(self.vm.vipd_says("there is no such link: waiting for it"), "nothing is said about bond0");
        self.lab.say(format_args!(
            "on eth0 {} after the daemon's start, on eth0.100, which it created, after {}",
            millis(card.since(from)),
            millis(vlan.since(from))
        ));
        Ok(())
    }

    /// A bond comes, goes with all that is on it, and comes again; the other VIPs stay where they are.
    fn comes_with_its_bond(&mut self) -> Result<()> {
        let from = clock::now();
        for round in 1..=2 {
            let begun = clock::now();
            self.vm.sh(MAKE_BOND)?;
            let came = self.came(ON_BOND, begun)?;
            let shown = self.vm.show(ON_BOND)?;
            ensure!(shown.contains("bond0.100@bond0"), "not on the bond's VLAN: {shown}");
            self.lab
                .say(format_args!("bond {round}: held on bond0.100 {} after it was begun", millis(came.since(begun))));
            if round == 1 {
                let gone = clock::now();
                self.vm.sh("ip link del bond0; ip link del port0")?;
                let left = self.world.monitor.wait(PATIENCE, |timeline| timeline.left(ON_BOND, gone, GUEST));
                left.context("the bond is gone and its VIP is not")?;
            }
        }
        let timeline = self.world.monitor.timeline();
        for still in [VIP, ON_CARD] {
            ensure!(timeline.changes(still, from).is_empty(), "{still} moved with a bond that it is not on");
        }
        Ok(())
    }

    /// An address of the VLAN's own is missing on both.
    fn warns_of_the_network(&mut self) -> Result<()> {
        let warned = |vm: &Vm| vm.vipd_said().matches("no address of the VIP's network is on its link").count();
        ensure!(clock::poll_until(PATIENCE, || warned(self.vm) == 2), "{} warnings, and not 2", warned(self.vm));
        clock::sleep(Duration::from_secs(12));
        ensure!(warned(self.vm) == 2, "said more than once");
        Ok(())
    }

    fn tagged(&mut self) -> Result<()> {
        let IpAddr::V4(ip) = ON_CARD else { return Ok(()) };
        let claims: Vec<_> = self.vm.frames()?.into_iter().filter(|frame| frame.claims(ip)).collect();
        let tagged = claims.iter().filter(|frame| frame.vlan() == Some(100)).count();
        ensure!(tagged > 0 && tagged == claims.len(), "{tagged} of {} announcements are tagged 100", claims.len());
        self.lab.say(format_args!("on the wire {tagged} announcements of {ON_CARD}, all tagged 100"));
        Ok(())
    }

    /// SIGTERM.
    fn leaves_nothing(&mut self) -> Result<()> {
        self.stop()?;
        let left = self.vlans()?;
        ensure!(left.is_empty(), "left behind: {left}");
        self.vm.sh("ip link show bond0 && ip link del bond0 && ip link del port0")?;
        self.lab.say("SIGTERM: both VLAN links are gone, the bond is not");
        Ok(())
    }

    /// SIGKILL: the next life takes the link over; after the next one, `vipd release` removes it.
    fn keeps_what_it_needs_and_releases(&mut self) -> Result<()> {
        self.start_and_hold()?;
        let before = self.vm.sh("cat /sys/class/net/eth0.100/ifindex")?;
        // One that this config has no use for.
        self.vm.sh(
            "ip link add link eth0 name eth0.7 type vlan id 7 && ip link set eth0.7 alias 'vipd: vlan 7 on eth0'",
        )?;
        self.vm.signal_vipd("KILL")?;
        self.vm.vipd_ends()?;
        self.start_and_hold()?;
        let after = self.vm.sh("cat /sys/class/net/eth0.100/ifindex")?;
        ensure!(before == after, "the link was made anew: {before} {after}");
        ensure!(!self.vlans()?.contains("eth0.7"), "what nobody needs is still there");
        self.vm.signal_vipd("KILL")?;
        self.vm.vipd_ends()?;
        self.vm.sh("vipd release")?;
        let left = self.vlans()?;
        ensure!(left.is_empty(), "`vipd release` leaves: {left}");
        self.lab.say(
            "SIGKILL: the next life uses the link and removes one that it does not need; `vipd release` removes both",
        );
        Ok(())
    }

    fn leaves_what_others_use(&mut self) -> Result<()> {
        self.start_and_hold()?;
        self.vm.sh("ip addr add 10.78.0.1/24 dev eth0.100")?;
        self.stop()?;
        ensure!(self.vm.vipd_says("10.78.0.1/24 is on it"), "it does not say why it leaves the link");
        ensure!(self.vlans()?.contains("eth0.100"), "it removed a link that somebody else uses");
        self.vm.sh("ip addr del 10.78.0.1/24 dev eth0.100 && vipd release")?;
        let left = self.vlans()?;
        ensure!(left.is_empty(), "nobody uses it any more, and it is there: {left}");
        self.lab.say("with somebody's address on it the link stays, without it `vipd release` removes it");
        Ok(())
    }

    /// Somebody's own VLAN link, whatever its name.
    fn takes_what_is_there(&mut self) -> Result<()> {
        self.vm.sh("ip link add link eth0 name storage type vlan id 100 && ip link set storage up")?;
        self.start_and_hold()?;
        ensure!(self.vm.show(ON_CARD)?.contains("storage"), "not on the VLAN's link that was there");
        self.stop()?;
        ensure!(self.vlans()?.contains("storage"), "it removed a link that it had not created");
        self.vm.sh("ip link del storage")?;
        self.lab.say("a VLAN link that is there is used whatever its name, and left there");
        Ok(())
    }

    fn takes_another_name(&mut self) -> Result<()> {
        self.vm.sh("ip link add eth0.100 type dummy")?;
        self.start_and_hold()?;
        ensure!(self.vm.show(ON_CARD)?.contains("vlan100"), "not on a link of another name");
        self.stop()?;
        ensure!(self.vlans()?.is_empty(), "it left its link");
        self.vm.sh("ip link del eth0.100")?;
        self.lab.say("where eth0.100 is something else, the link is vlan100");
        Ok(())
    }

    fn start_and_hold(&mut self) -> Result<()> {
        let from = clock::now();
        self.vm.start_vipd()?;
        self.came(ON_CARD, from).map(|_| ())
    }

    fn stop(&mut self) -> Result<()> {
        self.vm.signal_vipd("TERM")?;
        self.vm.vipd_ends()
    }

    fn vlans(&mut self) -> Result<String> {
        self.vm.sh("ip -o link show type vlan")
    }

    fn came(&self, ip: IpAddr, from: At) -> Result<At> {
        let came = self.world.monitor.wait(PATIENCE, |timeline| timeline.came(ip, from, None));
        let came = came.with_context(|| format!("{ip} did not come"))?;
        ensure!(came.node == GUEST, "{ip} came to another node");
        Ok(came.at)
    }
}
