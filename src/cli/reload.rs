//! `vipd reload`: has the daemon on this node read its config anew, and waits for what came of it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;

use super::EX_CONFIG;
use crate::daemon::control::{Answer, Request};
use crate::daemon::reload::{Refused, Reloaded};

/// Asks and prints; the exit code tells whether the file was applied.
pub(super) fn report(path: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let answer = match find_socket(path) {
        Ok(socket) => super::ask::ask(&socket, &Request::Reload)?,
        Err(refusal) => Answer::Refused(refusal),
    };
    if json {
        println!("{}", serde_json::to_string(&answer)?);
    }
    match answer {
        Answer::Reload(done) => {
            if !json {
                print!("{}", in_words(&done));
            }
            Ok(ExitCode::SUCCESS)
        }
        Answer::Refused(Refused { file, lines }) => {
            eprintln!("vipd: {file} is refused; nothing was changed:");
            lines.iter().for_each(|line| eprintln!("{line}"));
            Ok(ExitCode::from(EX_CONFIG))
        }
        Answer::Error(why) => bail!("the daemon says: {why}"),
        Answer::Status(_) => bail!("the daemon answers what was not asked"),
    }
}

fn in_words(done: &Reloaded) -> String {
    let nothing = done.applied.is_empty() && done.later.is_empty();
    let mut text = format!("{} is applied{}\n", done.file, if nothing { "; nothing changed" } else { ":" });
    done.applied.iter().chain(&done.later).for_each(|line| text += &format!("  {line}\n"));
    text
}

/// The daemon's own check counts, so a file that is refused here is put to it all the same: its log and its status must
/// have it.
fn find_socket(path: &Path) -> Result<PathBuf, Refused> {
    super::ask::find_socket(path).map_err(|refusal| Refused {
        file: path.display().to_string(),
        lines: refusal.problems().iter().map(ToString::to_string).collect(),
    })
}
