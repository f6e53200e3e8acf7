//! Rows on their way from a buffer to a file, or back from a file: [`RowsChunk`].
//!
//! A row group ends at its rows or at its bytes ([`Filled`]), both counted from the rows themselves.
//!
//! A chunk is self-contained (its own sorted list of texts), so it can be encoded on another thread while the interner
//! goes on growing. Its rows are in log order; nothing here sorts by symbol.

use super::column::{Column, NULL_WORD, Spec};
use super::table::{CommonColumns, Table};
use super::{Numeric, SchemaVersion, WriteSettings};
use model::{Interner, SymbolId};

/// A row group ends with the row that brings its texts to this many bytes, whatever the row target says. Rows of
/// numbers are alike, payloads are not: 8,192 frames are 1 MiB or 16 GiB. Part of the format: other bytes, other files.
pub const GROUP_TEXT_BYTES: usize = 16 << 20;

/// What there is of a row group that is not complete yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// Rows.
    pub rows: usize,
    /// Bytes of their texts.
    pub text_bytes: usize,
}

impl Filled {
    /// Further rows, which do not go past the end of a row group of `group_rows`.
    pub fn add(&mut self, rows: usize, text_bytes: usize, group_rows: usize) {
        self.rows += rows;
        self.text_bytes += text_bytes;
        if self.rows >= group_rows || self.text_bytes >= GROUP_TEXT_BYTES {
            *self = Self::default();
        }
    }

    /// How many of `rows` further rows complete the group, if they do; `text_bytes(n)` are those of the first `n`.
    #[inline]
    pub(crate) fn completed_by(
        self,
        rows: usize,
        group_rows: usize,
        text_bytes: impl Fn(usize) -> usize,
    ) -> Option<usize> {
        let by_rows = group_rows.max(1).saturating_sub(self.rows).max(1);
        let left = GROUP_TEXT_BYTES.saturating_sub(self.text_bytes);
        if text_bytes(rows) >= left {
            return Some(by_text(rows, left, text_bytes).min(by_rows)).filter(|n| *n <= rows);
        }
        (rows >= by_rows).then_some(by_rows)
    }
}

