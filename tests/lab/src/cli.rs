//! The command line: what people type, and the hidden stages that the lab re-executes itself into.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};

use crate::scenario::{Context, Scenario};
use crate::{demo, enter, runner, scenarios, soak, visit, vm, watch};

/// A small cluster in namespaces, in which vipd is tried, measured and shown.
#[derive(Parser)]
#[command(name = "vipd-lab", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Name the scenarios
    List,
    /// Run scenarios, each in a lab of its own
    Run {
        /// Their names, or `all`
        #[arg(required = true)]
        names: Vec<String>,
        /// How many side by side; figures are quieter with one
        #[arg(long, value_name = "N", default_value_t = 1)]
        at_once: usize,
        #[command(flatten)]
        settings: Settings,
    },
    /// Show a VIP moving, live
    Demo {
        #[command(flatten)]
        show: demo::Show,
        #[command(flatten)]
        settings: Settings,
    },
    /// Random troubles for many minutes, judged: never two holders, and one after each healing
    Soak {
        #[command(flatten)]
        wishes: soak::Wishes,
        #[command(flatten)]
        settings: Settings,
    },
    /// Enter a lab that is up (`demo --keep`), or one of its namespaces
    Shell {
        /// n1, n2, n3 or client; without a name, the namespace that the bridge is in
        name: Option<String>,
        /// What to run instead of a shell
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Tell what a client misses of a VIP on nodes that are not the lab's: a line for each line of the standard input
    Watch(watch::Wishes),
    #[command(hide = true)]
    Enter {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    #[command(hide = true)]
    Inside {
        #[arg(long)]
        dir: PathBuf,
        #[command(subcommand)]
        task: Task,
    },
    #[command(hide = true)]
    Janitor { dir: PathBuf },
    /// The first process of a virtual machine
    #[command(hide = true)]
    Init,
    /// What the lab talks to in a virtual machine
    #[command(hide = true)]
    Agent,
}

/// What PID 1 of a lab does.
#[derive(Subcommand)]
enum Task {
    Scenario {
        name: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// One of those that `guards-off` consists of
    Trouble {
        name: String,
        #[command(flatten)]
        settings: Settings,
    },
    Demo {
        #[command(flatten)]
        show: demo::Show,
        #[command(flatten)]
        settings: Settings,
    },
    Soak {
        #[command(flatten)]
        wishes: soak::Wishes,
        #[command(flatten)]
        settings: Settings,
    },
}

#[derive(Args, Clone)]
struct Settings {
    /// The daemon [default: target/release/vipd, beside this binary]
    #[arg(long, env = "VIPD_BIN", value_name = "PATH")]
    vipd: Option<PathBuf>,
    /// The daemon that can do without a guard [default: target/guards-off/debug/vipd]
    #[arg(long, env = "VIPD_GUARDS_OFF_BIN", value_name = "PATH")]
    guards_off: Option<PathBuf>,
    /// How many rounds, where a scenario has rounds
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// As many rounds as the figures want
    #[arg(long)]
    full: bool,
}

/// Parses the command line, does it, and turns the outcome into an exit code.
pub(crate) fn run() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("vipd-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::List => {
            let line = |scenario: &Scenario, only: &str| println!("{:<24}{}{only}", scenario.name, scenario.about);
            scenarios::ALL.iter().for_each(|scenario| line(scenario, ""));
            scenarios::FULL.iter().for_each(|scenario| line(scenario, " (only with --full, or by name)"));
            Ok(ExitCode::SUCCESS)
        }
        Command::Run { names, at_once, settings } => runner::run(&names, &settings.to_args()?, at_once),
        Command::Demo { show, settings } => {
            Ok(code(runner::lab(&[vec!["demo".to_owned()], show.to_args(), settings.to_args()?].concat(), None, None)?))
        }
        Command::Soak { wishes, settings } => Ok(code(runner::lab(
            &[vec!["soak".to_owned()], wishes.to_args()?, settings.to_args()?].concat(),
            None,
            None,
        )?)),
        Command::Shell { name, command } => visit::open(name.as_deref(), &command),
        Command::Watch(wishes) => watch::run(&wishes).map(|()| ExitCode::SUCCESS),
        Command::Enter { args } => Ok(code(enter::enter(&args)?)),
        Command::Inside { dir, task } => Ok(code(inside(dir, task))),
        Command::Janitor { dir } => {
            enter::janitor(&dir);
            Ok(ExitCode::SUCCESS)
        }
        Command::Init => vm::init().map(|()| ExitCode::SUCCESS),
        Command::Agent => vm::agent().map(|()| ExitCode::SUCCESS),
    }
}

/// PID 1 of a lab.
fn inside(directory: PathBuf, task: Task) -> i32 {
    if let Err(cause) = enter::settle() {
        println!("   skipped, because a lab cannot be made here: {cause:#}");
        return enter::SKIPPED;
    }
    match task {
        Task::Scenario { name, settings } => runner::scenario(&name, &settings.context(directory)),
        Task::Trouble { name, settings } => runner::trouble(&name, &settings.context(directory)),
        Task::Demo { show, settings } => demo::run(&show, &settings.context(directory)),
        Task::Soak { wishes, settings } => soak::run(&wishes, &settings.context(directory)),
    }
}

fn code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

impl Settings {
    /// As arguments for the stages inside, with the path made whole: they may stand in another directory.
    fn to_args(&self) -> Result<Vec<String>> {
        let daemons = [
            ("--vipd", self.vipd.clone(), "release/vipd"),
            ("--guards-off", self.guards_off.clone(), "guards-off/debug/vipd"),
        ];
        let mut args = Vec::new();
        for (flag, said, place) in daemons {
            let path = std::path::absolute(said.map_or_else(|| in_target(place), Ok)?)?;
            args.extend([flag.to_owned(), path.to_string_lossy().into_owned()]);
        }
        args.extend(self.rounds.iter().flat_map(|rounds| ["--rounds".to_owned(), rounds.to_string()]));
        args.extend(self.full.then(|| "--full".to_owned()));
        Ok(args)
    }

    fn context(self, directory: PathBuf) -> Context {
        Context {
            directory,
            vipd: self.vipd.unwrap_or_default(),
            guards_off: self.guards_off.unwrap_or_default(),
            rounds: self.rounds,
            full: self.full,
        }
    }
}

/// A place under `target`, seen from `target/*/vipd-lab`.
fn in_target(place: &str) -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let target = this.parent().and_then(std::path::Path::parent).context("where is this binary?")?;
    Ok(target.join(place))
}
