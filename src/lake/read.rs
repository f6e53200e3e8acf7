//! Files of the lake, read back: for joins of staged pieces, replay, verification and tests.
//!
//! Everything a file says about itself (table, settings, counts) is in its key-values; nothing depends on its path.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::FieldRef;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;
use wal_format::regular;

use super::column::{Column, NULL_DEC, NULL_F64, NULL_I64, NULL_SIDE, NULL_WORD, SIDES};
use super::guard::{self, guarded};
use super::rows::{RowsChunk, resolve_words};
use super::store::absent;
use super::table::CommonColumns;
use super::{Lake, LakeError, Numeric, Object, SchemaVersion, Table};
use model::Interner;

/// Key-value names that every file carries.
pub mod key {
    /// Name of the table.
    pub const TABLE: &str = "table";
    /// [`crate::SchemaVersion`]: columns are only ever added.
    pub const SCHEMA_VERSION: &str = "schema_version";
    /// Settings that shaped the bytes.
    pub const SETTINGS: &str = "settings";
    /// In staged pieces: whether the piece is a whole row group.
    pub const WHOLE_GROUP: &str = "whole_group";
    /// Values that a double cannot carry.
    pub const INEXACT_VALUES: &str = "inexact_values";
}

/// An open file of the lake.
#[derive(Debug)]
pub struct TableFile {
    path: PathBuf,
    content: Object,
    metadata: Arc<ParquetMetaData>,
    table: Table,
    numeric: Numeric,
    version: SchemaVersion,
}

impl TableFile {
    /// Opens a local file and reads its footer and page index: a staged one, of which no store knows.
    ///
    /// # Errors
    /// When it cannot be read, or is not a file of the lake with the columns of its table; [`LakeError::Newer`] when a
    /// newer program wrote it.
    pub fn open(path: &Path) -> Result<TableFile, LakeError> {
        let file = regular::open(path).map_err(LakeError::io("open", path))?;
        Self::of(path, Object::File(Arc::new(file)))
    }

    /// [`TableFile::open`] of a published file.
    ///
    /// # Errors
    /// As [`TableFile::open`].
    pub fn get(lake: &Lake, key: &str) -> Result<TableFile, LakeError> {
        let place = lake.place(key);
        let content = lake.get(key)?.ok_or_else(|| absent("open", &place))?;
        Self::of(&place, content)
    }

    /// [`TableFile::open`] of an object that is open already, or was read into memory, whatever is at `path` by now:
    /// what is parsed is what was opened, or checked.
    ///
    /// # Errors
    /// As [`TableFile::open`].
    pub fn of(path: &Path, content: Object) -> Result<TableFile, LakeError> {
        let metadata = Arc::new(guard::metadata(path, &content)?);
        let foreign = |what: String| LakeError::Foreign { path: path.to_owned(), table: "(any)", what };
        let version = match find(&metadata, key::SCHEMA_VERSION).map(str::parse::<SchemaVersion>) {
            None => SchemaVersion::FIRST,
            Some(Ok(version)) => version,
            Some(Err(_)) => return Err(foreign("its footer names no version of its schema".into())),
        };
        if version > SchemaVersion::NEWEST {
            return Err(version.newer(path));
        }
        let table: Table = find(&metadata, key::TABLE)
            .ok_or_else(|| foreign("its footer names no table".into()))?
            .parse()
            .map_err(foreign)?;
        let schema = || ArrowReaderMetadata::try_new(metadata.clone(), Default::default());
        let arrow = guarded("read the schema of", path, schema)?;
        // Tables without numbers look the same in both forms: the footer decides.
        let numeric = match find(&metadata, key::SETTINGS) {
            Some(s) if s.ends_with("numeric=decimal") => Numeric::Decimal,
            _ => Numeric::Double,
        };
        // A column that may be null now was never null before.
        let (have, want) = (arrow.schema().fields(), table.schema(numeric, version));
        let fits = |(have, want): (&FieldRef, &FieldRef)| {
            have == want || (want.is_nullable() && **have == (**want).clone().with_nullable(false))
        };
        if have.len() != want.fields().len() || !have.iter().zip(want.fields()).all(fits) {
            return Err(LakeError::Foreign {
                path: path.to_owned(),
                table: table.as_str(),
                what: format!("its columns are not the table's in version {version}"),
            });
        }
        Ok(TableFile { path: path.to_owned(), content, metadata, table, numeric, version })
    }

