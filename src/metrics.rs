//! What happened and how things are, in numbers: the metrics, by name.
//!
//! Three hands write here, and none waits for another. The loop counts what happens ([`Happened`]: atomics and nothing
//! else, so that no scrape can hold it up). The auditor holds what the election says against what the kernel says
//! ([`Audit`]). Whoever answers a scrape fills in how things are and writes it all down ([`Page`], from a
//! [`Status`](crate::status::Status)). No clock, no socket, no task; it decides nothing.
//!
//! `config/METRICS.md` has the names for people, and a test holds it against what is written here.

mod audit;
mod happened;
mod labels;
mod latency;
mod page;

use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use audit::{Audit, Begun, Claim, Claims, Fault, publish};
pub use happened::Happened;
pub use page::{Facts, Page};

use crate::moment::Moment;
use labels::Build;
pub use labels::reason;

/// All hands of one daemon, which starts now.
pub fn metrics(node: &str, version: &str, now: Moment) -> (Happened, Audit, Page) {
    let mut registry = Registry::with_prefix("vipd");
    let build = Build { version: version.to_owned(), node: node.to_owned() };
    registry.register("build", "The daemon's version, and its node's name", Info::new(build));
    let happened = Happened::new(&mut registry, now);
    let audit = Audit::new(&mut registry);
    let page = Page::new(registry, happened.heard_at());
    (happened, audit, page)
}

#[cfg(test)]
mod tests;
