//! Rows of a unit to Parquet files of the lake: duplicates out, row groups of the lake's size, one file per month or
//! per day. Bytes are a function of the rows and the settings alone.
//!
//! Common columns of a row of the archive: `ts_event` is the row's own time (of candles: the close time; of trades null,
//! their one time is `ts_trade`), `ts_recv` and `ts_recv_ns` when its CSV was packed, the earliest moment anyone could
//! have it, `seq` the month (YYYYMM) in the high 24 bits and a counter from 0 in the low 40, `conn` and `row_in_frame`
//! 0, `flags` ARCHIVE.

use std::path::{Path, PathBuf};

use super::edge::Before;
use super::merge::{Sink, StreamError};
use super::quarantine::Quarantine;
use super::row::{CandleRules, Names, Origin, Row};
use super::tally::Tally;
use crate::path::DAY_US;
use lake::buffer::Many;
use lake::piece::FileWriter;
use lake::{FileInfo, Table, TableBuffer, WriteSettings, flags};
use model::Interner;

/// Rows that are moved to their columns together: they fit into the first-level cache.
const TILE_ROWS: usize = 256;

/// What rows do not say themselves.
#[derive(Default)]
struct Tile {
    ts_recv_ns: Vec<i64>,
    flags: Vec<i32>,
}

/// What is to be written, and how.
pub(crate) struct Plan<'p> {
    /// Table.
    pub table: Table,
    /// How the lake is written.
    pub settings: &'p WriteSettings,
    /// Symbol.
    pub symbol: &'p str,
    /// Interval name of candles.
    pub interval: Option<&'p str>,
    /// Fixed time between rows.
    pub step_us: Option<i64>,
    /// What candles must be.
    pub rules: Option<CandleRules>,
    /// YYYYMM.
    pub month: u32,
    /// First instant of the month and the first one after it, us.
    pub span_us: (i64, i64),
    /// One file per day, not one per month.
    pub by_day: bool,
    /// When the CSV of each file of the unit was packed, ns since 1970.
    pub packed_ns: Vec<i64>,
    /// Key-values of the footer.
    pub key_values: Vec<(String, String)>,
    /// Where the files are written before they are published.
    pub dir: &'p Path,
}

/// A finished file.
#[derive(Debug)]
pub(crate) struct Written {
    /// Its first day, us; of a monthly file the first of the month.
    pub day_us: i64,
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub info: FileInfo,
}

/// What became of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// The same row again, in the same file.
    pub duplicates: u64,
    /// The same row in another file.
    pub overlap: u64,
    /// Another row with the same key: rejected.
    pub conflicts: u64,
    /// The month before has it.
    pub in_two_months: u64,
}

/// Writes the rows of a unit.
pub(crate) struct UnitWriter<'p, R> {
    plan: &'p Plan<'p>,
    interner: Interner,
    names: Names,
    buffer: TableBuffer,
    group_rows: usize,
    open: Option<(i64, PathBuf, FileWriter)>,
    inexact: u64,
    seq: i64,
    last: Option<R>,
    tile: Tile,
    /// The month before.
    pub before: Option<Before<'p>>,
    /// It may still hold rows.
    at_edge: bool,
    /// Finished files, oldest first.
    pub written: Vec<Written>,
    /// Rows written, by file of the unit.
    pub used: Vec<u64>,
    /// Rows left out.
    pub dropped: Dropped,
    /// Rows written.
    pub tally: Tally,
}

impl<'p, R: Row> UnitWriter<'p, R> {
    /// A writer for the rows of `inputs` files.
    pub(crate) fn new(plan: &'p Plan<'p>, inputs: usize, before: Option<Before<'p>>) -> Self {
        let mut interner = Interner::new();
        let names = Names::new(&mut interner, plan.symbol, plan.interval);
        Self {
            interner,
            names,
            buffer: TableBuffer::new(plan.table, plan.settings),
            group_rows: plan.settings.group_rows(plan.table),
            open: None,
            inexact: 0,
            seq: i64::from(plan.month) << 40,
            last: None,
            tile: Tile::default(),
            at_edge: before.is_some(),
            before,
            written: Vec::new(),
            used: vec![0; inputs],
            dropped: Dropped::default(),
            tally: Tally::default(),
            plan,
        }
    }

    /// Writes rows that are in their final order, none of them twice.
    fn push(&mut self, mut rows: &[R]) -> Result<(), StreamError> {
        while let Some(first) = rows.first() {
            let mut n = rows.len().min(TILE_ROWS).min(self.group_rows.saturating_sub(self.buffer.len()).max(1));
            if self.plan.by_day {
                self.turn(first.time_us())?;
                let open = self.open.as_ref().map(|(day, ..)| *day);
                let later = rows.iter().take(n).position(|row| Some(self.day_of(row.time_us())) > open);
                n = later.unwrap_or(n).max(1);
            }
            let (now, later) = rows.split_at(n);
            self.tile(now);
            if self.buffer.len() >= self.group_rows {
                self.group()?;
            }
            rows = later;
        }
        Ok(())
    }

