//! Candles rebuilt from trades or aggregates against the archive's own, field by field, exactly.
//!
//! ```text
//!  month of rows --fold--> candles, still open to late trades --a month later--> final: compared once
//!  month of candles -------------------------------------------------^
//! ```
//! The archive's order is by id: times may step back, over the edge of a candle too. A row lies at most a day outside
//! its month, so a candle is final a day before the next month's first rows, and only then compared. What is held is a
//! month, whatever the series.
//!
//! A candle is compared where the whole of it lies in the days of files that follow each other without a month missing.
//! One whose time has missing ids is not ours to judge: it counts as `in_holes`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::rows::{Group, Stored, groups};
use crate::BarInterval;
use crate::clean::place::{Series, table};
use crate::clean::record::Record;
use crate::error::{HistoryError, Result};
use crate::path::DAY_US;
use crate::stats::{records, utc};
use crate::{ArchivePath, Kind};
use fold::candles::generator::TooManyDigits;
use fold::candles::{BarEvent, KlineGenerator, What};
use lake::{Lake, Table};
use model::kline::KlineData;
use model::{Interval, Tick, Unit};

/// Differences that are shown.
const SHOWN: usize = 5;
/// Minutes around missing ids are marked by their open times.
const MINUTE_US: i64 = 60_000_000;

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

/// By open time, us.
type Bars = BTreeMap<i64, Official>;

/// Rebuilds the candles of a series of trades or aggregates.
pub(super) fn check(lake: &Lake, series: &Series, recs: &[Record]) -> Result<BTreeMap<String, CandleCheck>> {
    let mut sides: BTreeMap<Interval, Side> = BTreeMap::new();
    for interval in Interval::ALL {
        let Ok(word) = interval.as_str().parse::<BarInterval>() else { continue };
        let bars = Series { kind: Kind::Klines, interval: Some(word), ..series.clone() };
        let of = records(lake, &bars)?;
        if !of.is_empty() {
            let covered = of.iter().filter_map(span).collect();
            sides.insert(interval, Side { covered, months: of.into(), ..Side::default() });
        }
    }
    let table = table(series.kind).ok_or(HistoryError::Missing("a kind without a table"))?;
    let mut fold = Fold {
        sides,
        generator: KlineGenerator::new(),
        gaps: BTreeSet::new(),
        last: None,
        span: None,
        events: Vec::new(),
        kind: series.kind,
    };
    if fold.sides.is_empty() {
        return Ok(BTreeMap::new());
    }
    for record in recs {
        let Some(span) = span(record) else { continue };
        match fold.span {
            Some((from, to)) if to == span.0 => fold.span = Some((from, span.1)),
            _ => {
                fold.end()?;
                fold.span = Some(span);
            }
        }
        for side in fold.sides.values_mut() {
            side.load(lake, &record.month)?;
        }
        for output in &record.outputs {
            groups(lake, &output.path, table, &mut |g| fold.group(g))?;
        }
        fold.settle(span.1.saturating_sub(DAY_US));
    }
    fold.end()?;
    Ok(fold.sides.into_iter().map(|(interval, side)| (interval.as_str().to_owned(), side.check)).collect())
}

