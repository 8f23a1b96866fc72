//! `vipd`: parse the command line, run it, turn the error into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    vipd::cli::main()
}
