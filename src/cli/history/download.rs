//! `tapedeck history download`: mirrors the chosen files; goes on where it was stopped or killed.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use wal_format::plain;

use super::choice::{Choice, Chosen};
use super::list;
use super::progress::Progress;
use crate::cli::exit::Stopped;
use crate::cli::output::print_out;
use crate::cli::runtime::runtime;
use history::download::{DownloadJob, Summary, download};
use ops::memory::MemoryMonitor;
use ops::shutdown::Shutdown;
use ops::supervise::Supervisor;

/// Arguments of `tapedeck history download`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    choice: Choice,
    /// Try files on the dead-letter list again.
    #[arg(long)]
    retry_dead: bool,
    /// Only report what would be downloaded.
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(args: Args) -> Result<()> {
    let chosen = args.choice.check()?;
    if args.dry_run {
        return list::dry_run(&chosen, args.retry_dead);
    }
    runtime()?.block_on(fetch(&chosen, args.retry_dead))
}

async fn fetch(chosen: &Chosen, retry_dead: bool) -> Result<()> {
    let stop = Shutdown::new();
    stop.on_signals(&Supervisor::default())?;
    let progress = Arc::new(Progress::new(chosen.json));
    let (_monitor, pressure) = MemoryMonitor::start(&chosen.cfg.memory, "history", &Supervisor::default())
        .context("cannot start the memory monitor")?;
    let job = DownloadJob { selection: chosen.selection.clone(), auto: chosen.auto, retry_dead, pressure };
    let done = download(&chosen.cfg.history, job, Arc::clone(&progress) as _, stop).await;
    progress.end();
    let summary = done?;
    if chosen.json {
        print_out(&format!("{}\n", serde_json::json!({ "summary": summary })))?;
    } else {
        print_out(&page(&summary))?;
    }
    if summary.unknown > 0 {
        list::tell_unknown(summary.unknown);
        for key in &summary.unknown_keys {
            eprintln!("unknown\t{}", plain::line(key));
        }
    }
    if summary.listed == 0 && summary.unlisted == 0 && !summary.stopped {
        eprintln!("the archive lists no such file; tapedeck history list shows what it has");
    }
    if summary.stopped {
        return Err(Stopped.into());
    }
    if summary.unlisted > 0 {
        bail!("{} folders could not be listed; the same command tries them again", summary.unlisted);
    }
    if summary.failed + summary.dead_before > 0 {
        bail!(
            "{} files are on the dead-letter list; tapedeck history status says why and what to do",
            summary.failed + summary.dead_before
        );
    }
    Ok(())
}

fn page(s: &Summary) -> String {
    let mib = |n: u64| n as f64 / f64::from(1 << 20);
    format!(
        "{} files listed: {} downloaded ({:.1} MiB), {} only proven, {} here already, {} uploaded again, {} dead; \
         {} retries, {:.1} MiB received in {} s\n",
        s.listed,
        s.ok,
        mib(s.ok_bytes),
        s.proven,
        s.skipped,
        s.changed,
        s.failed + s.dead_before,
        s.retries,
        mib(s.received_bytes),
        s.seconds
    )
}
