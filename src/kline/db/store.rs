//! Commits and fills over any database that speaks [`BarSql`]: what is stored over what, in one transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::bars::BarSql;
use super::error::{DbError, Result};
use super::row::bar_values;
use super::schema::{self, Rule};
use super::{CandleDb, Checkpoint, Committed, Filled, Mark, NamedBar, SavedPosition, Series, Source, StoredBar, query};
use crate::message::OldTrade;
use crate::registry::Registered;
use fold::candles::generator::is_flat;
use model::interval::Interval;
use model::kline::{FINAL, GAP, KlineData};
use ops::failpoint;
use sql::Value;

/// Bars handed to the database at once.
const CHUNK: usize = 2_000;

/// Candles in a database.
pub(super) struct Store<S> {
    pub(super) sql: S,
    /// Symbols by index, as committed.
    registry: Vec<Registered>,
    /// The checkpoint whose commit may or may not have happened: feed, serial, and what identifies it.
    unsure: Option<(String, i64, String)>,
}

impl<S: BarSql> Store<S> {
    /// For writing: the schema is made where it is missing.
    pub(super) fn open(sql: S) -> Result<Self> {
        let mut store = Self::reader(sql);
        store.transaction(|s| {
            s.sql.batch(&schema::create(&s.sql.dialect()))?;
            Ok(sql::keep_version(&mut s.sql, "tapedeck_schema", "the database", schema::VERSION, |sql, from| {
                if from < 2 { sql.batch(schema::INCARNATIONS) } else { Ok(()) }
            })?)
        })?;
        store.registry = query::registry(&mut store.sql)?;
        Ok(store)
    }

    /// For reading.
    pub(super) fn reader(sql: S) -> Self {
        Self { sql, registry: Vec::new(), unsure: None }
    }

