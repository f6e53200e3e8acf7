//! `tapedeck verify`: nothing in the lake was altered since it was published.

use anyhow::Context;

use super::{ConfigArg, Usage, load, print_out};
use crate::compact::chain::verify;
use crate::venue::VenueId;

/// Arguments of `tapedeck verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// Only this venue.
    #[arg(long, value_name = "VENUE")]
    venue: Option<String>,
    /// A head noted from an earlier run: it must still be in its chain. May be given several times.
    #[arg(long, value_name = "SHA256")]
    head: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let cfg = load(&args.config.config)?;
    crate::telemetry::init(&cfg.log);
    let venue = args.venue.as_deref().map(str::parse::<VenueId>).transpose().map_err(|err| Usage(err.to_string()))?;
    for head in &args.head {
        if head.len() != 64 || !head.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Usage(format!("--head {head:?} is not a SHA-256: 64 hex digits")).into());
        }
    }
    let report = verify(&cfg.lake.dir, venue.map(VenueId::as_str), &args.head)
        .with_context(|| format!("verify the lake in {}", cfg.lake.dir.display()))?;
    if args.json {
        print_out(&format!("{}\n", serde_json::to_string(&report)?))?;
    } else {
        print_out(&report.to_string())?;
    }
    if !report.is_clean() {
        anyhow::bail!("{} things in the lake are not as they were published; see above", report.fault_count());
    }
    Ok(())
}
