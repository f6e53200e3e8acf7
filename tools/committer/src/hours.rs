//! The table `hours`: one row for each file of each part that is in the other tables, committed after them.
//!
//! It is the account of this committer, and for readers the consistent cut: what it names is in all tables. A part without
//! rows has one row without a table. Its data files are the only ones that a committer writes, and they are small: when there are
//! many they become one. A part that is rewritten or removed has its rows replaced or removed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema as ArrowSchema, SchemaRef, TimeUnit};
use bytes::Bytes;
use iceberg::spec::Struct;
use lake::{Hour, PartManifest, Table};
use ops::failpoint;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::commit::{self, Change};
use crate::data_file;
use crate::error::CommitterError;
use crate::table::{Live, Session, TableState};

/// As many files of it become one.
const MERGE_AT: usize = 32;

/// What the account says of one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Venue name.
    pub venue: String,
    /// The log's uuid, 32 hex digits.
    pub log: String,
    /// Receive hour.
    pub hour: Hour,
    /// Seq of the first and of the last record.
    pub seqs: (u64, u64),
    /// How often the part was rewritten.
    pub revision: i32,
    /// SHA-256 of the manifest.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
    /// Gaps that it names.
    pub gaps: i64,
    /// Records that the log lost in it.
    pub lost: i64,
    /// Keys and rows of its files.
    pub files: BTreeMap<Table, (String, u64)>,
}

impl Committed {
    /// Of a manifest.
    pub fn of(manifest: &PartManifest, hour: Hour, sha256: &str, bytes: u64) -> Self {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let lost = manifest.lost.iter().map(|l| l.to_seq.saturating_sub(l.from_seq).saturating_add(1));
        Self {
            venue: manifest.venue.clone(),
            log: manifest.log.clone(),
            hour,
            seqs: (manifest.first.seq, last_seq(manifest)),
            revision: i32::try_from(manifest.revision).unwrap_or(i32::MAX),
            sha256: sha256.to_owned(),
            bytes,
            gaps: count(manifest.gaps.len()),
            lost: i64::try_from(lost.fold(0, u64::saturating_add)).unwrap_or(i64::MAX),
            files: manifest.files.iter().map(|f| (f.table, (f.path.clone(), f.rows))).collect(),
        }
    }
}

/// The last record of a part.
pub fn last_seq(manifest: &PartManifest) -> u64 {
    manifest.end.seq.saturating_sub(1).max(manifest.first.seq)
}

/// The account: parts by the key of their manifest.
pub type Account = BTreeMap<String, Committed>;

