//! The registry: every scenario, in the order they are run. A scenario asserts what is right or wrong (overlap, who
//! holds, order of events, generous bounds in time); figures are printed, not judged.

mod beside;
mod calm;
mod certificates;
mod changed;
mod claimed;
mod cuts;
mod dual_stack;
mod endpoints;
mod etcd;
mod frozen;
mod guards_off;
mod history;
mod killed;
mod leader;
mod leftovers;
mod links;
mod look;
mod losses;
mod manners;
mod many;
mod meddling;
mod moves;
mod reload;
mod scraped;
mod shapes;
mod silence;
mod told;
mod unit;
mod upkeep;
mod users;
mod vlans;
mod vm;
mod vm_bond;
mod vm_etcd;

use crate::scenario::Scenario;
use crate::soak;

/// All of them.
pub(crate) const ALL: &[Scenario] = &[
    Scenario {
        name: "start",
        about: "three daemons, one holder; ping, TCP and the client's neighbour entry follow it",
        run: moves::start,
    },
    Scenario {
        name: "sigterm",
        about: "the holder is told to leave: address off, then the key, then the next one, within milliseconds",
        run: moves::sigterm,
    },
    Scenario {
        name: "sigkill-nobody-cleans",
        about: "the holder's daemon is killed and nobody cleans up: the kernel takes the address off in time",
        run: moves::sigkill,
    },
    Scenario {
        name: "slow-etcd",
        about: "etcd answers everything half a second late: the VIP stays where it is",
        run: etcd::slow,
    },
    Scenario {
        name: "etcdctl-elect",
        about: "`etcdctl elect` and vipd respect each other, whoever stands first",
        run: etcd::elect,
    },
    Scenario {
        name: "etcd-late",
        about: "no etcd at start: the daemons wait, say so once a while, and take part when it comes",
        run: etcd::late,
    },
    Scenario {
        name: "own-etcd-dies",
        about: "the etcd member on the holder's node is killed: the VIP stays where it is",
        run: etcd::own_member_dies,
    },
    Scenario {
        name: "leftover",
        about: "a daemon that finds the address of its killed predecessor takes it off first",
        run: leftovers::leftover,
    },
    Scenario {
        name: "foreign-address",
        about: "the operator's own address, the same as the VIP, is not touched",
        run: leftovers::foreign,
    },
    Scenario {
        name: "hand-delete",
        about: "somebody deletes the address: it is back on the same node",
        run: leftovers::hand_delete,
    },
    Scenario {
        name: "cut-off",
        about: "the holder's node is cut off: off at the fence, back elsewhere after the lease, no flap on healing",
        run: losses::cut_off,
    },
    Scenario {
        name: "unplugged",
        about: "the holder's node loses its cable: as if cut off, or sooner",
        run: losses::unplugged,
    },
    Scenario {
        name: "stop-freeze",
        about: "the holder's daemon is frozen for longer than its lease, and thaws: it puts nothing back",
        run: losses::freeze,
    },
    Scenario { name: "ipv6", about: "an IPv6 VIP moves, announced by neighbour advertisements", run: shapes::ipv6 },
    Scenario {
        name: "dual-stack",
        about: "an IPv4 and an IPv6 address that move as one: on one node at every moment, never a source address",
        run: dual_stack::dual_stack,
    },
    Scenario {
        name: "group-beside-single",
        about: "one node has a group, the others one of its addresses alone: never two holders, none left unserved",
        run: beside::single,
    },
    Scenario {
        name: "two-vips",
        about: "two VIPs in one config, on two links: both are held, both move",
        run: shapes::two_vips,
    },
    Scenario {
        name: "sigkill-unit",
        about: "the holder's daemon is killed and its unit runs `vipd release`: back in milliseconds",
        run: unit::sigkill,
    },
    Scenario {
        name: "freeze-any-instant",
        about: "the holder's daemon is frozen at any instant for any time: never two holders",
        run: frozen::any_instant,
    },
    Scenario {
        name: "freeze-two",
        about: "the holder and the next are frozen at once: the third takes over and keeps it",
        run: frozen::two,
    },
    Scenario {
        name: "kill-and-kill-again",
        about: "the holder is killed, the next one in its takeover, and both come back with their old state",
        run: killed::during_takeover,
    },
    Scenario {
        name: "node-lost",
        about: "the holder's node is lost with all on it, leading etcd or not",
        run: killed::node_lost,
    },
    Scenario {
        name: "leader-cut-off",
        about: "the holder's node is cut off while its member leads etcd: never two holders",
        run: leader::partitioned,
    },
    Scenario {
        name: "leader-troubled",
        about: "another node's member leads etcd and dies, freezes, or its disk stalls: the VIP stays",
        run: leader::troubled,
    },
    Scenario {
        name: "etcd-silence",
        about: "how long etcd is silent for the holder while its leader is killed or frozen: against the default TTL",
        run: silence::of_etcd,
    },
    Scenario {
        name: "etcd-restarts",
        about: "etcd's members are restarted one by one: nothing moves, nothing blinks",
        run: upkeep::restarts,
    },
    Scenario {
        name: "etcd-slow-disks",
        about: "every write of every etcd member takes 0.2 s: nothing moves, nothing blinks",
        run: upkeep::slow_disks,
    },
    Scenario {
        name: "etcd-compacted",
        about: "etcd is compacted beyond where watches begin: nothing moves, and they hear again",
        run: upkeep::compacted,
    },
    Scenario {
        name: "etcd-members",
        about: "etcd members are removed and new ones added as learners and promoted: nothing moves",
        run: upkeep::members,
    },
    Scenario {
        name: "etcd-defrag",
        about: "etcd's members are defragmented one by one, with data in them: nothing moves, nothing blinks",
        run: upkeep::defragmented,
    },
    Scenario {
        name: "etcd-nospace",
        about: "etcd is full and takes nothing new: the holder renews and stays, who comes then waits",
        run: upkeep::no_space,
    },
    Scenario {
        name: "etcd-plain",
        about: "an etcd without TLS and users: a planned move, its figures beside those with",
        run: users::plain,
    },
    Scenario {
        name: "etcd-auth-on",
        about: "etcd's RBAC is switched on under running daemons, then their password changes: nothing moves",
        run: users::switched_on,
    },
    Scenario {
        name: "etcd-cert-swap",
        about: "the holder's client certificate is swapped again and again under load: nothing moves, the lease stays",
        run: certificates::swapped,
    },
    Scenario {
        name: "etcd-ca-rollover",
        about: "old authority, both, certificates by the new one, new authority only: nothing moves",
        run: certificates::rolled_over,
    },
    Scenario {
        name: "etcd-cert-expired",
        about: "the holder's certificate expires: it stays until its connections break; a fresh one heals it",
        run: certificates::expired,
    },
    Scenario {
        name: "etcd-endpoint-away",
        about: "the nearest endpoint of three is refused, black-holed, frozen, in a minority, a learner: nothing moves",
        run: endpoints::away,
    },
    Scenario {
        name: "etcd-endpoint-mute",
        about: "the nearest endpoint of three is mute, or answers 2 s late: nothing moves",
        run: endpoints::mute,
    },
    Scenario {
        name: "etcd-local-only",
        about: "the daemons know their own member only, and the holder's is killed: the others are found, nothing moves",
        run: endpoints::own_only,
    },
    Scenario {
        name: "etcd-members-replaced",
        about: "every member is replaced by one at another address, the daemons know their own only: nothing moves",
        run: endpoints::all_replaced,
    },
    Scenario {
        name: "etcd-k3s",
        about: "an etcd with k3s's timeouts: the default lease is 20 s, and a killed leader moves nothing",
        run: upkeep::k3s,
    },
    Scenario {
        name: "leader-stalled",
        about: "the leader's disk stalls for 14 s and the holder beside it is cut off or frozen: never two holders",
        run: leader::stalled_with_holder,
    },
    Scenario {
        name: "key-deleted",
        about: "the holder's key is deleted by hand, or its lease revoked: off in milliseconds, then the next one",
        run: meddling::keys,
    },
    Scenario {
        name: "watch-deaf",
        about: "a watch goes deaf while renewals go on, on the holder or on the next: noticed within an interval or two",
        run: meddling::deaf,
    },
    Scenario {
        name: "late-orders",
        about: "what the holder orders of etcd when it gives its turn up is carried out late: never two holders",
        run: meddling::late_orders,
    },
    Scenario {
        name: "fought",
        about: "somebody keeps deleting the address: the turn is given up, loudly",
        run: meddling::fought,
    },
    Scenario {
        name: "status",
        about: "`vipd status` names the same holder on all nodes soon after a move; junk at its socket changes nothing",
        run: told::status,
    },
    Scenario {
        name: "scraped",
        about: "metrics tell of a loss, a repair and an address put by hand, each by its name; a flood of scrapes delays nothing",
        run: scraped::scraped,
    },
    Scenario {
        name: "check-live",
        about: "`vipd check --live` names what would hurt a VIP here, who has it, and nothing where all is well",
        run: look::look,
    },
    Scenario {
        name: "claimed",
        about: "a neighbour claims the VIP: defended at once and within limits, its MAC named, nothing moves",
        run: claimed::claimed,
    },
    Scenario {
        name: "refused",
        about: "a neighbour has the VIP before any of us: no node ever takes it, until he is gone; the log stays readable",
        run: claimed::refused,
    },
    Scenario {
        name: "many-vips",
        about: "a node with 100 VIPs is killed, or told to leave: all taken, all announced, no frame lost",
        run: many::vips,
    },
    Scenario {
        name: "quorum-lost",
        about: "two etcd members of three die: the VIP is gone at the fence, and back with them",
        run: history::no_quorum,
    },
    Scenario {
        name: "another-history",
        about: "etcd is restored from a backup, or replaced, under running daemons: all begin anew",
        run: history::another,
    },
    Scenario {
        name: "link-flaps",
        about: "the holder's link flaps, then is deleted and made again",
        run: links::flapping,
    },
    Scenario {
        name: "link-apart",
        about: "etcd is reachable another way: no link, no candidate; link gone, turn given up at once",
        run: cuts::apart,
    },
    Scenario {
        name: "link-same",
        about: "etcd is on the VIP's link: a cut of 2 s costs 2 s and no move, one that lasts is as a lost node",
        run: cuts::same,
    },
    Scenario {
        name: "meddled",
        about: "somebody gives the held address another life, flushes it, or puts his own beside it; another MAC",
        run: changed::meddled,
    },
    Scenario {
        name: "add-refused",
        about: "the kernel refuses the address: ERROR, back-off, the others hold",
        run: links::refused,
    },
    Scenario {
        name: "reload",
        about: "VIPs come, go and change their link, endpoints and TTL change, bad files are refused: the other VIP stays",
        run: reload::reload,
    },
    Scenario {
        name: "reload-often",
        about: "a hundred reloads under traffic: no longer a gap than without",
        run: reload::often,
    },
    Scenario {
        name: "second-daemon",
        about: "a second daemon in a network namespace is refused and told who has it",
        run: manners::second_daemon,
    },
    Scenario {
        name: "bad-config",
        about: "a bad config ends with exit code 78, nothing sent and no address touched",
        run: manners::bad_config,
    },
    Scenario {
        name: "vm-boot",
        about: "real kernels, 6.1 and 5.10: the address as it should be, a left-over gone, an operator's not touched",
        run: vm::boot,
    },
    Scenario {
        name: "vm-paused",
        about: "the holder's machine is paused by its hypervisor for longer than the lease, and goes on",
        run: vm::paused,
    },
    Scenario {
        name: "vm-suspend",
        about: "the holder's machine is suspended to memory for longer than the lease, and wakes: off at once",
        run: vm::suspended,
    },
    Scenario {
        name: "vm-clock",
        about: "the holder's time of day is set hours ahead and back: nothing moves",
        run: vm::clock_stepped,
    },
    Scenario {
        name: "vm-etcd-far",
        about: "200 ms and 5 % loss between the holder's machine and every etcd member: nothing moves",
        run: vm_etcd::far,
    },
    Scenario {
        name: "vm-vlan",
        about: "a VIP on a real 802.1q subinterface: put there, announced with its tag",
        run: vm::vlan,
    },
    Scenario {
        name: "vm-vlan-created",
        about: "VLANs without a link on a card that a selector finds and on a bond: created, found again, removed",
        run: vlans::created,
    },
    Scenario {
        name: "vm-vlan-moving",
        about: "VIPs on a card, on its VLAN and on a bond's VLAN of two machines: each moves without the others",
        run: vlans::moving,
    },
    Scenario {
        name: "vm-bond",
        about: "the holder's link is moved under a bond: off with the link, and said that it is a port now",
        run: vm_bond::moved,
    },
    Scenario {
        name: "soak",
        about: "two minutes of random troubles, seed 1: never two holders, and one after each healing",
        run: soak::short,
    },
    Scenario { name: "idle", about: "what an idle daemon costs: memory, processor, size on disk", run: manners::idle },
];