/// The days of the files that were used.
fn span(record: &Record) -> Option<(i64, i64)> {
    let used = record.inputs.iter().filter(|i| i.used > 0).filter_map(|i| i.path.parse::<ArchivePath>().ok());
    used.map(|p| p.span_us()).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

/// One interval: the archive's candles and ours.
#[derive(Default)]
struct Side {
    check: CandleCheck,
    /// The archive's months that are not read yet.
    months: std::collections::VecDeque<Record>,
    official: Bars,
    /// Ours that are not final yet.
    ours: BTreeMap<i64, KlineData>,
    /// The last price before them: what flat candles stand at.
    close: Option<KlineData>,
    /// Days of the archive's files of candles.
    covered: Vec<(i64, i64)>,
}

impl Side {
    /// Reads the archive's candles up to a month, `YYYY-MM`.
    fn load(&mut self, lake: &Lake, month: &str) -> Result<()> {
        while let Some(record) = self.months.pop_front_if(|r| r.month.as_str() <= month) {
            for output in &record.outputs {
                groups(lake, &output.path, Table::VenueKlines, &mut |g| {
                    let columns: Vec<Vec<Stored>> = FIELDS.iter().map(|f| g.stored(f)).collect::<Result<_>>()?;
                    let (opens, counts) = (g.ints("open_time")?, g.ints("trade_count")?);
                    for (i, (open, count)) in opens.iter().zip(counts).enumerate() {
                        let cell = |f: usize| columns.get(f).and_then(|c| c.get(i)).copied().unwrap_or(Stored::Null);
                        self.official.insert(*open, Official { fields: std::array::from_fn(cell), count: *count });
                    }
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// A trade of a candle that the generator does not keep any more.
    fn late(&mut self, open_time_us: i64, tick: &Tick) -> Result<()> {
        let empty = KlineData { open_time_us, ..KlineData::default() };
        let bar = self.ours.get(&open_time_us).unwrap_or(&empty);
        let more = bar.with(tick, Unit::Base).ok_or(TooManyDigits)?;
        self.ours.insert(open_time_us, more);
        Ok(())
    }

    /// Compares what ends at or before `until_us`: nothing comes to it any more.
    fn settle(&mut self, interval: Interval, until_us: i64, span: (i64, i64), gaps: &BTreeSet<i64>) {
        while let Some(entry) = self.ours.first_entry().filter(|e| interval.next(*e.key()) <= until_us) {
            let mut bar = entry.remove();
            // A late trade may have moved the price that flat candles were begun at.
            if let (0, Some(last)) = (bar.trade_count, &self.close) {
                let (price, price_scale) = (last.close, last.price_scale);
                bar = KlineData { open: price, high: price, low: price, close: price, price_scale, ..bar };
            }
            self.close = Some(bar);
            self.compare(interval, &bar, span, gaps);
        }
        while let Some(entry) = self.official.first_entry().filter(|e| interval.next(*e.key()) <= until_us) {
            let open = entry.remove_entry().0;
            self.check.only_archive += u64::from(open >= span.0 && interval.next(open) <= span.1);
        }
    }

    fn compare(&mut self, interval: Interval, bar: &KlineData, (from, to): (i64, i64), gaps: &BTreeSet<i64>) {
        let (open, end) = (bar.open_time_us, interval.next(bar.open_time_us));
        if open < from || end > to {
            return;
        }
        let check = &mut self.check;
        let Some(official) = self.official.remove(&open) else {
            let has_files = self.covered.iter().any(|(from, to)| (*from..*to).contains(&open));
            check.only_trades += u64::from(bar.trade_count > 0 && has_files);
            return;
        };
        check.compared += 1;
        let differing = differences(bar, &official);
        if differing.is_empty() {
            check.equal += 1;
            return;
        }
        if gaps.range(open..end).next().is_some() {
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

/// The newest row: id, last id of a trade in it, time.
type Last = (i64, i64, i64);

struct Fold {
    sides: BTreeMap<Interval, Side>,
    generator: KlineGenerator,
    /// Minutes that ids are missing in, over the edges of files and months too.
    gaps: BTreeSet<i64>,
    last: Option<Last>,
    /// Time without a missing month.
    span: Option<(i64, i64)>,
    events: Vec<BarEvent>,
    kind: Kind,
}

impl Fold {
    fn group(&mut self, g: &Group) -> Result<()> {
        let (prices, amounts, sells) = (g.stored("price")?, g.stored("amount")?, g.sells()?);
        let times = g.ints("ts_trade")?;
        let (ids, first, last) = match self.kind {
            Kind::AggTrades => (g.ints("agg_id")?, g.ints("first_id")?, g.ints("last_id")?),
            _ => (g.ints("id")?, g.ints("id")?, g.ints("id")?),
        };
        for (i, ts_us) in times.iter().enumerate() {
            let cell = |v: &[Stored]| v.get(i).and_then(|s| s.num());
            let id = |v: &[i64]| v.get(i).copied().unwrap_or_default();
            let (Some(price), Some(amount)) = (cell(&prices), cell(&amounts)) else {
                return Err(HistoryError::Missing("a price or amount is no number"));
            };
            let (first_id, last_id) = (id(first), id(last));
            let row = (id(ids), last_id, *ts_us);
            if let Some(before) = self.last.replace(row) {
                self.note_gap(before, (row.0, first_id, *ts_us));
            }
            let tick = Tick {
                symbol_index: 0,
                ts_us: *ts_us,
                price,
                amount,
                first_id,
                last_id,
                agg_id: first_id,
                count: u32::try_from(last_id.abs_diff(first_id).saturating_add(1)).unwrap_or(u32::MAX),
                taker_buy: !sells.get(i).copied().unwrap_or_default(),
            };
            self.generator.apply(&tick, &mut self.events)?;
        }
        self.take_events()
    }

    /// Marks the minutes between two rows that do not follow each other.
    fn note_gap(&mut self, before: Last, row: Last) {
        if row.0 <= before.0.saturating_add(1) && row.1 <= before.1.saturating_add(1) {
            return;
        }
        let Some((from, to)) = self.span else { return };
        let minute = |us: i64| us.clamp(from, to).div_euclid(MINUTE_US);
        let (first, last) = (minute(before.2.min(row.2)), minute(before.2.max(row.2)));
        self.gaps.extend((first..=last).map(|m| m.saturating_mul(MINUTE_US)));
    }

    fn take_events(&mut self) -> Result<()> {
        for event in std::mem::take(&mut self.events) {
            let Some(side) = self.sides.get_mut(&event.interval) else { continue };
            match event.what {
                What::Closed(bar) | What::Revised(bar) => drop(side.ours.insert(bar.open_time_us, bar)),
                What::Old { open_time_us, tick, .. } => side.late(open_time_us, &tick)?,
            }
        }
        Ok(())
    }

    /// Compares what is final: no row after it lies before `until_us`.
    fn settle(&mut self, until_us: i64) {
        let Some(span) = self.span else { return };
        for (interval, side) in &mut self.sides {
            side.settle(*interval, until_us, span, &self.gaps);
        }
        // The longest candle that may still be open is a week.
        self.gaps = self.gaps.split_off(&until_us.saturating_sub(7 * DAY_US));
    }

    /// Closes what is open, and compares all of it.
    fn end(&mut self) -> Result<()> {
        let Some((_, to)) = self.span else { return Ok(()) };
        self.generator.close_until(to, &mut self.events);
        self.take_events()?;
        self.settle(i64::MAX);
        self.generator = KlineGenerator::new();
        self.sides.values_mut().for_each(|side| side.close = None);
        (self.span, self.last) = (None, None);
        self.gaps.clear();
        Ok(())
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
