//! Rows of one table and one hour part, in log order, until they are a row group.
//!
//! [`TableBuffer`] gathers, [`RowsChunk`] is what leaves it.
//!
//! The key of a row is (seq, row_in_frame); keys must grow strictly from push to push. Debug builds assert it,
//! joins of staged files check it.

mod many;

pub use many::{Deal, Many};

use super::column::NULL_WORD;
use super::rows::Filled;
use super::rows::{RowsChunk, resolve_words, take_inexact};
use super::table::{Body, CommonColumns, CommonRow, DepthLevel, Row, Table};
use super::{Numeric, SchemaVersion, WriteSettings, flags};
use model::Interner;
use model::row::{DepthUpdate, Level};

/// What the record, not the frame, says about a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Common {
    /// Receive time, ns since 1970-01-01 UTC.
    pub ts_recv_ns: i64,
    /// Record sequence in its log.
    pub seq: i64,
    /// Connection ordinal.
    pub conn: i32,
    /// Bits of [`super::flags`]; INEXACT is added by the buffer.
    pub flags: i32,
}

/// Gathers the rows of one table.
#[derive(Debug)]
pub struct TableBuffer {
    table: Table,
    numeric: Numeric,
    version: SchemaVersion,
    common: CommonColumns,
    body: Body,
    /// Row of each inexact value, once per value; rare.
    inexact_rows: Vec<u32>,
}

impl TableBuffer {
    /// An empty buffer for rows of files with these settings.
    pub fn new(table: Table, settings: &WriteSettings) -> Self {
        let (numeric, version) = (settings.numeric, settings.schema_version);
        Self {
            table,
            numeric,
            version,
            common: CommonColumns::new(numeric),
            body: table.body(numeric),
            inexact_rows: Vec::new(),
        }
    }

    /// The table.
    pub fn table(&self) -> Table {
        self.table
    }

    /// Rows held.
    pub fn len(&self) -> usize {
        self.common.seq.0.len()
    }

    /// True when no row is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the values held; the vectors may have reserved up to twice as much.
    pub fn bytes_estimate(&self) -> usize {
        self.common.bytes_held() + self.body.bytes_held()
    }

    /// Bytes of the texts of the first `n` rows: what makes rows of unequal size.
    #[inline]
    pub fn text_bytes(&self, n: usize) -> usize {
        self.common.text_bytes(n) + self.body.text_bytes(n)
    }

    /// How many rows complete a row group of `group_rows` of which `filled` is there already, if there are so many.
    #[inline]
    pub fn full(&self, filled: Filled, group_rows: usize) -> Option<usize> {
        filled.completed_by(self.len(), group_rows, |n| self.text_bytes(n))
    }

    /// Values held that a double cannot carry; always 0 with [`Numeric::Decimal`].
    pub fn inexact(&self) -> u64 {
        self.inexact_rows.len() as u64
    }

    /// Takes the first `n` rows (all, if there are fewer), in log order. `interner` is the one that gave the
    /// symbols and texts of the rows.
    ///
    /// # Panics
    /// When a row holds a text of another interner.
    pub fn take_first(&mut self, n: usize, interner: &Interner) -> RowsChunk {
        let n = n.min(self.len());
        let mut columns = Vec::with_capacity(32);
        for since in self.version.all() {
            self.common.take(n, since, &mut columns);
            self.body.take(n, since, &mut columns);
        }
        let words = resolve_words(&mut columns, interner);
        RowsChunk {
            table: self.table,
            numeric: self.numeric,
            version: self.version,
            rows: n,
            columns,
            words,
            inexact_rows: take_inexact(&mut self.inexact_rows, n),
        }
    }

    /// Gives the memory of a chunk that is written back to its buffer: saves a page fault for every 4 KiB of
    /// the next rows. A chunk of another table, or a buffer that holds rows again, lets it go.
    pub fn recycle(&mut self, used: RowsChunk) {
        if (used.table, used.numeric, used.version) == (self.table, self.numeric, self.version) && self.is_empty() {
            let mut columns = used.columns.into_iter();
            for since in self.version.all() {
                self.common.recycle(since, &mut columns);
                self.body.recycle(since, &mut columns);
            }
        }
    }

    /// Appends a row.
    ///
    /// # Panics
    /// When the buffer is of another table.
    #[inline]
    pub fn push<R: Row>(&mut self, record: &Common, row_in_frame: i32, r: &R) {
        debug_assert!(
            self.common.seq.0.last().is_none_or(|last| {
                (*last, self.common.row_in_frame.0.last().copied()) < (record.seq, Some(row_in_frame))
            }),
            "rows must be pushed in log order: seq {} row {row_in_frame}",
            record.seq
        );
        let Some(inexact) = r.append(self.version, &mut self.body) else {
            self.wrong_table(std::any::type_name::<R>())
        };
        let mut bits = record.flags;
        if inexact != 0 {
            bits |= flags::INEXACT;
            let row = self.len() as u32;
            self.inexact_rows.extend(std::iter::repeat_n(row, inexact as usize));
        }
        let row = CommonRow {
            record,
            row_in_frame,
            symbol: r.symbol().map_or(NULL_WORD, |s| s.0),
            ts_event: r.ts_event_us(),
            ts_trade: r.ts_trade_us(),
            flags: bits,
        };
        self.common.push(self.version, &row);
    }

    /// Appends one row per level of a depth message, `row_in_frame` counting up from `first_row_in_frame`.
    /// Returns the number of rows: a message without levels has none. A snapshot is flagged SNAPSHOT.
    ///
    /// # Panics
    /// When the buffer is of another table.
    #[inline]
    pub fn push_depth(&mut self, c: &Common, first_row_in_frame: i32, r: &DepthUpdate, levels: &[Level]) -> usize {
        let snapshot = if r.is_snapshot { flags::SNAPSHOT } else { 0 };
        let c = Common { flags: c.flags | snapshot, ..*c };
        let last = levels.len().wrapping_sub(1);
        for (i, level) in levels.iter().enumerate() {
            self.push(&c, first_row_in_frame + i as i32, &DepthLevel { update: r, level, last: i == last });
        }
        levels.len()
    }

    #[cold]
    fn wrong_table(&self, row: &str) -> ! {
        panic!("a row of {row} was pushed to a buffer of {}", self.table)
    }
}
