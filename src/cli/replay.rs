//! `tapedeck replay`: the lake again from the log, or the proof that it is the same.

use std::path::PathBuf;

use anyhow::Context;

use super::{ConfigArg, Usage, load};
use crate::compact::replay::{ReplayArgs, replay};
use crate::venue::VenueId;

/// Arguments of `tapedeck replay`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// Only this venue; may be given several times.
    #[arg(long, value_name = "VENUE")]
    venue: Vec<String>,
    /// From this receive time on.
    #[arg(long, value_name = "TIME_UTC")]
    from: Option<String>,
    /// Up to this receive time, exclusive.
    #[arg(long, value_name = "TIME_UTC")]
    to: Option<String>,
    /// Where the rebuilt lake goes; must not exist or be empty.
    #[arg(long, value_name = "DIR", required_unless_present = "verify")]
    out: Option<PathBuf>,
    /// Compare with the existing lake; exit code 1 on any difference.
    #[arg(long)]
    verify: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn time(text: &Option<String>, name: &str) -> anyhow::Result<Option<u64>> {
    let Some(text) = text else { return Ok(None) };
    let parsed = text.parse::<jiff::Timestamp>().or_else(|_| format!("{text}Z").parse()).or_else(|_| {
        // A date alone is its first instant.
        format!("{text}T00:00:00Z").parse::<jiff::Timestamp>()
    });
    let ts =
        parsed.map_err(|err| Usage(format!("{name} {text:?} is not a time such as 2026-11-21T12:00:00Z: {err}")))?;
    Ok(Some(u64::try_from(ts.as_nanosecond()).map_err(|_| Usage(format!("{name} {text:?} is before 1970")))?))
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let cfg = load(&args.config.config)?;
    crate::telemetry::init(&cfg.log);
    let mut venues = Vec::new();
    for word in &args.venue {
        venues.push(word.parse::<VenueId>().map_err(|err| Usage(err.to_string()))?);
    }
    let (from, to) = (time(&args.from, "--from")?, time(&args.to, "--to")?);
    let report = replay(&cfg, &ReplayArgs { venues, from_ns: from, to_ns: to, out: args.out, verify: args.verify })
        .context("replay")?;
    if args.json {
        super::print_out(&format!("{}\n", serde_json::to_string(&report)?))?;
    } else {
        super::print_out(&report.to_string())?;
    }
    if report.different() > 0 {
        anyhow::bail!(
            "{} of {} compared parts differ from the log; see the lines above",
            report.different(),
            report.checked()
        );
    }
    Ok(())
}
