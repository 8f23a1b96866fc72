//! The registry: every scenario, in the order they are run. A scenario asserts what is right or wrong (overlap, who
//! holds, order of events, generous bounds in time); figures are printed, not judged.

mod etcd;
mod leftovers;
mod losses;
mod manners;
mod moves;
mod shapes;

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
        name: "two-vips",
        about: "two VIPs in one config, one of them on eth0.100: both are held, both move",
        run: shapes::two_vips,
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
        name: "soak",
        about: "two minutes of random troubles, seed 1: never two holders, and one after each healing",
        run: soak::short,
    },
    Scenario { name: "idle", about: "what an idle daemon costs: memory, processor, size on disk", run: manners::idle },
];

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn names_are_unique_and_in_kebab_case() {
        let mut names: Vec<&str> = ALL.iter().map(|scenario| scenario.name).collect();
        assert!(
            names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'))
        );
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