    /// Its table.
    pub fn table(&self) -> Table {
        self.table
    }

    /// How its numbers are written.
    pub fn numeric(&self) -> Numeric {
        self.numeric
    }

    /// The version of its schema: of which columns its rows are.
    pub fn version(&self) -> SchemaVersion {
        self.version
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its footer and page index.
    pub fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }

    pub(crate) fn content(&self) -> &Object {
        &self.content
    }

    /// A key-value of the footer.
    pub fn key_value(&self, key: &str) -> Option<&str> {
        find(&self.metadata, key)
    }

    /// All key-values of the footer, in order.
    pub fn key_values(&self) -> Vec<(String, String)> {
        self.metadata
            .file_metadata()
            .key_value_metadata()
            .into_iter()
            .flatten()
            .map(|kv| (kv.key.clone(), kv.value.clone().unwrap_or_default()))
            .collect()
    }

    /// Rows in all row groups.
    pub fn rows(&self) -> u64 {
        self.metadata.file_metadata().num_rows().max(0) as u64
    }

    /// Values that a double cannot carry, as counted when they were written.
    pub fn inexact(&self) -> u64 {
        self.key_value(key::INEXACT_VALUES).and_then(|v| v.parse().ok()).unwrap_or(0)
    }

    /// Number of row groups.
    pub fn groups(&self) -> usize {
        self.metadata.num_row_groups()
    }

    /// Rows of row group `i`; 0 when there is none.
    pub fn group_rows(&self, i: usize) -> usize {
        self.metadata.row_groups().get(i).map_or(0, |g| g.num_rows().max(0) as usize)
    }

    /// Lowest and highest seq of row group `i`, from its statistics.
    pub fn group_seqs(&self, i: usize) -> Option<(i64, i64)> {
        let group = self.metadata.row_groups().get(i)?;
        match group.columns().get(CommonColumns::SEQ)?.statistics()? {
            Statistics::Int64(s) => Some((*s.min_opt()?, *s.max_opt()?)),
            _ => None,
        }
    }

    /// The batches of row group `i`, as any reader sees them: of 8,192 rows, or fewer where rows are large.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn batches(&self, i: usize) -> Result<impl Iterator<Item = Result<RecordBatch, LakeError>> + '_, LakeError> {
        /// What a batch is to hold at most, bytes.
        const BATCH_BYTES: i64 = 4 << 20;
        let row_bytes = self.metadata.row_groups().get(i).map_or(0, |g| g.total_byte_size() / g.num_rows().max(1));
        let batch_rows = (BATCH_BYTES / row_bytes.max(1)).clamp(1, 8_192) as usize;
        let reader = guarded("read", &self.path, || {
            let metadata = ArrowReaderMetadata::try_new(self.metadata.clone(), Default::default())?;
            ParquetRecordBatchReaderBuilder::new_with_metadata(self.content.clone(), metadata)
                .with_row_groups(vec![i])
                .with_batch_size(batch_rows)
                .build()
        })?;
        Ok(Batches { reader: Some(reader), path: &self.path })
    }

    /// Row group `i` as rows in log order.
    ///
    /// # Errors
    /// When the file cannot be read or holds values the table cannot have.
    pub fn chunk(&self, i: usize) -> Result<RowsChunk, LakeError> {
        let mut interner = Interner::new();
        let mut chunk = RowsChunk::empty(self.table, self.numeric, self.version);
        for batch in self.batches(i)? {
            let batch = batch?;
            for (column, array) in chunk.columns.iter_mut().zip(batch.columns()) {
                if !append(column, array, &mut interner) {
                    return Err(LakeError::Foreign {
                        path: self.path.clone(),
                        table: self.table.as_str(),
                        what: format!("a column of type {} or an unknown side", array.data_type()),
                    });
                }
            }
            chunk.rows += batch.num_rows();
        }
        chunk.words = resolve_words(&mut chunk.columns, &interner);
        let mut order: Vec<u32> = (0..chunk.rows as u32).collect();
        order.sort_by_key(|r| chunk.key(*r as usize));
        // Rows of one symbol, and frames, are in log order already.
        if !order.is_sorted() {
            // One column after the other: not all of them twice.
            for column in &mut chunk.columns {
                *column = column.permuted(&order);
            }
        }
        Ok(chunk)
    }
}

