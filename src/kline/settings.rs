//! Section `[klines]`: what candles are made of, how often they are shown and stored, and where; what else they read.

use std::collections::BTreeMap;

use ::settings::value::{int, refuse};
use ::settings::{DatabaseUrl, KeyProblem, Problem, Section, Source};
use capture::{Capture, VenueConfig};
use model::{Channel, Interval, VenueId};
use serde::{Deserialize, Deserializer};

/// What candles read of the configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// What is recorded and where it lies, with what candles are made of.
    pub capture: Capture,
    /// Section `[klines]`.
    pub klines: Settings,
}

impl Config {
    /// Reads both; what is wrong with them is added to `problems`.
    pub fn read(source: &Source, problems: &mut Vec<Problem>) -> Config {
        let mut capture = Capture::read(source, problems);
        let klines: Settings = source.section("klines", problems);
        capture.candles = klines.made_of(&capture.venues);
        // Candles read logs of their own machine.
        capture.candles.retain(|id, _| !capture.sources.contains_key(id));
        Config { capture, klines }
    }
}

/// Section `[klines]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What candles are made of, by venue; `None` = no candles of it.
    #[serde(deserialize_with = "sources")]
    pub source: BTreeMap<VenueId, Option<Channel>>,
    /// All intervals there are.
    intervals: Vec<String>,
    /// Between two swaps of the whole, ms.
    #[serde(deserialize_with = "int::<1, 60_000, _, _>")]
    pub swap_interval_ms: u64,
    /// Between two checkpoints, s.
    #[serde(deserialize_with = "int::<1, 3_600, _, _>")]
    pub flush_interval_s: u64,
    /// Between two lines of statistics, s.
    #[serde(deserialize_with = "int::<1, 86_400, _, _>")]
    pub stats_interval_s: u64,
    /// The venue's REST candles begin the bars that were open at a symbol's first trade.
    pub seed: bool,
    /// `sqlite:<file below data.dir>` or `postgres://...`.
    #[serde(deserialize_with = "database")]
    pub database: DatabaseUrl,
}

impl Settings {
    /// The channel that candles of each venue are made of: the one named in `source`, else aggregates, else trades,
    /// whichever is recorded.
    fn made_of(&self, venues: &BTreeMap<VenueId, VenueConfig>) -> BTreeMap<VenueId, Channel> {
        let of = |v: &VenueConfig| {
            let named = self.source.get(&v.id).copied().unwrap_or(Some(Channel::AggTrades))?;
            [named, Channel::AggTrades, Channel::Trades].into_iter().find(|channel| v.channels.contains(channel))
        };
        venues.values().filter_map(|v| Some((v.id, of(v)?))).collect()
    }
}

/// By venue what its candles are made of.
fn sources<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<VenueId, Option<Channel>>, D::Error> {
    let fix = "write { binance-usdm = \"agg_trades\", binance-spot = \"trades\" }; \"none\" = no candles of it";
    let table = match toml::Value::deserialize(d)? {
        toml::Value::Table(table) => table,
        other => return Err(refuse(format!("{other} is not a table"), fix)),
    };
    let one = |(name, value): (String, toml::Value)| match (name.parse(), value.as_str()) {
        (Ok(id), Some("trades")) => Ok((id, Some(Channel::Trades))),
        (Ok(id), Some("agg_trades")) => Ok((id, Some(Channel::AggTrades))),
        (Ok(id), Some("none")) => Ok((id, None)),
        (Ok(_), _) => Err(refuse(
            format!("{value} is no source of candles for {name}"),
            "write \"trades\", \"agg_trades\" or \"none\"",
        )),
        (Err(err), _) => Err(refuse(err, fix)),
    };
    table.into_iter().map(one).collect()
}

fn database<'de, D: Deserializer<'de>>(d: D) -> Result<DatabaseUrl, D::Error> {
    ::settings::value::database(d, "write \"sqlite:klines.db\" (below data.dir) or")
}

impl Section for Settings {
    /// All intervals are made, stored and served, or none: a list that leaves one out would not be honoured.
    fn validate(&mut self) -> Vec<KeyProblem> {
        let all = Interval::ALL.map(Interval::as_str);
        let wrong = |what: String| KeyProblem::new("intervals", what, format!("write {all:?} or leave the key out"));
        let unknown = self.intervals.iter().filter(|word| !all.contains(&word.as_str()));
        let mut found: Vec<KeyProblem> = unknown.map(|word| wrong(format!("unknown interval {word:?}"))).collect();
        let missing: Vec<&str> =
            all.into_iter().filter(|word| self.intervals.iter().all(|given| given != word)).collect();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            found.push(wrong(format!("{missing} left out, but all intervals are always made, stored and served")));
        }
        found
    }
}
