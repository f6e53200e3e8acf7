//! One file per subcommand: its arguments and a call into the crate that does the work.
//!
//! Exit codes: 0 success, 1 failure with one plain sentence and what to do, 2 usage (arguments or configuration), from
//! 10 on what a service manager may want to distinguish, 130 stopped by a signal where work can go on (`history`). The
//! constants of `exit.rs` are all of them; `docs/operations.md` has the table.
//! Data goes to stdout, everything else to stderr; a closed pipe is not an error.

mod collector;
mod compactor;
mod completions;
mod config;
mod config_arg;
pub mod demo;
mod doctor;
mod exit;
mod history;
mod klines;
mod output;
mod quality;
mod replay;
mod runtime;
mod service;
mod shipper;
mod status;
mod time;
mod verify;

use clap::{CommandFactory, Parser, Subcommand};

pub use exit::{
    EXIT_DATA_MISSING, EXIT_FAILURE, EXIT_OK, EXIT_PANICKED, EXIT_SIGBUS, EXIT_STOPPED, EXIT_USAGE, exit_code, explain,
};

/// Records the public market-data tape of crypto exchanges, loses nothing, and plays it back.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows the whole path in one go: simulated exchanges on loopback, a collector, a compactor, the accounting.
    Demo(demo::Args),
    /// Record exchange WebSockets into the log.
    Collector(collector::Args),
    /// Ship logs into an object store, where no collector of this machine does it.
    Shipper(shipper::Args),
    /// Decode the log into the lake; serve candles, API and page.
    Compactor(compactor::Args),
    /// Rebuilds the lake from the log, or proves that the published one is what the log says.
    Replay(replay::Args),
    /// Mirror, import and verify the exchange's historical archive.
    History(history::Args),
    /// How complete and how clean the recording is, per hour or day.
    Quality(quality::Args),
    /// Proves that nothing in the lake was altered since it was published.
    Verify(verify::Args),
    /// Fills, compares and exports stored candles.
    Klines(klines::Args),
    /// Checks a configuration, or shows the effective one and where each value came from.
    Config(config::Args),
    /// Whether this machine is fit to record: limits, clock, disk, memory, kernel, ports.
    Doctor(doctor::Args),
    /// What runs, how far behind, how much disk.
    Status(status::Args),
    /// Prints completions for a shell.
    Completions(completions::Args),
    /// Prints the manual page.
    Man,
}

/// Runs one subcommand.
///
/// # Errors
/// Whatever stopped it; [`explain`] makes it readable and [`exit_code`] says how the process should end.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Demo(args) => demo::run(args),
        Command::Collector(args) => collector::run(args),
        Command::Shipper(args) => shipper::run(args),
        Command::Compactor(args) => compactor::run(args),
        Command::Replay(args) => replay::run(args),
        Command::History(args) => history::run(args),
        Command::Quality(args) => quality::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Klines(args) => klines::run(args),
        Command::Config(args) => config::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Status(args) => status::run(args),
        Command::Completions(args) => completions::run(args, &mut Cli::command()),
        Command::Man => completions::man(Cli::command()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_line_of_the_readme_and_of_the_docs_is_understood() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = vec![root.join("README.md")];
        files.extend(std::fs::read_dir(root.join("docs")).expect("docs").flatten().map(|entry| entry.path()));
        let mut lines = 0;
        for file in files.iter().filter(|file| file.extension().is_some_and(|ext| ext == "md")) {
            let text = std::fs::read_to_string(file).expect("a document");
            for line in text.lines().filter_map(|l| l.strip_prefix("target/release/tapedeck ")) {
                let line = line.split(" #").next().unwrap_or_default();
                let words = line.split_whitespace().map(|word| word.trim_matches('\''));
                if let Err(err) = Cli::try_parse_from(std::iter::once("tapedeck").chain(words)) {
                    panic!("{}: {line}: {err}", file.display());
                }
                lines += 1;
            }
        }
        assert!(lines > 20, "{lines}");
    }
}