    /// Runs `work` in a transaction; an error undoes all of it.
    fn transaction<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.sql.begin()?;
        let done = work(self);
        sql::settle(&mut self.sql, done)
    }

    fn named(&self, symbol_index: u32, interval: Interval, bar: KlineData) -> Result<NamedBar> {
        let Some(symbol) = self.registry.get(symbol_index as usize) else {
            return Err(DbError::Unregistered(symbol_index));
        };
        Ok(NamedBar { venue: symbol.venue.clone(), symbol: symbol.symbol.clone(), interval, bar })
    }

    fn put(&mut self, bars: &[(NamedBar, Source)], rule: Rule) -> Result<u64> {
        let mut stored = 0;
        for chunk in bars.chunks(CHUNK) {
            let rows = chunk.iter().map(|(bar, source)| bar_values(bar, *source)).collect::<Result<Vec<_>>>()?;
            stored += self.sql.put_bars(&rows, rule)?;
        }
        Ok(stored)
    }

    /// Moves the feed's serial on; an error when another process did since the checkpoint that this one goes on from. That
    /// may be another process, or an earlier attempt of this one whose answer was lost, and which ended after the feed had
    /// read its position: what it applied must not be applied again.
    fn claim(&mut self, Checkpoint { feed, since, state, .. }: &Checkpoint, content: &str) -> Result<Claim> {
        let rows = self.sql.rows("SELECT serial FROM feeds WHERE feed = ?1", &[Value::text(feed)])?;
        let stored = rows.first().and_then(|row| row.first()).map(Value::int).transpose()?.unwrap_or(0);
        if self.unsure.as_ref().is_some_and(|(f, serial, c)| f == feed && *serial == stored && c == content) {
            return Ok(Claim::Done(stored));
        }
        let since = since.unwrap_or(stored);
        if since != stored {
            return Err(DbError::Meanwhile { feed: feed.clone(), stored, since });
        }
        let next = stored + 1;
        self.sql.execute(
            "INSERT INTO feeds (feed, serial, state) VALUES (?1, ?2, ?3) \
             ON CONFLICT (feed) DO UPDATE SET serial = excluded.serial, state = excluded.state",
            &[Value::text(feed), Value::Int(next), Value::text(state)],
        )?;
        Ok(Claim::Next(next))
    }

    fn register(&mut self, new: &[(u32, Registered)]) -> Result<()> {
        if new.iter().any(|(index, _)| *index as usize >= self.registry.len()) {
            // Another feed may have stored them.
            self.registry = query::registry(&mut self.sql)?;
        }
        for (index, entry) in new {
            match self.registry.get(*index as usize) {
                Some(stored) if (&stored.venue, &stored.symbol) == (&entry.venue, &entry.symbol) => {}
                Some(stored) => {
                    let name = |of: &Registered| format!("{} {}", of.venue, of.symbol);
                    return Err(DbError::OtherSymbol { index: *index, stored: name(stored), given: name(entry) });
                }
                None => {
                    if *index as usize != self.registry.len() {
                        return Err(DbError::IndexGap(*index));
                    }
                    let listed = entry.listing_time_ms.map_or(Value::Null, Value::Int);
                    self.sql.execute(
                        "INSERT INTO symbols_index (symbol_index, venue, symbol, listing_time_ms) \
                         VALUES (?1, ?2, ?3, ?4)",
                        &[Value::Int((*index).into()), Value::text(&entry.venue), Value::text(&entry.symbol), listed],
                    )?;
                    self.registry.push(entry.clone());
                }
            }
        }
        Ok(())
    }

    fn save_position(&mut self, feed: &str, saved: &SavedPosition) -> Result<()> {
        self.sql.execute(
            "INSERT INTO positions (feed, log, log_uuid, segment, byte_offset, seq, incarnation) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
             ON CONFLICT (feed, log) DO UPDATE SET log_uuid = excluded.log_uuid, segment = excluded.segment, \
             byte_offset = excluded.byte_offset, seq = excluded.seq, incarnation = excluded.incarnation",
            &[
                Value::text(feed),
                Value::text(&saved.log),
                Value::Text(format!("{:032x}", u128::from_be_bytes(saved.log_uuid))),
                Value::Int(saved.position.segment.0.cast_signed()),
                Value::Int(saved.position.offset.cast_signed()),
                Value::Int(saved.position.seq.0.cast_signed()),
                Value::Text(saved.incarnation.to_string()),
            ],
        )?;
        Ok(())
    }

    /// Adds late trades to stored bars, as memory does while it has them: one after the other in the order in which they
    /// came, and flat bars go on at the close that the bar before has then. So neither the bars nor their revisions
    /// depend on how many of the trades come with one checkpoint.
    fn revise(&mut self, old: &[OldTrade], did: &mut Committed) -> Result<()> {
        let mut by_series: BTreeMap<(u32, Interval), Vec<&OldTrade>> = BTreeMap::new();
        for trade in old {
            by_series.entry((trade.tick.symbol_index, trade.interval)).or_default().push(trade);
        }
        for ((symbol_index, interval), trades) in by_series {
            let NamedBar { venue, symbol, .. } = self.named(symbol_index, interval, KlineData::default())?;
            let series = Series { venue, symbol, interval };
            let mut revised = BTreeSet::new();
            for trades in trades.chunk_by(|a, b| a.open_time_us == b.open_time_us) {
                revised.extend(self.revise_bar(&series, trades, did)?);
            }
            did.revised += revised.len() as u64;
        }
        Ok(())
    }

    /// Adds trades that came one after the other to their bar. Returns the open time of that when it has any of them.
    fn revise_bar(&mut self, series: &Series, trades: &[&OldTrade], did: &mut Committed) -> Result<Option<i64>> {
        let Some(open_time_us) = trades.first().map(|trade| trade.open_time_us) else { return Ok(None) };
        let memory_us = trades.iter().map(|trade| trade.before_us).max().unwrap_or(i64::MAX);
        let found = query::range(&mut self.sql, series, (open_time_us, open_time_us), "ASC", 1)?;
        let mut flats = self.flats_behind(series, open_time_us, memory_us)?;
        let empty = KlineData { open_time_us, flags: FINAL | GAP, ..KlineData::default() };
        let mut bar = match found.first() {
            Some(StoredBar { bar, source: Source::Live }) => Some(*bar),
            // The venue's candle counted the trades, and has the price that flat bars after it go on at.
            Some(StoredBar { bar, .. }) => {
                did.refused += trades.len() as u64;
                go_on(&mut flats, bar, memory_us);
                return self.put_moved(series, &flats).map(|()| None);
            }
            // Before the first bar, or in a silence too long to be filled: what else was traded nobody knows.
            None => None,
        };
        let mut any = false;
        for trade in trades {
            let Some(next) = bar.unwrap_or(empty).with(&trade.tick, trade.unit) else {
                did.refused += 1;
                continue;
            };
            let same_close = bar.is_some_and(|bar| {
                let finer = bar.rescaled(next.price_scale, next.amount_scale);
                !is_flat(&bar) && finer.is_some_and(|finer| finer.close == next.close)
            });
            let next = KlineData { revision: bar.map_or(0, |bar| bar.revision + 1), ..next };
            if !same_close {
                go_on(&mut flats, &next, trade.before_us);
            }
            (bar, any) = (Some(next), true);
        }
        if let Some(bar) = bar.filter(|_| any) {
            self.put(&[(series.named(bar), Source::Live)], Rule::Overwrite)?;
            self.put_moved(series, &flats)?;
        }
        Ok(any.then_some(open_time_us))
    }

    /// The flat bars that follow the one that opens at `open_time_us`, up to those that are in memory.
    fn flats_behind(&mut self, series: &Series, open_time_us: i64, memory_us: i64) -> Result<Vec<Flat>> {
        let key = [Value::text(&series.venue), Value::text(&series.symbol), Value::text(series.interval.as_str())];
        let params: Vec<Value> = key.into_iter().chain([Value::Int(open_time_us)]).collect();
        let rows = self.sql.rows(
            "SELECT open_time FROM klines WHERE venue = ?1 AND symbol = ?2 AND \"interval\" = ?3 AND open_time > ?4 \
             AND (flags & 8) = 0 ORDER BY open_time LIMIT 1",
            &params,
        )?;
        let next_us = rows.first().and_then(|row| row.first()).map(Value::int).transpose()?.unwrap_or(i64::MAX);
        let between = (open_time_us + 1, next_us.min(memory_us) - 1);
        let flats = query::range(&mut self.sql, series, between, "ASC", usize::MAX)?;
        Ok(flats.into_iter().map(|stored| Flat { stored, moved: false }).collect())
    }

    fn put_moved(&mut self, series: &Series, flats: &[Flat]) -> Result<()> {
        let moved = flats.iter().filter(|flat| flat.moved);
        let bars: Vec<_> = moved.map(|flat| (series.named(flat.stored.bar), Source::Live)).collect();
        self.put(&bars, Rule::Overwrite).map(drop)
    }

    fn mark(&mut self, mark: &Mark) -> Result<u64> {
        let named = self.named(mark.symbol_index, mark.interval, KlineData::default())?;
        let (flags, lacks) = if mark.gap { ("flags | 2", "= 0") } else { ("flags & ~2", "<> 0") };
        let marked = self.sql.execute(
            &format!(
                "UPDATE klines SET flags = {flags}, revision = revision + 1 WHERE venue = ?1 AND symbol = ?2 \
                 AND \"interval\" = ?3 AND open_time >= ?4 AND open_time <= ?5 AND open_time < ?6 \
                 AND source = 'live' AND (flags & 2) {lacks}"
            ),
            &[
                Value::Text(named.venue),
                Value::Text(named.symbol),
                Value::text(mark.interval.as_str()),
                Value::Int(mark.interval.open_of(mark.from_us)),
                Value::Int(mark.to_us),
                Value::Int(mark.before_us),
            ],
        )?;
        Ok(marked)
    }

    fn write(&mut self, checkpoint: &Checkpoint) -> Result<Committed> {
        let mut did = Committed::default();
        self.register(&checkpoint.registry)?;
        let mut newest = BTreeMap::new();
        for (symbol_index, interval, bar) in &checkpoint.bars {
            newest.insert((*symbol_index, *interval, bar.open_time_us), *bar);
        }
        let bars = newest
            .into_iter()
            .map(|((index, interval, _), bar)| Ok((self.named(index, interval, bar)?, Source::Live)))
            .collect::<Result<Vec<_>>>()?;
        did.bars = self.put(&bars, Rule::Live)?;
        self.revise(&checkpoint.old, &mut did)?;
        for mark in &checkpoint.marks {
            did.marked += self.mark(mark)?;
        }
        failpoint::hit("klines.in_commit");
        for saved in &checkpoint.logs {
            self.save_position(&checkpoint.feed, saved)?;
        }
        Ok(did)
    }
}

