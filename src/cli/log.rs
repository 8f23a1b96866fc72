//! Where log lines go and how they look.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// For people: time, level, text, fields
    Text,
    /// For machines: one JSON object a line
    Json,
}

/// Starts logging to standard error.
///
/// # Errors
/// When the level does not parse.
pub fn start(format: Format, level: &str) -> Result<(), ParseError> {
    let filter: Targets = level.parse()?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = match format {
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    Ok(())
}
