//! Which files of the archive: the arguments that all actions of `tapedeck history` share.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Result;
use jiff::civil::Date;

use crate::cli::config_arg::{ConfigArg, load};
use crate::cli::exit::Usage;
use config::Config;
use history::market::UnknownName;
use history::{Mirror, Selection, Symbols};
use lake::Lake;

/// Which files.
#[derive(Debug, clap::Args)]
pub(super) struct Choice {
    #[command(flatten)]
    config: ConfigArg,
    /// Markets, separated by commas: spot, um, cm, option. Default: all.
    #[arg(long, value_name = "MARKETS", value_delimiter = ',')]
    market: Vec<String>,
    /// daily, monthly or both; auto: monthly files where they are, daily ones for the rest.
    #[arg(long, value_name = "PERIODS", value_delimiter = ',', default_value = "auto")]
    period: Vec<String>,
    /// Kinds, separated by commas: klines, aggTrades, trades, bookTicker, bookDepth, metrics, fundingRate, ...
    /// Default: all.
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    kind: Vec<String>,
    /// Symbols: names or globs, separated by commas. Default: all.
    #[arg(long, value_name = "SYMBOLS", value_delimiter = ',')]
    symbols: Vec<String>,
    /// Intervals of candles, separated by commas: 1m, 1h, 1d, 1mo, ... Default: all.
    #[arg(long, value_name = "INTERVALS", value_delimiter = ',')]
    interval: Vec<String>,
    /// First day (UTC), YYYY-MM-DD.
    #[arg(long, value_name = "DAY")]
    from: Option<String>,
    /// Last day (UTC), inclusive.
    #[arg(long, value_name = "DAY")]
    to: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// A checked [`Choice`].
pub(super) struct Chosen {
    pub cfg: Arc<Config>,
    pub selection: Selection,
    /// Monthly files where they are, daily ones for the rest.
    pub auto: bool,
    pub json: bool,
}

fn words<T: FromStr<Err = UnknownName> + Ord>(texts: &[String]) -> Result<BTreeSet<T>> {
    texts.iter().map(|word| word.parse::<T>().map_err(|err| Usage(err.to_string()).into())).collect()
}

fn day(text: &Option<String>, name: &str) -> Result<Option<Date>> {
    let Some(text) = text else { return Ok(None) };
    let day = text.parse::<Date>();
    Ok(Some(day.map_err(|_| Usage(format!("{name} {text:?} is not a day; write it like 2024-01-31")))?))
}

impl Choice {
    /// Reads the configuration, starts logging, checks every value.
    pub(super) fn check(&self) -> Result<Chosen> {
        let cfg = load(&self.config.config)?;
        ops::telemetry::init(&cfg.log);
        let auto = self.period == ["auto"];
        let selection = Selection {
            markets: words(&self.market)?,
            periods: if auto { BTreeSet::new() } else { words(&self.period)? },
            kinds: words(&self.kind)?,
            symbols: Symbols::new(&self.symbols).map_err(|err| Usage(err.to_string()))?,
            intervals: words(&self.interval)?,
            from: day(&self.from, "--from")?,
            to: day(&self.to, "--to")?,
        };
        if let (Some(from), Some(to)) = (selection.from, selection.to)
            && from > to
        {
            return Err(Usage(format!("--from {from} is after --to {to}")).into());
        }
        if selection.kind_folders().is_empty() {
            return Err(
                Usage("the archive has no such files: this market, period and kind do not go together".into()).into()
            );
        }
        Ok(Chosen { cfg, selection, auto, json: self.json })
    }
}

impl Chosen {
    /// Where cleaned files lie.
    pub(super) fn lake(&self) -> Result<Lake> {
        let history = &self.cfg.history;
        Ok(s3::lake_at(&history.lake_dir, &history.lake_work_dir(), &self.cfg.store)?)
    }

    /// The configured mirror.
    pub(super) fn mirror(&self) -> Result<Mirror> {
        Ok(Mirror::open(&self.cfg.history)?)
    }
}
