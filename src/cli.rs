//! The command line.

mod ask;
mod check;
mod log;
mod reload;
mod status;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::config::{self, Config, Host, LogLevel};
use crate::daemon;
use crate::moment::Moment;
use crate::node::clock::now;

/// sysexits.h: something was found in an unconfigured or misconfigured state.
const EX_CONFIG: u8 = 78;
/// The least from the start to an end that was no order, under a service manager.
const REST: Duration = Duration::from_secs(1);

const AFTER: &str = "\
One vipd runs on every control-plane node. They elect one of themselves through the etcd that is already there, and
only that one has the virtual IP. When it stops, the next one takes over in milliseconds; when it dies, after its
lease's TTL. Two never have it at once.

Try first:  vipd check --live -c /etc/vipd/config.yaml

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
        #[command(flatten)]
        log: LogArgs,
    },
    /// Take off what a dead daemon left here and give its leases back (for a unit's ExecStopPost)
    ///
    /// Refused beside a living daemon. Without etcd the addresses go all the same, and the lease ends by itself. With a
    /// config that is refused by now what the daemon remembered is taken off, and the exit code is 78.
    Release {
        #[command(flatten)]
        config: ConfigFile,
        /// How many seconds etcd may take
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
        timeout: u64,
        #[command(flatten)]
        log: LogArgs,
    },
    /// Say what the daemon on this node knows: every VIP, its holder and queue, the fence, the last moves
    ///
    /// Exit codes: 0 healthy; 3 this node could not take every VIP; 4 a VIP has no holder, as far as this node knows.
    Status {
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        how: status::How,
    },
    /// Have the daemon on this node read its config anew and apply what changed; for a unit's ExecReload
    ///
    /// VIPs that did not change are not touched, not even for a moment. A VIP that was taken out, or whose addresses or
    /// link changed, is handed over in order first: address off, then its key; one that changed or is new then stands in
    /// the queue like at a start. What holds at once: announce, onConflict, etcd's endpoints, discover, tls, user and
    /// passwordFile (the session goes on), log.level (but --log-level and VIPD_LOG of the daemon win). lease.ttl and
    /// lease.margin hold from the next session on, and `vipd status` says so. node, runtimeDir, metrics and etcd.prefix need a
    /// restart: a file in which they changed is refused.
    ///
    /// The file is the one that the daemon was started with. If anything in it is wrong, or needs a restart, nothing at all
    /// is changed, and it is said why: here, in the daemon's log and by `vipd status`. SIGHUP does the same without an
    /// answer.
    ///
    /// Exit codes: 0 applied; 78 the file is refused, nothing was changed; 1 the daemon cannot be asked.
    Reload {
        #[command(flatten)]
        config: ConfigFile,
        /// The daemon's answer as one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Say what would be done on this node, and what it lacks; change nothing
    ///
    /// Exit codes: 0 for a good config, whatever is lacking or found; 78 for one that is refused.
    Check {
        #[command(flatten)]
        config: ConfigFile,
        /// Also ask the network who has the VIPs now, and etcd for a lease of a second; look for settings that would hurt
        #[arg(long)]
        live: bool,
    },
}

#[derive(clap::Args)]
struct ConfigFile {
    /// The config: a Talos machine-config snippet, with vipd's own settings under `vipd:`
    #[arg(short, long, value_name = "FILE", default_value = "/etc/vipd/config.yaml")]
    config: PathBuf,
}

#[derive(clap::Args, Clone)]
struct LogArgs {
    /// How log lines look
    #[arg(long, value_enum, default_value_t = log::Format::Auto)]
    log_format: log::Format,
    /// What is logged: a level (error, warn, info, debug, trace), or levels by module (`info,vipd::node=debug`)
    /// [default: vipd.log.level of the config, else info]
    #[arg(long, env = "VIPD_LOG")]
    log_level: Option<String>,
}

