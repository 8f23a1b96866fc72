//! x
use anyhow::Result;
use crate::scenario::Context;
use crate::world::{Options, VIP};
use std::time::Duration;
pub(super) fn start(lab: &Context) -> Result<()> {
    let world = lab.world(Options { vipd: false, ..Options::default() })?;
    world.nodes[0].ns.ip("addr add 10.77.0.100/32 dev eth0 valid_lft 3 preferred_lft 0")?;
    let holder = world.one_holder(VIP, Duration::from_secs(5))?;
    let p = world.probe(VIP)?;
    crate::clock::sleep(Duration::from_secs(1));
    let n = crate::clock::now();
    lab.say(crate::clock::millis(p.worst(n-Duration::from_millis(900), n)));
    lab.say(world.names(&[holder]));
    lab.say(world.call(VIP, Duration::from_secs(1))?);
    lab.say(format!("{:?}", world.etcd_leader()));
    world.nobody_holds(VIP, Duration::from_secs(5))?;
    Ok(())
}
