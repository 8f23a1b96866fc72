//! What makes a world: who is in it, what weather, and what goes wrong. It prints as a piece of Rust, to be pasted as a
//! test.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::faults::{MS, Planned, SECOND, Trouble, plan};
use super::rng::Rng;
use crate::election::event::VipId;
use crate::plan::{Plan, PlannedVip};

/// So long every world has faults and rough weather.
const FAULTY: i64 = 20 * SECOND;

/// What is not quite as it should be all the time. Without any, the network takes a millisecond, clocks agree and the
/// kernel is punctual.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Rough {
    /// A request or an answer is lost.
    Lost,
    /// A request is carried out up to 6 s late, long after it was given up.
    Late,
    /// A request is carried out twice, the second time late.
    Twice,
    /// A message takes up to 0.7 s.
    Waits,
    /// A watch breaks.
    WatchBreaks,
    /// What the kernel said is heard again, up to 3 s later.
    LateNews,
    /// The kernel ends addresses up to 1.05 s late, and the put is held up.
    KernelLate,
    /// Clocks run at rates up to 1 % from etcd's.
    Drift,
    /// Nodes change the member they ask, and a read may go to another one than its renewal.
    Rotates,
}

impl Rough {
    const ALL: [Self; 9] = [
        Self::Lost,
        Self::Late,
        Self::Twice,
        Self::Waits,
        Self::WatchBreaks,
        Self::LateNews,
        Self::KernelLate,
        Self::Drift,
        Self::Rotates,
    ];
}

/// A node: its number, and its VIPs as lists of addresses (the last byte of each).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Spec {
    pub(super) id: usize,
    pub(super) vips: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Case {
    pub(super) seed: u64,
    pub(super) nodes: Vec<Spec>,
    pub(super) rough: Vec<Rough>,
    /// Rough weather lasts until then, and until the last fault is over.
    pub(super) lasts: i64,
    pub(super) faults: Vec<Planned>,
}

impl Case {
    /// The world of this seed.
    pub(super) fn new(seed: u64, trouble: Trouble) -> Self {
        let mut rng = Rng::stream(seed, "nodes", 0);
        let alike = vips(&mut rng);
        let mixed = rng.one_in(4);
        let mut spec = |id| Spec { id, vips: if mixed { any_vips(&mut rng) } else { alike.clone() } };
        let mut nodes: Vec<_> = (0..5).map(&mut spec).collect();
        nodes.truncate(rng.range(3, 6) as usize);
        let mut rough = Rough::ALL.to_vec();
        rough.retain(|r| *r != Rough::Rotates || rng.one_in(2));
        let faults = plan(nodes.len(), trouble, FAULTY, &mut Rng::stream(seed, "plan", 0));
        Self { seed, nodes, rough, lasts: FAULTY, faults }
    }

    /// Nodes have different groupings of the same addresses: where one waits for another one's address, nobody may have
    /// the rest of its own.
    pub(super) fn mixed(&self) -> bool {
        self.nodes.iter().any(|n| n.vips != self.nodes[0].vips)
    }

    pub(super) fn by_hand(&self) -> bool {
        self.faults.iter().any(|f| f.fault.by_hand())
    }
}

impl Spec {
    pub(super) fn plan(&self) -> Plan {
        let vips = self.vips.iter().zip(0..).map(|(bytes, id)| {
            let addresses: Vec<_> = bytes.iter().map(|b| address(*b)).collect();
            PlannedVip { addresses: addresses.clone(), ..PlannedVip::for_test(VipId(id), addresses[0]) }
        });
        Plan { vips: vips.collect() }
    }
}

/// The address with this last byte; the last ones are IPv6.
fn address(byte: u8) -> IpAddr {
    match byte {
        0..200 => Ipv4Addr::new(10, 0, 0, byte).into(),
        _ => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, byte.into()).into(),
    }
}

/// One to three addresses, each on its own or some of them as a group.
fn vips(rng: &mut Rng) -> Vec<Vec<u8>> {
    let all: Vec<u8> = [100, 101, 200][..rng.range(1, 4) as usize].to_vec();
    match rng.range(0, 6) {
        0 => vec![all],
        1 if all.len() == 3 => vec![vec![all[0], all[2]], vec![all[1]]],
        _ => all.into_iter().map(|a| vec![a]).collect(),
    }
}

/// Some of the addresses, each alone or with any others in a group.
fn any_vips(rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut groups = vec![Vec::new(); 3];
    for address in [100, 101, 200] {
        if let Some(group) = groups.get_mut(rng.range(0, 4) as usize) {
            group.push(address);
        }
    }
    groups.retain(|group| !group.is_empty());
    if groups.is_empty() { vips(rng) } else { groups }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Case {{\n    seed: {},\n    nodes: vec![", self.seed)?;
        for Spec { id, vips } in &self.nodes {
            let vips: Vec<_> = vips.iter().map(|v| format!("vec!{v:?}")).collect();
            writeln!(f, "        Spec {{ id: {id}, vips: vec![{}] }},", vips.join(", "))?;
        }
        let rough: Vec<_> = self.rough.iter().map(|r| format!("Rough::{r:?}")).collect();
        writeln!(f, "    ],\n    rough: vec![{}],\n    lasts: {},", rough.join(", "), time(self.lasts))?;
        writeln!(f, "    faults: vec![")?;
        for Planned { at, lasts, fault, chance } in &self.faults {
            let (at, lasts) = (time(*at), time(*lasts));
            let fault = format!("{fault:?}").replace('(', "(Whom::");
            let fault = fault.replace("Node(Whom::", "Node(");
            writeln!(f, "        Planned {{ at: {at}, lasts: {lasts}, fault: Fault::{fault}, chance: {chance} }},")?;
        }
        write!(f, "    ],\n}}")
    }
}

fn time(nanos: i64) -> String {
    match nanos {
        0 => "0".into(),
        n if n % SECOND == 0 => format!("{} * SECOND", n / SECOND),
        n if n % MS == 0 => format!("{} * MS", n / MS),
        n => n.to_string(),
    }
}
