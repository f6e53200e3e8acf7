//! `tapedeck history clean`: mirrored files to tables of a lake; `--dry-run` reports which, and why.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use wal_format::{durable, error_chain, plain};

use super::choice::{Choice, Chosen};
use crate::cli::output::print_out;
use compact::write_settings;
use history::clean::plan::{Digests, Downloaded, Plan, plan};
use history::clean::record::InputRecord;
use history::clean::run::CleanedMonth;
use history::clean::unit::{Settings, preview};
use history::clean::{CleanJob, Record, Summary};
use history::manifest::{EXPORTS, State};
use lake::{LakeFormat, WriteSettings};
use ops::clock;
use ops::memory::{Level, MemoryMonitor};
use ops::supervise::Supervisor;

/// Most files that are named one by one.
const SHOWN: usize = 20;
/// Between two plain lines.
const LINE_EVERY_NS: u64 = 10_000_000_000;

/// Arguments of `tapedeck history clean`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    choice: Choice,
    /// Clean again what has not changed; gives the same bytes.
    #[arg(long)]
    force: bool,
    /// Let rows leave the lake whose files are no longer in the mirror, or hold no row any more; else their
    /// months stay as they are.
    #[arg(long)]
    forget_gone: bool,
    /// Only report which months would be cleaned, and why.
    #[arg(long)]
    dry_run: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn run(args: &Args) -> Result<()> {
    let chosen = args.choice.check()?;
    let mirror = chosen.mirror()?;
    let mut manifest = mirror.manifest(&chosen.cfg.history)?;
    let mut digests = Digests::new();
    // What was cleaned, so that the manifest is written only where it changes.
    let mut cleaned: HashMap<String, String> = HashMap::new();
    manifest.for_each(&Default::default(), &mut |row| {
        let name = row.listed.path.to_string();
        if let Some(sha256) = row.sha256.filter(|_| row.state == State::Here) {
            let former_sha256 = row.history.into_iter().filter_map(|f| f.sha256).collect();
            digests.insert(name.clone(), Downloaded { sha256, bytes: row.listed.size, former_sha256 });
        }
        if let Some(sha256) = row.cleaned_sha256 {
            cleaned.insert(name, sha256);
        }
        Ok(())
    })?;
    let plan = plan(&mirror.dir, &chosen.selection, &digests)?;
    if args.dry_run {
        return dry_run(&chosen, &plan, args);
    }
    let (memory, pressure) = MemoryMonitor::start(&chosen.cfg.memory, "history", &Supervisor::default())
        .context("start the memory monitor")?;
    let level = || pressure.level();
    let workers = match chosen.cfg.history.clean_workers {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        n => n,
    };
    let progress = Progress::new(&plan, chosen.json);
    let run = manifest.begin_run(&mirror.who, "clean")?;
    let manifest = Mutex::new(manifest);
    let started = clock::now().mono_ns;
    let on_month = |month: &CleanedMonth<'_>| {
        if let Ok((record, _)) = &month.result {
            // The files lie here as the directory lists them, the inputs in the order of their names.
            for file in month.files {
                let name = file.path.to_string();
                let Some(input) = record.inputs.iter().find(|i| i.path == name) else { continue };
                let is_news = cleaned.get(&input.path) != Some(&input.sha256) && digests.contains_key(&input.path);
                if is_news
                    && input.refused.is_none()
                    && let Err(err) = lock(&manifest).mark_cleaned(&file.path, &input.sha256, &outcome(record, input))
                {
                    tracing::warn!(file = %input.path, error = %error_chain(&err), "the manifest cannot record that it is cleaned");
                }
            }
        }
        progress.on_month(month);
    };
    let settings = settings(&chosen, workers, &level, args)?;
    let summary = history::clean::run(&CleanJob { settings, plan, on_month: &on_month });
    drop(memory);
    progress.end();
    let mut manifest = lock(&manifest);
    let summary = match summary {
        Ok(summary) => summary,
        Err(err) => {
            manifest.end_run(run, "failed", &json!({ "error": error_chain(&err) }))?;
            return Err(err.into());
        }
    };
    let well = summary.failed.is_empty() && summary.refused.is_empty();
    manifest.end_run(run, if well { "done" } else { "with failures" }, &summary.in_short())?;
    let seconds = (clock::now().mono_ns - started) / 1_000_000_000;
    let metrics = mirror.dir.join(EXPORTS).join("clean.prom");
    durable::create_dir_all(&mirror.dir.join(EXPORTS)).with_context(|| format!("make {}", mirror.dir.display()))?;
    durable::write_file(&metrics, summary.prometheus(seconds, clock::wall_ns() / 1_000_000_000).as_bytes())
        .with_context(|| format!("write {}", metrics.display()))?;
    print(&chosen, &summary)?;
    let (refused, failed) = (summary.refused.len(), summary.failed.len());
    if refused + failed > 0 {
        anyhow::bail!(
            "{failed} months failed and {refused} files cannot be used: see above; `tapedeck history download` fetches \
             damaged files again, then clean again"
        );
    }
    Ok(())
}

fn settings<'s>(
    chosen: &Chosen,
    workers: usize,
    level: &'s (dyn Fn() -> Level + Sync),
    args: &Args,
) -> anyhow::Result<Settings<'s>> {
    Ok(Settings {
        lake: chosen.lake()?,
        // Whatever the live lake is published as: what is cleaned is read again, by name of column.
        write: WriteSettings { format: LakeFormat::Parquet, ..write_settings(&chosen.cfg.lake) },
        by_day: chosen.cfg.history.file_per == history::FilePer::Day,
        chunk_rows: chosen.cfg.history.chunk_rows,
        stream_rows: chosen.cfg.history.stream_rows(),
        workers,
        level,
        force: args.force,
        forget_gone: args.forget_gone,
    })
}

