//! Rows with which a month begins although the month before, as it is in the lake, has them: a file of the archive may
//! begin before its month, or go on after it. The same row twice would count twice in every sum, so the later one is left
//! out and counted. Another row under an id that was taken stays where it is, and `verify` says so.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use super::record::Record;
use super::row::{Names, Origin, Row};
use super::tally::Tally;
use crate::Kind;
use lake::buffer::Many;
use lake::column::Column;
use lake::read::TableFile;
use lake::{Lake, LakeError, RowsChunk, Table, TableBuffer, WriteSettings};
use model::Interner;

/// Most rows of the month before that are known at once: 32 MiB. What repeats further back stays, and is reported.
const ROWS_MAX: usize = 1 << 20;
/// Columns that say when and how a row came here, not what it is.
const OF_THE_WAY: [&str; 6] = ["ts_recv", "ts_recv_ns", "seq", "row_in_frame", "conn", "flags"];

/// All of a row but its way here.
type Fact = [u8; 16];

/// The end of the month before.
pub(crate) struct Before<'b> {
    lake: &'b Lake,
    record: &'b Record,
    /// Its rows from where this month begins; read when it does so before that one ends.
    facts: Option<HashSet<Fact>>,
}

/// Where a row stands among those of two months: its id, where rows count up, else its time.
fn place<R: Row>(row: &R) -> i64 {
    row.ids().map_or_else(|| row.time_us(), |(first, _)| first)
}

/// The column of [`place`].
fn column(table: Table) -> &'static str {
    match table {
        Table::Trades => "id",
        Table::AggTrades => "agg_id",
        Table::VenueKlines | Table::IndexPriceKlines | Table::MarkPriceKlines | Table::PremiumIndexKlines => {
            "open_time"
        }
        _ => "ts_event",
    }
}

/// The last of these rows.
fn end(tally: &Tally) -> Option<i64> {
    tally.last?.id.or(tally.latest_us)
}

/// True when a month of these rows begins before the one before ends.
fn meet(before: &Tally, tally: &Tally) -> bool {
    let first = tally.first.map(|edge| edge.id.unwrap_or(edge.time_us));
    matches!((end(before), first), (Some(last), Some(first)) if first <= last)
}

/// What the month of `old` depends on in the month before: its files, where the rows of both meet.
pub(super) fn needs(kind: Kind, old: &Record, before: Option<&Record>) -> Option<String> {
    let before = before.filter(|_| has_identity(kind))?;
    (old.month_before.is_some() || meet(&before.tally, &old.tally)).then(|| digest(before))
}

/// Two liquidations of one time and size are two.
pub(super) fn has_identity(kind: Kind) -> bool {
    kind != Kind::LiquidationSnapshot
}

/// The files of a month in a word.
fn digest(record: &Record) -> String {
    let mut all = Sha256::new();
    for output in &record.outputs {
        all.update(format!("{}  {}\n", output.sha256, output.path));
    }
    lake::hash::hex(&all.finalize())
}

