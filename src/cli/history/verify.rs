//! `tapedeck history verify`: proves the cleaned files; a page or JSON; exit code 1 when something is wrong.

use std::fmt::Write;

use anyhow::Result;

use super::choice::Choice;
use crate::cli::output::print_out;
use history::verify::{SeriesReport, VerifyJob, verify};

/// Arguments of `tapedeck history verify`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    choice: Choice,
    /// Sizes and records only: reads no file for its digest and no rows.
    #[arg(long)]
    quick: bool,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let chosen = args.choice.check()?;
    let (lake, live) = (chosen.lake()?, s3::lake(&chosen.cfg.lake, &chosen.cfg.store)?);
    let on_series = |s: &SeriesReport| {
        if !chosen.json {
            // A closed pipe does not stop the proof: its exit code is the answer.
            let _ = print_out(&page(s));
        }
    };
    let job = VerifyJob {
        mirror: &chosen.cfg.history.dir,
        lake: &lake,
        live: live.work().is_dir().then_some(&live),
        selection: &chosen.selection,
        quick: args.quick,
        on_series: &on_series,
    };
    let report = verify(&job)?;
    if chosen.json {
        print_out(&format!("{}\n", serde_json::to_string(&report)?))?;
    }
    if report.series.is_empty() {
        anyhow::bail!("nothing of this selection was cleaned yet; `tapedeck history clean` first");
    }
    if report.wrong() > 0 {
        anyhow::bail!("{} of {} series have errors: see above", report.wrong(), report.series.len());
    }
    Ok(())
}

fn page(s: &SeriesReport) -> String {
    let mut text = String::new();
    let stats = &s.stats;
    if stats.table.is_empty() {
        // No series: a record that cannot be read.
        return s.wrong.iter().fold(text, |text, wrong| text + &format!("{}\n  WRONG: {wrong}\n", s.series));
    }
    let rate = stats.missing_rate.map(|r| format!("{:.4} % missing", r * 100.0)).unwrap_or_default();
    let (from, to) = (stats.earliest.as_deref().unwrap_or("-"), stats.latest.as_deref().unwrap_or("-"));
    let _ = writeln!(text, "{}: {} rows of {} months, {from} to {to}, {rate}", s.series, stats.rows, stats.months);
    for (name, d) in &stats.defects {
        let known = d.known.as_deref().map(|k| format!(" ({k})")).unwrap_or_default();
        let _ = writeln!(text, "  {name}: {}{known}", d.count);
    }
    for month in &stats.missing_months {
        let _ = writeln!(text, "  no month {month}");
    }
    for reported in &stats.reported {
        let _ = writeln!(text, "  reported: {reported}");
    }
    for (interval, c) in &s.candles {
        let _ = writeln!(
            text,
            "  candles {interval}: {} compared, {} equal, {} different, {} in gaps, {} only in the archive, {} only in \
             the trades",
            c.compared, c.equal, c.different, c.in_holes, c.only_archive, c.only_trades
        );
        for line in &c.first {
            let _ = writeln!(text, "    {line}");
        }
    }
    if let Some(o) = &s.overlap {
        let _ = writeln!(
            text,
            "  live lake: {} days, {} compared, {} equal, {} different, {} only in the archive, {} only live",
            o.days, o.compared, o.equal, o.different, o.only_archive, o.only_live
        );
        for line in &o.first {
            let _ = writeln!(text, "    {line}");
        }
    }
    for wrong in &s.wrong {
        let _ = writeln!(text, "  WRONG: {wrong}");
    }
    text
}
