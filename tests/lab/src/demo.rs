//! x
use clap::Args;
use crate::scenario::Context;
#[derive(Args, Clone)]
pub(crate) struct Show {
    /// Leave the lab up afterwards, for playing
    #[arg(long)]
    keep: bool,
    /// Lines instead of a screen (default when standard output is no terminal)
    #[arg(long)]
    plain: bool,
}
impl Show {
    pub(crate) fn to_args(&self) -> Vec<String> { Vec::new() }
}
pub(crate) fn run(_show: &Show, _context: &Context) -> i32 { let _ = (_show.keep, _show.plain); 0 }
