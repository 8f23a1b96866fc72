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
