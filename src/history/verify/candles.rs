//! Candles rebuilt from trades or aggregates against the archive's own, field by field, exactly.
//!
//! A candle is compared where the whole of it lies in the days of files that follow each other without a month missing.
//! One whose time has missing trade ids is not ours to judge: it counts as `in_holes`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::rows::{Group, Stored, groups};
use crate::history::BarInterval;
use crate::history::clean::place::{Series, table};
use crate::history::clean::record::Record;
use crate::history::clean::tally::Hole;
use crate::history::stats::{records, utc};
use crate::history::{ArchivePath, Kind};
use crate::kline::data::KlineData;
use crate::kline::{BarEvent, Interval, KlineGenerator, Tick, What};
use crate::lake::Table;

/// Differences that are shown.
const SHOWN: usize = 5;

/// Candles of one interval.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CandleCheck {
    /// Both have it.
    pub compared: u64,
    /// And every field is the same.
    pub equal: u64,
    /// Something differs, and no trade id is missing.
    pub different: u64,
    /// Something differs, and trade ids are missing in it.
    pub in_holes: u64,
    /// The archive has it, and there was no trade in it.
    pub only_archive: u64,
    /// There were trades, but the archive has no candle.
    pub only_trades: u64,
    /// How often each field differed.
    pub by_field: BTreeMap<&'static str, u64>,
    /// The first differences, in words.
    pub first: Vec<String>,
}

/// A candle of the archive as the lake holds it.
struct Official {
    fields: [Stored; 8],
    count: i64,
}

const FIELDS: [&str; 8] =
    ["open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume"];

type Bars = HashMap<i64, Official>;

/// Rebuilds the candles of a series of trades or aggregates.
pub(super) fn check(lake: &Path, series: &Series, recs: &[Record]) -> Result<BTreeMap<String, CandleCheck>> {
    let mut checks = BTreeMap::new();
    let mut official: BTreeMap<Interval, Bars> = BTreeMap::new();
    let mut covered = BTreeMap::new();
    for interval in Interval::ALL {
        let Ok(word) = interval.as_str().parse::<BarInterval>() else { continue };
        let bars = Series { kind: Kind::Klines, interval: Some(word), ..series.clone() };
        let of = records(lake, &bars)?;
        if !of.is_empty() {
            official.insert(interval, load(lake, &of)?);
            covered.insert(interval, of.iter().filter_map(span).collect::<Vec<_>>());
            checks.insert(interval.as_str().to_owned(), CandleCheck::default());
        }
    }
    if official.is_empty() {
        return Ok(checks);
    }
    let table = table(series.kind).context("a kind without a table")?;
    let mut fold =
        Fold { official, covered, checks, holes: Vec::new(), span: None, events: Vec::new(), kind: series.kind };
    let mut generator = KlineGenerator::new();
    for record in recs {
        let Some(span) = span(record) else { continue };
        match fold.span {
            Some((from, to)) if to == span.0 => fold.span = Some((from, span.1)),
            _ => {
                fold.end(&mut generator);
                generator = KlineGenerator::new();
                fold.span = Some(span);
            }
        }
        fold.holes.extend(record.tally.ids.list.iter().chain(&record.tally.trade_ids.list));
        for output in &record.outputs {
            groups(&lake.join(&output.path), table, &mut |g| fold.group(&mut generator, g))?;
        }
    }
    fold.end(&mut generator);
    Ok(fold.checks)
}