/// Its columns.
pub fn columns() -> SchemaRef {
    let field = |name: &str, kind| Field::new(name, kind, true);
    Arc::new(ArrowSchema::new(vec![
        field("exchange", DataType::Utf8),
        field("log", DataType::Utf8),
        field("hour", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        field("first_seq", DataType::Int64),
        field("last_seq", DataType::Int64),
        field("table_name", DataType::Utf8),
        field("file", DataType::Utf8),
        field("rows", DataType::Int64),
        field("gaps", DataType::Int64),
        field("lost_records", DataType::Int64),
        field("revision", DataType::Int32),
        field("manifest", DataType::Utf8),
        field("manifest_bytes", DataType::Int64),
        field("manifest_sha256", DataType::Utf8),
    ]))
}

/// A file of the account, and what it holds.
pub struct Held {
    uri: String,
    live: Vec<Live>,
    account: Account,
}

/// The account as the table has it, by file.
///
/// # Errors
/// When a file cannot be read or is not as this committer writes them.
pub fn read(session: &Session, table: &TableState) -> Result<Vec<Held>, CommitterError> {
    if table.has_row_deletes() {
        let what = "table hours has files of row deletes, which another engine wrote: it is the committer's account and is \
                    read by whole files; let that engine merge them, or drop all tables of the namespace to have them filled again";
        return Err(CommitterError::unfit(what));
    }
    let mut held = Vec::new();
    for (uri, live) in table.live(session, None)? {
        let account = account_of(&uri, session.places.read(&uri)?)?;
        held.push(Held { uri, live, account });
    }
    Ok(held)
}

/// All of it.
pub fn whole(held: &[Held]) -> Account {
    held.iter().flat_map(|file| &file.account).map(|(key, part)| (key.clone(), part.clone())).collect()
}

/// Commits what the account becomes: `put` comes or is replaced, `drop` goes.
///
/// # Errors
/// As [`commit::commit`].
pub fn commit(
    session: &Session,
    table: &TableState,
    put: &Account,
    drop: &BTreeSet<String>,
) -> Result<(), CommitterError> {
    let held = read(session, table)?;
    let account = whole(&held);
    let mut rows: Account =
        put.iter().filter(|(key, part)| account.get(*key) != Some(part)).map(|(k, p)| (k.clone(), p.clone())).collect();
    let goes = |key: &String| drop.contains(key) || rows.contains_key(key);
    let stale: BTreeSet<String> = account.keys().filter(|key| goes(key)).cloned().collect();
    if rows.is_empty() && stale.is_empty() {
        return Ok(());
    }
    let mut position = table.position()?;
    for part in rows.values() {
        advance(&mut position, &part.log, part.seqs.1);
    }
    let many = held.len() >= MERGE_AT;
    let mut remove = HashMap::new();
    for file in held {
        if many || file.account.keys().any(|key| stale.contains(key)) {
            let stays = file.account.into_iter().filter(|(key, _)| !stale.contains(key));
            rows.extend(stays);
            remove.insert(file.uri, file.live);
        }
    }
    let mut change = Change { remove, position, ..Change::default() };
    if !rows.is_empty() {
        change.add.push(write(session, table, &rows)?);
    }
    failpoint::hit("hours.after_file");
    commit::commit(session, table, change)
}

/// Moves the position of a log on to `seq`; never back.
pub fn advance(position: &mut BTreeMap<String, u64>, log: &str, seq: u64) {
    let at = position.entry(log.get(..8).unwrap_or(log).to_owned()).or_insert(seq);
    *at = seq.max(*at);
}

/// Writes a file of these rows beside the table's metadata.
fn write(session: &Session, table: &TableState, rows: &Account) -> Result<iceberg::spec::DataFile, CommitterError> {
    let location = table.metadata.location().trim_end_matches('/');
    let uri = format!("{location}/data/tapedeck-{:013}-{:016x}.parquet", ops::clock::wall_ms(), commit::random());
    let failed = |source| CommitterError::Parquet { path: uri.clone(), source };
    // The only files with field ids, since they are ours to write.
    let columns = columns();
    let fields = columns.fields().iter().map(|field| {
        let id = table.schema().field_id_by_name(field.name()).unwrap_or_default();
        let ids = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]);
        field.as_ref().clone().with_metadata(ids)
    });
    let schema = Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>()));
    let batch = batch(schema.clone(), rows).map_err(|err| failed(err.into()))?;
    let level = ZstdLevel::try_new(3).map_err(failed)?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, Some(properties)).map_err(failed)?;
    writer.write(&batch).map_err(failed)?;
    let footer = writer.close().map_err(failed)?;
    session.places.write_new(&uri, &bytes)?;
    let partition = (table.spec().spec_id(), Struct::empty());
    data_file::describe(&uri, bytes.len() as u64, &footer, table.schema(), partition)
}

fn batch(schema: SchemaRef, rows: &Account) -> Result<RecordBatch, arrow_schema::ArrowError> {
    // A part without files has a row all the same.
    type Row<'a> = (&'a String, &'a Committed, Option<(Table, &'a String, u64)>);
    let mut all: Vec<Row<'_>> = Vec::new();
    for (key, part) in rows {
        match part.files.is_empty() {
            true => all.push((key, part, None)),
            false => all.extend(part.files.iter().map(|(t, (file, n))| (key, part, Some((*t, file, *n))))),
        }
    }
    let text =
        |of: &dyn Fn(&Row<'_>) -> Option<String>| Arc::new(StringArray::from_iter(all.iter().map(of))) as ArrayRef;
    let long = |of: &dyn Fn(&Row<'_>) -> Option<i64>| Arc::new(Int64Array::from_iter(all.iter().map(of))) as ArrayRef;
    let signed = |n: u64| Some(n.cast_signed());
    let hour_us = |(_, part, _): &Row<'_>| Some(part.hour.0.saturating_mul(3_600_000_000));
    let hour = TimestampMicrosecondArray::from_iter(all.iter().map(hour_us)).with_timezone("UTC");
    let arrays: Vec<ArrayRef> = vec![
        text(&|(_, part, _)| Some(part.venue.clone())),
        text(&|(_, part, _)| Some(part.log.clone())),
        Arc::new(hour),
        long(&|(_, part, _)| signed(part.seqs.0)),
        long(&|(_, part, _)| signed(part.seqs.1)),
        text(&|(.., file)| file.map(|(table, ..)| table.as_str().to_owned())),
        text(&|(.., file)| file.map(|(_, path, _)| path.clone())),
        long(&|(.., file)| file.and_then(|(.., rows)| signed(rows))),
        long(&|(_, part, _)| Some(part.gaps)),
        long(&|(_, part, _)| Some(part.lost)),
        Arc::new(Int32Array::from_iter(all.iter().map(|(_, part, _)| Some(part.revision)))),
        text(&|(key, ..)| Some((*key).clone())),
        long(&|(_, part, _)| signed(part.bytes)),
        text(&|(_, part, _)| Some(part.sha256.clone())),
    ];
    RecordBatch::try_new(schema, arrays)
}

/// The rows of a file.
fn account_of(uri: &str, bytes: Vec<u8>) -> Result<Account, CommitterError> {
    let failed = |source| CommitterError::Parquet { path: uri.to_owned(), source };
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).and_then(|builder| builder.build());
    let mut account = Account::new();
    for batch in reader.map_err(failed)? {
        let batch = batch.map_err(|err| failed(err.into()))?;
        for i in 0..batch.num_rows() {
            let (key, part, file) = row(&batch, i).ok_or_else(|| {
                let what = format!("{uri}: row {i} is no row of an account: somebody else wrote into table hours");
                CommitterError::unfit(what)
            })?;
            account.entry(key).or_insert(part).files.extend(file);
        }
    }
    Ok(account)
}