/// Prints the months that would be cleaned, and why. Changes nothing.
fn dry_run(chosen: &Chosen, plan: &Plan, args: &Args) -> Result<()> {
    let level = || Level::Normal;
    let settings = settings(chosen, 1, &level, args)?;
    let (mut months, mut files, mut bytes, mut refused) = (0, 0, 0, 0);
    for (unit, found) in &plan.units {
        let (why, unusable) = preview(&settings, unit, found.clone())?;
        refused += unusable.len();
        let Some(why) = why else { continue };
        let size: u64 = found.iter().map(|f| f.bytes).sum();
        (months, files, bytes) = (months + 1, files + found.len(), bytes + size);
        let (series, month) = (unit.series.folder().unwrap_or_default(), unit.month_word());
        if chosen.json {
            let line = json!({
                "series": series, "month": month, "why": why.as_str(), "because_of": why.files(),
                "files": found.len(), "bytes": size, "refused": unusable,
            });
            print_out(&format!("{line}\n"))?;
            continue;
        }
        let because: String = why.files().iter().take(SHOWN).map(|f| format!(", {f}")).collect();
        print_out(&format!("{series}\t{month}\t{} files\t{size} bytes\t{}{because}\n", found.len(), why.as_str()))?;
        for (name, reason) in unusable.iter().take(SHOWN) {
            print_out(&format!("{series}\t{month}\tcannot be used: {}: {}\n", plain::line(name), plain::line(reason)))?;
        }
    }
    let unchanged = plan.units.len() - months;
    if chosen.json {
        let sums = json!({
            "months": plan.units.len(), "would_clean": months, "unchanged": unchanged, "files": files, "bytes": bytes,
            "refused_files": refused, "only_mirrored": plan.only_mirrored,
        });
        return print_out(&format!("{}\n", json!({ "dry_run": sums })));
    }
    eprintln!(
        "{months} months would be cleaned, from {files} files of {:.1} MiB; {unchanged} are as they should be",
        bytes as f64 / f64::from(1 << 20)
    );
    Ok(())
}

/// What the manifest keeps of a file.
fn outcome(record: &Record, input: &InputRecord) -> serde_json::Value {
    let c = &input.counts;
    json!({
        "month": record.month, "rows": c.rows, "used": input.used, "sentinels": c.sentinels, "put_aside": c.rejected,
        "unordered": c.unordered,
    })
}

fn print(chosen: &Chosen, s: &Summary) -> Result<()> {
    if chosen.json {
        return print_out(&format!("{}\n", serde_json::to_string(s)?));
    }
    let mut text = format!(
        "{} months: {} cleaned, {} unchanged, {} failed; {} rows in {:.1} MiB from {:.1} MiB of the archive\n\
         {} duplicates and {} place-holders left out, {} lines rejected (_quarantine/)\n",
        s.months,
        s.cleaned,
        s.unchanged,
        s.failed.len(),
        s.rows,
        s.bytes_out as f64 / f64::from(1 << 20),
        s.bytes_in as f64 / f64::from(1 << 20),
        s.duplicates,
        s.sentinels,
        s.put_aside
    );
    if s.only_mirrored > 0 {
        text.push_str(&format!("{} files are of kinds that are only mirrored\n", s.only_mirrored));
    }
    if !s.unknown.is_empty() {
        text.push_str(&format!("{} files of the mirror have names that are not understood\n", s.unknown.len()));
        for name in s.unknown.iter().take(SHOWN) {
            text.push_str(&format!("unknown: {}\n", plain::line(name)));
        }
    }
    for (what, list) in [("cannot be used", &s.refused), ("failed", &s.failed)] {
        for (name, why) in list.iter().take(SHOWN) {
            text.push_str(&format!("{what}: {}: {}\n", plain::line(name), plain::line(why)));
        }
        if list.len() > SHOWN {
            text.push_str(&format!("and {} more (--json shows all)\n", list.len() - SHOWN));
        }
    }
    print_out(&text)
}

/// A bar over the bytes of the archive's files on a terminal, a plain line now and then elsewhere.
struct Progress {
    months: usize,
    bar: Option<ProgressBar>,
    json: bool,
    done: Mutex<Done>,
}

struct Done {
    months: usize,
    rows: u64,
    last_line_ns: u64,
}

impl Progress {
    fn new(plan: &Plan, json: bool) -> Self {
        let bytes = plan.units.values().flatten().map(|f| f.bytes).sum();
        let bar = (!json && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr_with_hz(5));
            let style = "{bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec} {msg} {eta} left";
            bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        let done = Done { months: 0, rows: 0, last_line_ns: clock::now().mono_ns };
        Self { months: plan.units.len(), bar, json, done: Mutex::new(done) }
    }

    fn on_month(&self, month: &CleanedMonth<'_>) {
        let mut done = lock(&self.done);
        done.months += 1;
        done.rows += month.result.as_ref().map_or(0, |(r, _)| r.tally.rows);
        let text = format!("{}/{} months, {} rows", done.months, self.months, done.rows);
        let now = clock::now().mono_ns;
        match &self.bar {
            Some(bar) => {
                bar.inc(month.files.iter().map(|f| f.bytes).sum());
                bar.set_message(text);
            }
            None if !self.json && now.saturating_sub(done.last_line_ns) >= LINE_EVERY_NS => {
                done.last_line_ns = now;
                eprintln!("{text}");
            }
            None => {}
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