/// The days of the files that were used.
fn span(record: &Record) -> Option<(i64, i64)> {
    let used = record.inputs.iter().filter(|i| i.used > 0).filter_map(|i| i.path.parse::<ArchivePath>().ok());
    used.map(|p| p.span_us()).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

fn load(lake: &Path, records: &[Record]) -> Result<Bars> {
    let mut bars = Bars::new();
    for output in records.iter().flat_map(|r| &r.outputs) {
        groups(&lake.join(&output.path), Table::VenueKlines, &mut |g| {
            let columns: Vec<Vec<Stored>> = FIELDS.iter().map(|f| g.stored(f)).collect::<Result<_>>()?;
            let (opens, counts) = (g.ints("open_time")?, g.ints("trade_count")?);
            for (i, (open, count)) in opens.iter().zip(counts).enumerate() {
                let cell = |f: usize| columns.get(f).and_then(|c| c.get(i)).copied().unwrap_or(Stored::Null);
                bars.insert(*open, Official { fields: std::array::from_fn(cell), count: *count });
            }
            Ok(())
        })?;
    }
    Ok(bars)
}

struct Fold {
    official: BTreeMap<Interval, Bars>,
    /// Days of the archive's files of candles.
    covered: BTreeMap<Interval, Vec<(i64, i64)>>,
    checks: BTreeMap<String, CandleCheck>,
    holes: Vec<Hole>,
    /// Time without a missing month.
    span: Option<(i64, i64)>,
    events: Vec<BarEvent>,
    kind: Kind,
}

impl Fold {
    fn group(&mut self, generator: &mut KlineGenerator, g: &Group) -> Result<()> {
        let (prices, amounts, sells) = (g.stored("price")?, g.stored("amount")?, g.sells()?);
        let times = g.ints("ts_trade")?;
        let (first, last) = match self.kind {
            Kind::AggTrades => (g.ints("first_id")?, g.ints("last_id")?),
            _ => (g.ints("id")?, g.ints("id")?),
        };
        for (i, ts_us) in times.iter().enumerate() {
            let cell = |v: &[Stored]| v.get(i).and_then(|s| s.num());
            let id = |v: &[i64]| v.get(i).copied().unwrap_or_default();
            let (Some(price), Some(amount)) = (cell(&prices), cell(&amounts)) else {
                anyhow::bail!("a price or amount is no number");
            };
            let (first_id, last_id) = (id(first), id(last));
            let tick = Tick {
                symbol_index: 0,
                ts_us: *ts_us,
                price,
                amount,
                first_id,
                last_id,
                agg_id: first_id,
                count: u32::try_from(last_id - first_id + 1).unwrap_or(u32::MAX),
                taker_buy: !sells.get(i).copied().unwrap_or_default(),
            };
            generator.apply(&tick, &mut self.events)?;
        }
        self.take_events();
        Ok(())
    }

    fn take_events(&mut self) {
        for event in std::mem::take(&mut self.events) {
            if let What::Closed(bar) = event.what {
                self.compare(event.interval, &bar);
            }
            // A trade behind the end of its bar: the archive's order is by id, times may step back by ms.
            if let What::Revised(bar) = event.what {
                self.compare(event.interval, &bar);
            }
        }
    }

    /// Closes what is open, and tells what only the archive has.
    fn end(&mut self, generator: &mut KlineGenerator) {
        let Some((from, to)) = self.span else { return };
        generator.close_until(to, &mut self.events);
        self.take_events();
        self.span = None;
        for (interval, bars) in &mut self.official {
            let Some(check) = self.checks.get_mut(interval.as_str()) else { continue };
            bars.retain(|open, bar| {
                let inside = *open >= from && interval.next(*open) <= to;
                check.only_archive += u64::from(inside && bar.count >= 0);
                !inside
            });
        }
        self.holes.clear();
    }

    fn compare(&mut self, interval: Interval, bar: &KlineData) {
        let Some((from, to)) = self.span else { return };
        let (open, end) = (bar.open_time_us, interval.next(bar.open_time_us));
        let (Some(bars), Some(check)) = (self.official.get_mut(&interval), self.checks.get_mut(interval.as_str()))
        else {
            return;
        };
        if open < from || end > to {
            return;
        }
        let Some(official) = bars.remove(&open) else {
            let has_files = |c: &Vec<(i64, i64)>| c.iter().any(|(from, to)| (*from..*to).contains(&open));
            let expected = bar.trade_count > 0 && self.covered.get(&interval).is_some_and(has_files);
            check.only_trades += u64::from(expected);
            return;
        };
        check.compared += 1;
        let differing = differences(bar, &official);
        if differing.is_empty() {
            check.equal += 1;
            return;
        }
        let is_hole = |h: &Hole| h.after_us < end && h.before_us >= open;
        if self.holes.iter().any(is_hole) {
            check.in_holes += 1;
            return;
        }
        check.different += 1;
        for field in &differing {
            *check.by_field.entry(field).or_default() += 1;
        }
        if check.first.len() < SHOWN {
            check.first.push(format!("{}: {}", utc(open), differing.join(", ")));
        }
    }
}

fn differences(bar: &KlineData, official: &Official) -> Vec<&'static str> {
    let (p, a) = (u32::from(bar.price_scale), u32::from(bar.amount_scale));
    let ours: [(i128, u32); 8] = [
        (bar.open.into(), p),
        (bar.high.into(), p),
        (bar.low.into(), p),
        (bar.close.into(), p),
        (bar.volume, a),
        (bar.quote_volume, p + a),
        (bar.taker_buy_volume, a),
        (bar.taker_buy_quote_volume, p + a),
    ];
    let mut differing: Vec<&'static str> = Vec::new();
    for (((mantissa, scale), theirs), name) in ours.into_iter().zip(official.fields).zip(FIELDS) {
        if theirs.like(mantissa, scale) != theirs && theirs != Stored::Null {
            differing.push(name);
        }
    }
    if u64::try_from(official.count) != Ok(bar.trade_count) {
        differing.push("trade_count");
    }
    differing
}
