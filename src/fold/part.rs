//! One part in memory: a contiguous range of one log inside one hour, as rows and a ledger.
//!
//! Knows no record and no file: [`super::gather`] fills it, the compactor empties it.

use serde::{Deserialize, Serialize};
use wal_format::{Position, Run};

use super::account::Account;
use lake::hash::PayloadHash;
use lake::table::Event;
use lake::{Common, Filled, Hour, Table, TableBuffer, WriteSettings};

/// A staged piece of one table, in log order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Number in its name.
    pub index: u32,
    /// Rows in it.
    pub rows: u64,
    /// Its size; a file of another size is not this piece.
    pub bytes: u64,
    /// Values in it that a double cannot carry.
    pub inexact: u64,
    /// CRC-32/IEEE of the file; `None` = staged by a version that took none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc32: Option<u32>,
    /// Bytes of the texts in it; a part that version 1 began does not know them.
    #[serde(default)]
    pub text_bytes: u64,
}

/// The rows of one table.
#[derive(Default)]
pub struct TablePart {
    /// Rows not staged yet.
    pub buffer: Option<TableBuffer>,
    pieces: Vec<Piece>,
    /// Rows in them.
    staged_rows: u64,
    /// What is staged of the row group that the next row belongs to.
    filled: Filled,
    /// Rows of a full row group.
    group_rows: usize,
    /// Monotonic time at which rows were last seen to have come, ns.
    pub touched_ns: u64,
}

impl TablePart {
    /// Rows held in memory.
    pub fn buffered(&self) -> usize {
        self.buffer.as_ref().map_or(0, TableBuffer::len)
    }

    /// Rows in pieces.
    pub fn staged(&self) -> u64 {
        self.staged_rows
    }

    /// How many rows in memory complete a row group together with what is staged of it, if there are so many.
    #[inline]
    pub fn full(&self) -> Option<usize> {
        self.buffer.as_ref()?.full(self.filled, self.group_rows)
    }

    /// Staged rows, in log order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Replaces the staged rows.
    pub fn set_pieces(&mut self, pieces: Vec<Piece>) {
        self.pieces = pieces;
        self.staged_rows = self.pieces.iter().map(|p| p.rows).sum();
        self.filled = Filled::default();
        for piece in &self.pieces {
            // Pieces end where row groups do, or before.
            self.filled.add(piece.rows as usize, piece.text_bytes as usize, self.group_rows);
        }
    }

    /// Adds a staged piece.
    pub fn push_piece(&mut self, piece: Piece) {
        let mut pieces = std::mem::take(&mut self.pieces);
        pieces.push(piece);
        self.set_pieces(pieces);
    }

    /// Values that a double cannot carry, staged or not.
    pub fn inexact(&self) -> u64 {
        self.pieces.iter().map(|p| p.inexact).sum::<u64>() + self.buffer.as_ref().map_or(0, TableBuffer::inexact)
    }
}

/// A part that is being gathered.
pub struct OpenPart {
    /// Its hour.
    pub hour: Hour,
    /// Where its first record is.
    pub first: Position,
    /// A record received at or after this opens the next part, ns since 1970-01-01 UTC.
    pub ends_ns: u64,
    /// Runs of the writer that its records are of, ascending.
    pub runs: Vec<Run>,
    /// Settings of all its files: those of the time it began.
    pub settings: WriteSettings,
    /// By table, in the order of [`Table::ALL`].
    pub tables: Vec<TablePart>,
    /// The ledger.
    pub account: Account,
    /// Payloads.
    pub hash: PayloadHash,
    /// Key of the last row of `events`, so that several of one record get rising rows.
    pub last_event: Option<(i64, i32)>,
}

impl OpenPart {
    /// An empty part.
    pub fn new(hour: Hour, first: Position, ends_ns: u64, settings: WriteSettings) -> Self {
        let table = |t: &Table| {
            let group_rows = settings.group_rows(*t).max(1);
            TablePart { group_rows, ..TablePart::default() }
        };
        Self {
            hour,
            first,
            ends_ns,
            runs: Vec::new(),
            tables: Table::ALL.iter().map(table).collect(),
            settings,
            account: Account::default(),
            hash: PayloadHash::default(),
            last_event: None,
        }
    }

    /// Notes the run that the record just taken is of.
    pub fn enter(&mut self, run: Run) {
        if self.runs.last() != Some(&run) {
            self.runs.push(run);
        }
    }

    /// The buffer of `table`, made when first needed.
    #[inline]
    pub fn buffer(&mut self, table: Table) -> &mut TableBuffer {
        self.tables[table as usize].buffer.get_or_insert_with(|| TableBuffer::new(table, &self.settings))
    }

    /// The buffer of `table` beside the ledger.
    #[inline]
    pub(crate) fn buffer_and_account(&mut self, table: Table) -> (&mut TableBuffer, &mut Account) {
        let of_table = &mut self.tables[table as usize];
        (of_table.buffer.get_or_insert_with(|| TableBuffer::new(table, &self.settings)), &mut self.account)
    }

    /// Appends a row of `events` and counts it.
    pub fn event(&mut self, common: &Common, event: &Event<'_>) {
        let row = match self.last_event {
            Some((seq, row)) if seq == common.seq => row + 1,
            _ => 0,
        };
        self.last_event = Some((common.seq, row));
        self.buffer(Table::Events).push(common, row, event);
        self.account.rows(Table::Events, 1);
    }

    /// Rows and estimated bytes held in memory.
    pub fn buffered(&self) -> (u64, u64) {
        self.tables.iter().filter_map(|t| t.buffer.as_ref()).fold((0, 0), |(rows, bytes), b| {
            // Vectors grow by doubling: half as much again is reserved on average.
            (rows + b.len() as u64, bytes + b.bytes_estimate() as u64 * 3 / 2)
        })
    }
}
