//! Runs scenarios, each in a lab of its own, and counts.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::clock;
use crate::enter::SKIPPED;
use crate::scenario::{Context, Skip};
use crate::scenarios;

/// Runs the named scenarios (or `all`) and prints the one line that counts them. `flags` are handed on.
pub(crate) fn run(names: &[String], flags: &[String]) -> Result<ExitCode> {
    let all = names.iter().any(|name| name == "all");
    let known: Vec<&str> = scenarios::ALL.iter().map(|scenario| scenario.name).collect();
    if let Some(unknown) = names.iter().find(|name| *name != "all" && !known.contains(&name.as_str())) {
        eprintln!("there is no scenario `{unknown}`; there are: {}", known.join(", "));
        return Ok(ExitCode::from(2));
    }
    let wanted = scenarios::ALL.iter().filter(|scenario| all || names.iter().any(|name| name == scenario.name));
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for scenario in wanted {
        println!("── {}: {}", scenario.name, scenario.about);
        let from = clock::now();
        match lab(&[&["scenario".to_owned(), scenario.name.to_owned()], flags].concat())? {
            0 => passed += 1,
            SKIPPED => skipped += 1,
            _ => failed += 1,
        }
        println!("   ({:.1} s)", clock::now().since(from).as_secs_f64());
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    // In CI a skip is a machine that lost a tool, and nobody reads a green log.
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    let bad = failed > 0 || (in_ci && skipped > 0);
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs one lab to its end: this binary again, which enters fresh namespaces (one thread, as that takes).
pub(crate) fn lab(args: &[String]) -> Result<i32> {
    let status = Command::new("/proc/self/exe").arg("enter").args(args).status().context("start a lab")?;
    Ok(status.code().unwrap_or(1))
}

/// Inside a lab: does the scenario and says how it went.
pub(crate) fn scenario(name: &str, context: &Context) -> i32 {
    let Some(scenario) = scenarios::ALL.iter().find(|scenario| scenario.name == name) else { return 2 };
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
