//! Where log lines go and how they look.

mod journal;

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, reload};

use crate::daemon::SetLevel;

use journal::Journal;

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// Under systemd the journal's own form, with every field by its name; else text
    Auto,
    /// For people: time, level, text, fields
    Text,
    /// For machines: one JSON object a line
    Json,
}

/// Starts logging, to the journal or to standard error; what it returns changes the level.
///
/// # Errors
/// When the level does not parse.
pub fn start(format: Format, level: &str) -> Result<SetLevel, String> {
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let set: SetLevel = Box::new(move |level| handle.reload(self::filter(level.name())?).map_err(|e| e.to_string()));
    if let (Format::Auto, Some(journal)) = (format, Journal::of_this_unit()) {
        tracing_subscriber::registry().with(journal.with_filter(filter)).init();
        return Ok(set);
    }
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = match format {
        Format::Auto | Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    Ok(set)
}

/// The library takes a word alone that is no level for a module's name, and logs that module only: a mistyped level would
/// silence everything.
fn filter(level: &str) -> Result<Targets, String> {
    for word in level.split(',').filter(|part| !part.contains('=')) {
        if word.is_empty() || word.parse::<LevelFilter>().is_err() {
            return Err(format!("{word:?} is no level: error, warn, info, debug, trace or off"));
        }
    }
    level.parse::<Targets>().map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_level_is_refused() {
        for good in ["info", "WARN", "off", "info,vipd::node=debug", "vipd::pair=trace,info"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["", "blah", "inof", "info,wran", "vipd::node", "vipd=loud", "info,"] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }
}
