//! Section `[klines]`: what candles are made of, how often they are shown and stored, and where.

use std::collections::BTreeMap;

use model::{Channel, Interval, VenueId};
use serde::{Deserialize, Deserializer};
use settings::value::{int, refuse};
use settings::{DatabaseUrl, Section, Wrong};

/// Section `[klines]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Klines {
    /// What candles are made of, by venue; `None` = no candles of it. Venues that are not here: see
    /// [`crate::Config::kline_sources`].
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
    settings::value::database(d, "write \"sqlite:klines.db\" (below data.dir) or")
}

impl Section for Klines {
    /// All intervals are made, stored and served, or none: a list that leaves one out would not be honoured.
    fn settle(&mut self) -> Vec<Wrong> {
        let all = Interval::ALL.map(Interval::as_str);
        let wrong = |what: String| Wrong::new("intervals", what, format!("write {all:?} or leave the key out"));
        let unknown = self.intervals.iter().filter(|word| !all.contains(&word.as_str()));
        let mut found: Vec<Wrong> = unknown.map(|word| wrong(format!("unknown interval {word:?}"))).collect();
        let missing: Vec<&str> =
            all.into_iter().filter(|word| self.intervals.iter().all(|given| given != word)).collect();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            found.push(wrong(format!("{missing} left out, but all intervals are always made, stored and served")));
        }
        found
    }
}
