//! The `hallmark-agent` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    hallmark_agent::cli::silence_tss();
    hallmark_agent::cli::main()
}