impl LogArgs {
    /// For who ends at once: the journal finds the unit of an entry by its process, which may be gone by then.
    fn to_stderr(&self) -> Self {
        let log_format = match self.log_format {
            log::Format::Auto => log::Format::Text,
            asked => asked,
        };
        Self { log_format, ..self.clone() }
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let command = Cli::parse().command;
    let done = match &command {
        Command::Run { log, config } => {
            load(&config.config).map(|checked| logged(log, checked.log_level, |set| run(checked, &config.config, set)))
        }
        Command::Reload { config, json } => Ok(reload::report(&config.config, *json).unwrap_or_else(|e| failed(&e))),
        Command::Release { log, timeout, config } => match config::load(&config.config) {
            Ok(checked) => {
                let bound = Duration::from_secs(*timeout);
                Ok(logged(&log.to_stderr(), checked.log_level, |_| release(&checked, bound)))
            }
            Err(refusal) => {
                eprintln!(
                    "vipd: {} is refused; only what the daemon remembered is taken off:",
                    config.config.display()
                );
                eprintln!("{refusal}");
                logged(&log.to_stderr(), LogLevel::default(), |_| take_off());
                Err(ExitCode::from(EX_CONFIG))
            }
        },
        Command::Status { config, how } => match ask::find_socket(&config.config) {
            Ok(socket) => Ok(status::report(&socket, how).unwrap_or_else(|e| failed(&e))),
            Err(refusal) => Err(refused(&config.config, &refusal)),
        },
        Command::Check { config, live } => load(&config.config)
            .map(|checked| in_runtime(check::report(&checked, &config.config, *live)).unwrap_or_else(|e| failed(&e))),
    };
    done.unwrap_or_else(|code| code)
}

/// All commands load with the same code, and refuse with the same words.
fn load(path: &Path) -> Result<Config, ExitCode> {
    config::load(path).map_err(|refusal| refused(path, &refusal))
}

fn refused(path: &Path, refusal: &config::Refusal) -> ExitCode {
    eprintln!("vipd: {} is refused; nothing was changed:", path.display());
    eprintln!("{refusal}");
    ExitCode::from(EX_CONFIG)
}

/// The command line, or the environment, wins over the config, also when that changes.
fn logged(log: &LogArgs, configured: LogLevel, work: impl FnOnce(Option<daemon::SetLevel>) -> ExitCode) -> ExitCode {
    let level = log.log_level.as_deref().unwrap_or(configured.name());
    match log::start(log.log_format, level) {
        Ok(set) => work(log.log_level.is_none().then_some(set)),
        Err(e) => {
            eprintln!("vipd: --log-level {level:?}: {e}");
            ExitCode::from(2)
        }
    }
}

fn run(config: Config, path: &Path, set_level: Option<daemon::SetLevel>) -> ExitCode {
    let start = now();
    match in_runtime(daemon::run(config, path, set_level)).and_then(|end| end) {
        Ok(daemon::End::Clean) => tracing::info!("ended; all is given back"),
        Ok(daemon::End::Unfinished) => {
            tracing::warn!("ended; etcd has not heard it all, and the lease will end by itself");
        }
        Err(e) => {
            tracing::error!("ended: {e:#}");
            rest(start);
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// The unit starts a daemon anew at once, for the sake of those that were killed. A start that failed would fail again, many
/// times a second, so it ends a moment later.
fn rest(start: Moment) {
    if std::env::var_os("NOTIFY_SOCKET").is_some() {
        std::thread::sleep(REST.saturating_sub(now().since(start)));
    }
}

fn release(config: &Config, bound: Duration) -> ExitCode {
    match in_runtime(daemon::release(config, bound)).and_then(|end| end) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!("nothing was released in etcd: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// What can be done without a config: the addresses that the daemon remembered.
fn take_off() -> ExitCode {
    let runtime_dir = config::usual_runtime_dir(&Host::this());
    match in_runtime(daemon::take_off(&runtime_dir)).and_then(|end| end) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!("addresses may be left here: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// One thread is enough: everything here waits for something.
fn in_runtime<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    // A thread that waits for a resolver or for a file system that hangs must not hold up the end.
    runtime.shutdown_background();
    Ok(done)
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("vipd: {error:#}");
    ExitCode::FAILURE
}
