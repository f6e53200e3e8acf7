//! `tapedeck history status`: what the manifest knows, in a page or as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Result;
use serde::Serialize;

use super::choice::Choice;
use crate::cli::output::print_out;
use history::download_error;
use history::manifest::{Run, State};

/// Arguments of `tapedeck history status`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    choice: Choice,
    /// Dead letters shown, at most (in JSON all are).
    #[arg(long, default_value_t = 50)]
    dead: usize,
}

#[derive(Debug, Default, Serialize)]
struct Count {
    files: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct DeadLetter {
    path: String,
    attempts: u64,
    error: String,
    what_to_do: &'static str,
}

#[derive(Debug, Serialize)]
struct StatusReport {
    mirror: String,
    free_bytes: u64,
    states: BTreeMap<&'static str, Count>,
    uploaded_again: u64,
    without_checksum: u64,
    wants_cleaning: u64,
    dead: Vec<DeadLetter>,
    runs: Vec<Run>,
}

pub(super) fn run(args: Args) -> Result<()> {
    let chosen = args.choice.check()?;
    let mirror = chosen.mirror()?;
    let mut manifest = mirror.manifest(&chosen.cfg.history)?;
    let mut report = StatusReport {
        mirror: mirror.dir.display().to_string(),
        free_bytes: mirror.free_bytes()?,
        states: State::ALL.into_iter().map(|s| (s.as_str(), Count::default())).collect(),
        uploaded_again: 0,
        without_checksum: 0,
        wants_cleaning: 0,
        dead: Vec::new(),
        runs: Vec::new(),
    };
    manifest.for_each(&chosen.selection, &mut |row| {
        let count = report.states.entry(row.state.as_str()).or_default();
        count.files += 1;
        count.bytes += row.listed.size;
        report.uploaded_again += u64::from(!row.history.is_empty());
        report.without_checksum += u64::from(row.state == State::Here && row.published_sha256.is_none());
        report.wants_cleaning += u64::from(row.needs_cleaning());
        if row.state == State::Dead {
            let error = row.last_error.unwrap_or_default();
            report.dead.push(DeadLetter {
                path: row.listed.path.to_string(),
                attempts: row.attempts,
                what_to_do: download_error::advice(&error),
                error,
            });
        }
        Ok(())
    })?;
    report.runs = manifest.runs(5)?;
    if chosen.json {
        return print_out(&format!("{}\n", serde_json::to_string(&report)?));
    }
    print_out(&page(&report, args.dead)?)
}

fn page(report: &StatusReport, most: usize) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "mirror {}, {:.1} GiB free", report.mirror, gib(report.free_bytes))?;
    for (state, count) in &report.states {
        writeln!(text, "  {state:<8} {:>9} files {:>10.3} GiB", count.files, gib(count.bytes))?;
    }
    for (n, what) in [
        (report.uploaded_again, "were uploaded again since they were first here"),
        (report.without_checksum, "are here without a published checksum"),
        (report.wants_cleaning, "want cleaning: tapedeck history clean"),
    ] {
        if n > 0 {
            writeln!(text, "  {n} {what}")?;
        }
    }
    if !report.dead.is_empty() {
        writeln!(text, "dead letters (tapedeck history download --retry-dead tries them again):")?;
    }
    for dead in report.dead.iter().take(most) {
        writeln!(text, "  {}\n    {} ({} attempts)\n    {}", dead.path, dead.error, dead.attempts, dead.what_to_do)?;
    }
    if report.dead.len() > most {
        writeln!(text, "  and {} more (--dead N, --json)", report.dead.len() - most)?;
    }
    for run in &report.runs {
        let summary = run.summary.as_ref().map(ToString::to_string).unwrap_or_default();
        let outcome = run.outcome.as_deref().unwrap_or("running, or killed");
        writeln!(text, "run {} {} {}: {outcome} {summary}", run.id, run.command, run.holder)?;
    }
    Ok(text)
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}
