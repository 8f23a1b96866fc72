//! Holds what the election says against what the kernel says, for as long as the daemon runs: see [`Audit`].
//!
//! Beside the loop and not in it: it looks when one of the two changes, and when a fence comes. It changes nothing.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use tokio::sync::watch;
use tracing::error;

use crate::metrics::{Audit, Begun, Claims, Fault};
use crate::node::clock::{Alarm, now};

/// The auditor.
pub(super) struct Auditor {
    audit: Audit,
    claims: watch::Receiver<Claims>,
    there: watch::Receiver<BTreeSet<IpAddr>>,
    alarm: Alarm,
}

impl Auditor {
    /// `there`: the addresses that the kernel has.
    ///
    /// # Errors
    /// When the timer cannot be opened.
    pub(super) fn new(
        audit: Audit,
        claims: watch::Receiver<Claims>,
        there: watch::Receiver<BTreeSet<IpAddr>>,
    ) -> io::Result<Self> {
        Ok(Self { audit, claims, there, alarm: Alarm::new()? })
    }

    /// Looks, until the loop or the keeper is gone.
    pub(super) async fn run(mut self) {
        loop {
            let (begun, next) =
                self.audit.look(&self.claims.borrow_and_update(), &self.there.borrow_and_update(), now());
            begun.iter().for_each(tell);
            let went_on = tokio::select! {
                changed = self.claims.changed() => changed.is_ok(),
                changed = self.there.changed() => changed.is_ok(),
                rang = self.alarm.wait(next) => rang.inspect_err(|e| error!("the auditor's timer broke: {e}")).is_ok(),
            };
            if !went_on {
                return;
            }
        }
    }
}

fn tell(Begun { fault, vip }: &Begun) {
    match fault {
        Fault::HolderWithoutAddress => error!(vip, "this node holds the VIP, and the kernel does not have its address"),
        Fault::AddressWithoutLease => {
            error!(vip, "the VIP's address is on this node, which has no right to it: find who put it, or kept it");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Host, parse};
    use crate::election::event::VipId;
    use crate::metrics::{Claim, Facts, metrics};
    use crate::node::etcd::Tally;
    use crate::plan::Plan;
    use crate::status::Status;

    /// The election says that this node holds; the kernel says that the address is gone, and nobody puts it back.
    #[tokio::test]
    async fn a_holder_without_its_address_is_on_the_page_after_a_second_and_off_it_when_it_is_back() {
        let snippet = "machine: {network: {interfaces: [{interface: eth0, vip: {ip: 10.0.0.1}}]}}";
        let config = parse(snippet, &Host { name: "cp-1".into(), runtime_directory: None }).unwrap();
        let addresses = Plan::new(&config).vips[0].addresses.clone();
        let (_happened, audit, mut page) = metrics("cp-1", "test", now());
        let claim = Claim {
            vip: VipId(0),
            addresses: addresses.clone(),
            holds: true,
            until: Some(now() + Duration::from_secs(60)),
        };
        let (_say, claims) = watch::channel(vec![claim]);
        let (kernel, there) = watch::channel(BTreeSet::from_iter(addresses.clone()));
        tokio::spawn(Auditor::new(audit, claims, there).unwrap().run());
        let status = Status::for_test();
        let mut told = |name: &str| {
            let facts = Facts { status: &status, tally: &Tally::default(), certificates: &[], now: now() };
            let text = page.text(&facts).unwrap();
            let line = text.lines().find(|line| line.starts_with(&format!("{name}{{"))).unwrap();
            line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
        };
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(told("vipd_holder_without_address"), 0.0);
        kernel.send_replace(BTreeSet::new());
        let from = now();
        while told("vipd_holder_without_address") == 0.0 && now().since(from) < Duration::from_secs(20) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(told("vipd_holder_without_address"), 1.0);
        assert!(now().since(from) >= Duration::from_millis(950), "{:?}", now().since(from));
        tokio::time::sleep(Duration::from_millis(200)).await;
        kernel.send_replace(BTreeSet::from_iter(addresses));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(told("vipd_holder_without_address"), 0.0);
        let seconds = told("vipd_holder_without_address_seconds_total");
        assert!(seconds >= 0.15, "{seconds}");
        assert_eq!(told("vipd_address_without_lease_seconds_total"), 0.0);
    }
}