/// Those that only `--full` runs, or who names them: they take their time, or prove the lab rather than the daemon.
pub(crate) const FULL: &[Scenario] = &[
    Scenario {
        name: "etcd-server-cert-expired",
        about: "the members' certificates expire: connections stand, new ones are refused by name; fresh ones heal it",
        run: certificates::servers_expired,
    },
    Scenario {
        name: "vm-etcd-clock",
        about: "the time of day of etcd's machine is set hours ahead and back: nothing moves",
        run: vm_etcd::clock_stepped,
    },
    Scenario {
        name: "guards-off",
        about: "the daemon without one of its guards: every one of them is missed by some trouble",
        run: guards_off::all,
    },
];

/// Those that `guards-off` runs in labs of their own: each says what the judge found.
pub(crate) use guards_off::TROUBLES;

/// The scenario of this name.
pub(crate) fn named(name: &str) -> Option<&'static Scenario> {
    ALL.iter().chain(FULL).find(|scenario| scenario.name == name)
}

#[cfg(test)]
mod tests {
    use super::{ALL, FULL};

    #[test]
    fn names_are_unique_and_in_kebab_case() {
        let mut names: Vec<&str> = ALL.iter().chain(FULL).map(|scenario| scenario.name).collect();
        assert!(
            names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'))
        );
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len() + FULL.len());
    }
}
