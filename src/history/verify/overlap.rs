//! Rows of the archive against the live lake, id by id: price, amount, side and time of the match.
//!
//! Looked at are the days that both have. The live lake may have gaps of its own (`only_archive`); the archive should
//! have every id that lies between its own first and last.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::rows::{Stored, groups};
use crate::clean::place::{Series, venue};
use crate::clean::record::Record;
use crate::error::Result;
use crate::path::{DAY_US, day_us};
use lake::{Lake, Table};

/// Differences that are shown.
const SHOWN: usize = 5;

/// Trades of the live lake that are held at once: 130 MB. Few where tests look at the edges.
const WINDOW_IDS: i64 = if cfg!(debug_assertions) { 250 } else { 900_000 };

/// What both lakes say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OverlapCheck {
    /// Days that both have.
    pub days: u64,
    /// Ids in both.
    pub compared: u64,
    /// And everything is the same.
    pub equal: u64,
    /// Something differs.
    pub different: u64,
    /// Ids between the live lake's first and last of a day that it lacks.
    pub only_archive: u64,
    /// Ids of the live lake, between the archive's first and last, that the archive lacks.
    pub only_live: u64,
    /// The first differences, in words.
    pub first: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trade {
    price: Option<(i128, u8)>,
    amount: Option<(i128, u8)>,
    sell: bool,
    ts_us: i64,
}

fn parts(stored: Option<&Stored>) -> Option<(i128, u8)> {
    // Normal forms: the two lakes may be written with other numbers.
    stored.and_then(|s| s.num()).map(|n| n.normalized()).map(|n| (n.mantissa, n.scale))
}

pub(super) fn check(
    live: &Lake,
    lake: &Lake,
    series: &Series,
    table: Table,
    records: &[Record],
) -> Result<Option<OverlapCheck>> {
    let days = live_days(live, table, venue(series.market))?;
    let mut check = OverlapCheck::default();
    let ends = |f: fn(&Record) -> Option<i64>| records.iter().filter_map(f);
    let first_id = ends(|r| r.tally.first.and_then(|e| e.id)).min();
    let last_id = ends(|r| r.tally.last.and_then(|e| e.id)).max();
    let (Some(first_id), Some(last_id)) = (first_id, last_id) else { return Ok(None) };
    for (day_from_us, files) in &days {
        let near = |r: &&Record| {
            let t = &r.tally;
            t.earliest_us.is_some_and(|e| e < day_from_us.saturating_add(DAY_US))
                && t.latest_us.is_some_and(|l| l >= *day_from_us)
        };
        let outputs: Vec<&str> =
            records.iter().filter(near).flat_map(|r| &r.outputs).map(|o| o.path.as_str()).collect();
        if outputs.is_empty() {
            continue;
        }
        match day((live, files), (lake, &outputs), series, table, (first_id, last_id)) {
            // Retention removed it since it was listed: the day is not whole any more.
            Err(_) if !all_there(live, files)? => {}
            one => check.add(one?),
        }
    }
    Ok((check.days > 0).then_some(check))
}

fn all_there(live: &Lake, files: &[String]) -> Result<bool> {
    for file in files {
        if !live.has(file)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// One day, so many ids at a time: a day of a busy market has millions.
fn day(
    (live, files): (&Lake, &[String]),
    (lake, outputs): (&Lake, &[&str]),
    series: &Series,
    table: Table,
    (first_id, last_id): (i64, i64),
) -> Result<OverlapCheck> {
    let mut check = OverlapCheck::default();
    let each_live = |each: &mut dyn FnMut(i64, Trade)| -> Result<()> {
        files.iter().try_for_each(|file| read(live, file, table, Some(&series.symbol), each))
    };
    let mut ends: Option<(i64, i64)> = None;
    each_live(&mut |id, _| ends = Some(ends.map_or((id, id), |(low, high)| (low.min(id), high.max(id)))))?;
    let Some((mut from, high)) = ends else { return Ok(check) };
    check.days = 1;
    loop {
        let end = from.saturating_add(WINDOW_IDS);
        let mut trades = HashMap::new();
        let mut next: Option<i64> = None;
        each_live(&mut |id, trade| match id {
            _ if id < from => {}
            _ if id < end => drop(trades.insert(id, trade)),
            _ => next = Some(next.map_or(id, |next| next.min(id))),
        })?;
        // Ids that the live lake lacks between two windows belong to the first one.
        let to = next.map_or(high, |next| next.saturating_sub(1));
        for output in outputs {
            read(lake, output, table, None, &mut |id, theirs| {
                if (from..=to).contains(&id) {
                    check.pair(id, trades.remove(&id), theirs);
                }
            })?;
        }
        check.only_live += trades.keys().filter(|id| (first_id..=last_id).contains(*id)).count() as u64;
        match next {
            Some(next) => from = next,
            None => return Ok(check),
        }
    }
}

impl OverlapCheck {
    fn pair(&mut self, id: i64, ours: Option<Trade>, theirs: Trade) {
        let Some(ours) = ours else {
            self.only_archive += 1;
            return;
        };
        self.compared += 1;
        if ours == theirs {
            self.equal += 1;
            return;
        }
        self.different += 1;
        if self.first.len() < SHOWN {
            self.first.push(format!("id {id}: live {ours:?}, archive {theirs:?}"));
        }
    }

    fn add(&mut self, day: OverlapCheck) {
        self.days += day.days;
        self.compared += day.compared;
        self.equal += day.equal;
        self.different += day.different;
        self.only_archive += day.only_archive;
        self.only_live += day.only_live;
        self.first.extend(day.first);
        self.first.truncate(SHOWN);
    }
}

/// Files of the live lake by day of receipt, us.
fn live_days(live: &Lake, table: Table, venue: &str) -> Result<BTreeMap<i64, Vec<String>>> {
    let mut days: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for file in live.list(&format!("{table}/exchange={venue}"), None, None)? {
        let date = file.key.split('/').nth(2).and_then(|name| name.strip_prefix("date="));
        let Some(date) = date.and_then(|date| date.parse::<jiff::civil::Date>().ok()) else { continue };
        if file.key.ends_with(".parquet") {
            days.entry(day_us(date)).or_default().push(file.key);
        }
    }
    Ok(days)
}

/// Trades of a file; those of one symbol, where one is given. USD-M trades that are not of the market are left out.
fn read(lake: &Lake, key: &str, table: Table, symbol: Option<&str>, each: &mut dyn FnMut(i64, Trade)) -> Result<()> {
    let id_column = if table == Table::AggTrades { "agg_id" } else { "id" };
    groups(lake, key, table, &mut |g| {
        let symbols = g.words("symbol")?;
        let kinds = if table == Table::Trades { g.words("type")? } else { Vec::new() };
        let (prices, amounts, sells) = (g.stored("price")?, g.stored("amount")?, g.sells()?);
        let (ids, times) = (g.ints(id_column)?, g.ints("ts_trade")?);
        for (i, (id, ts_us)) in ids.iter().zip(times).enumerate() {
            let other = symbol.is_some() && symbols.get(i).copied().flatten() != symbol;
            let special = kinds.get(i).copied().flatten().is_some_and(|k| k != "MARKET");
            if other || special {
                continue;
            }
            let trade = Trade {
                price: parts(prices.get(i)),
                amount: parts(amounts.get(i)),
                sell: sells.get(i).copied().unwrap_or_default(),
                // The archive had milliseconds where the live feed may have microseconds.
                ts_us: ts_us.div_euclid(1_000),
            };
            each(*id, trade);
        }
        Ok(())
    })
}