/// A stored bar in which nothing was traded.
struct Flat {
    stored: StoredBar,
    /// Not as it is stored.
    moved: bool,
}

/// Flat bars of ours that follow `bar` go on at its close, up to those that are in memory.
fn go_on(flats: &mut [Flat], bar: &KlineData, memory_us: i64) {
    let mut before = *bar;
    for Flat { stored, moved } in flats.iter_mut().take_while(|flat| flat.stored.bar.open_time_us < memory_us) {
        if stored.source != Source::Live {
            // The venue's own knows the price.
            before = stored.bar;
            continue;
        }
        let price_scale = stored.bar.price_scale.max(before.price_scale);
        let amount_scale = stored.bar.amount_scale.max(before.amount_scale);
        let (Some(from), Some(flat)) =
            (before.rescaled(price_scale, amount_scale), stored.bar.rescaled(price_scale, amount_scale))
        else {
            continue;
        };
        if from.close != flat.close {
            let (open, high, low, close) = (from.close, from.close, from.close, from.close);
            stored.bar = KlineData { open, high, low, close, revision: flat.revision + 1, ..flat };
            *moved = true;
        }
    }
}

/// What [`Store::claim`] found.
enum Claim {
    /// The checkpoint has this number.
    Next(i64),
    /// It is stored already, under this number.
    Done(i64),
}