/// One row; `None` when it is not as [`batch`] makes them.
#[expect(clippy::type_complexity, reason = "taken apart at once")]
fn row(batch: &RecordBatch, i: usize) -> Option<(String, Committed, Option<(Table, (String, u64))>)> {
    let column = |name: &str| batch.column_by_name(name).filter(|column| column.is_valid(i));
    let text = |name: &str| {
        let column = column(name)?;
        match column.data_type() {
            DataType::Utf8 => Some(column.as_string::<i32>().value(i).to_owned()),
            // As other engines write it.
            DataType::LargeUtf8 => Some(column.as_string::<i64>().value(i).to_owned()),
            _ => None,
        }
    };
    let long = |name: &str| Some(column(name)?.as_primitive_opt::<Int64Type>()?.value(i));
    let count = |name: &str| Some(long(name)?.cast_unsigned());
    let manifest = text("manifest")?;
    let (_, part) = lake::Part::from_path(std::path::Path::new(&manifest))?;
    let file = match text("table_name") {
        None => None,
        Some(table) => Some((table.parse().ok()?, (text("file")?, count("rows")?))),
    };
    let committed = Committed {
        venue: text("exchange")?,
        log: text("log")?,
        hour: part.hour,
        seqs: (count("first_seq")?, count("last_seq")?),
        revision: column("revision")?.as_primitive_opt::<Int32Type>()?.value(i),
        sha256: text("manifest_sha256")?,
        bytes: count("manifest_bytes")?,
        gaps: long("gaps")?,
        lost: long("lost_records")?,
        files: BTreeMap::new(),
    };
    Some((manifest, committed, file))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn part(first_seq: u64, files: &[(Table, u64)]) -> Committed {
        Committed {
            venue: "gate-spot".into(),
            log: "0badcafe000000000000000000000000".into(),
            hour: Hour(480_000),
            seqs: (first_seq, u64::MAX - 1),
            revision: 1,
            sha256: "ab".repeat(32),
            bytes: 4_711,
            gaps: 2,
            lost: 3,
            files: files.iter().map(|(t, n)| (*t, (format!("{t}/x.parquet"), *n))).collect(),
        }
    }

    #[test]
    fn what_is_written_is_read_back_parts_without_rows_and_seqs_of_64_bits_too() {
        let key = |n: u64| format!("_manifests/exchange=gate-spot/date=2024-10-04/hour=00/0badcafe-{n:016x}.json");
        let account =
            Account::from([(key(1), part(1, &[(Table::Trades, 5), (Table::Depth, 7)])), (key(2), part(2, &[]))]);
        let batch = batch(columns(), &account).unwrap();
        assert_eq!(batch.num_rows(), 3);
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, columns(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        assert_eq!(account_of("x", bytes).unwrap(), account);
    }

    #[test]
    fn a_position_never_goes_back() {
        let mut position = BTreeMap::new();
        for seq in [5, 9, 7] {
            advance(&mut position, "0badcafe000000000000000000000000", seq);
        }
        assert_eq!(position, BTreeMap::from([("0badcafe".to_owned(), 9)]));
    }
}
