//! What `vipd check --live` says of places where a VIP would not do, and of those where it does.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::scenario::Context;
use crate::shell;
use crate::world::{Options, VIP, World};

const PATIENCE: Duration = Duration::from_secs(10);

/// The words that each trouble is told with, and what makes and mends it on the first node.
const TROUBLES: [(&str, &str, &str); 2] = [
    ("arp_ignore is 2", "sysctl -qw net.ipv4.conf.eth0.arp_ignore=2", "sysctl -qw net.ipv4.conf.eth0.arp_ignore=0"),
    ("the link \"eth0\" up, with carrier", "ip link set eth0 down", "ip link set eth0 up"),
];

/// Before the daemons start, beside a stranger, and while a VIP is held.
pub(super) fn look(lab: &Context) -> Result<()> {
    let mut world = lab.world(Options { vipd: false, ..Options::default() })?;
    let good = "was found that would hurt";
    says(lab, &world, &[good, "nobody has 10.77.0.100", "ttl is 5s"])?;
    with(lab, &world, "10.99.0.1", "10.99.0.1 is in no network of eth0, which has 10.77.0.11/24")?;
    with(lab, &world, "10.77.0.255", "10.77.0.255 is the broadcast address of 10.77.0.11/24")?;
    shell::run(&format!("ip addr add {VIP}/32 dev br0"))?;
    let said = says(lab, &world, &["10.77.0.100 is answered by", "no node stands for it in etcd"]);
    shell::run(&format!("ip addr del {VIP}/32 dev br0"))?;
    said?;
    for (told, make, mend) in TROUBLES {
        let on_node = |line: &str| world.nodes[0].ns.run(|| shell::run(line));
        on_node(make)?;
        let said = says(lab, &world, &[told]);
        on_node(mend)?;
        said?;
    }
    port(lab, &world)?;
    world.start_daemons()?;
    let holder = world.one_holder(VIP, PATIENCE)?;
    world.all_stand(VIP)?;
    let first = format!("{} is first in its queue", world.nodes[holder].name);
    says(lab, &world, &[good, "10.77.0.100 is", &first])?;
    world.one_holder(VIP, PATIENCE)?;
    Ok(())
}

/// Another VIP, which does not suit its link.
fn with(lab: &Context, world: &World, vip: &str, told: &str) -> Result<()> {
    let config = &world.nodes[0].config;
    let text = fs::read_to_string(config)?;
    fs::write(config, text.replace(&VIP.to_string(), vip))?;
    let said = says(lab, world, &[told]);
    fs::write(config, text)?;
    said
}

/// The link is a port of a bridge.
fn port(lab: &Context, world: &World) -> Result<()> {
    let on_node = |line: &str| world.nodes[0].ns.run(|| shell::run(line));
    on_node("ip link add br9 type bridge")?;
    on_node("ip link set eth0 master br9")?;
    let said = says(lab, world, &["eth0 is a port of br9"]);
    on_node("ip link del br9")?;
    said
}

/// Runs it on the first node, and holds its report against these words.
fn says(lab: &Context, world: &World, words: &[&str]) -> Result<()> {
    let report = world.check_live(&lab.vipd, 0)?;
    for word in words {
        ensure!(report.contains(word), "`vipd check --live` does not say {word:?}:\n{report}");
    }
    let told = report.lines().find(|line| line.contains(words[0])).unwrap_or_default();
    lab.say(told.trim());
    Ok(())
}
