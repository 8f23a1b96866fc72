//! Runs scenarios, each in a lab of its own, and counts.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

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

/// How a run went.
#[derive(Default)]
struct Counted {
    passed: usize,
    failed: usize,
    skipped: usize,
}

/// Runs the named scenarios (or `all`), so many at once, and prints the one line that counts them. `flags` are handed on.
pub(crate) fn run(names: &[String], flags: &[String], at_once: usize) -> Result<ExitCode> {
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
    let lanes = Lanes { wanted: Mutex::new(wanted.collect()), flags, limit, rows: &rows };
    let Counted { passed, failed, skipped } = lanes.run(at_once)?;
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

/// Scenarios side by side: every lane takes the next one when it is done. Labs share nothing but the processors.
struct Lanes<'a> {
    wanted: Mutex<VecDeque<&'static Scenario>>,
    flags: &'a [String],
    limit: Duration,
    rows: &'a Rows,
}

impl Lanes<'_> {
    fn run(&self, at_once: usize) -> Result<Counted> {
        // Of several at once each is heard when it is done, and alone it can be watched.
        let watched = at_once < 2;
        let codes: Vec<Result<Vec<i32>>> = thread::scope(|scope| {
            let lanes: Vec<_> = (0..at_once.max(1)).map(|_| scope.spawn(|| self.lane(watched))).collect();
            lanes.into_iter().map(|lane| lane.join().unwrap_or_else(|_| Err(anyhow!("a lane broke")))).collect()
        });
        let mut counted = Counted::default();
        for code in codes.into_iter().collect::<Result<Vec<_>>>()?.concat() {
            match code {
                0 => counted.passed += 1,
                SKIPPED => counted.skipped += 1,
                _ => counted.failed += 1,
            }
        }
        Ok(counted)
    }

    fn lane(&self, watched: bool) -> Result<Vec<i32>> {
        let mut codes = Vec::new();
        while let Some(scenario) = self.next() {
            let (title, from) = (format!("── {}: {}", scenario.name, scenario.about), clock::now());
            let task = [&["scenario".to_owned(), scenario.name.to_owned()], self.flags].concat();
            let took = || format!("   ({:.1} s)", clock::now().since(from).as_secs_f64());
            if watched {
                println!("{title}");
                codes.push(lab(&task, Some(self.limit), Some(self.rows))?);
                println!("{}", took());
                continue;
            }
            let mut told = tempfile()?;
            codes.push(lab_told(&task, Some(self.limit), Some(self.rows), Some(&told))?);
            let mut text = String::new();
            told.rewind().and_then(|()| told.read_to_string(&mut text)).context("read what a lab said")?;
            println!("{title}\n{text}{}", took());
        }
        Ok(codes)
    }

    fn next(&self) -> Option<&'static Scenario> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// A file without a name: gone with its last handle.
fn tempfile() -> Result<File> {
    let mut options = File::options();
    let file = options.read(true).write(true).custom_flags(nix::libc::O_TMPFILE).open(std::env::temp_dir());
    file.context("a file for what a lab says")
}

/// Runs one lab to its end: this binary again, which enters fresh namespaces (one thread, as that takes).
pub(crate) fn lab(args: &[String], limit: Option<Duration>, rows: Option<&Rows>) -> Result<i32> {
    lab_told(args, limit, rows, None)
}

/// The same, and all it says goes to a file.
fn lab_told(args: &[String], limit: Option<Duration>, rows: Option<&Rows>, told: Option<&File>) -> Result<i32> {
    let mut lab = Command::new("/proc/self/exe");
    lab.arg("enter").args(args).envs(rows.map(Rows::variable));
    if let Some(told) = told {
        lab.stdout(told.try_clone()?).stderr(told.try_clone()?);
    }
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
    match (scenario.run)(context).and_then(|()| context.nothing_was_wrong(scenario)) {
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
