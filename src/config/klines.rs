//! Section `[klines]`: what candles are made of, how often they are shown and stored, and where.

use std::collections::BTreeMap;

use toml::Value;

use super::reader::Reader;
use super::secret::DatabaseUrl;
use model::{Channel, Interval, VenueId};

/// Section `[klines]`.
#[derive(Clone, Debug)]
pub struct Klines {
    /// What candles are made of, by venue; `None` = no candles of it. Venues that are not here: see
    /// [`crate::Config::kline_sources`].
    pub source: BTreeMap<VenueId, Option<Channel>>,
    /// Between two swaps of the whole, ms.
    pub swap_interval_ms: u64,
    /// Between two checkpoints, s.
    pub flush_interval_s: u64,
    /// Between two lines of statistics, s.
    pub stats_interval_s: u64,
    /// The venue's REST candles begin the bars that were open at a symbol's first trade.
    pub seed: bool,
    /// `sqlite:<file below data.dir>` or `postgres://...`.
    pub database: DatabaseUrl,
}

/// Reads the section.
pub(super) fn read(r: &mut Reader<'_>) -> Klines {
    let mut source = BTreeMap::new();
    let fix = "write { binance-usdm = \"agg_trades\", binance-spot = \"trades\" }; \"none\" = no candles of it";
    match r.source.get("klines.source").map(|(v, _)| v.clone()) {
        Some(Value::Table(table)) => {
            for (name, value) in table {
                let word = value.as_str().unwrap_or_default();
                match (name.parse::<VenueId>(), word) {
                    (Ok(id), "trades") => drop(source.insert(id, Some(Channel::Trades))),
                    (Ok(id), "agg_trades") => drop(source.insert(id, Some(Channel::AggTrades))),
                    (Ok(id), "none") => drop(source.insert(id, None)),
                    (Ok(_), _) => r.problem(
                        "klines.source",
                        format!("{value} is no source of candles for {name}"),
                        "write \"trades\", \"agg_trades\" or \"none\"".into(),
                    ),
                    (Err(err), _) => r.problem("klines.source", err.to_string(), fix.into()),
                }
            }
        }
        None => {}
        Some(other) => r.problem("klines.source", format!("{other} is not a table"), fix.into()),
    }
    intervals(r);
    let database = r.database("klines.database", "write \"sqlite:klines.db\" (below data.dir) or");
    Klines {
        source,
        swap_interval_ms: r.int("klines.swap_interval_ms", 1, 60_000),
        flush_interval_s: r.int("klines.flush_interval_s", 1, 3_600),
        stats_interval_s: r.int("klines.stats_interval_s", 1, 86_400),
        seed: r.yes("klines.seed"),
        database,
    }
}

/// All intervals are made, stored and served, or none: a list that leaves one out would not be honoured.
fn intervals(r: &mut Reader<'_>) {
    const KEY: &str = "klines.intervals";
    let all = Interval::ALL.map(Interval::as_str);
    let given = r.texts(KEY);
    let fix = format!("write {all:?} or leave the key out");
    for word in given.iter().filter(|word| !all.contains(&word.as_str())) {
        r.problem(KEY, format!("unknown interval {word:?}"), fix.clone());
    }
    let missing: Vec<&str> = all.into_iter().filter(|word| given.iter().all(|w| w != word)).collect();
    if !missing.is_empty() {
        let what = format!("{} left out, but all intervals are always made, stored and served", missing.join(", "));
        r.problem(KEY, what, fix);
    }
}
