//! What happened, written down as it does: a plain log on disk, and the marks that the picture is drawn from.

use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::trouble::{Part, Trouble};
use crate::clock::{self, At};
use crate::shell;
use crate::timeline::NodeIndex;

/// A trouble that was done, and what it was done to.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    /// What.
    pub(super) trouble: Trouble,
    /// The node it was aimed at.
    pub(super) node: NodeIndex,
    /// When it began.
    pub(super) from: At,
    /// When it was mended; `None`: not yet.
    pub(super) to: Option<At>,
}

impl Mark {
    /// What it is about.
    pub(super) fn parts(&self) -> Vec<(NodeIndex, Part)> {
        self.trouble.parts(self.node)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}: {}", self.node + 1, self.trouble)
    }
}

/// All was healed, and then looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heal {
    /// When everything was mended.
    pub(super) at: At,
    /// When the look ended.
    pub(super) to: At,
    /// One holder was there in time, and stayed.
    pub(super) good: bool,
}

/// The notes. Cheap to clone.
#[derive(Clone)]
pub(super) struct Notes(Arc<Shared>);

struct Shared {
    start: At,
    /// The wall clock at the start, since midnight UTC: daemons' logs go by it.
    midnight: Duration,
    log: Mutex<File>,
    marks: Mutex<Vec<Mark>>,
}

impl Notes {
    /// Begins a log in that file; `start` is its zero.
    pub(super) fn begin(file: &Path, start: At) -> Result<Self> {
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
        }
        let log = File::create(file).with_context(|| format!("make {}", file.display()))?;
        let midnight = wall_clock()?.saturating_sub(clock::now().since(start));
        Ok(Self(Arc::new(Shared { start, midnight, log: Mutex::new(log), marks: Mutex::default() })))
    }

    /// Writes down what happened just now.
    pub(super) fn note(&self, what: impl fmt::Display) {
        self.note_at(clock::now(), what);
    }

    /// Writes down what happened then.
    pub(super) fn note_at(&self, at: At, what: impl fmt::Display) {
        let elapsed = at.since(self.0.start);
        let wall = (self.0.midnight + elapsed).as_millis() % 86_400_000;
        let (hours, minutes, seconds) = (wall / 3_600_000, wall / 60_000 % 60, wall / 1000 % 60);
        let stamp = format!("{:10.3}  {hours:02}:{minutes:02}:{seconds:02}.{:03}", elapsed.as_secs_f64(), wall % 1000);
        let mut log = self.0.log.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk loses notes, not the verdict.
        let _ = writeln!(log, "{stamp}  {what}");
    }

    /// Writes it down and prints it.
    pub(super) fn say(&self, what: impl fmt::Display) {
        println!("{what}");
        self.note(what);
    }

    /// A trouble begins. Returns the number it is called by.
    pub(super) fn open(&self, trouble: Trouble, node: NodeIndex) -> usize {
        let mark = Mark { trouble, node, from: clock::now(), to: None };
        self.note(format_args!("trouble  {mark}"));
        let mut marks = self.marks();
        marks.push(mark);
        marks.len() - 1
    }

    /// It is mended.
    pub(super) fn close(&self, number: usize) {
        if let Some(mark) = self.marks().get_mut(number) {
            mark.to.get_or_insert(clock::now());
            self.note(format_args!("mended   {mark}"));
        }
    }

    /// Every trouble so far.
    pub(super) fn marks(&self) -> MutexGuard<'_, Vec<Mark>> {
        self.0.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The troubles that last, in words.
    pub(super) fn lasting(&self) -> String {
        let lasting: Vec<String> =
            self.marks().iter().filter(|mark| mark.to.is_none()).map(ToString::to_string).collect();
        lasting.join("; ")
    }
}

/// Since midnight UTC, from the tool that is allowed to know.
fn wall_clock() -> Result<Duration> {
    let said = shell::output(Command::new("date").args(["-u", "+%s.%N"]))?;
    let seconds: f64 = said.trim().parse().context("what `date` says")?;
    Ok(Duration::from_secs_f64(seconds % 86_400.0))
}
