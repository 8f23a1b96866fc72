//! The lab: a small cluster on one machine, made of namespaces, in which vipd is tried and measured.
//!
//! Three nodes, each with its own network namespace, real etcd member and real vipd, joined by a bridge; a client
//! beside them. Every scenario has a lab of its own, entered by re-executing this binary into fresh namespaces, so
//! that the kernel clears everything away however a scenario ends and nothing outside is ever touched.
//!
//! Reading order: [`enter`] (how one gets in) · [`world`] (what stands there) · [`monitor`] and [`timeline`] (who had
//! the VIP, when) · [`probe`] (what a client saw) · [`keys`] (what etcd said) · [`pairs`] (what the
//! fence rests on) · [`faults`], [`disk`] and [`proxy`] (what
//! is done to it) · [`measure`] (one fault or a whole course, its figures) · [`scenario`] and [`scenarios`] · [`rows`]
//! (the table of a run) · [`vm`] (a node that is a machine of its own) · [`watch`]
//! (measuring for somebody else) · [`soak`] · [`demo`].

mod arp;
mod chance;
mod cli;
mod clock;
mod demo;
mod disk;
mod enter;
mod faults;
mod figures;
mod keys;
mod measure;
mod monitor;
mod neighbour;
mod netlink;
mod netns;
mod pairs;
mod ping;
mod pki;
mod probe;
mod proxy;
mod rows;
mod runner;
mod scenario;
mod scenarios;
mod shell;
mod soak;
mod timeline;
mod urgent;
mod visit;
mod vm;
mod watch;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
