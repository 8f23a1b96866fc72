//! The soak: random troubles, one after another and overlapping, for as long as one likes; and a judge.
//!
//! ```text
//! seed ─ plan ─▶ phases of troubles ─▶ ground (does their steps, heals) ─▶ the real cluster
//!                                                                            │ address events
//!                     verdict, picture, log ◀─ judge (overlap 0; one holder after each healing)
//! ```
//! The same seed gives the same plan. What comes of it is the cluster's doing: a trouble for "the holder" goes to
//! whoever holds then. Reading order: [`trouble`] · [`plan`] · [`ground`] · [`judge`] · [`drive`] · [`picture`].

mod calm;
mod drive;
mod ground;
mod hands;
mod history;
mod judge;
mod load;
mod notes;
mod paper;
mod picture;
mod plan;
mod random;
mod tally;
mod trouble;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use self::drive::Drive;
use self::ground::Ground;
use self::judge::Judge;
use self::load::Load;
use self::paper::Paper;
use self::plan::Plan;
use crate::clock;
use crate::scenario::Context;
use crate::world::{Options, VIP, World};

/// From one line about how things are to the next.
const PROGRESS: Duration = Duration::from_secs(10);

/// How to soak.
#[derive(Args, Clone, Debug)]
pub(crate) struct Wishes {
    /// For how long
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// The same seed gives the same plan of troubles
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Keep all cores busy with something else meanwhile
    #[arg(long)]
    busy: bool,
    /// The lease, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(3..=60))]
    ttl: u64,
    /// No troubles at all: count blinks and address events
    #[arg(long)]
    calm: bool,
    /// Where the picture goes; the log goes beside it [default: target/soak/...]
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl Wishes {
    /// As arguments for the stages inside, with the path made whole.
    pub(crate) fn to_args(&self) -> Result<Vec<String>> {
        let svg = self.svg.clone().map_or_else(|| self.default_svg(), Ok)?;
        let svg = std::path::absolute(svg)?.to_string_lossy().into_owned();
        let numbers = [("--minutes", self.minutes), ("--seed", self.seed), ("--ttl", self.ttl)];
        let mut args: Vec<String> =
            numbers.iter().flat_map(|(name, value)| [(*name).to_owned(), value.to_string()]).collect();
        let flags = [(self.busy, "--busy"), (self.calm, "--calm")];
        args.extend(flags.iter().filter(|(wanted, _)| *wanted).map(|(_, flag)| (*flag).to_owned()));
        args.extend(["--svg".to_owned(), svg]);
        Ok(args)
    }

    /// Beside this binary's directory, so in `target/soak`.
    fn default_svg(&self) -> Result<PathBuf> {
        let this = std::env::current_exe()?;
        let target = this.parent().and_then(std::path::Path::parent).context("where is this binary?")?;
        let (what, busy) = (if self.calm { "calm" } else { "soak" }, if self.busy { "-busy" } else { "" });
        let name = match self.calm {
            true => format!("{what}-ttl-{}{busy}-{}min.svg", self.ttl, self.minutes),
            false => format!("{what}-seed-{}{busy}-{}min.svg", self.seed, self.minutes),
        };
        Ok(target.join("soak").join(name))
    }

    fn span(&self) -> Duration {
        Duration::from_secs(60 * self.minutes)
    }

    fn world(&self) -> Options {
        let mut options =
            Options { ttl: Some(Duration::from_secs(self.ttl)), proxies: !self.calm, ..Options::default() };
        if self.ttl < 5 {
            // A lease this short is for an etcd that elects sooner: else every election costs a blink.
            options.heartbeat = Duration::from_millis(50);
            options.election = Duration::from_millis(500);
        }
        options
    }
}

/// Inside a lab: soaks, and returns the exit code.
pub(crate) fn run(wishes: &Wishes, context: &Context) -> i32 {
    match perform(wishes, context) {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(error) => {
            println!("the soak FAILED: {error:#}");
            context.say_all(context.last_words());
            1
        }
    }
}

/// Two minutes of it (`--rounds` says how many), with a seed that stays, as a scenario among the others.
pub(crate) fn short(lab: &Context) -> Result<()> {
    let minutes = lab.rounds(2, 10) as u64;
    let wishes = Wishes { minutes, seed: 1, busy: false, ttl: 5, calm: false, svg: None };
    ensure!(perform(&wishes, lab)?, "the soak failed, see above; again: tests/lab/soak --minutes {minutes} --seed 1");
    Ok(())
}

fn perform(wishes: &Wishes, context: &Context) -> Result<bool> {
    let svg = wishes.svg.clone().map_or_else(|| wishes.default_svg(), Ok)?;
    let load = if wishes.busy { "all cores busy" } else { "nothing else going on" };
    if wishes.calm {
        println!("calm: {} min, TTL {} s, {load}", wishes.minutes, wishes.ttl);
    } else {
        println!("soak: {} min, seed {}, TTL {} s, {load}", wishes.minutes, wishes.seed, wishes.ttl);
    }
    let world: World = context.world(wishes.world())?;
    world.one_holder(VIP, Duration::from_secs(20))?;
    world.all_stand(VIP)?;
    let _load = if wishes.busy { Some(Load::start()?) } else { None };
    let start = clock::now();
    let (judge, paper) = (Judge::new(&world.monitor, start), Paper::begin(&svg, start)?);
    println!("{}", paper.places());
    if wishes.calm {
        return calm::watch(wishes, start, &world, &judge, &paper);
    }
    let ground = Ground::new(world, &context.vipd, paper.notes.clone())?;
    Drive::new(wishes, start, ground, judge, &paper).run(Plan::of(wishes.seed), wishes.span())
}
