//! `tapedeck verify`: nothing in the lake was altered since it was published.

use anyhow::Context;

use super::config_arg::{ConfigArg, load};
use super::exit::Usage;
use super::output::print_out;
use compact::chain::verify;
use compact::replay::repair::repair;
use model::VenueId;

/// Arguments of `tapedeck verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// Only this venue.
    #[arg(long, value_name = "VENUE")]
    venue: Option<String>,
    /// Chain head (SHA-256) printed by an earlier run: it must still be in its chain. May be given several times.
    #[arg(long, value_name = "SHA256")]
    head: Vec<String>,
    /// Rebuild manifests that cannot be read or are gone, from the log or from the footers of their files; then verify.
    /// Data files are never touched, a damaged manifest is kept in .set-aside in the lake.
    #[arg(long)]
    repair: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let cfg = load(&args.config.config)?;
    ops::telemetry::init(&cfg.log);
    let venue = args.venue.as_deref().map(str::parse::<VenueId>).transpose().map_err(|err| Usage(err.to_string()))?;
    for head in &args.head {
        if head.len() != 64 || !head.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Usage(format!("--head {head:?} is not a SHA-256: 64 hex digits")).into());
        }
    }
    let lake = s3::lake(&cfg.lake, &cfg.store)?;
    let repaired = match args.repair {
        true => repair(&cfg.for_compactor(), &lake, venue).with_context(|| format!("repair the lake in {lake}"))?,
        false => Vec::new(),
    };
    let report =
        verify(&lake, venue.map(VenueId::as_str), &args.head).with_context(|| format!("verify the lake in {lake}"))?;
    if args.json {
        let json = if args.repair {
            serde_json::to_string(&serde_json::json!({ "repaired": repaired, "report": report }))?
        } else {
            serde_json::to_string(&report)?
        };
        print_out(&format!("{json}\n"))?;
    } else {
        let repaired: String = repaired.iter().map(ToString::to_string).collect();
        print_out(&format!("{repaired}{report}"))?;
    }
    if !report.is_clean() {
        anyhow::bail!("{} things in the lake are not as they were published; see above", report.fault_count());
    }
    Ok(())
}
