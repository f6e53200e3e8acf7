//! `tapedeck-committer`: the files of a lake into the tables of an Iceberg catalog. What it does is in the library.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use committer::check;
use committer::config::Config;
use committer::error::CommitterError;
use committer::open;
use committer::outbox::Outbox;
use committer::round::{self, Report};
use tracing::{error, info, warn};

/// All hours of the lake are looked at this often, the newest two days at every look.
const FULL_LOOK: Duration = Duration::from_secs(3_600);
/// A catalog that does not answer at the start is asked again after this.
const WAIT: Duration = Duration::from_secs(5);
/// Snapshots are expired this often.
const EXPIRE: Duration = Duration::from_secs(6 * 3_600);

/// Gives the files of a Tapedeck lake to the tables of an Iceberg catalog, every row once.
///
/// Without a command it runs until it is stopped, and looks at the lake every `[catalog] interval_s`. It may be killed at any time.
#[derive(Parser)]
#[command(name = "tapedeck-committer", version)]
struct Args {
    /// The configuration file of collector and compactor, with `[catalog]`.
    #[arg(long, global = true, value_name = "FILE", default_value = "tapedeck.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Commits what there is, and ends: 0 when all of the lake is in the tables, 1 when some is not.
    Once,
    /// Compares catalog, lake and manifests and tells every difference: 0 when there is none, 1 else.
    Check,
    /// Adds the files of a part although the position of a table says that they are there: the way out that a refusal names.
    Add {
        /// Key of its manifest: _manifests/exchange=.../....json
        manifest: String,
    },
    /// Expires old snapshots now, and removes metadata that nothing names.
    Expire,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(code) => code,
        Err(err) => {
            eprintln!("error: {err:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<ExitCode> {
    let cfg = Config::load(&args.config, std::env::vars())?;
    ops::telemetry::init(&cfg.log);
    let session = loop {
        match open(&cfg) {
            Ok(session) => break session,
            // A service waits for a catalog that is not there yet.
            Err(err) if args.command.is_none() && err.is_passing() => {
                warn!(error = %ops::chain(&err), pause_s = WAIT.as_secs(), "the catalog does not answer, asking again");
                std::thread::sleep(WAIT);
            }
            Err(err) => return Err(err).context("open lake and catalog"),
        }
    };
    let mut outbox = Outbox::default();
    match &args.command {
        None => serve(&cfg, &session),
        Some(Command::Once) => ended(&round::round(&session, &mut outbox, true, None)?),
        Some(Command::Add { manifest }) => ended(&round::round(&session, &mut outbox, true, Some(manifest))?),
        Some(Command::Expire) => {
            let hours = cfg.catalog.snapshot_retention_hours;
            let expired = committer::expire::expire(&session, hours)?;
            println!("{} snapshots and {} files removed", expired.snapshots, expired.files);
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Check) => {
            let found = check::compare(&session)?;
            for line in &found.differences {
                println!("{line}");
            }
            for line in &found.notes {
                println!("note: {line}");
            }
            let (parts, files, rows, differences) = (found.parts, found.files, found.rows, found.differences.len());
            println!("{parts} parts, {files} files and {rows} rows in the tables, {differences} differences");
            Ok(if found.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

fn ended(report: &Report) -> Result<ExitCode> {
    for line in report.refused.iter().chain(&report.failed) {
        println!("{line}");
    }
    println!(
        "{} parts committed, {} rewritten, {} removed, {} commits, {} refused, {} tables failed",
        report.parts,
        report.rewritten,
        report.removed,
        report.commits,
        report.refused.len(),
        report.failed.len()
    );
    Ok(if report.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Never returns but with what does not pass by itself.
fn serve(cfg: &Config, session: &committer::Session) -> Result<ExitCode> {
    let interval = Duration::from_secs(cfg.catalog.interval_s);
    let mut outbox = Outbox::default();
    let (mut full, mut expired): (Option<Instant>, Option<Instant>) = (None, None);
    loop {
        let began = Instant::now();
        let due = |last: Option<Instant>, every| last.is_none_or(|at| at.elapsed() >= every);
        let everything = due(full, FULL_LOOK);
        match round::round(session, &mut outbox, everything, None) {
            Ok(report) => {
                if everything {
                    full = Some(began);
                }
                info!(
                    target: ops::telemetry::STATS,
                    parts = report.parts,
                    rewritten = report.rewritten,
                    removed = report.removed,
                    commits = report.commits,
                    refused = report.refused.len(),
                    failed = report.failed.len(),
                    elapsed_ms = began.elapsed().as_millis() as u64,
                    "round"
                );
            }
            // Somebody has to decide; to go on asking would only fill the log.
            Err(err @ (CommitterError::NoPosition { .. } | CommitterError::Unfit { .. })) => return Err(err.into()),
            Err(err) => error!(error = %ops::chain(&err), "a round failed, trying again"),
        }
        if cfg.catalog.snapshot_retention_hours > 0 && due(expired, EXPIRE) {
            expired = Some(began);
            match committer::expire::expire(session, cfg.catalog.snapshot_retention_hours) {
                Ok(done) => info!(snapshots = done.snapshots, files = done.files, "expired"),
                Err(err) => warn!(error = %ops::chain(&err), "snapshots could not be expired, trying again later"),
            }
        }
        std::thread::sleep(interval.saturating_sub(began.elapsed()).max(Duration::from_millis(100)));
    }
}
