//! `tapedeck quality`: how complete and how clean the recording is, per hour or day.

use anyhow::Context;

use super::config_arg::{ConfigArg, load};
use super::exit::Usage;
use super::output::print_out;
use super::time::time;
use lake::Hour;
use model::VenueId;
use ops::clock;
use quality::{By, Query, page, report};

/// Arguments of `tapedeck quality`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// Only this venue; may be given several times.
    #[arg(long, value_name = "VENUE")]
    venue: Vec<String>,
    /// From this receive hour on; the last 24 hours without it.
    #[arg(long, value_name = "TIME_UTC")]
    from: Option<String>,
    /// Up to this receive hour, exclusive.
    #[arg(long, value_name = "TIME_UTC")]
    to: Option<String>,
    /// One block per hour instead of one per day.
    #[arg(long)]
    hours: bool,
    /// Print JSON: every symbol, every gap.
    #[arg(long, conflicts_with = "html")]
    json: bool,
    /// Print a page.
    #[arg(long)]
    html: bool,
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let cfg = load(&args.config.config)?;
    ops::telemetry::init(&cfg.log);
    let mut venues = Vec::new();
    for word in &args.venue {
        venues.push(word.parse::<VenueId>().map_err(|err| Usage(err.to_string()))?.as_str().to_owned());
    }
    let to = time(&args.to, "--to")?.map_or_else(|| Hour::of_ns(clock::wall_ns()).next(), Hour::of_ns);
    let from = time(&args.from, "--from")?.map_or(Hour(to.0 - 24), Hour::of_ns);
    let by = if args.hours { By::Hour } else { By::Day };
    let lake = s3::lake(&cfg.lake, &cfg.store)?;
    let found =
        report(&lake, &Query { venues, from, to, by }).with_context(|| format!("report on the lake in {lake}"))?;
    if args.json {
        print_out(&format!("{}\n", serde_json::to_string(&found)?))?;
    } else if args.html {
        print_out(&page(&format!("Recording from {from} to before {to}"), &found))?;
    } else if found.is_empty() {
        print_out(&format!("nothing was published from {from} to before {to}\n"))?;
    } else {
        print_out(&found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    }
    let unaccounted: usize = found.iter().map(|q| q.unaccounted.len()).sum();
    anyhow::ensure!(unaccounted == 0, "{unaccounted} parts are not in these numbers; see above");
    Ok(())
}
