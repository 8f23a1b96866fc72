//! A node's config is changed while its daemon runs, and changed back later.

use std::net::IpAddr;

use super::{Happening, MS, World};
use crate::election::contender::OnConflict;
use crate::election::event::{Event, Reconfiguration, VipId};
use crate::election::safety::node::Node;
use crate::election::safety::rng::Rng;
use crate::election::safety::verdict::Kind;
use crate::election::timings::Schedule;
use crate::plan::PlannedVip;

impl World {
    /// Takes a VIP out, puts it on another link, or groups the addresses in another way, until it is changed back.
    pub(super) fn reload(&mut self, node: usize, until: i64, rng: &mut Rng) -> bool {
        let mut wanted = self.nodes[node].spec.clone();
        let one = rng.range(0, wanted.len() as i64) as usize;
        let (what, anew) = match rng.range(0, 3) {
            0 => {
                wanted.remove(one);
                ("a VIP is taken out", None)
            }
            1 => ("a VIP changes its link", Some(one)),
            _ => {
                wanted = regroup(&wanted, rng);
                ("the addresses are grouped anew", None)
            }
        };
        self.fate.coverage.see(what);
        self.say_of(node, || format!("reloads: {what}: {wanted:?}"));
        let gone = self.follow(node, &wanted, anew);
        if gone.iter().any(|vip| self.nodes[node].kernel.contains_key(vip)) {
            self.fate.coverage.see("what is held changes");
        }
        self.at(until, Happening::ReloadBack { node });
        true
    }

    pub(super) fn reload_back(&mut self, node: usize) {
        let wanted = self.nodes[node].spec.clone();
        self.say_of(node, || format!("reloads: all is as it was: {wanted:?}"));
        self.follow(node, &wanted, None);
    }

    /// Another plan; what goes. A daemon that is dead finds it when it starts.
    fn follow(&mut self, node: usize, wanted: &[Vec<IpAddr>], anew: Option<usize>) -> Vec<VipId> {
        let gone = self.nodes[node].follow(wanted, anew);
        let vips: Vec<_> = self.nodes[node].wanted().map(|v| (v.id, v.addresses.clone())).collect();
        let (announce, on_conflict) = (Schedule::default(), OnConflict::Refuse);
        self.tell(node, 0, Event::Reconfigured(Reconfiguration { margin: None, announce, on_conflict, vips }));
        let up = self.now >= self.nodes[node].link_down_until;
        let link = up.then_some(self.nodes[node].link);
        for vip in self.nodes[node].vips() {
            // Told again, a known one has another hardware address, which is no news to it.
            self.tell(node, MS / 10, Event::Link { vip, link });
        }
        gone
    }

    /// Who is forgotten has nothing any more.
    pub(super) fn forget(&mut self, node: usize, vip: VipId) {
        if self.nodes[node].kernel.contains_key(&vip) {
            let (me, named) = (self.name(node), self.nodes[node].addresses(vip));
            self.wrong(Kind::Silent, || format!("{me} forgets {named:?}, which is on"));
        }
        self.nodes[node].wishes.remove(&vip);
        self.nodes[node].plan.forget(vip);
    }
}

impl Node {
    /// The plan of these VIPs; that one on another link. Gives those that go.
    fn follow(&mut self, wanted: &[Vec<IpAddr>], anew: Option<usize>) -> Vec<VipId> {
        let mut vips = Vec::new();
        for (place, addresses) in wanted.iter().enumerate() {
            let same = self.wanted().find(|v| v.addresses == *addresses && anew != Some(place)).cloned();
            vips.push(same.unwrap_or_else(|| {
                self.next_vip += 1;
                let id = VipId(self.next_vip);
                PlannedVip { addresses: addresses.clone(), ..PlannedVip::for_test(id, addresses[0]) }
            }));
        }
        let gone = self.plan.vips.iter().filter(|old| !vips.iter().any(|new| new.id == old.id));
        let gone: Vec<_> = gone.map(|old| PlannedVip { going: true, ..old.clone() }).collect();
        let ids = gone.iter().map(|vip| vip.id).collect();
        vips.extend(gone);
        self.plan.vips = vips;
        ids
    }
}

/// The same addresses in other groups; some may be left out.
fn regroup(vips: &[Vec<IpAddr>], rng: &mut Rng) -> Vec<Vec<IpAddr>> {
    let mut groups = vec![Vec::new(); 3];
    for address in vips.iter().flatten() {
        if let Some(group) = groups.get_mut(rng.range(0, 4) as usize) {
            group.push(*address);
        }
    }
    groups.retain(|group| !group.is_empty());
    groups
}