impl<S: BarSql> CandleDb for Store<S> {
    fn commit(&mut self, checkpoint: &Checkpoint) -> Result<Committed> {
        // Whatever changes a bar moves a position, and the state with the ids or gaps in it.
        let content = format!("{:?} {}", checkpoint.logs, checkpoint.state);
        let known = self.registry.len();
        let done = self.transaction(|s| match s.claim(checkpoint, &content)? {
            Claim::Done(serial) => {
                // The first attempt stored these; a new process would read them.
                s.registry = query::registry(&mut s.sql)?;
                Ok(Committed { serial, ..Committed::default() })
            }
            Claim::Next(serial) => {
                let did = s.write(checkpoint)?;
                s.unsure = Some((checkpoint.feed.clone(), serial, content));
                Ok(Committed { serial, ..did })
            }
        });
        match &done {
            Ok(_) => self.unsure = None,
            Err(_) => self.registry.truncate(known),
        }
        done.map_err(|err| DbError::NotStored { feed: checkpoint.feed.clone(), source: Box::new(err) })
    }

    fn put_history(&mut self, bars: &[NamedBar], source: Source, replace_gaps: bool) -> Result<Filled> {
        let mut by_series: BTreeMap<Series, BTreeMap<i64, KlineData>> = BTreeMap::new();
        for NamedBar { venue, symbol, interval, bar } in bars {
            if !bar.is_final() {
                return Err(DbError::OpenBar(symbol.clone()));
            }
            let series = Series { venue: venue.clone(), symbol: symbol.clone(), interval: *interval };
            by_series.entry(series).or_default().insert(bar.open_time_us, *bar);
        }
        self.transaction(|s| {
            let mut did = Filled::default();
            for (series, bars) in by_series {
                let (Some((first, _)), Some((last, _))) = (bars.first_key_value(), bars.last_key_value()) else {
                    continue;
                };
                let stored = query::range(&mut s.sql, &series, (*first, *last), "ASC", usize::MAX)?;
                let stored: HashMap<i64, StoredBar> = stored.into_iter().map(|b| (b.bar.open_time_us, b)).collect();
                let mut put = Vec::new();
                for (open_time_us, bar) in bars {
                    let revision = match stored.get(&open_time_us) {
                        None => 0,
                        Some(there) if gives_way(there, &bar, source, replace_gaps) => there.bar.revision + 1,
                        Some(_) => {
                            did.kept += 1;
                            continue;
                        }
                    };
                    if revision == 0 {
                        did.inserted += 1
                    } else {
                        did.replaced += 1
                    }
                    let Series { venue, symbol, interval } = series.clone();
                    put.push((NamedBar { venue, symbol, interval, bar: KlineData { revision, ..bar } }, source));
                }
                s.put(&put, Rule::Overwrite)?;
            }
            Ok(did)
        })
    }
}

/// True when a stored bar is to be replaced by one of `source`.
fn gives_way(there: &StoredBar, bar: &KlineData, source: Source, replace_gaps: bool) -> bool {
    if there.source == Source::Live {
        return replace_gaps && there.bar.flags & (FINAL | GAP) != FINAL;
    }
    let same = KlineData { revision: there.bar.revision, ..*bar } == there.bar;
    source >= there.source && !same
}
