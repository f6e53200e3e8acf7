//! Rows of the archive against the live lake, id by id: price, amount, side and time of the match.
//!
//! Looked at are the days that both have. The live lake may have holes of its own (`only_archive`); the archive should
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
    'days: for (day_from_us, files) in &days {
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
        let mut trades = HashMap::new();
        for file in files {
            let all = read(live, file, table, Some(&series.symbol), &mut |id, trade| {
                trades.insert(id, trade);
            });
            match all {
                // Retention removed it since it was listed: the day is not whole any more.
                Err(_) if !live.has(file)? => continue 'days,
                all => all?,
            }
        }
        let (Some(low), Some(high)) = (trades.keys().min().copied(), trades.keys().max().copied()) else { continue };
        check.days += 1;
        for output in outputs {
            read(lake, output, table, None, &mut |id, theirs| {
                if !(low..=high).contains(&id) {
                    return;
                }
                match trades.remove(&id) {
                    None => check.only_archive += 1,
                    Some(ours) => {
                        check.compared += 1;
                        if ours == theirs {
                            check.equal += 1;
                        } else {
                            check.different += 1;
                            if check.first.len() < SHOWN {
                                check.first.push(format!("id {id}: live {ours:?}, archive {theirs:?}"));
                            }
                        }
                    }
                }
            })?;
        }
        check.only_live += trades.keys().filter(|id| (first_id..=last_id).contains(*id)).count() as u64;
    }
    Ok((check.days > 0).then_some(check))
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
