//! The catalogue of messages (`config/MESSAGES.md`) against the source: whatever warns or errs there is explained.

#![expect(clippy::unwrap_used, reason = "a test's helpers may fail as the test itself may")]

use std::fs;
use std::path::{Path, PathBuf};

/// What is shorter says too little to be found by; a message like that is put together elsewhere.
const LEAST: usize = 12;
/// So many characters of a long one will do.
const MOST: usize = 40;

#[test]
fn every_warning_and_error_is_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let catalogue = fs::read_to_string(root.join("config/MESSAGES.md")).unwrap().replace('`', "");
    let mut found = 0;
    let mut unexplained = Vec::new();
    for file in sources(&root.join("src")) {
        for message in messages(&fs::read_to_string(&file).unwrap()) {
            let longest = message.split(['{', '}']).step_by(2).max_by_key(|part| part.len()).unwrap_or_default();
            let longest: String = longest.chars().take(MOST).filter(|c| *c != '`').collect();
            let longest = longest.trim();
            found += usize::from(longest.len() >= LEAST);
            if longest.len() >= LEAST && !catalogue.contains(longest) {
                unexplained.push(format!("{}: {message}", file.strip_prefix(root).unwrap().display()));
            }
        }
    }
    assert!(found > 50, "only {found} messages were found");
    assert!(unexplained.is_empty(), "not in config/MESSAGES.md:\n{}", unexplained.join("\n"));
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let (mut files, mut all) = (Vec::new(), entries.collect::<Vec<_>>());
    all.sort();
    for path in all {
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The last text of every `warn!` and `error!` outside tests.
fn messages(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]\nmod tests").next().unwrap();
    let calls = ["warn!(", "error!("].into_iter().flat_map(|call| source.split(call).skip(1));
    calls.filter_map(|rest| texts(rest).pop()).collect()
}

/// The texts of a call's arguments, up to its closing parenthesis.
fn texts(call: &str) -> Vec<String> {
    let (mut texts, mut depth, mut chars) = (Vec::new(), 1, call.chars());
    while depth > 0 {
        match chars.next().unwrap() {
            '(' => depth += 1,
            ')' => depth -= 1,
            '"' => texts.push(text(&mut chars)),
            _ => {}
        }
    }
    texts
}

/// The rest of a text. A backslash at a line's end takes the break and the spaces behind it along.
fn text(chars: &mut std::str::Chars<'_>) -> String {
    let mut text = String::new();
    loop {
        match chars.next().unwrap() {
            '"' => return text,
            '\\' => match chars.next().unwrap() {
                '\n' => *chars = chars.as_str().trim_start().chars(),
                escaped => text.push(escaped),
            },
            c => text.push(c),
        }
    }
}
