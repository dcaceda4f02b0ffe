//! Judges evidence, issues SVIDs with keys that stay in the HSM, and records every decision.

fn main() -> std::process::ExitCode {
    hallmark_server::cli::main()
}