/// The first row with which the texts reach `left` bytes, counted from 1.
#[cold]
fn by_text(rows: usize, left: usize, text_bytes: impl Fn(usize) -> usize) -> usize {
    let (mut low, mut high) = (1, rows.max(1));
    while low < high {
        let middle = low + (high - low) / 2;
        if text_bytes(middle) >= left {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// Splits the rows of inexact values at row `n`.
pub(crate) fn take_inexact(rows: &mut Vec<u32>, n: usize) -> Vec<u32> {
    let cut = rows.partition_point(|r| (*r as usize) < n);
    let rest = rows.split_off(cut).into_iter().map(|r| r - n as u32).collect();
    std::mem::replace(rows, rest)
}

/// Rewrites interner ids to indices into a sorted list of the texts that occur; returns the list.
pub(crate) fn resolve_words(columns: &mut [Column], interner: &Interner) -> Vec<Box<str>> {
    let mut rank = vec![NULL_WORD; interner.len()];
    let mut used: Vec<u32> = Vec::new();
    for c in columns.iter() {
        let Column::Word(v) = c else { continue };
        let mut last = NULL_WORD;
        for &id in v {
            if id != last && id != NULL_WORD && rank[id as usize] == NULL_WORD {
                rank[id as usize] = 0;
                used.push(id);
            }
            last = id;
        }
    }
    used.sort_unstable_by_key(|id| interner.name(SymbolId(*id)));
    for (i, id) in used.iter().enumerate() {
        rank[*id as usize] = i as u32;
    }
    for c in columns {
        let Column::Word(v) = c else { continue };
        for id in v.iter_mut().filter(|id| **id != NULL_WORD) {
            *id = rank[*id as usize];
        }
    }
    used.iter().map(|id| interner.name(SymbolId(*id)).into()).collect()
}

/// Rows of one table in log order, ready to become a row group.
#[derive(Clone, Debug)]
pub struct RowsChunk {
    pub(crate) table: Table,
    pub(crate) numeric: Numeric,
    pub(crate) version: SchemaVersion,
    pub(crate) rows: usize,
    /// One per column of the schema of its version.
    pub columns: Vec<Column>,
    /// Sorted, distinct; text columns index it.
    pub words: Vec<Box<str>>,
    /// Rows in which a double is not the decimal that was sent.
    pub inexact_rows: Vec<u32>,
}

impl RowsChunk {
    /// No rows.
    pub fn empty(table: Table, numeric: Numeric, version: SchemaVersion) -> Self {
        Self {
            table,
            numeric,
            version,
            rows: 0,
            columns: table.specs(version).iter().map(|s| Column::new(s.kind, numeric)).collect(),
            words: Vec::new(),
            inexact_rows: Vec::new(),
        }
    }

    /// The table.
    pub fn table(&self) -> Table {
        self.table
    }

    /// How numbers are held.
    pub fn numeric(&self) -> Numeric {
        self.numeric
    }

    /// Rows held.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values that a double cannot carry. 0 for rows that were read back: files carry the count in their
    /// key-values.
    pub fn inexact(&self) -> u64 {
        self.inexact_rows.len() as u64
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.columns.iter().map(Column::bytes).sum()
    }

    /// The version of its schema.
    pub fn version(&self) -> SchemaVersion {
        self.version
    }

    /// The columns, in the order of the schema.
    pub fn specs(&self) -> Vec<Spec> {
        self.table.specs(self.version)
    }

    /// The same rows with the columns of `version`: null in those that it added. `None` when they have more than that.
    pub fn of_version(mut self, version: SchemaVersion) -> Option<RowsChunk> {
        let (specs, numeric, rows) = (self.table.specs(version), self.numeric, self.rows);
        let added = specs.get(self.columns.len()..)?;
        self.columns.extend(added.iter().map(|s| Column::nulls(s.kind, numeric, rows)));
        self.version = version;
        Some(self)
    }

    fn int64s(&self, column: usize) -> &[i64] {
        match self.columns.get(column) {
            Some(Column::Int64(v)) => v,
            _ => &[],
        }
    }

    pub(crate) fn symbols(&self) -> &[u32] {
        match self.columns.get(CommonColumns::SYMBOL) {
            Some(Column::Word(v)) => v,
            _ => &[],
        }
    }

    pub(crate) fn recv_ns(&self) -> &[i64] {
        self.int64s(CommonColumns::TS_RECV_NS)
    }

    /// Key (seq, row_in_frame) of row `i`.
    pub fn key(&self, i: usize) -> Option<(i64, i32)> {
        let Some(Column::Int32(rows)) = self.columns.get(CommonColumns::ROW_IN_FRAME) else {
            return None;
        };
        Some((*self.int64s(CommonColumns::SEQ).get(i)?, rows.get(i).copied()?))
    }

    /// Bytes of the texts of the first `n` rows.
    pub fn text_bytes(&self, n: usize) -> usize {
        self.columns.iter().map(|c| c.text_bytes(n)).sum()
    }

    /// How many of its first rows are a whole row group, if there are so many.
    pub fn full(&self, settings: &WriteSettings) -> Option<usize> {
        Filled::default().completed_by(self.rows, settings.group_rows(self.table), |n| self.text_bytes(n))
    }

    /// Takes the first `n` rows (all, if there are fewer).
    pub fn take_first(&mut self, n: usize) -> RowsChunk {
        let n = n.min(self.rows);
        self.rows -= n;
        RowsChunk {
            table: self.table,
            numeric: self.numeric,
            version: self.version,
            rows: n,
            columns: self.columns.iter_mut().map(|c| c.take_first(n)).collect(),
            words: self.words.clone(),
            inexact_rows: take_inexact(&mut self.inexact_rows, n),
        }
    }

    /// Appends later rows of the same table, numeric form and version; false (and nothing done) otherwise.
    #[must_use]
    pub fn append(&mut self, mut other: RowsChunk) -> bool {
        if (other.table, other.numeric, other.version) != (self.table, self.numeric, self.version) {
            return false;
        }
        self.merge_words(&mut other);
        let at = self.rows as u32;
        self.inexact_rows.extend(other.inexact_rows.iter().map(|r| r + at));
        self.rows += other.rows;
        self.columns.iter_mut().zip(other.columns).all(|(a, b)| a.append(b))
    }

    fn merge_words(&mut self, other: &mut RowsChunk) {
        if self.words == other.words {
            return;
        }
        let mut words: Vec<Box<str>> = self.words.iter().chain(&other.words).cloned().collect();
        words.sort_unstable();
        words.dedup();
        for chunk in [&mut *self, other] {
            let rank: Vec<u32> =
                chunk.words.iter().map(|w| words.binary_search(w).map_or(NULL_WORD, |i| i as u32)).collect();
            for c in &mut chunk.columns {
                let Column::Word(v) = c else { continue };
                for id in v.iter_mut().filter(|id| **id != NULL_WORD) {
                    *id = rank[*id as usize];
                }
            }
        }
        self.words = words;
    }
}
