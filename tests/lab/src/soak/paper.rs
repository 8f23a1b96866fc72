//! What a soak leaves behind: the picture, the log beside it, and the programs' logs when something was wrong.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::ground;
use super::history::History;
use super::notes::{Heal, Notes};
use super::picture::{self, Scene};
use crate::clock::At;
use crate::world::World;

/// The files.
pub(super) struct Paper {
    /// The log.
    pub(super) notes: Notes,
    svg: PathBuf,
}

impl Paper {
    /// Begins the log beside the picture.
    pub(super) fn begin(svg: &Path, start: At) -> Result<Self> {
        let notes = Notes::begin(&svg.with_extension("log"), start)?;
        Ok(Self { notes, svg: svg.to_owned() })
    }

    /// Draws the picture as things are now; one that is there is replaced.
    pub(super) fn draw(&self, history: &History, heals: &[Heal], title: &str) -> Result<()> {
        let marks = self.notes.marks();
        let drawn = picture::draw(&Scene { history, marks: &marks, heals, title });
        fs::write(&self.svg, drawn).with_context(|| format!("write {}", self.svg.display()))
    }

    /// Keeps the programs' logs, which else go with the lab. Returns where they are.
    pub(super) fn keep_logs(&self, world: &World) -> Result<PathBuf> {
        let directory = self.svg.with_extension("logs");
        fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
        for log in ground::logs(world) {
            fs::copy(&log, directory.join(log.file_name().unwrap_or_default()))?;
        }
        Ok(directory)
    }

    /// Where picture and log are, for people.
    pub(super) fn places(&self) -> String {
        format!("picture: {}   log: {}", self.svg.display(), self.svg.with_extension("log").display())
    }
}
