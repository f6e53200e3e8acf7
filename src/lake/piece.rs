//! Files out of row groups: staged pieces, and their join into the file that is published.
//!
//! A row group of a joined file holds the next R rows of the part in log order, or fewer when their texts reach
//! [`super::GROUP_TEXT_BYTES`] before, whatever pieces were staged. A row group that is already exactly that is copied
//! byte for byte (column chunks with their page index); everything else is decoded and encoded again. So a part that
//! was staged a hundred times, by three processes, gives the same bytes as one that never was.
//!
//! A piece is read once, into memory, and its CRC-32 is checked before anything of it is parsed: nothing can change
//! between the check and the use. CRC-32 and not SHA-256, because it answers disks and memory, not forgers, and costs
//! under 1 ns a row where SHA-256 costs 15.
//!
//! Memory: at most two row groups of rows, one of encoded pages, and one piece as it lies on disk; a row
//! group is bounded in bytes.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parquet::arrow::ArrowSchemaConverter;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use sha2::{Digest, Sha256};
use wal_format::regular;

use super::encode::{Encoder, check_size, encode_group};
use super::guard::guarded;
use super::read::{TableFile, key};
use super::rows::RowsChunk;
use super::table::CommonColumns;
use super::{LakeError, Object, Table, WriteSettings};

/// A written piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PieceInfo {
    /// Rows.
    pub rows: u64,
    /// File size.
    pub bytes: u64,
    /// Values that a double cannot carry.
    pub inexact: u64,
    /// CRC-32/IEEE of the file.
    pub crc32: u32,
}

/// A piece to be joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PieceFile {
    /// Where it lies.
    pub path: PathBuf,
    /// CRC-32/IEEE that the file must have; `None` = it was staged by a version that took none.
    pub crc32: Option<u32>,
}

/// No piece is longer: a row group's pages are far below it.
const PIECE_BYTES_MAX: u64 = 2 << 30;

impl PieceFile {
    /// The bytes of the piece, all of them checked.
    ///
    /// # Errors
    /// [`LakeError::Damaged`] when they are not the ones that were written.
    pub fn read(&self) -> Result<Bytes, LakeError> {
        let bytes = regular::read(&self.path, PIECE_BYTES_MAX).map_err(LakeError::io("read", &self.path))?;
        let found = crc32fast::hash(&bytes);
        match self.crc32 {
            Some(expected) if expected != found => Err(LakeError::Damaged {
                path: self.path.clone(),
                what: format!("its CRC-32 is {found:08x}, it was written with {expected:08x}"),
            }),
            _ => Ok(Bytes::from(bytes)),
        }
    }
}

/// A written file, ready to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// Rows.
    pub rows: u64,
    /// File size.
    pub bytes: u64,
    /// Values that a double cannot carry.
    pub inexact: u64,
    /// SHA-256 of the file, lower-case hex.
    pub sha256: String,
    /// Row groups in the file.
    pub groups: usize,
    /// Row groups that were copied, not encoded.
    pub copied: usize,
}

/// Writes `chunk` as one row group to a complete Parquet file at `path`. Not durable yet: publish it, or fsync
/// it before acknowledging what is in it.
///
/// # Errors
/// When the chunk is empty or larger than a row group, or the file cannot be written.
pub fn write_piece(
    path: &Path,
    chunk: &RowsChunk,
    settings: &WriteSettings,
    key_values: &[(String, String)],
) -> Result<PieceInfo, LakeError> {
    let mut out = FileWriter::start(path, chunk.table(), settings, Sum::Crc32(crc32fast::Hasher::new()))?;
    out.encode(chunk)?;
    let whole = (key::WHOLE_GROUP.to_owned(), (chunk.full(settings) == Some(chunk.rows())).to_string());
    let (info, crc32) = out.end(&[key_values, &[whole]].concat(), chunk.inexact())?;
    Ok(PieceInfo { rows: info.rows, bytes: info.bytes, inexact: info.inexact, crc32 })
}

