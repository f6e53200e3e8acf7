//! `tapedeck history list`: what the archive has, what is here, what differs. Changes nothing.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Result, bail};
use serde::Serialize;
use wal_format::plain;

use super::choice::{Choice, Chosen};
use crate::cli::exit::Usage;
use crate::cli::output::print_out;
use crate::cli::runtime::runtime;
use history::list::{Compared, Standing, compare};

/// Arguments of `tapedeck history list`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    choice: Choice,
    /// Only files that are: missing, here, differs, queued, dead, gone, unknown; separated by commas.
    #[arg(long, value_name = "STATES", value_delimiter = ',')]
    only: Vec<String>,
    /// No line per file, only the sums.
    #[arg(long)]
    brief: bool,
}

#[derive(Debug, Default, Serialize)]
struct Sum {
    files: u64,
    bytes: u64,
}

pub(super) fn run(args: Args) -> Result<()> {
    let chosen = args.choice.check()?;
    let mut only = Vec::new();
    for word in &args.only {
        only.push(word.parse::<Standing>().map_err(|err| Usage(err.to_string()))?);
    }
    let show = |file: &Compared| !args.brief && (only.is_empty() || only.contains(&file.standing));
    let (sums, problems) = print_files(&chosen, show)?;
    if chosen.json {
        print_out(&format!("{}\n", serde_json::json!({ "summary": sums, "unlisted": problems })))?;
    } else {
        let mut text = String::new();
        for (standing, sum) in &sums {
            writeln!(text, "{standing}: {} files, {:.1} MiB", sum.files, mib(sum.bytes))?;
        }
        eprint!("{text}");
    }
    fail_for(problems)
}

/// What a download would do.
pub(super) fn dry_run(chosen: &Chosen, retry_dead: bool) -> Result<()> {
    let wanted = move |file: &Compared| match file.standing {
        Standing::Missing | Standing::Differs | Standing::Queued => true,
        Standing::Dead => retry_dead,
        Standing::Here | Standing::Gone => false,
        // Nobody downloads them, but whoever asks what a download would do wants to know.
        Standing::Unknown => true,
    };
    let (sums, problems) = print_files(chosen, wanted)?;
    let words = ["missing", "differs", "queued", if retry_dead { "dead" } else { "" }];
    let would = words.iter().filter_map(|w| sums.get(w));
    let (files, bytes) = would.fold((0, 0), |(f, b), sum| (f + sum.files, sum.bytes.saturating_add(b)));
    let free = chosen.mirror()?.free_bytes()?;
    if chosen.json {
        let report = serde_json::json!({ "dry_run": { "files": files, "bytes": bytes, "free_bytes": free } });
        print_out(&format!("{report}\n"))?;
    } else {
        eprintln!("{files} files, {:.1} MiB would be downloaded; {:.1} MiB are free", mib(bytes), mib(free));
    }
    fail_for(problems)
}

/// Prints the files that `show` picks; the sums of all of them, and how many folders could not be listed.
fn print_files(chosen: &Chosen, show: impl Fn(&Compared) -> bool) -> Result<(BTreeMap<&'static str, Sum>, u64)> {
    let mut sums: BTreeMap<&'static str, Sum> = BTreeMap::new();
    let print = |file: Compared| {
        if !show(&file) {
            return Ok(());
        }
        if chosen.json {
            return print_out(&format!("{}\n", serde_json::to_string(&file)?));
        }
        let why = file.differs.map_or_else(String::new, |what| format!(" ({what})"));
        print_out(&format!("{}\t{}\t{}{why}\n", file.standing, file.size, plain::line(&file.path)))
    };
    let each = |file: Compared| {
        let sum = sums.entry(file.standing.as_str()).or_default();
        sum.files += 1;
        sum.bytes = sum.bytes.saturating_add(file.size);
        print(file)
    };
    let (problems, unknown) =
        runtime()?.block_on(compare(&chosen.cfg.history, &chosen.selection, chosen.auto, each))?;
    if unknown.count > 0 {
        sums.insert(Standing::Unknown.as_str(), Sum { files: unknown.count, bytes: unknown.bytes });
        tell_unknown(unknown.count);
    }
    for key in unknown.first {
        print(key.into())?;
    }
    for (folder, failure) in &problems {
        eprintln!("{}", plain::line(&format!("cannot list {folder}: {failure}")));
    }
    Ok((sums, problems.len() as u64))
}

/// Says on the error output that there is more than is understood.
pub(super) fn tell_unknown(count: u64) {
    eprintln!("{count} names of the archive are not understood: they are neither downloaded nor cleaned (unknown)");
}

fn fail_for(problems: u64) -> Result<()> {
    if problems > 0 {
        bail!("{problems} folders could not be listed; the rest is complete");
    }
    Ok(())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
