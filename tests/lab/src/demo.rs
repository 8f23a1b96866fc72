//! The demo: a VIP moves, live, about a minute. It is told by [`story`], kept in [`stage`], drawn by [`screen`].

mod screen;
mod stage;
mod story;

use std::io::{self, IsTerminal};

use anyhow::Result;
use clap::Args;

use self::stage::Stage;
use crate::scenario::Context;
use crate::world::{Options, World};

/// How to show it.
#[derive(Args, Clone)]
pub(crate) struct Show {
    /// Leave the lab up afterwards, for playing, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Lines instead of a screen (default when standard output is no terminal)
    #[arg(long)]
    plain: bool,
}

impl Show {
    /// As arguments for the stages inside.
    pub(crate) fn to_args(&self) -> Vec<String> {
        let flags = [(self.keep, "--keep"), (self.plain, "--plain")];
        flags.iter().filter(|(wanted, _)| *wanted).map(|(_, flag)| (*flag).to_owned()).collect()
    }
}

/// Inside a lab: shows it, and returns the exit code.
pub(crate) fn run(show: &Show, context: &Context) -> i32 {
    match perform(show, context) {
        Ok(()) => 0,
        Err(error) => {
            println!("the demo FAILED: {error:#}");
            context.say_all(context.last_words());
            1
        }
    }
}

fn perform(show: &Show, context: &Context) -> Result<()> {
    let plain = show.plain || !io::stdout().is_terminal();
    println!("three namespaces, three etcd members, three vipd: building the lab ...");
    let mut world: World = context.world(Options { vipd: false, ..Options::default() })?;
    let stage = Stage::open(&world, plain)?;
    // However the story ends, the screen is given back first, so that what is printed next can be read.
    let told = story::tell(&mut world, &stage);
    if told.is_ok() && show.keep {
        story::play(&mut world, &stage);
    }
    stage.close();
    told.map(|costs| costs.iter().for_each(|line| println!("{line}")))
}