/// Joins `pieces` (in log order) and then `tail` to one file at `dest_tmp`. `key_values` go to the footer after
/// the crate's own ([`key`]). Not durable yet: publish it.
///
/// # Errors
/// When a piece is damaged ([`LakeError::Damaged`]), of another table or numeric form, or does not continue where the
/// one before ends; when there are no rows; when reading or writing fails.
pub fn join_pieces(
    dest_tmp: &Path,
    table: Table,
    pieces: &[PieceFile],
    tail: Option<RowsChunk>,
    settings: &WriteSettings,
    key_values: &[(String, String)],
) -> Result<FileInfo, LakeError> {
    let group_rows = settings.group_rows(table);
    // Of a piece of version 1 only the rows are known to be as many as they should.
    let bounded = !matches!(table, Table::Frames | Table::Events);
    let mut out = FileWriter::create(dest_tmp, table, settings, true)?;
    let mut pending = RowsChunk::empty(table, settings.numeric, settings.schema_version);
    let mut inexact = 0;
    let mut last_seq = i64::MIN;
    for file in pieces {
        let path = &file.path;
        let piece = TableFile::of(path, Object::Memory(file.read()?))?;
        check_piece(&piece, table, settings)?;
        inexact += piece.inexact();
        // Another version or other settings may encode the same rows to other bytes.
        let of_this =
            |what: &str| LakeError::Foreign { path: path.clone(), table: table.as_str(), what: what.to_owned() };
        let same = piece.key_value(key::SETTINGS) == Some(settings.fingerprint(table).as_str())
            && piece.metadata().file_metadata().created_by() == Some(settings.created_by().as_str());
        for g in 0..piece.groups() {
            if let Some((first, last)) = piece.group_seqs(g) {
                if first < last_seq {
                    return Err(LakeError::OutOfOrder { path: path.clone(), last: last_seq, got: first });
                }
                last_seq = last;
            }
            let whole = piece
                .key_value(key::WHOLE_GROUP)
                .map_or_else(|| bounded && piece.group_rows(g) == group_rows, |whole| whole == "true");
            if same && pending.rows() == 0 && whole {
                out.copy(&piece, g)?;
                continue;
            }
            let rows = piece.chunk(g)?.of_version(settings.schema_version);
            if !rows.is_some_and(|rows| pending.append(rows)) {
                return Err(of_this("its rows do not fit those of the part"));
            }
            while let Some(rows) = pending.full(settings) {
                out.encode(&pending.take_first(rows))?;
            }
        }
    }
    if let Some(tail) = tail {
        if let Some((first, _)) = tail.key(0)
            && first < last_seq
        {
            return Err(LakeError::OutOfOrder { path: dest_tmp.to_owned(), last: last_seq, got: first });
        }
        inexact += tail.inexact();
        let holds = format!("its tail holds rows of {}, {}, version {}", tail.table(), tail.numeric(), tail.version());
        if !pending.append(tail) {
            return Err(LakeError::Foreign { path: dest_tmp.to_owned(), table: table.as_str(), what: holds });
        }
        while let Some(rows) = pending.full(settings) {
            out.encode(&pending.take_first(rows))?;
        }
    }
    if pending.rows() > 0 {
        out.encode(&pending)?;
    }
    out.finish(key_values, inexact)
}

fn check_piece(piece: &TableFile, table: Table, settings: &WriteSettings) -> Result<(), LakeError> {
    let version = settings.schema_version;
    if piece.table() == table && piece.numeric() == settings.numeric && piece.version() <= version {
        return Ok(());
    }
    Err(LakeError::Foreign {
        path: piece.path().to_owned(),
        table: table.as_str(),
        what: format!(
            "it holds rows of {} with numbers as {}, schema version {}, wanted is {}, at most {version}",
            piece.table(),
            piece.numeric(),
            piece.version(),
            settings.numeric
        ),
    })
}

/// A file being written: one row group after the other, then the footer.
pub struct FileWriter {
    path: PathBuf,
    table: Table,
    settings: WriteSettings,
    writer: SerializedFileWriter<BufWriter<Hashing<File>>>,
    encoder: Encoder,
    rows: u64,
    groups: usize,
    copied: usize,
}

impl FileWriter {
    /// Starts a file; `digest`: compute its SHA-256.
    pub fn create(path: &Path, table: Table, settings: &WriteSettings, digest: bool) -> Result<Self, LakeError> {
        Self::start(path, table, settings, if digest { Sum::Sha256(Sha256::new()) } else { Sum::None })
    }

    fn start(path: &Path, table: Table, settings: &WriteSettings, sum: Sum) -> Result<Self, LakeError> {
        let file = File::create(path).map_err(LakeError::io("create", path))?;
        let fail = LakeError::parquet("start", path);
        let arrow = table.schema(settings.numeric, settings.schema_version);
        let schema = ArrowSchemaConverter::new().schema_root("row").convert(&arrow).map_err(&fail)?;
        let sorted = |column: usize| SortingColumn { column_idx: column as i32, descending: false, nulls_first: true };
        let properties = WriterProperties::builder()
            .set_created_by(settings.created_by())
            .set_writer_version(WriterVersion::PARQUET_1_0)
            .set_sorting_columns(Some(vec![
                sorted(CommonColumns::SYMBOL),
                sorted(CommonColumns::SEQ),
                sorted(CommonColumns::ROW_IN_FRAME),
            ]))
            .build();
        let sink = BufWriter::with_capacity(
            // A row group of trades is about 1.3 MiB.
            1 << 18,
            Hashing { inner: file, sum, bytes: 0 },
        );
        let writer = SerializedFileWriter::new(sink, schema.root_schema_ptr(), Arc::new(properties)).map_err(fail)?;
        Ok(Self {
            path: path.to_owned(),
            table,
            settings: settings.clone(),
            writer,
            encoder: Encoder::new(settings).map_err(LakeError::io("start", path))?,
            rows: 0,
            groups: 0,
            copied: 0,
        })
    }

