//! Judges evidence, issues SVIDs with keys that stay in the HSM, and records every decision.

/// Requests leave much short-lived memory behind, and threads free what others took; the system's allocator pays for
/// both with locks and with returning memory that is needed again at once.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    hallmark_server::cli::main()
}
