//! What a reload can change, and what only a restart can.

use super::{Config, Etcd};

/// What the command line may overrule.
pub const LOG_LEVEL: &str = "vipd.log.level";

/// How two configurations differ, apart from their VIPs; each setting by its name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Difference {
    /// What a running daemon cannot change: who it is, and what it stands on.
    pub needs_restart: Vec<&'static str>,
    /// What holds at once.
    pub at_once: Vec<&'static str>,
    /// What holds from the next session on, because a lease has the length it was granted with.
    pub next_session: Vec<&'static str>,
}

impl Config {
    /// What a change to `new` would change.
    pub fn difference(&self, new: &Self) -> Difference {
        // Every setting by its name: who adds one decides here what a reload does about it.
        let Self { node, etcd, lease, announce, on_conflict, metrics, log_level, runtime_dir, vips: _ } = new;
        let Etcd { endpoints, discover, tls, user, prefix, password_in_the_clear: _, vips: _ } = etcd;
        let which = |settings: &[(bool, &'static str)]| {
            settings.iter().filter(|(changed, _)| *changed).map(|(_, name)| *name).collect()
        };
        Difference {
            needs_restart: which(&[
                (*node != self.node, "vipd.node"),
                (*runtime_dir != self.runtime_dir, "vipd.runtimeDir"),
                (*metrics != self.metrics, "vipd.metrics.listen"),
                (*prefix != self.etcd.prefix, "vipd.etcd.prefix"),
            ]),
            at_once: which(&[
                (*announce != self.announce, "vipd.announce"),
                (*on_conflict != self.on_conflict, "vipd.onConflict"),
                (*log_level != self.log_level, LOG_LEVEL),
                (*endpoints != self.etcd.endpoints, "vipd.etcd.endpoints"),
                (*discover != self.etcd.discover, "vipd.etcd.discover"),
                (*tls != self.etcd.tls, "vipd.etcd.tls"),
                (*user != self.etcd.user, "vipd.etcd.user"),
            ]),
            next_session: which(&[
                (lease.ttl != self.lease.ttl, "vipd.lease.ttl"),
                (lease.margin != self.lease.margin, "vipd.lease.margin"),
            ]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Host, parse};
    use super::*;

    fn config(vipd: &str) -> Config {
        let text =
            format!("machine: {{network: {{interfaces: [{{interface: a, vip: {{ip: 10.0.0.1}}}}]}}}}\nvipd: {vipd}");
        parse(&text, &Host { name: "cp-1".into(), runtime_directory: None }).unwrap()
    }

    #[test]
    fn every_setting_has_its_place() {
        let bare = config("{}");
        assert_eq!(bare.difference(&bare), Difference::default());
        let all = config(
            "{node: x, runtimeDir: /x, metrics: {listen: '127.0.0.1:1'}, log: {level: debug}, onConflict: claim, announce: {refresh: false}, lease: {ttl: 8s, margin: 2s}, etcd: \
             {prefix: x, endpoints: ['https://10.0.0.7:2379'], discover: false, tls: {ca: /ca}, user: u, passwordFile: /p}}",
        );
        let told = bare.difference(&all);
        assert_eq!(told.needs_restart, ["vipd.node", "vipd.runtimeDir", "vipd.metrics.listen", "vipd.etcd.prefix"]);
        assert_eq!((told.at_once.len(), told.next_session.len()), (7, 2), "{told:?}");
        assert_eq!(bare.difference(&config("{onConflict: claim}")).at_once, ["vipd.onConflict"]);
    }
}
