//! What can be seen of the adapter from outside, from any thread: what it counted, and the certificates it uses.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::tally::Tally;
use super::tls::Expiry;

/// A look at the adapter.
#[derive(Clone)]
pub struct Outlook {
    shared: Arc<Shared>,
}

/// A certificate in use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// `client`, `authority` or `member`.
    pub kind: &'static str,
    /// Its file, or the URL of the member that showed it.
    pub of: String,
    /// When it ends, since 1970.
    pub ends: Duration,
}

impl Outlook {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared) }
    }

    /// What was counted.
    pub fn tally(&self) -> &Tally {
        &self.shared.tally
    }

    /// The certificates that connections are made with, and those that members showed.
    pub fn certificates(&self) -> Vec<Certificate> {
        let members = &self.shared.members;
        let mut certificates: Vec<_> = members.own_expiries().iter().map(|e| certificate(e, &e.of)).collect();
        for (_, line) in members.lines() {
            let link = line.link();
            certificates.extend(link.iter().filter_map(|l| l.certificate.as_ref()).map(|e| certificate(e, &line.url)));
        }
        certificates
    }
}

fn certificate(expiry: &Expiry, of: &str) -> Certificate {
    Certificate { kind: expiry.kind, of: of.to_owned(), ends: expiry.ends() }
}
