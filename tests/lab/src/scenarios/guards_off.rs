//! A guard that nothing misses is untested or useless. So the daemon is built once more, able to do without one guard of
//! its adapters, and each guard has a trouble that it is there for: without the guard the lab's judge must find a fault,
//! and with it, in the same daemon, none. (The guards of the election have the same in `tests/safety`, and what guards
//! each transaction with etcd in `tests/etcd`: see `tests/run`.)
//!
//! Every trouble has labs of its own, one without the guard and one with it.

mod troubles;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::clock;
use crate::runner::FOUND;
use crate::scenario::Context;

/// What a guard is there for.
pub(crate) struct Trouble {
    /// The guard, as the daemon calls it.
    pub(crate) guard: &'static str,
    what: &'static str,
    /// Does it, and says what fault the judge found. An error is a trouble that could not be made.
    pub(crate) run: fn(&Context) -> Result<Option<String>>,
}

/// One for each guard.
pub(crate) const TROUBLES: &[Trouble] = &[
    Trouble { guard: "kernel-lifetime", what: "SIGKILL of the holder, nobody cleans up", run: troubles::killed },
    Trouble {
        guard: "kernels-word",
        what: "SIGTERM; the kernel gets the deletion 0.7 s late",
        run: troubles::slow_word,
    },
    Trouble { guard: "guarded-put", what: "frozen between clock and put until another holds", run: troubles::held_up },
    Trouble {
        guard: "step-back-revision",
        what: "a deletion is carried out late, after standing again",
        run: troubles::late_deletion,
    },
    Trouble {
        guard: "leftovers",
        what: "killed, started again with another VIP in its config",
        run: troubles::another_config,
    },
    Trouble { guard: "mark", what: "the operator's own address, the same as the VIP", run: troubles::operators_own },
];

/// No trouble takes this long.
const LIMIT: Duration = Duration::from_secs(120);

/// What came of a trouble: the fault that the judge found, if any.
type Verdict = Option<String>;

/// All of them, as a table.
pub(super) fn all(lab: &Context) -> Result<()> {
    ensure!(
        lab.guards_off.is_file(),
        "there is no daemon at {} (cargo build -p vipd --features guards-off --target-dir target/guards-off)",
        lab.guards_off.display()
    );
    lab.say("| guard | trouble | without the guard | with it |");
    lab.say("|---|---|---|---|");
    let mut wrong = Vec::new();
    for trouble in TROUBLES {
        let (without, with) = (begin(lab, trouble, false)?, begin(lab, trouble, true)?);
        let (without, with) = (end(without, trouble)?, end(with, trouble)?);
        let said = |verdict: &Verdict| verdict.clone().unwrap_or_else(|| "nothing".to_owned());
        lab.say(format_args!("| {} | {} | {} | {} |", trouble.guard, trouble.what, said(&without), said(&with)));
        if without.is_none() {
            wrong.push(format!("nothing misses the guard {}", trouble.guard));
        }
        wrong.extend(with.map(|fault| format!("with all guards, {}: {fault}", trouble.what)));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

/// A lab inside this one, so that the two labs of a trouble can wait side by side.
fn begin(lab: &Context, trouble: &Trouble, guarded: bool) -> Result<Child> {
    let mut inner = Command::new("/proc/self/exe");
    inner.args(["enter", "trouble", trouble.guard, "--vipd"]).arg(&lab.guards_off);
    // Numbers of processes in here are other labs' outside.
    inner.env("VIPD_LAB_DIR", &lab.directory).stdin(Stdio::null()).stdout(Stdio::piped());
    if !guarded {
        inner.env("VIPD_GUARD_OFF", trouble.guard);
    }
    inner.spawn().context("start a lab")
}

fn end(mut inner: Child, trouble: &Trouble) -> Result<Verdict> {
    let ended = clock::poll_until(LIMIT, || !matches!(inner.try_wait(), Ok(None)));
    if !ended {
        inner.kill()?;
    }
    let answer = inner.wait_with_output()?;
    let said = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
    match answer.status.code() {
        Some(0) => Ok(None),
        Some(FOUND) => Ok(Some(said)),
        _ => bail!("{} could not be tried ({}): {said}", trouble.guard, answer.status),
    }
}
