//! The one binary: parse, set up logging, call the library, print the chain of what went wrong.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

/// Measured: `tests/campaigns/allocators.sh`. How it gives memory back is set at build, in `.cargo/config.toml`.
#[cfg(all(target_os = "linux", feature = "jemalloc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = tapedeck::cli::Cli::parse();
    wal_format::sys::bus::report_and_exit(tapedeck::cli::EXIT_SIGBUS);
    // The message of a panic is told by its hook.
    match std::panic::catch_unwind(|| tapedeck::cli::run(cli)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(err)) => {
            eprintln!("{}", tapedeck::cli::explain(&err));
            ExitCode::from(tapedeck::cli::exit_code(&err))
        }
        Err(_) => ExitCode::from(tapedeck::cli::EXIT_PANICKED),
    }
}
