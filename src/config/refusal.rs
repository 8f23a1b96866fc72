//! Why a configuration was refused: every problem of the file at once, each with its place.
//!
//! Owned by `config`. It words nothing itself (the rules do, in `check.rs`) and prints nothing; the command line does.

use std::fmt;

/// How much of a value or a key is shown to people, in characters.
const SHOWN: usize = 80;

/// A configuration that cannot be used. Printed with one line for each problem, in the file's order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Where: a key (`machine.network.interfaces[0].vip.ip`), a line, or the file itself.
    pub place: String,
    /// The value as far as it may be shown, and the rule it breaks.
    pub text: String,
}

impl Refusal {
    /// Everything that is wrong; never empty.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            write!(f, "{}{problem}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// Gathers problems, so that one reading of the file names them all.
#[derive(Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, place: &Place, text: impl Into<String>) {
        self.0.push(Problem { place: place.to_string(), text: text.into() });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `value` if nothing was wrong.
    pub(super) fn unless_any<T>(self, value: T) -> Result<T, Refusal> {
        if self.0.is_empty() { Ok(value) } else { Err(Refusal { problems: self.0 }) }
    }
}

/// Where something stands. The document is named only in a file of several.
#[derive(Clone, Debug)]
pub(super) struct Place {
    document: Option<usize>,
    path: String,
}

impl Place {
    pub(super) fn file() -> Self {
        Self { document: None, path: String::new() }
    }

    /// Documents count from 1, as people do.
    pub(super) fn document(number: usize) -> Self {
        Self { document: Some(number), path: String::new() }
    }

    pub(super) fn key(&self, key: &str) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        Self { document: self.document, path: format!("{}{dot}{}", self.path, escaped(key)) }
    }

    pub(super) fn index(&self, index: usize) -> Self {
        Self { document: self.document, path: format!("{}[{index}]", self.path) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.document, self.path.is_empty()) {
            (None, true) => f.write_str("file"),
            (None, false) => f.write_str(&self.path),
            (Some(n), true) => write!(f, "document {n}"),
            (Some(n), false) => write!(f, "document {n}: {}", self.path),
        }
    }
}

/// `text` in quotes, escaped and cut, so that no file can write to somebody's terminal or fill a log.
pub(super) fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(SHOWN).collect();
    let more = if cut.len() < text.len() { "..." } else { "" };
    format!("{cut:?}{more}")
}

fn escaped(key: &str) -> String {
    harmless(key, SHOWN)
}

/// `text` without anything that a terminal obeys, cut to so many characters.
pub(super) fn harmless(text: &str, most: usize) -> String {
    let mut out = String::new();
    for c in text.chars().take(most) {
        if matches!(c, '"' | '\'' | '\\') { out.push(c) } else { out.extend(c.escape_debug()) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_like_the_file() {
        let root = Place::file();
        assert_eq!(root.to_string(), "file");
        assert_eq!(root.key("a").key("b").index(3).key("c").to_string(), "a.b[3].c");
        assert_eq!(Place::document(2).to_string(), "document 2");
        assert_eq!(Place::document(2).key("name").to_string(), "document 2: name");
    }

    #[test]
    fn what_is_shown_is_bounded_and_escaped() {
        assert_eq!(quoted("a\u{1b}[31m\n"), r#""a\u{1b}[31m\n""#);
        assert_eq!(quoted(&"x".repeat(5000)).len(), SHOWN + 5);
        assert_eq!(Place::file().key("a\nb").to_string(), "a\\nb");
    }
}
