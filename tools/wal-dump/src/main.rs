//! `wal-dump`: looks into a Tapedeck log, live or dead, whole or damaged.
//!
//! It opens everything read-only, takes no lock, and writes only what `salvage --out` asks for. Data goes to stdout, all else
//! to stderr; a reader that closes the pipe is not an error. The exit code says what the log is
//! like, see [`Exit`].

mod cmd;
mod print;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use wal_format::plain;

/// What the log is like, as the exit code. The worst finding wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Everything that was looked at is whole.
    Clean = 0,
    /// The last segment ends without a seal: a live writer, or one that was killed.
    TornTail = 1,
    /// Records are missing inside the log; each lost range is named.
    Lost = 2,
    /// Records are missing that were known to be on disk.
    DurableLost = 3,
    /// Something cannot be read at all, or the command was wrong.
    Unreadable = 4,
}

impl Exit {
    /// What one lost range makes of a log.
    fn of(lost: &wal_format::LostRange) -> Exit {
        if lost.below_durable { Exit::DurableLost } else { Exit::Lost }
    }
}

/// Looks into Tapedeck logs: live, copied, archived or damaged. Writes nothing unless `salvage --out` says where.
///
/// Exit codes: 0 clean, 1 torn tail only, 2 records lost, 3 records lost that were durable, 4 unreadable.
#[derive(Parser)]
#[command(name = "wal-dump", version, about, long_about)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The log as a whole: writer, positions, segments, readers and their lag.
    Stat {
        /// Directory of one log, for example data/wal/binance-spot.
        #[arg(value_name = "LOG")]
        log: PathBuf,
        /// One JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// One line per segment.
    Ls {
        #[command(flatten)]
        place: cmd::PlaceArgs,
        /// One JSON object per line instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Checks every segment (checksums, numbers, seals, footers), EPOCH, CONTROL and the acks; names each fault.
    Verify {
        #[command(flatten)]
        place: cmd::PlaceArgs,
        /// Also recompute what the footer says and require unused bytes to be zero.
        #[arg(long)]
        deep: bool,
        /// One JSON object per line instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Prints records.
    Dump(cmd::dump::DumpArgs),
    /// Prints records as they are appended, until interrupted.
    Follow(cmd::follow::FollowArgs),
    /// Lists every lost range in the log: the numbers, the place and the reason.
    Holes {
        #[command(flatten)]
        place: cmd::PlaceArgs,
        /// One JSON object per line instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Who holds which segment back, and how far every reader is behind.
    Lag {
        /// Directory of one log.
        #[arg(value_name = "LOG")]
        log: PathBuf,
        /// One JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// In plain sentences: why a byte is invalid, or what happened at a moment.
    Explain(cmd::explain::ExplainArgs),
    /// What can still be read of a damaged log; with --out as a new, whole log.
    Salvage(cmd::salvage::SalvageArgs),
    /// How fast this machine reads, verifies and compresses the log. Writes nothing.
    Bench(cmd::bench::BenchArgs),
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(err) => {
            let asked = !err.use_stderr();
            // Help on a closed pipe is nobody's error.
            let _ = err.print();
            return ExitCode::from(if asked { 0 } else { Exit::Unreadable as u8 });
        }
    };
    let stdout = io::stdout().lock();
    let is_terminal = stdout.is_terminal();
    let buffer = io::BufWriter::with_capacity(64 * 1024, stdout);
    // Bytes as they are for a file or a pipe; on a screen nothing that it would act upon.
    let mut out: Box<dyn Write> = if is_terminal { Box::new(plain::Plain(buffer)) } else { Box::new(buffer) };
    let result = match args.command {
        Command::Stat { log, json } => cmd::stat::run(&log, json, &mut out),
        Command::Ls { place, json } => cmd::ls::run(&place, json, &mut out),
        Command::Verify { place, deep, json } => cmd::verify::run(&place, deep, json, &mut out),
        Command::Dump(args) => cmd::dump::run(&args, &mut out),
        Command::Follow(args) => cmd::follow::run(&args, &mut out),
        Command::Holes { place, json } => cmd::holes::run(&place, json, &mut out),
        Command::Lag { log, json } => cmd::lag::run(&log, json, &mut out),
        Command::Explain(args) => cmd::explain::run(&args, &mut out),
        Command::Salvage(args) => cmd::salvage::run(&args, &mut out),
        Command::Bench(args) => cmd::bench::run(&args, &mut out),
    }
    .and_then(|exit| {
        out.flush()?;
        Ok(exit)
    });
    match result {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(err) if print::is_closed_pipe(&err) => {
            // Dropping the buffer would try to write its rest once more.
            std::mem::forget(out);
            ExitCode::SUCCESS
        }
        Err(err) => {
            print::error(&err);
            ExitCode::from(Exit::Unreadable as u8)
        }
    }
}
