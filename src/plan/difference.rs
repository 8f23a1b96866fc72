//! From one plan to the next: which VIPs stay, which go, which come.
//!
//! A VIP is the same if its addresses, its name in etcd and its link are: then it keeps its number, and nobody touches it.
//! What changed is one that goes and one that comes.

use crate::config::{Config, Vip};
use crate::election::event::VipId;
use crate::election::record::naming_address;

use super::{Plan, PlannedVip};

/// What a new configuration makes of a plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The plan from now on.
    pub plan: Plan,
    /// The next number that is free.
    pub free: VipId,
    /// What changes, VIP by VIP, for people.
    pub told: Vec<String>,
}

impl Plan {
    /// The plan of a new configuration. Numbers are given from `free` on; none: there are not enough of them.
    pub fn follow(&self, config: &Config, free: VipId) -> Option<Difference> {
        let mut free = free;
        let (mut vips, mut told) = (Vec::new(), Vec::new());
        for vip in &config.vips {
            let Some(key_address) = naming_address(&vip.addresses) else { continue };
            if let Some(same) = self.vips.iter().find(|old| old.is_same(vip)) {
                vips.push(PlannedVip { place: vip.place.clone(), ..same.clone() });
                continue;
            }
            let new = PlannedVip::new(free, vip, key_address);
            free = VipId(free.0.checked_add(1)?);
            let changes = self.wanted().any(|old| old.addresses.iter().any(|a| new.addresses.contains(a)));
            let how =
                if changes { "changed: what was there is given back, then it is stood for anew" } else { "added" };
            told.push(format!("VIP {} on {}: {how}", new.name(), new.link));
            vips.push(new);
        }
        let gone = self.vips.iter().filter(|old| !vips.iter().any(|new| new.id == old.id));
        let gone: Vec<_> = gone.map(|old| PlannedVip { going: true, ..old.clone() }).collect();
        let is_told = |old: &PlannedVip| vips.iter().any(|new| new.addresses.iter().any(|a| old.addresses.contains(a)));
        let removed = self.wanted().filter(|old| gone.iter().any(|g| g.id == old.id) && !is_told(old));
        told.extend(removed.map(|old| format!("VIP {} on {}: removed", old.name(), old.link)));
        vips.extend(gone);
        Some(Difference { plan: Self { vips }, free, told })
    }

    /// Those that the configuration wants.
    pub fn wanted(&self) -> impl Iterator<Item = &PlannedVip> {
        self.vips.iter().filter(|vip| !vip.going)
    }

    /// The number after the highest.
    pub fn first_free(&self) -> VipId {
        VipId(self.vips.iter().map(|vip| vip.id.0 + 1).max().unwrap_or(0))
    }

    /// It is given back.
    pub fn forget(&mut self, id: VipId) {
        self.vips.retain(|vip| vip.id != id);
    }
}

impl PlannedVip {
    fn is_same(&self, vip: &Vip) -> bool {
        let same_addresses =
            self.addresses.len() == vip.addresses.len() && self.addresses.iter().all(|a| vip.addresses.contains(a));
        !self.going
            && same_addresses
            && self.link == vip.link
            && naming_address(&vip.addresses) == Some(self.key_address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Host, parse};

    fn config(text: &str) -> Config {
        let text = format!("machine: {{network: {{interfaces: [{text}]}}}}");
        parse(&text, &Host { name: "cp-1".into(), runtime_directory: None }).unwrap()
    }

    fn shown(plan: &Plan) -> Vec<String> {
        let going = |vip: &PlannedVip| if vip.going { " goes" } else { "" };
        plan.vips.iter().map(|v| format!("{} {} {}{}", v.id.0, v.name(), v.link, going(v))).collect()
    }

    #[test]
    fn what_did_not_change_keeps_its_number_and_no_number_comes_back() {
        let a = "{interface: a, vip: {ip: 10.0.0.1}}";
        let first = Plan::new(&config(&format!("{a}, {{interface: b, vip: {{ip: 10.0.0.2}}}}")));
        let other_link = config(&format!("{{interface: c, vip: {{ip: 10.0.0.2}}}}, {a}"));
        let next = first.follow(&other_link, first.first_free()).unwrap();
        assert_eq!(shown(&next.plan), ["2 10.0.0.2 c", "0 10.0.0.1 a", "1 10.0.0.2 b goes"]);
        let changed = "VIP 10.0.0.2 on c: changed: what was there is given back, then it is stood for anew";
        assert_eq!(next.told, [changed]);

        // Back again before it is given back: the newest config wins, under a number of its own.
        let old = config(&format!("{a}, {{interface: b, vip: {{ip: 10.0.0.2}}}}"));
        let again = next.plan.follow(&old, next.free).unwrap();
        assert_eq!(shown(&again.plan), ["0 10.0.0.1 a", "3 10.0.0.2 b", "2 10.0.0.2 c goes", "1 10.0.0.2 b goes"]);

        let mut plan = again.plan;
        [VipId(1), VipId(2), VipId(3)].into_iter().for_each(|id| plan.forget(id));
        let last = plan.follow(&config(a), again.free).unwrap();
        assert_eq!((shown(&last.plan), last.free, last.told.len()), (vec!["0 10.0.0.1 a".into()], VipId(4), 0));
        let none = last.plan.follow(&config("{interface: x, vip: {ip: 10.0.0.9}}"), last.free).unwrap();
        assert_eq!(none.told, ["VIP 10.0.0.9 on x: added", "VIP 10.0.0.1 on a: removed"]);
        assert_eq!(last.plan.follow(&config("{interface: x, vip: {ip: 10.0.0.9}}"), VipId(u32::MAX)), None);
    }

    #[test]
    fn a_group_is_its_members_whatever_their_order() {
        let mut config = config("{interface: a, vip: {ip: 10.0.0.1}}");
        config.vips[0].addresses = ["10.0.0.1", "fd00::1"].map(|a| a.parse().unwrap()).to_vec();
        let plan = Plan::new(&config);
        config.vips[0].addresses.reverse();
        assert_eq!(plan.follow(&config, VipId(1)).unwrap().told, Vec::<String>::new());
        config.vips[0].addresses.pop();
        let alone = plan.follow(&config, VipId(1)).unwrap();
        assert_eq!(shown(&alone.plan), ["1 fd00::1 a", "0 10.0.0.1+fd00::1 a goes"]);
    }
}