/// The batches of a row group, up to the first error.
struct Batches<'f> {
    reader: Option<ParquetRecordBatchReader>,
    path: &'f Path,
}

impl Iterator for Batches<'_> {
    type Item = Result<RecordBatch, LakeError>;

    fn next(&mut self) -> Option<Self::Item> {
        // One that failed is not read again.
        let mut reader = self.reader.take()?;
        let read = guarded("read", self.path, || {
            let batch = reader.next().transpose()?;
            Ok(batch.map(|batch| (batch, reader)))
        });
        let (batch, reader) = match read.transpose()? {
            Ok(read) => read,
            Err(err) => return Some(Err(err)),
        };
        self.reader = Some(reader);
        Some(Ok(batch))
    }
}

fn find<'m>(metadata: &'m ParquetMetaData, key: &str) -> Option<&'m str> {
    metadata.file_metadata().key_value_metadata()?.iter().find(|kv| kv.key == key)?.value.as_deref()
}

/// Appends an arrow array to a column; false when the types do not fit.
fn append(column: &mut Column, array: &Arc<dyn Array>, interner: &mut Interner) -> bool {
    match column {
        Column::Int32(v) => match array.as_primitive_opt::<Int32Type>() {
            Some(a) => v.extend_from_slice(a.values()),
            None => return false,
        },
        Column::Int64(v) => {
            if let Some(a) = array.as_primitive_opt::<Int64Type>() {
                v.extend(a.iter().map(|x| x.unwrap_or(NULL_I64)));
            } else if let Some(a) = array.as_primitive_opt::<TimestampMicrosecondType>() {
                v.extend(a.iter().map(|x| x.unwrap_or(NULL_I64)));
            } else {
                return false;
            }
        }
        Column::Double(v) => match array.as_primitive_opt::<Float64Type>() {
            Some(a) => v.extend(a.iter().map(|x| x.map_or(NULL_F64, f64::to_bits))),
            None => return false,
        },
        Column::Decimal(v) => match array.as_primitive_opt::<Decimal128Type>() {
            Some(a) => v.extend(a.iter().map(|x| x.unwrap_or(NULL_DEC))),
            None => return false,
        },
        Column::Word(v) => match array.as_string_opt::<i32>() {
            Some(a) => v.extend(a.iter().map(|x| x.map_or(NULL_WORD, |w| interner.intern(w).0))),
            None => return false,
        },
        Column::Side(v) => match array.as_string_opt::<i32>() {
            Some(a) => {
                for word in a.iter() {
                    let code = word.map_or(Some(NULL_SIDE), |w| Some(SIDES.iter().position(|s| *s == w)? as u8));
                    let Some(code) = code else { return false };
                    v.push(code);
                }
            }
            None => return false,
        },
        Column::Bool(v) => match array.as_boolean_opt() {
            Some(a) => v.extend(a.iter().map(Option::unwrap_or_default)),
            None => return false,
        },
        Column::Text(t) => {
            if let Some(a) = array.as_string_opt::<i32>() {
                a.iter().for_each(|x| {
                    t.push_opt(x);
                });
            } else if let Some(a) = array.as_binary_opt::<i32>() {
                a.iter().for_each(|x| {
                    t.push_opt(x);
                });
            } else {
                return false;
            }
        }
        Column::Derived => {}
    }
    true
}