    /// Writes a chunk as one row group.
    pub fn encode(&mut self, chunk: &RowsChunk) -> Result<(), LakeError> {
        check_size(&self.path, chunk, &self.settings)?;
        let mut encode = || -> Result<(), ParquetError> {
            let mut group = self.writer.next_row_group()?;
            encode_group(&mut self.encoder, chunk, &mut group)?;
            group.close()?;
            Ok(())
        };
        encode().map_err(LakeError::parquet("write", &self.path))?;
        self.rows += chunk.rows() as u64;
        self.groups += 1;
        Ok(())
    }

    fn copy(&mut self, piece: &TableFile, g: usize) -> Result<(), LakeError> {
        let copy = || -> Result<(), ParquetError> {
            let index = piece.metadata().page_index();
            let mut group = self.writer.next_row_group()?;
            let source = piece.metadata().row_group(g);
            for (c, metadata) in source.columns().iter().enumerate() {
                let close = ColumnCloseResult {
                    bytes_written: metadata.compressed_size().max(0) as u64,
                    rows_written: source.num_rows().max(0) as u64,
                    metadata: metadata.clone(),
                    bloom_filter: None,
                    column_index: index.and_then(|i| i.column_index(g, c).cloned()),
                    offset_index: index.and_then(|i| i.offset_index(g, c).cloned()),
                };
                group.append_column(piece.content(), close)?;
            }
            group.close()?;
            Ok(())
        };
        guarded("copy a row group to", &self.path, copy)?;
        self.rows += piece.group_rows(g) as u64;
        self.groups += 1;
        self.copied += 1;
        Ok(())
    }

    /// Writes the footer. `inexact`: values of all chunks that a double cannot carry.
    pub fn finish(self, key_values: &[(String, String)], inexact: u64) -> Result<FileInfo, LakeError> {
        Ok(self.end(key_values, inexact)?.0)
    }

    /// [`FileWriter::finish`], and the CRC-32 if that is what was requested.
    fn end(mut self, key_values: &[(String, String)], inexact: u64) -> Result<(FileInfo, u32), LakeError> {
        if self.rows == 0 {
            return Err(LakeError::GroupSize {
                table: self.table.as_str(),
                rows: 0,
                max: self.settings.group_rows(self.table),
            });
        }
        let own = [
            (key::TABLE, self.table.as_str().to_owned()),
            (key::SCHEMA_VERSION, self.settings.schema_version.to_string()),
            (key::SETTINGS, self.settings.fingerprint(self.table)),
            (key::INEXACT_VALUES, inexact.to_string()),
        ];
        for (k, v) in own {
            self.writer.append_key_value_metadata(KeyValue::new(k.to_owned(), v));
        }
        for (k, v) in key_values {
            self.writer.append_key_value_metadata(KeyValue::new(k.clone(), v.clone()));
        }
        let sink = self.writer.into_inner().map_err(LakeError::parquet("finish", &self.path))?;
        let hashing = sink.into_inner().map_err(|e| LakeError::io("finish", &self.path)(e.into_error()))?;
        let (sha256, crc32) = match hashing.sum {
            Sum::None => (String::new(), 0),
            Sum::Sha256(sum) => (hex(&sum.finalize()), 0),
            Sum::Crc32(sum) => (String::new(), sum.finalize()),
        };
        let info = FileInfo {
            rows: self.rows,
            bytes: hashing.bytes,
            inexact,
            sha256,
            groups: self.groups,
            copied: self.copied,
        };
        Ok((info, crc32))
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).map(|n| char::from(DIGITS[usize::from(n)])).collect()
}

/// What is computed of the bytes of a file while they are written.
pub(crate) enum Sum {
    /// Nothing.
    None,
    /// What a manifest records of a published file.
    Sha256(Sha256),
    /// What a state records of a piece.
    Crc32(crc32fast::Hasher),
}

/// Digests and counts what passes.
pub(crate) struct Hashing<W> {
    pub(crate) inner: W,
    pub(crate) sum: Sum,
    pub(crate) bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buf)?;
        let written = buf.get(..n).unwrap_or(buf);
        match &mut self.sum {
            Sum::None => {}
            Sum::Sha256(sum) => sum.update(written),
            Sum::Crc32(sum) => sum.update(written),
        }
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
