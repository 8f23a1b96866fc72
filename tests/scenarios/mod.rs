//! Transcripts: one situation a file, told in lines that people can read, with what the election ordered under each.
//!
//! A line is a time (in seconds since the start) and a fact; the lines under it that begin with `->` are what came of it.
//! `VIPD_BLESS=1 cargo test --lib scenarios` writes the orders anew: read the diff.

mod script;

use std::fmt::Write;
use std::path::Path;

use crate::election::guards::{Guard, Guards};
use script::Script;

#[test]
fn every_transcript_is_what_the_election_does() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let bless = std::env::var_os("VIPD_BLESS").is_some();
    let mut files: Vec<_> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "txt"))
        .collect();
    files.sort();
    assert!(files.len() >= 10, "only {} transcripts in {}", files.len(), dir.display());
    let mut wrong = String::new();
    for file in files {
        let old = std::fs::read_to_string(&file).unwrap();
        let new = Script::play(&old);
        if bless {
            std::fs::write(&file, &new).unwrap();
        } else if old != new {
            let differs = old.lines().zip(new.lines()).position(|(a, b)| a != b).unwrap_or(0);
            let _ = writeln!(wrong, "{}: line {} differs; it should read\n{new}", file.display(), differs + 1);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A story for it has odds of one in 20,000 in the simulation, so a transcript shows what it is for: the frozen one whose
/// key comes back with the backup may have its address still.
#[test]
fn a_turn_that_stays_first_is_missed() {
    let story = include_str!("first-no-more.txt");
    let off = |told: &str| told.contains("LetGo { cause: AnotherHistory");
    assert!(off(&Script::play(story)));
    assert!(!off(&Script::play_with(story, Guards::without(Guard::FirstStaysFirst))));
}

/// The same for the read of everything past the fence: without it the address is on again under a key that is gone.
#[test]
fn the_read_past_the_fence_is_missed() {
    let story = include_str!("restored-backup-grown-back.txt");
    let on = |told: &str| told.contains("address on until 11.790");
    assert!(!on(&Script::play(story)));
    assert!(on(&Script::play_with(story, Guards::without(Guard::ReadPastFence))));
}

/// And for the revision that went back: past the fence the other guards notice most of such a backup, and before it this one.
#[test]
fn one_history_is_missed() {
    let story = include_str!("restored-backup.txt");
    let ends = |told: &str| told.contains("SessionEnded { lease: lease a1, cause: AnotherHistory }");
    assert!(ends(&Script::play(story)));
    assert!(!ends(&Script::play_with(story, Guards::without(Guard::OneHistory))));
}
