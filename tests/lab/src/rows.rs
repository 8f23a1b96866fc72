//! The table of a whole run: every scenario that measures a row of the failure table hands it in here, and the runner
//! prints them all at the end. A scenario is a process of its own, so the rows pass through a file.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::figures::Figures;
use crate::measure::Tally;

/// Where the rows of this run are kept, said by the runner to all stages inside.
const VARIABLE: &str = "VIPD_LAB_ROWS";
const HEADS: [&str; 8] =
    ["what happened", "rounds", "off after", "back after", "on no node", "client outage", "on two", "in the end"];

/// Hands a row in. Without a runner that asked for rows there is nobody to hand it to.
pub(crate) fn hand_in(name: &str, tally: &Tally, end: &str) -> Result<()> {
    let Some(path) = std::env::var_os(VARIABLE) else { return Ok(()) };
    let mut file = OpenOptions::new().append(true).open(&path).context("open the file of rows")?;
    writeln!(file, "{}", cells(name, tally, end).join("\t")).context("write a row")
}

fn cells(name: &str, tally: &Tally, end: &str) -> [String; 8] {
    let rounds = tally.outage.count().max(tally.back.count()).to_string();
    let [off, back, gap, outage] = [&tally.off, &tally.back, &tally.gap, &tally.outage].map(cell);
    // A round with an overlap is an error before it gets here.
    [name.to_owned(), rounds, off, back, gap, outage, "0".to_owned(), end.to_owned()]
}

/// `least/median/most` in milliseconds; one figure stands alone, and none is a dash.
fn cell(figures: &Figures) -> String {
    let [least, median, most] =
        [figures.least(), figures.median(), figures.most()].map(|span| span.as_millis().to_string());
    match figures.count() {
        0 => "-".to_owned(),
        1 => median,
        _ => format!("{least}/{median}/{most}"),
    }
}

/// The rows of one run.
pub(crate) struct Rows {
    path: PathBuf,
}

impl Rows {
    /// An empty file for them, which the stages started from now on find.
    pub(crate) fn begin() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("vipd-lab-rows-{}", std::process::id()));
        fs::write(&path, "").with_context(|| format!("make {}", path.display()))?;
        Ok(Self { path })
    }

    /// What a child has to be told.
    pub(crate) fn variable(&self) -> (&'static str, &PathBuf) {
        (VARIABLE, &self.path)
    }

    /// The table as lines, if any row was handed in.
    pub(crate) fn table(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
        if rows.is_empty() {
            return Vec::new();
        }
        let mut lines = vec![
            "Milliseconds; least/median/most where there were rounds.".to_owned(),
            line(&HEADS),
            format!("|{}", "---|".repeat(HEADS.len())),
        ];
        lines.extend(rows.iter().map(|row| line(row)));
        lines
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// As Markdown wants it, so that it can go into a note as it is.
fn line(cells: &[&str]) -> String {
    format!("| {} |", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_cell_says_how_much_it_rests_on() {
        let mut figures = Figures::default();
        assert_eq!(cell(&figures), "-");
        figures.add(Duration::from_millis(7));
        assert_eq!(cell(&figures), "7");
        figures.add(Duration::from_millis(9));
        assert_eq!(cell(&figures), "7/8/9");
    }
}
