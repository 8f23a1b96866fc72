//! The registry: every scenario, in the order they are run.

mod moves;

use crate::scenario::Scenario;

/// All of them.
pub(crate) const ALL: &[Scenario] = &[
    Scenario { name: "start", about: "three daemons, one holder, reachable by ping and TCP", run: moves::start },
];