    /// Counts rows and moves them to their columns.
    fn tile(&mut self, rows: &[R]) {
        let tile = &mut self.tile;
        tile.ts_recv_ns.clear();
        tile.flags.clear();
        self.tally.add(rows, self.plan.step_us, self.plan.rules.as_ref(), |row, step| {
            let mut bits = flags::ARCHIVE;
            if step.gap {
                bits |= flags::GAP_BEFORE;
            }
            if step.backwards {
                bits |= flags::OUT_OF_ORDER;
            }
            if row.origin().has(Origin::LOSSY) {
                bits |= flags::INEXACT;
            }
            tile.flags.push(bits);
        });
        // Rows of one file follow each other, mostly.
        for same in rows.chunk_by(|a, b| a.origin().input() == b.origin().input()) {
            let input = same.first().map_or(0, |row| row.origin().input());
            if let Some(used) = self.used.get_mut(input) {
                *used += same.len() as u64;
            }
            let packed_ns = self.plan.packed_ns.get(input).copied().unwrap_or_default();
            tile.ts_recv_ns.resize(tile.ts_recv_ns.len() + same.len(), packed_ns);
        }
        let many =
            Many { symbol: self.names.symbol, ts_recv_ns: &tile.ts_recv_ns, first_seq: self.seq, flags: &tile.flags };
        R::push_many(rows, &many, &self.names, &mut self.buffer);
        self.seq = self.seq.saturating_add(i64::try_from(rows.len()).unwrap_or(i64::MAX));
    }

    /// The day a row's time belongs to; a time outside the month to its first or last one.
    fn day_of(&self, time_us: i64) -> i64 {
        let (from, to) = self.plan.span_us;
        time_us.clamp(from, to - 1).div_euclid(DAY_US) * DAY_US
    }

    /// Goes on to the file of a row's day. Days only go forward: a row a little before midnight that comes after one
    /// after it stays in the later file.
    fn turn(&mut self, time_us: i64) -> Result<(), StreamError> {
        let day = self.day_of(time_us);
        match &self.open {
            Some((open, ..)) if *open >= day => Ok(()),
            Some(_) => {
                self.close()?;
                self.start(day)
            }
            None => self.start(day),
        }
    }

    fn start(&mut self, day_us: i64) -> Result<(), StreamError> {
        let path = self.plan.dir.join(format!("{}.parquet", self.written.len()));
        let file = FileWriter::create(&path, self.plan.table, self.plan.settings, true)?;
        self.open = Some((day_us, path, file));
        Ok(())
    }

    /// Writes what the buffer holds as one row group.
    fn group(&mut self) -> Result<(), StreamError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        if self.open.is_none() {
            self.start(self.plan.span_us.0)?;
        }
        let chunk = self.buffer.take_first(usize::MAX, &self.interner);
        self.inexact += chunk.inexact();
        if let Some((.., file)) = &mut self.open {
            file.encode(&chunk)?;
        }
        self.buffer.recycle(chunk);
        Ok(())
    }

    fn close(&mut self) -> Result<(), StreamError> {
        self.group()?;
        if let Some((day_us, path, file)) = self.open.take() {
            let info = file.finish(&self.plan.key_values, std::mem::take(&mut self.inexact))?;
            self.written.push(Written { day_us, path, info });
        }
        Ok(())
    }

    /// Which of the first of these rows the month before has.
    fn again(&mut self, rows: &[R]) -> Result<Vec<bool>, StreamError> {
        let Some(before) = self.before.as_mut().filter(|_| self.at_edge) else { return Ok(Vec::new()) };
        let of = (self.plan.table, self.plan.settings);
        let again = before.knows(rows, of, (&self.names, &self.interner))?;
        self.at_edge = again.len() == rows.len();
        Ok(again)
    }

    /// Writes the last file to its end.
    pub(crate) fn finish(&mut self) -> Result<(), StreamError> {
        self.close()
    }
}

impl<R: Row> Sink<R> for UnitWriter<'_, R> {
    fn rows(&mut self, rows: &[R], quarantine: &mut Quarantine) -> Result<(), StreamError> {
        let again = self.again(rows)?;
        let held = self.last;
        let mut last = held.as_ref();
        // What lies between two rows that are left out is written in one piece.
        let mut from = 0;
        for (i, row) in rows.iter().enumerate() {
            if let Some(last) = last
                && last.key() == row.key()
            {
                self.push(rows.get(from..i).unwrap_or_default())?;
                from = i + 1;
                let same_file = last.origin().input() == row.origin().input();
                match (last.same(row), same_file) {
                    (true, true) => self.dropped.duplicates += 1,
                    (true, false) => self.dropped.overlap += 1,
                    (false, _) => {
                        self.dropped.conflicts += 1;
                        let (at, of) = (last.origin().line(), last.origin().input());
                        let whose = if same_file { String::new() } else { format!(" of file {of} of the month") };
                        let reason = format!("line: other values under the key that was taken as line {at}{whose}");
                        quarantine.conflict(row.origin().input(), row.origin().line(), &reason, &row.text())?;
                    }
                }
                continue;
            }
            if again.get(i).copied().unwrap_or_default() {
                self.push(rows.get(from..i).unwrap_or_default())?;
                from = i + 1;
                self.dropped.in_two_months += 1;
            }
            last = Some(row);
        }
        self.last = last.copied();
        self.push(rows.get(from..).unwrap_or_default())
    }
}