impl<'b> Before<'b> {
    pub(super) fn new(lake: &'b Lake, record: &'b Record) -> Before<'b> {
        Before { lake, record, facts: None }
    }

    /// Of `rows` in their order, the first ones may be known: whether each of them is. Shorter than `rows` when this month
    /// goes on after the end of the one before.
    pub(super) fn knows<R: Row>(
        &mut self,
        rows: &[R],
        (table, settings): (Table, &WriteSettings),
        (names, interner): (&Names, &Interner),
    ) -> Result<Vec<bool>, LakeError> {
        let last = end(&self.record.tally);
        let near = rows.iter().take_while(|row| last.is_some_and(|last| place(*row) <= last)).count();
        let rows = rows.get(..near).unwrap_or_default();
        let Some(from) = rows.iter().map(place).min() else { return Ok(Vec::new()) };
        if self.facts.is_none() {
            self.facts = Some(self.read(table, from)?);
        }
        let mut buffer = TableBuffer::new(table, settings);
        let many =
            Many { symbol: names.symbol, ts_recv_ns: &vec![0; rows.len()], first_seq: 0, flags: &vec![0; rows.len()] };
        R::push_many(rows, &many, names, &mut buffer);
        let chunk = buffer.take_first(usize::MAX, interner);
        // Two numbers that a double cannot distinguish may be two.
        let inexact: HashSet<usize> = chunk.inexact_rows.iter().map(|row| *row as usize).collect();
        let known = |(i, (row, fact)): (usize, (&R, Fact))| {
            let whole = !inexact.contains(&i) && !row.origin().has(Origin::LOSSY);
            whole && self.facts.as_ref().is_some_and(|facts| facts.contains(&fact))
        };
        Ok(rows.iter().zip(facts(&chunk)).enumerate().map(known).collect())
    }

    /// What the month was held against, where that was needed.
    pub(super) fn used(&self) -> Option<String> {
        self.facts.is_some().then(|| digest(self.record))
    }

    /// The rows of the lake from `from` on, from the last one backwards.
    fn read(&self, table: Table, from: i64) -> Result<HashSet<Fact>, LakeError> {
        let mut known = HashSet::new();
        for output in self.record.outputs.iter().rev() {
            let file = TableFile::get(self.lake, &output.path)?;
            for group in (0..file.groups()).rev() {
                let chunk = file.chunk(group)?;
                let at = chunk.specs().iter().position(|spec| spec.name == column(table));
                let Some(Column::Int64(places)) = at.and_then(|at| chunk.columns.get(at)) else { return Ok(known) };
                known.extend(facts(&chunk).zip(places).filter(|(_, place)| **place >= from).map(|(fact, _)| fact));
                if known.len() >= ROWS_MAX || places.iter().any(|place| *place < from) {
                    return Ok(known);
                }
            }
        }
        Ok(known)
    }
}

/// The rows of a chunk, by the columns that files of every version of the schema have.
fn facts(chunk: &RowsChunk) -> impl Iterator<Item = Fact> {
    let specs = chunk.specs();
    let columns: Vec<&Column> = specs
        .iter()
        .zip(&chunk.columns)
        .filter(|(spec, _)| spec.since == 1 && !OF_THE_WAY.contains(&spec.name))
        .map(|(_, column)| column)
        .collect();
    (0..chunk.rows()).map(move |i| {
        let mut all = Sha256::new();
        for column in &columns {
            match column {
                Column::Int32(v) => all.update(v.get(i).copied().unwrap_or_default().to_le_bytes()),
                Column::Int64(v) => all.update(v.get(i).copied().unwrap_or_default().to_le_bytes()),
                Column::Double(v) => all.update(v.get(i).copied().unwrap_or_default().to_le_bytes()),
                Column::Decimal(v) => all.update(v.get(i).copied().unwrap_or_default().to_le_bytes()),
                Column::Side(v) => all.update([v.get(i).copied().unwrap_or_default()]),
                Column::Bool(v) => all.update([u8::from(v.get(i).copied().unwrap_or_default())]),
                Column::Word(v) => {
                    let word = v.get(i).and_then(|word| chunk.words.get(*word as usize));
                    text(&mut all, word.map(|word| word.as_bytes()));
                }
                Column::Text(v) => text(&mut all, v.get(i)),
                Column::Derived => {}
            }
        }
        let whole = all.finalize();
        std::array::from_fn(|n| whole.get(n).copied().unwrap_or_default())
    })
}

/// With its length before it, so that two texts are never one.
fn text(all: &mut Sha256, text: Option<&[u8]>) {
    all.update(text.map_or(u64::MAX, |text| text.len() as u64).to_le_bytes());
    all.update(text.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use lake::{Common, SchemaVersion};
    use model::Num;
    use model::row::{Side, Trade};

    #[test]
    fn a_row_is_the_same_in_files_of_every_version_of_the_schema() {
        let of = |schema_version, id| {
            let mut names = Interner::new();
            let settings = WriteSettings { schema_version, ..WriteSettings::default() };
            let mut buffer = TableBuffer::new(Table::Trades, &settings);
            let number = Num { mantissa: 7, scale: 1 };
            let row = Trade {
                symbol: names.intern("AUSDT"),
                ts_event_us: None,
                ts_trade_us: Some(5),
                id: Some(id),
                id_str: None,
                price: number,
                amount: number,
                side: Side::Buy,
                kind: None,
            };
            buffer.push(&Common::default(), 0, &row);
            facts(&buffer.take_first(1, &names)).collect::<Vec<_>>()
        };
        assert_eq!(of(SchemaVersion::FIRST, 1), of(SchemaVersion::SECOND, 1));
        assert_ne!(of(SchemaVersion::FIRST, 1), of(SchemaVersion::FIRST, 2));
    }
}
