//! The command line.

mod check;
mod log;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, Config};
use crate::daemon;

/// sysexits.h: something was found in an unconfigured or misconfigured state.
const EX_CONFIG: u8 = 78;

const AFTER: &str = "\
One vipd runs on every control-plane node. They elect one of themselves through the etcd that is already there, and
only that one has the virtual IP. When it stops, the next one takes over in milliseconds; when it dies, after its
lease's TTL. Two never have it at once.

Try first:  vipd check -c /etc/vipd/config.yaml

The smallest config is a Talos machine-config snippet:

  machine:
    network:
      interfaces:
        - interface: eth0
          vip: {ip: 192.168.0.15}

Exit codes: 0 ended as asked; 1 could not run; 2 wrong command line; 78 wrong config, nothing was touched.";

#[derive(Parser)]
#[command(name = "vipd", version, about = "One virtual IP on exactly one control-plane node, elected through etcd", after_help = AFTER)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Stand for the VIPs of the config until SIGTERM or SIGINT (a second one: addresses off, and go)
    Run {
        #[command(flatten)]
        config: ConfigFile,
        /// How log lines look
        #[arg(long, value_enum, default_value_t = log::Format::Text)]
        log_format: log::Format,
        /// What is logged: a level (error, warn, info, debug, trace), or levels by module (`info,vipd::node=debug`)
        #[arg(long, env = "VIPD_LOG", default_value = "info")]
        log_level: String,
    },
    /// Say what would be done on this node, and what it lacks; change nothing
    Check {
        #[command(flatten)]
        config: ConfigFile,
    },
}

#[derive(clap::Args)]
struct ConfigFile {
    /// The config: a Talos machine-config snippet, with vipd's own settings under `vipd:`
    #[arg(short, long, value_name = "FILE", default_value = "/etc/vipd/config.yaml")]
    config: PathBuf,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run { config, log_format, log_level } => match load(&config.config) {
            Ok(config) => run(config, log_format, &log_level),
            Err(code) => code,
        },
        Command::Check { config } => match load(&config.config) {
            Ok(checked) => in_runtime(check::report(&checked, &config.config)).unwrap_or_else(|e| failed(&e)),
            Err(code) => code,
        },
    }
}

/// Both commands load with the same code, and refuse with the same words.
fn load(path: &Path) -> Result<Config, ExitCode> {
    config::load(path).map_err(|refusal| {
        eprintln!("vipd: {} is refused; nothing was changed:", path.display());
        eprintln!("{refusal}");
        ExitCode::from(EX_CONFIG)
    })
}

fn run(config: Config, format: log::Format, level: &str) -> ExitCode {
    if let Err(e) = log::start(format, level) {
        eprintln!("vipd: --log-level {level:?}: {e}");
        return ExitCode::from(2);
    }
    match in_runtime(daemon::run(config)).and_then(|end| end) {
        Ok(daemon::End::Clean) => tracing::info!("ended; all is given back"),
        Ok(daemon::End::Unfinished) => {
            tracing::warn!("ended; etcd has not heard it all, and the lease will end by itself")
        }
        Err(e) => {
            tracing::error!("ended: {e:#}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// One thread is enough: everything here waits for something.
fn in_runtime<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(work))
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("vipd: {error:#}");
    ExitCode::FAILURE
}
