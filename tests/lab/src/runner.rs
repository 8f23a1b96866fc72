//! Runs scenarios, each in a lab of its own, and counts.

use std::process::{Command, ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::clock;
use crate::enter::SKIPPED;
use crate::rows::Rows;
use crate::scenario::{Context, Scenario, Skip};
use crate::scenarios;

/// No scenario takes this long: what does, hangs.
const LIMIT: Duration = Duration::from_secs(900);
/// Nor this long with as many rounds as one wants.
const LIMIT_OF_MANY: Duration = Duration::from_secs(3600);

/// The exit code of a lab whose judge found a fault, where one was looked for.
pub(crate) const FOUND: i32 = 10;

/// Runs the named scenarios (or `all`) and prints the one line that counts them. `flags` are handed on.
pub(crate) fn run(names: &[String], flags: &[String]) -> Result<ExitCode> {
    if let Some(unknown) = names.iter().find(|name| *name != "all" && scenarios::named(name).is_none()) {
        eprintln!("there is no scenario `{unknown}`; `vipd-lab list` names them");
        return Ok(ExitCode::from(2));
    }
    let (all, full) = (names.iter().any(|name| name == "all"), flags.iter().any(|flag| flag == "--full"));
    let named = |scenario: &&Scenario| names.iter().any(|name| name == scenario.name);
    let wanted = scenarios::ALL.iter().filter(|scenario| all || named(scenario));
    let wanted = wanted.chain(scenarios::FULL.iter().filter(|scenario| (all && full) || named(scenario)));
    let rows = Rows::begin()?;
    let many = full || flags.iter().any(|flag| flag == "--rounds");
    let limit = if many { LIMIT_OF_MANY } else { LIMIT };
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for scenario in wanted {
        println!("── {}: {}", scenario.name, scenario.about);
        let from = clock::now();
        let task = [&["scenario".to_owned(), scenario.name.to_owned()], flags].concat();
        match lab(&task, Some(limit), Some(&rows))? {
            0 => passed += 1,
            SKIPPED => skipped += 1,
            _ => failed += 1,
        }
        println!("   ({:.1} s)", clock::now().since(from).as_secs_f64());
    }
    if all && !full {
        let left: Vec<&str> = scenarios::FULL.iter().map(|scenario| scenario.name).collect();
        println!("only with --full: {}", left.join(", "));
    }
    rows.table().iter().for_each(|line| println!("{line}"));
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    // In CI a skip is a machine that lost a tool, and nobody reads a green log.
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    let bad = failed > 0 || (in_ci && skipped > 0);
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs one lab to its end: this binary again, which enters fresh namespaces (one thread, as that takes).
pub(crate) fn lab(args: &[String], limit: Option<Duration>, rows: Option<&Rows>) -> Result<i32> {
    let mut lab = Command::new("/proc/self/exe");
    lab.arg("enter").args(args).envs(rows.map(Rows::variable));
    let mut lab = lab.spawn().context("start a lab")?;
    let Some(limit) = limit else { return Ok(code(lab.wait()?)) };
    let mut ended = None;
    clock::poll_until(limit, || {
        ended = lab.try_wait().ok().flatten();
        ended.is_some()
    });
    if let Some(status) = ended {
        return Ok(code(status));
    }
    // All inside die with it.
    lab.kill()?;
    lab.wait()?;
    println!("   FAILED: not done within {limit:?}");
    Ok(1)
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| {
        println!("   FAILED: the lab was ended by {status}");
        1
    })
}

/// Inside a lab: does the scenario and says how it went.
pub(crate) fn scenario(name: &str, context: &Context) -> i32 {
    let Some(scenario) = scenarios::named(name) else { return 2 };
    match (scenario.run)(context) {
        Ok(()) => {
            context.say("ok");
            0
        }
        Err(error) if error.is::<Skip>() => {
            context.say(format_args!("skipped, because {error:#}"));
            SKIPPED
        }
        Err(error) => {
            context.say(format_args!("FAILED: {error:#}"));
            context.say_all(context.last_words());
            1
        }
    }
}

/// Inside a lab that `guards-off` began: what the judge found there is said in one line, and by the exit code.
pub(crate) fn trouble(name: &str, context: &Context) -> i32 {
    let Some(trouble) = scenarios::TROUBLES.iter().find(|trouble| trouble.guard == name) else { return 2 };
    match (trouble.run)(context) {
        Ok(None) => 0,
        Ok(Some(fault)) => {
            println!("{fault}");
            FOUND
        }
        Err(error) => {
            println!("{error:#}");
            1
        }
    }
}
