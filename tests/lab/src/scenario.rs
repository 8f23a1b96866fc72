//! What a scenario is: a name, a line about it, and a function that gets a [`Context`] and builds its own world.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::chance::Chance;
use crate::clock::{self, At};
use crate::measure::{Tally, row};
use crate::rows;
use crate::world::{Options, World};

/// What a daemon's auditor says when the election's word and the kernel's are at odds for too long.
const NEVER: [&str; 2] = ["which has no right to it", "the kernel does not have its address"];

/// Scenarios in which somebody puts a VIP by hand where it must not be, which the daemon there must say.
const PUT_BY_HAND: [&str; 3] = ["scraped", "meddled", "foreign-address"];

/// One entry of the registry.
pub(crate) struct Scenario {
    /// What it is called by, in kebab-case.
    pub(crate) name: &'static str,
    /// What it shows, in one line.
    pub(crate) about: &'static str,
    /// Does it. An error is a failure, [`Skip`] as the error a skip.
    pub(crate) run: fn(&Context) -> Result<()>,
}

/// What a scenario is given.
pub(crate) struct Context {
    /// The lab's working directory, on disk.
    pub(crate) directory: PathBuf,
    /// The daemon to try.
    pub(crate) vipd: PathBuf,
    /// The daemon that can do without a guard.
    pub(crate) guards_off: PathBuf,
    /// `--rounds`.
    pub(crate) rounds: Option<usize>,
    /// `--full`.
    pub(crate) full: bool,
}

impl Context {
    /// How many rounds: as asked for on the command line, else one of these.
    pub(crate) fn rounds(&self, once: usize, full: usize) -> usize {
        self.rounds.unwrap_or(if self.full { full } else { once })
    }

    /// Chance for what is done when, and its seed: `VIPD_LAB_SEED` makes the same story again.
    pub(crate) fn chance(&self) -> Chance {
        let now = clock::now().since(At::default()).as_micros() as u64;
        let said = std::env::var("VIPD_LAB_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = said.unwrap_or(now);
        self.say(format_args!("VIPD_LAB_SEED={seed}"));
        Chance::new(seed)
    }

    /// Builds a world; the options' daemon and directory are filled in.
    pub(crate) fn world(&self, options: Options) -> Result<World> {
        World::build(&self.directory, &self.vipd, options)
    }

    /// Prints a row of the failure table, and hands it in for the table at the end.
    pub(crate) fn row(&self, name: &str, tally: &Tally, end: &str) -> Result<()> {
        let Tally { off, back, gap, outage } = tally;
        self.say(format_args!("{name}: {end}"));
        for (what, figures) in
            [("off after", off), ("back after", back), ("on no node", gap), ("client outage", outage)]
        {
            if figures.count() > 0 {
                self.say(row(&format!("  {what}"), figures));
            }
        }
        rows::hand_in(name, tally, end)
    }

    /// Prints one line.
    pub(crate) fn say(&self, line: impl fmt::Display) {
        println!("   {line}");
    }

    /// Prints several.
    pub(crate) fn say_all(&self, lines: impl IntoIterator<Item = String>) {
        lines.into_iter().for_each(|line| self.say(line));
    }

    /// No daemon said of itself what must never be: a holder without its address, an address without a lease.
    pub(crate) fn nothing_was_wrong(&self, scenario: &Scenario) -> Result<()> {
        if PUT_BY_HAND.contains(&scenario.name) {
            return Ok(());
        }
        for log in self.logs() {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let wrong = text.lines().find(|line| NEVER.iter().any(|never| line.contains(never)));
            ensure!(wrong.is_none(), "{}: {}", log.display(), wrong.unwrap_or_default());
        }
        Ok(())
    }

    /// Every daemon's log.
    fn logs(&self) -> Vec<PathBuf> {
        let mut logs: Vec<PathBuf> =
            fs::read_dir(&self.directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        logs.retain(|path| path.to_string_lossy().ends_with("-vipd.log"));
        logs.sort();
        logs
    }

    /// The end of every daemon's log, for a failure's report.
    pub(crate) fn last_words(&self) -> Vec<String> {
        const LINES: usize = 12;
        let mut words = Vec::new();
        for log in self.logs() {
            let text = fs::read_to_string(&log).unwrap_or_default();
            // Every counted pair is a line, where they are asked for.
            let lines: Vec<&str> = text.lines().filter(|line| !line.contains("TRACE")).collect();
            words.push(format!("--- {}", log.file_name().unwrap_or_default().to_string_lossy()));
            words.extend(lines.iter().rev().take(LINES).rev().map(|line| (*line).to_owned()));
        }
        words
    }
}

/// The error that is none: this cannot be shown here.
#[derive(Debug)]
pub(crate) struct Skip(pub(crate) String);

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}
